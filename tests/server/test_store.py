"""One protocol over a folder and a real S3 interface; and two server processes over PostgreSQL and S3."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from device.identity import Credentials, Identity, pair
from device.sync import Syncer, SyncSettings
from server.app import make_services
from server.manifest import CUSTODY
from server.problems import Problem, ServerError
from server.settings import ServerSettings
from server.store import FolderStore, MediaStore
from server.store_s3 import ObjectStore
from tests.server.companion import World
from tests.server.postgres import Cluster
from tests.server.s3 import Buckets
from tests.server.snippets import make_small_snippet
from tests.server.test_kill import free_port, kill

VIDEO = bytes(range(256)) * 5000
SERVER = """
import json, pathlib, sys, uvicorn
from server.app import create_app
from server.settings import ServerSettings
given = json.loads(sys.argv[1])
app = create_app(ServerSettings(data_dir=pathlib.Path(given.pop("data_dir")), reserve_mb=1, **given))
services = app.state.services
print(services.glasses.new_code(), services.people.new_login_key(), flush=True)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
"""


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    buckets: Buckets = request.getfixturevalue("buckets")
    return ObjectStore(buckets.new(), buckets.endpoint)


def arrived(tmp_path: Path, name: str = "one") -> Path:
    folder = make_small_snippet(tmp_path / "incoming", name, video=VIDEO)
    (folder / CUSTODY).write_text("{}")
    return folder


def test_in_and_out(store: MediaStore, tmp_path: Path) -> None:
    folder = arrived(tmp_path)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    store.take("glasses", "one", folder)
    assert not folder.exists()
    assert list(store.everything()) == [("glasses", "one")]
    assert store.sizes("glasses", "one") == {name: len(data) for name, data in files.items()}
    for name, data in files.items():
        assert store.read("glasses", "one", name) == data
        assert b"".join(store.blocks("glasses", "one", name)) == data
    assert (
        b"".join(store.blocks("glasses", "one", "scene.mp4", 1000, 1_100_000))
        == VIDEO[1000:1_100_000]
    )
    assert b"".join(store.blocks("glasses", "one", "scene.mp4", 7, 7)) == b""
    store.write("glasses", "one", "marks.json", b"1")
    store.write("glasses", "one", "marks.json", b"22")
    assert store.read("glasses", "one", "marks.json") == b"22"
    store.drop("glasses", "one", "scene.mp4")
    store.drop("glasses", "one", "scene.mp4")
    assert not store.has("glasses", "one", "scene.mp4")
    store.bury("glasses", "one", b"note")
    store.remove("glasses", "one")
    store.remove("glasses", "one")
    assert list(store.everything()) == []
    assert list(store.buried()) == [("glasses", "one", b"note")]
    store.clear()
    assert list(store.buried()) == []


def test_what_is_not_there(store: MediaStore) -> None:
    assert not store.has("glasses", "none", CUSTODY)
    with pytest.raises(FileNotFoundError):
        store.read("glasses", "none", CUSTODY)
    with pytest.raises(FileNotFoundError):
        store.sizes("glasses", "none")
    with pytest.raises(FileNotFoundError):
        list(store.blocks("glasses", "none", "scene.mp4"))


@pytest.mark.parametrize("name", ["../one", "a/b", "", ".hidden", "x\0", "-x"])
def test_no_name_leads_out(store: MediaStore, name: str) -> None:
    for place in ((name, "one", "f"), ("glasses", name, "f"), ("glasses", "one", name)):
        with pytest.raises(Problem):
            store.read(*place)
        with pytest.raises(Problem):
            store.write(*place, b"")


def test_a_snippet_cut_short_on_its_way_in_is_not_there(
    buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(buckets.new(), buckets.endpoint)
    put, count = store._do.put, 0

    class CutShort:
        def put(self, *args: object) -> None:
            nonlocal count
            count += 1
            if count > 2:
                raise OSError("the line is dead")
            put(*args)

    folder = arrived(tmp_path)
    with monkeypatch.context() as change:
        change.setattr(store, "_do", CutShort())
        with pytest.raises(OSError, match="dead"):
            store.take("glasses", "one", folder)
    assert folder.is_dir()
    assert not store.has("glasses", "one", CUSTODY)
    store.take("glasses", "one", folder)
    assert store.has("glasses", "one", CUSTODY)


def test_the_whole_way_on_s3(make_world: Callable[..., World], buckets: Buckets) -> None:
    world = make_world(**buckets.settings())
    make_small_snippet(world.spool, "one", video=VIDEO)
    assert world.syncer().run_once().receipts == 1
    data = world.running.services.settings.data_dir
    assert not (data / "media").exists()
    assert not list(data.glob("incoming/*/*"))
    [entry] = world.owner.get("/api/v1/moments").json()["moments"]
    address = entry["files"]["scene.mp4"]
    whole = world.owner.get(address)
    assert whole.content == VIDEO
    assert whole.headers["content-type"] == "video/mp4"
    for asked, cut in (("5-9", VIDEO[5:10]), ("1279990-", VIDEO[-10:]), ("-4", VIDEO[-4:])):
        part = world.owner.get(address, headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, cut)
    assert world.owner.get(address, headers={"Range": "bytes=9999999-"}).status_code == 416
    again = world.owner.get(address, headers={"If-None-Match": whole.headers["etag"]})
    assert again.status_code == 304
    assert world.owner.get(f"/moments/{entry['key']}").status_code == 200
    services = world.running.services
    assert services.custody.check() == []
    services.media.kept.write(world.identity.device_id, "one", "scene.mp4", b"rot")
    assert services.custody.check() == [f"{world.identity.device_id}/one: scene.mp4 is damaged"]
    (data / "beheld.sqlite3").rename(data / "gone")
    fresh = make_services(services.settings)
    assert [e.key for e in fresh.index.select().entries] == [entry["key"]]
    fresh.database.close()


def test_an_erased_moment_stays_erased_when_the_index_is_made_again(world: World) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    world.syncer(keep_after_receipt=True).run_once()
    services = world.running.services
    receipt = services.index.receipt(world.identity.device_id, "one")
    services.custody.erase(world.identity.device_id, "one")
    data = services.settings.data_dir
    assert not list(data.glob("media/*/one"))
    (data / "beheld.sqlite3").rename(data / "gone")
    fresh = make_services(services.settings)
    assert fresh.index.known() == set()
    assert fresh.index.receipt(world.identity.device_id, "one") == receipt
    fresh.database.close()
    assert folder.is_dir()


def test_erasing_cut_short_is_finished_at_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small_snippet(world.spool, "one", video=VIDEO)
    world.syncer().run_once()
    services = world.running.services

    def dies(*place: str) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(services.media.kept, "remove", dies)
    with pytest.raises(RuntimeError):
        services.custody.erase(world.identity.device_id, "one")
    fresh = make_services(services.settings)
    assert fresh.index.known() == set()
    assert list(fresh.media.kept.everything()) == []
    fresh.database.close()


def test_a_store_that_cannot_be_reached(tmp_path: Path, buckets: Buckets) -> None:
    settings = ServerSettings(
        data_dir=tmp_path, media_url="s3://no-such-bucket", media_endpoint=buckets.endpoint
    )
    with pytest.raises(ServerError, match="cannot be written"):
        make_services(settings)


@pytest.fixture
def two_servers(
    postgres: Cluster, buckets: Buckets, tmp_path: Path
) -> Iterator[list[tuple[str, str, str]]]:
    """(address, pairing code, sign-in key) of two processes over one database and one bucket."""
    given = {"data_dir": str(tmp_path / "data"), "database_url": postgres.new()}
    given |= buckets.settings()
    processes, addresses = [], []
    try:
        for _ in range(2):
            port = free_port()
            command = [sys.executable, "-c", SERVER, json.dumps(given), str(port)]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert processes[-1].stdout is not None
            code, key = processes[-1].stdout.readline().split()
            addresses.append((f"http://127.0.0.1:{port}", code, key))
        for url, *_ in addresses:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                try:
                    httpx.get(f"{url}/api/v1/health")
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
        yield addresses
    finally:
        for process in processes:
            kill(process)


def at(credentials: Credentials, url: str) -> Credentials:
    return dataclasses.replace(credentials, server_url=url)


def test_two_servers_at_once(two_servers: list[tuple[str, str, str]], tmp_path: Path) -> None:
    """Glasses pair with one and send through both at once; both show everything, nothing twice."""
    syncers = []
    for number, (url, code, _) in enumerate(two_servers):
        identity = Identity.load_or_create(tmp_path / f"glasses{number}")
        credentials = pair(url, code, identity)
        for way, (through, *_) in enumerate(two_servers):
            spool = tmp_path / f"spool{number}{way}"
            for item in range(3):
                make_small_snippet(spool, f"n{way}{item}", video=VIDEO[: 50_000 + item])
            syncers.append(Syncer(spool, at(credentials, through), identity))
    threads = [threading.Thread(target=syncer.run_once) for syncer in syncers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lists = []
    for url, _, key in two_servers:
        with httpx.Client(base_url=url, follow_redirects=True, timeout=60) as owner:
            owner.get(f"/login?key={key}")
            lists.append(owner.get("/api/v1/moments").json()["moments"])
            video = owner.get(lists[-1][0]["files"]["scene.mp4"]).content
            assert video == VIDEO[: len(video)]
    assert len(lists[0]) == 12
    assert [m["key"] for m in lists[0]] == [m["key"] for m in lists[1]]


def test_an_upload_begun_at_one_server_ends_at_the_other(
    two_servers: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    (first, code, _), (second, *_) = two_servers
    identity = Identity.load_or_create(tmp_path / "glasses")
    credentials = pair(first, code, identity)
    folder = make_small_snippet(tmp_path / "spool", "one", video=VIDEO)
    begun = Syncer(tmp_path / "spool", at(credentials, first), identity, SyncSettings(chunk_kb=400))
    with pytest.raises(Cut):
        begun.run_once(progress=cut)
    assert folder.is_dir()
    report = Syncer(tmp_path / "spool", at(credentials, second), identity).run_once()
    assert report.receipts == 1
    assert report.sent_bytes < len(VIDEO)


class Cut(Exception):  # noqa: N818
    """The line is dead."""


def cut(sent: int) -> None:
    if sent > 100_000:  # the first piece of the video is there
        raise Cut
