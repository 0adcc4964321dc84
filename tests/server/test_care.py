"""`beheld server ...`: check, rebuild, back up, export, erase, on each kind of storage."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from device.sync import Syncer
from server.app import make_services
from server.embedded import start
from server.people import MIN_PASSWORD
from tests.server.companion import World
from tests.server.postgres import Cluster
from tests.server.s3 import Buckets
from tests.server.snippets import Scene, make_small_snippet
from tools.cli import beheld

VIDEO = bytes(range(256)) * 100
PASSWORD = "correct horse battery"
assert len(PASSWORD) >= MIN_PASSWORD


DEFAULT_ONLY = pytest.mark.parametrize("storage", ["default"], indirect=True)


@pytest.fixture(params=["default", "postgres and s3"])
def storage(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings of the kind of storage."""
    if request.param == "default":
        return {}
    cluster: Cluster = request.getfixturevalue("postgres")
    buckets: Buckets = request.getfixturevalue("buckets")
    return {"database_url": cluster.new(), **buckets.settings()}


@pytest.fixture
def filled(make_world: Callable[..., World], storage: dict[str, str]) -> World:
    """Three moments, one erased, two judged; a password, a choice; the server still runs."""
    world = make_world(**storage)
    for number, thing in enumerate(("cup", "gone", "a/b: <x>")):
        make_small_snippet(world.spool, f"s{number}", Scene(thing=thing), video=VIDEO)
    assert world.syncer(keep_after_receipt=True).run_once().receipts == 3
    world.running.services.people.set_password(PASSWORD)  # ends every session
    world.owner.post("/login", data={"password": PASSWORD})
    services = world.running.services
    keys = {entry.snippet_id: entry.key for entry in services.index.select().entries}
    services.judging.discard(keys["s1"])
    services.judging.mark(keys["s0"], kept=True, reviewed=True)
    services.judging.name(keys["s2"], ["mug", "saucer"])
    services.judging.feel(keys["s2"], "happy")
    services.preferences.set("greeting", "no")
    return world


def run(world: World, verb: str, *words: str, code: int = 0) -> dict[str, Any]:
    settings = world.running.services.settings
    options = ["--data-dir", str(settings.data_dir), "--json"]
    for name in ("database_url", "media_url", "media_endpoint"):
        if getattr(settings, name):
            options += [f"--{name.replace('_', '-')}", getattr(settings, name)]
    answer = CliRunner().invoke(beheld, ["server", verb, *words, *options])
    if code == 0 and answer.exception is not None:
        raise answer.exception
    assert (answer.exit_code != 0) == (code != 0), answer.output
    lines = answer.stdout.strip().splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found | {"error": str(answer.exception or "")}


def moments(url: str, client: httpx.Client) -> dict[str, dict[str, Any]]:
    found = client.get(f"{url}/api/v1/moments").json()["moments"]
    return {moment["snippet_id"]: moment for moment in found}


def test_the_index_comes_back_from_nothing(filled: World) -> None:
    """The database is deleted; moments, receipts, glasses and the password are there again."""
    settings = filled.running.services.settings
    before = moments(filled.running.url, filled.owner)
    services = filled.running.services
    receipt = services.index.receipt(filled.identity.device_id, "s1")
    told = services.judging.feedback(filled.identity.device_id, 0)
    assert [item.kind for item in told] == ["keep", "keep", "names", "emotion"]
    assert before["s0"]["kept"]
    assert (before["s2"]["title"], before["s2"]["emotion"]) == ("mug", "happy")
    assert set(before) == {"s0", "s2"}
    filled.running.stop()
    if settings.database_url:
        engine = create_engine("postgresql+psycopg:" + settings.database_url.partition(":")[2])
        with engine.begin() as db:
            db.execute(text("DROP SCHEMA public CASCADE"))
            db.execute(text("CREATE SCHEMA public"))
        engine.dispose()
    else:
        for path in settings.data_dir.glob("beheld.sqlite3*"):
            path.unlink()
    found = run(filled, "rebuild-index")
    assert (found["moments"], found["receipts"], found["devices"]) == (2, 3, 1)
    again = start(settings.data_dir, settings=settings)
    try:
        with httpx.Client(follow_redirects=True, timeout=60) as owner:
            owner.post(f"{again.url}/login", data={"password": PASSWORD})
            assert moments(again.url, owner) == before
        assert again.services.index.receipt(filled.identity.device_id, "s1") == receipt
        assert again.services.preferences.get("greeting", "yes") == "no"
        judging = again.services.judging
        assert judging.feedback(filled.identity.device_id, 0) == told
        assert len(again.services.index.select().entries) == 2
        judging.feel(before["s0"]["key"], "sad")  # glasses that saw all so far see what is new
        [new] = judging.feedback(filled.identity.device_id, told[-1].number)
        assert new.emotion == "sad"
        there = filled.credentials
        for name in ("s0", "s1", "s2"):  # the glasses know their token; nothing is sent twice
            answer = httpx.get(
                f"{again.url}/api/v1/snippets/{name}",
                headers={"Authorization": f"Bearer {there.token}"},
            )
            assert answer.json()["state"] == "stored"
    finally:
        again.stop()


@DEFAULT_ONLY
def test_a_damaged_database_is_set_aside_and_made_again(filled: World) -> None:
    settings = filled.running.services.settings
    filled.running.stop()
    settings.database.write_bytes(b"rotten" * 1000)
    for ending in ("-wal", "-shm"):
        settings.database.with_name(settings.database.name + ending).unlink(missing_ok=True)
    found = run(filled, "rebuild-index")
    assert found["moments"] == 2
    assert Path(found["saved"]).read_bytes().startswith(b"rotten")


@pytest.mark.parametrize("rotten", ["custody.json", "manifest.json"])
@DEFAULT_ONLY
def test_one_unreadable_snippet_keeps_no_other_out(filled: World, rotten: str) -> None:
    settings = filled.running.services.settings
    filled.running.services.media.kept.write(filled.identity.device_id, "s0", rotten, b"\x00rot")
    filled.running.stop()
    assert run(filled, "rebuild-index")["moments"] == 1
    services = make_services(settings)
    known = services.index.known()
    services.database.close()
    assert known == {(filled.identity.device_id, "s2")}
    assert "s0: no readable sidecars" in run(filled, "check", code=2)["faults"][0]


@DEFAULT_ONLY
def test_a_kept_moment_is_not_discarded(filled: World) -> None:
    [kept] = [m for m in moments(filled.running.url, filled.owner).values() if m["kept"]]
    csrf = {"X-CSRF-Token": filled.csrf()["csrf"]}
    address = f"/api/v1/moments/{kept['key']}"
    assert filled.owner.delete(address, headers=csrf).status_code == 409
    assert filled.owner.patch(address, json={"kept": False}, headers=csrf).status_code == 200
    assert filled.owner.delete(address, headers=csrf).status_code == 204


@DEFAULT_ONLY
def test_emotion_erased_is_in_no_sidecar(filled: World) -> None:
    filled.running.services.privacy.erase_emotion()
    data = filled.running.services.settings.data_dir
    marks = [json.loads(path.read_text()) for path in data.glob("media/*/*/marks.json")]
    assert len(marks) == 2
    assert "happy" not in json.dumps(marks)
    assert [mark["names"] for mark in marks if mark["names"]] == [["mug", "saucer"]]


@DEFAULT_ONLY
def test_a_revoked_device_stays_revoked(filled: World) -> None:
    settings = filled.running.services.settings
    filled.running.services.glasses.revoke(filled.identity.device_id)
    filled.running.stop()
    run(filled, "rebuild-index")
    services = make_services(settings)
    [device] = services.glasses.all()
    services.database.close()
    assert device.revoked_utc is not None


def test_check_reads_every_byte(filled: World) -> None:
    assert run(filled, "check")["faults"] == []
    device = filled.identity.device_id
    filled.running.services.media.kept.write(device, "s0", "scene.mp4", b"rot")
    filled.running.services.media.kept.drop(device, "s2", "moment.json")
    found = run(filled, "check", code=2)
    assert found["faults"] == [
        f"{device}/s0: scene.mp4 is damaged",
        f"{device}/s2: moment.json is missing",
    ]
    assert "2 faults" in found["error"]


def test_backup_while_the_server_runs(filled: World, tmp_path: Path) -> None:
    target = tmp_path / "copy.bin"
    found = run(filled, "backup", str(target))
    assert found["bytes"] == target.stat().st_size
    assert target.stat().st_mode & 0o777 == 0o600
    if not filled.running.services.settings.database_url:
        with sqlite3.connect(target) as copy:
            assert copy.execute("SELECT count(*) FROM moments").fetchone() == (2,)
    assert run(filled, "backup")["path"].startswith(
        str(filled.running.services.settings.data_dir / "backups")
    )


def test_export_is_everything_as_plain_files(filled: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = run(filled, "export", str(out))
    assert (found["moments"], found["faults"]) == (2, [])
    listed = json.loads((out / "moments.json").read_text())
    assert {entry["snippet_id"] for entry in listed} == {"s0", "s2"}
    for entry in listed:
        folder = out / "moments" / entry["local_day"] / entry["folder"]
        for name in ("scene.mp4", "moment.json", "manifest.json", "custody.json"):
            stored = filled.running.services.media.kept.read(
                entry["device_id"], entry["snippet_id"], name
            )
            assert (folder / name).read_bytes() == stored
    assert json.loads((out / "devices.json").read_text())[0]["name"] == "Test glasses"
    assert "token" not in (out / "devices.json").read_text()
    assert len(list(out.glob("erased/*/s1.json"))) == 1
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=out, capture_output=True)
    assert sums.returncode == 0
    assert "not empty" in run(filled, "export", str(out), code=2)["error"]
    filled.running.services.media.kept.write(filled.identity.device_id, "s0", "scene.mp4", b"rot")
    again = run(filled, "export", str(tmp_path / "again"), code=2)
    assert again["moments"] == 2
    assert "damaged" in again["error"]


def test_erase_leaves_nothing(filled: World) -> None:
    settings = filled.running.services.settings
    assert "a server is running" in run(filled, "erase", "--yes", code=2)["error"]
    assert len(moments(filled.running.url, filled.owner)) == 2
    filled.running.stop()
    found = run(filled, "erase", "--yes")
    assert (found["moments"], found["left"]) == (2, [])
    assert list(settings.data_dir.iterdir()) == []
    if settings.database_url:
        engine = create_engine("postgresql+psycopg:" + settings.database_url.partition(":")[2])
        with engine.connect() as db:
            tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
            assert db.execute(text(tables)).scalar_one() == 0
        engine.dispose()
    services = make_services(settings)  # an empty folder is a new server
    assert services.index.known() == set()
    assert list(services.media.kept.everything()) == []
    assert services.glasses.all() == []
    services.database.close()


@DEFAULT_ONLY
def test_erase_asks_first(filled: World) -> None:
    data = filled.running.services.settings.data_dir
    filled.running.stop()
    answer = CliRunner().invoke(beheld, ["server", "erase", "--data-dir", str(data)], input="yes\n")
    assert answer.exit_code != 0
    assert (data / "server.key").exists()


def test_retention_by_the_verb(make_world: Callable[..., World]) -> None:
    world = make_world()
    make_small_snippet(world.spool, "one", video=VIDEO)
    world.syncer().run_once()
    data = world.running.services.settings.data_dir
    with world.running.services.database.write() as db:
        db.exec_driver_sql("UPDATE moments SET received_utc = '2020-01-01T00:00:00.000+00:00'")
    assert run(world, "retention")["let_go"] == []
    (data / "server.toml").write_text("video_days = 30\n")
    told = run(world, "retention", "--dry-run")
    assert [step["tier"] for step in told["let_go"]] == ["video"]
    assert len(list(data.glob("media/*/one/scene.mp4"))) == 1
    assert len(run(world, "retention")["let_go"]) == 1
    assert not list(data.glob("media/*/one/scene.mp4"))
    assert run(world, "check")["faults"] == []


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("video_dais = 3", "there is no setting 'video_dais'"),
        ("video_days = 'x'", "'video_days' must be int"),
        ("max_files = 0", "max_files must be positive"),
        ("= 3", "cannot be read"),
    ],
)
def test_a_wrong_server_toml_is_said_plainly(tmp_path: Path, written: str, said: str) -> None:
    (tmp_path / "server.toml").write_text(written)
    answer = CliRunner().invoke(beheld, ["server", "check", "--data-dir", str(tmp_path)])
    assert said in str(answer.exception)


@pytest.mark.parametrize("verb", ["check", "rebuild-index", "backup", "erase", "retention"])
def test_a_folder_that_is_not_there(verb: str, tmp_path: Path) -> None:
    words = ["server", verb, "--data-dir", str(tmp_path / "none")]
    answer = CliRunner().invoke(beheld, [*words, *(["--yes"] if verb == "erase" else [])])
    assert "there is no server's data" in str(answer.exception)
    assert not (tmp_path / "none").exists()


@DEFAULT_ONLY
def test_the_same_glasses_go_on_after_a_rebuild(filled: World) -> None:
    settings = filled.running.services.settings
    filled.running.stop()
    run(filled, "rebuild-index")
    again = start(settings.data_dir, settings=settings)
    try:
        there = dataclasses.replace(filled.credentials, server_url=again.url)
        make_small_snippet(filled.spool, "s9", video=VIDEO)
        report = Syncer(filled.spool, there, filled.identity).run_once()
        assert report.receipts == 1
    finally:
        again.stop()
    shutil.rmtree(filled.spool)
