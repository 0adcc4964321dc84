"""Bad input at the border: each a plain answer, and nothing is lost."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from device.identity import pair
from device.journal import SyncState, read_row
from device.sync import Syncer
from tests.server.companion import World
from tests.server.snippets import make_small_snippet, write_manifest
from tests.server.test_custody import VIDEO, announce, patch

GB = 1 << 30


def claim(folder: Path, *sizes: int) -> None:
    """The manifest announces so many bytes in further files; they are not there."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] += [
        {"name": f"part{n}.bin", "bytes": size, "sha256": "0" * 64} for n, size in enumerate(sizes)
    ]
    path.write_text(json.dumps(manifest))


def test_ten_gigabytes_do_not_go_into_a_quota_of_one(make_world: Callable[..., World]) -> None:
    world = make_world(quota_mb=1024)
    parts, whole = (
        make_small_snippet(world.spool, "parts"),
        make_small_snippet(world.spool, "whole"),
    )
    claim(parts, *[2 * GB] * 5)
    claim(whole, 10 * GB)
    world.syncer().run_once()
    row = read_row(world.spool, "parts")
    assert (row.state, row.reason[:28]) == (SyncState.WAITING, "the owner allows 1024 MiB an")
    row = read_row(world.spool, "whole")
    assert (row.state, row.reason) == (SyncState.REFUSED, "part0.bin: a file may have 2048 MiB")
    assert parts.is_dir() and whole.is_dir()
    assert not list(world.running.services.media.incoming.glob("*/*"))


def test_many_announcements_do_not_outrun_the_quota(make_world: Callable[..., World]) -> None:
    world = make_world(quota_mb=1)
    answers = []
    for number in range(4):
        folder = make_small_snippet(world.spool, f"s{number}", video=VIDEO)
        answers.append(announce(world, folder).status_code)
    assert answers == [200, 200, 200, 507]
    assert announce(world, world.spool / "s0").status_code == 200  # itself does not count twice


def test_a_receipt_of_earlier_content_lets_nothing_go(world: World) -> None:
    make_small_snippet(world.spool, "one")
    world.syncer(keep_after_receipt=True).run_once()
    assert read_row(world.spool, "one").state is SyncState.DELETABLE
    shutil.rmtree(world.spool / "one")
    folder = make_small_snippet(world.spool, "one", video=VIDEO)  # the same id, another life
    world.syncer().run_once()
    assert (folder / "scene.mp4").read_bytes() == VIDEO
    assert "sent again" in read_row(world.spool, "one").reason
    world.syncer().run_once()
    assert read_row(world.spool, "one").state is SyncState.REFUSED
    assert (folder / "scene.mp4").read_bytes() == VIDEO


def test_two_pairs_of_glasses_with_one_key(world: World) -> None:
    """A copied card: whoever pairs last is known; the other is a stranger and loses nothing."""
    copy = world.spool.parent / "copy"
    ours, theirs = (
        make_small_snippet(world.spool, "one"),
        make_small_snippet(copy, "one", video=VIDEO),
    )
    second = pair(world.running.url, world.running.pairing_code(), world.identity)
    assert second.device_id == world.credentials.device_id
    report = world.syncer().run_once()
    assert (report.waiting, report.deleted) == (1, 0)
    assert "sign in, or send a device's token" in report.reasons[0]
    assert Syncer(copy, second, world.identity).run_once().receipts == 1
    world.credentials = replace(world.credentials, token=second.token)
    (world.spool / ".sync" / "one.json").unlink()
    report = world.syncer().run_once()  # both names are taken by different content
    assert (report.refused, report.deleted) == (1, 0)
    assert "already stored with other content" in report.reasons[0]
    assert ours.is_dir() and not theirs.exists()


def test_packed_bytes_are_refused(world: World) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    announce(world, folder)
    bomb = gzip.compress(bytes(50 << 20))
    answer = patch(world, "one/scene.mp4", 0, bomb, **{"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert world.running.services.media.offset(world.identity.device_id, "one", "scene.mp4") == 0


def bomb_video() -> bytes:
    """A few bytes that call themselves a video of 65535 x 65535 for 6,000 years."""
    header = struct.pack(">I4s4s", 20, b"ftyp", b"isom") + b"\0\0\2\0isom"
    movie = struct.pack(">I4sIIIII", 28, b"mvhd", 0, 0, 0, 1, 0xFFFFFFFF)
    track = (
        struct.pack(">I4s", 92, b"tkhd") + bytes(76) + struct.pack(">II", 0xFFFF0000, 0xFFFF0000)
    )
    body = movie + struct.pack(">I4s", 8 + len(track), b"trak") + track
    return header + struct.pack(">I4s", 8 + len(body), b"moov") + body


@pytest.mark.parametrize(
    "record",
    [
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"end_ns": 1' + b"0" * 5_000 + b"}",
        b'{"end_ns": 1' + b"0" * 1_000 + b', "energy_mj": {"total": 1' + b"0" * 1_000 + b"}}",
        b'{"start_ns": 0, "end_ns": 1e308, "video": {"width_px": 1e308, "frames": 1e18}}',
        b'{"start_utc": "9999-12-31T23:59:59+00:00", "zone": "Pacific/Kiritimati", "end_ns": -5}',
        b'{"tags": [{"name": ' + b'"x' + b"y" * 1_000_000 + b'"}], "reasons": {"a": 1}}',
        b'{"evidence": {"gaze": "1", "attention": [[1]], "changes": {"x": 2}}, "energy_mj": []}',
        b"\0" * 100_000,
    ],
)  # fmt: skip
def test_a_bomb_is_stored_as_the_bytes_it_is(world: World, record: bytes) -> None:
    """The server decodes no video, and reads a record only as far as it makes sense."""
    folder = make_small_snippet(world.spool, "bomb", video=bomb_video())
    (folder / "moment.json").write_bytes(record)
    write_manifest(folder)
    assert world.syncer().run_once().receipts == 1
    [entry] = world.owner.get("/api/v1/moments").json()["moments"]
    served = world.owner.get(f"/api/v1/moments/{entry['key']}/files/scene.mp4")
    assert served.content == bomb_video()
    for page in ("/", f"/moments/{entry['key']}", f"/days/{entry['local_day']}"):
        assert world.owner.get(page).status_code == 200, page
    assert world.running.services.custody.check() == []


@pytest.mark.parametrize(
    "name",
    ["../one", "..", ".", "%2e%2e", "..%2f..%2fetc", "a%2fb", "a%00b", "%ff", "-x", ".hidden", "x" * 101,
     "manifest.json", "custody.json", "manifest.sig"],
)  # fmt: skip
def test_tricks_in_names_reach_nothing(world: World, name: str) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    announce(world, folder)
    before = everything(world)
    with world.device() as device:
        for method, path in (
            ("PUT", f"/snippets/{name}"),
            ("GET", f"/snippets/{name}"),
            ("POST", f"/snippets/{name}/commit"),
            ("HEAD", f"/uploads/one/{name}"),
            ("PATCH", f"/uploads/one/{name}"),
            ("DELETE", f"/uploads/one/{name}"),
            ("PATCH", f"/uploads/{name}/scene.mp4"),
        ):
            headers = {
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": "0",
                "Beheld-Signature": "x",
            }
            url = httpx.URL(f"{world.api}/").copy_with(raw_path=f"/api/v1{path}".encode())
            answer = device.request(method, url, content=b"{}", headers=headers)
            assert 400 <= answer.status_code < 500, (method, path, answer.status_code)
    assert everything(world) == before


def everything(world: World) -> dict[str, int]:
    root = world.running.services.settings.data_dir.parent
    return {
        str(path.relative_to(root)): path.stat().st_size
        for path in root.rglob("*")
        if path.is_file() and "sqlite3" not in path.name
    }
