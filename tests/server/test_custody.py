"""Custody: nothing lost, nothing believed that was not signed, the same receipt every time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from tusclient import client as tus

from device.identity import MANIFEST, Identity, pair
from device.journal import SyncState, read_row, status
from device.sync import Syncer
from server.app import make_services
from server.settings import ServerSettings
from tests.device.test_capture import write
from tests.server.companion import World
from tests.server.snippets import make_small_snippet, make_snippet, write_manifest

VIDEO = bytes(range(256)) * 1024


def announce(world: World, folder: Path, **headers: str) -> httpx.Response:
    raw = (folder / "manifest.json").read_bytes()
    signature = {"Beheld-Signature": world.identity.sign(MANIFEST, raw)}
    with world.device() as device:
        return device.put(f"/snippets/{folder.name}", content=raw, headers={**signature, **headers})


def patch(world: World, path: str, offset: int, data: bytes, **headers: str) -> httpx.Response:
    base = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
    with world.device() as device:
        return device.patch(f"/uploads/{path}", content=data, headers={**base, **headers})


def test_a_snippet_travels_and_is_deleted_only_then(world: World) -> None:
    folder = make_snippet(world.spool, "one")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    report = world.syncer().run_once()
    assert (report.receipts, report.deleted, report.waiting, report.refused) == (1, 1, 0, 0)
    assert not folder.exists()
    assert read_row(world.spool, "one").state is SyncState.DELETED
    [entry] = world.owner.get("/api/v1/moments").json()["moments"]
    assert entry["title"] == "cup"
    assert entry["local_time"] == "09:41:09"
    for name in ("scene.mp4", "moment.json", "thumbnail.jpg", "manifest.json"):
        assert (
            world.owner.get(f"/api/v1/moments/{entry['key']}/files/{name}").content == files[name]
        )


def test_kept_snippets_stay_and_are_not_sent_twice(world: World) -> None:
    folder = make_small_snippet(world.spool, "one")
    assert world.syncer(keep_after_receipt=True).run_once().receipts == 1
    assert world.syncer(keep_after_receipt=True).run_once().receipts == 0
    assert folder.is_dir()
    assert world.syncer().run_once().deleted == 1


def test_the_same_snippet_again_gives_the_same_receipt(world: World, tmp_path: Path) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    copy = tmp_path / "again" / "one"
    shutil.copytree(folder, copy)
    world.syncer().run_once()
    first = read_row(world.spool, "one")
    again = Syncer(copy.parent, world.credentials, world.identity)
    assert again.run_once().receipts == 1
    second = read_row(copy.parent, "one")
    assert (first.receipt, first.signature) == (second.receipt, second.signature)
    assert len(world.owner.get("/api/v1/moments").json()["moments"]) == 1


def test_other_content_under_a_stored_id_is_refused_and_stays(world: World) -> None:
    make_small_snippet(world.spool, "one")
    world.syncer().run_once()
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    report = world.syncer().run_once()
    assert report.refused == 1
    assert "other content" in report.reasons[0]
    assert (folder / "scene.mp4").read_bytes() == VIDEO


def test_a_foreign_signature_is_refused(world: World, tmp_path: Path) -> None:
    folder = make_small_snippet(world.spool, "one")
    stranger = Identity.load_or_create(tmp_path / "stranger")
    raw = (folder / "manifest.json").read_bytes()
    answer = announce(world, folder, **{"Beheld-Signature": stranger.sign(MANIFEST, raw)})
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("bad-signature")
    assert answer.headers["content-type"] == "application/problem+json"


def test_wrong_bytes_are_refused_let_go_and_can_be_sent_again(world: World) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    assert announce(world, folder).json()["offsets"] == {"moment.json": 0, "scene.mp4": 0}
    patch(world, "one/moment.json", 0, (folder / "moment.json").read_bytes())
    patch(world, "one/scene.mp4", 0, b"x" + VIDEO[1:])
    with world.device() as device:
        answer = device.post("/snippets/one/commit")
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("hash-mismatch")
    assert announce(world, folder).json()["offsets"]["scene.mp4"] == 0
    assert world.syncer().run_once().receipts == 1


def test_damage_on_the_glasses_is_found_there_and_kept(world: World) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    (folder / "scene.mp4").write_bytes(b"x" + VIDEO[1:])
    syncer = world.syncer(first_wait_s=0.0)
    assert syncer.run_once().waiting == 1  # the way might have done it
    report = syncer.run_once()
    assert report.refused == 1
    assert "damaged on the glasses" in report.reasons[0]
    assert folder.is_dir()


def test_incomplete_is_said_and_nothing_is_signed(world: World) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    announce(world, folder)
    patch(world, "one/scene.mp4", 0, VIDEO[:1000])
    with world.device() as device:
        answer = device.post("/snippets/one/commit")
    assert answer.status_code == 409
    assert "scene.mp4 1000/262144" in answer.json()["detail"]


def test_resume_at_any_byte(world: World) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    announce(world, folder)
    for size in (1, 7, 4096, 65_537):
        with world.device() as device:
            offset = int(device.head("/uploads/one/scene.mp4").headers["upload-offset"])
        answer = patch(world, "one/scene.mp4", offset, VIDEO[offset : offset + size])
        assert answer.status_code == 204
        assert int(answer.headers["upload-offset"]) == offset + size
    report = world.syncer().run_once()
    assert report.receipts == 1
    assert report.sent_bytes < len(VIDEO)  # it did not begin again


def test_a_wrong_offset_and_a_wrong_checksum_change_nothing(world: World) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    announce(world, folder)
    patch(world, "one/scene.mp4", 0, VIDEO[:100])
    assert patch(world, "one/scene.mp4", 50, VIDEO[50:200]).status_code == 409
    bad = {"Upload-Checksum": "sha256 " + "A" * 43 + "="}
    assert patch(world, "one/scene.mp4", 100, VIDEO[100:200], **bad).status_code == 460
    assert announce(world, folder).json()["offsets"]["scene.mp4"] == 100


def test_more_bytes_than_announced_are_refused(world: World) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    announce(world, folder)
    assert patch(world, "one/scene.mp4", 0, VIDEO + b"more").status_code == 413
    assert world.syncer().run_once().receipts == 1


@pytest.mark.parametrize("chunk", [1000, 100_000, 10_000_000])
def test_a_client_nobody_here_wrote_can_upload(world: World, chunk: int) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    if chunk == 1000:
        (folder / "scene.mp4").write_bytes(VIDEO[:5500])
        write_manifest(folder)
    announce(world, folder)
    theirs = tus.TusClient(
        f"{world.api}/uploads", headers={"Authorization": f"Bearer {world.credentials.token}"}
    )
    for name in ("moment.json", "scene.mp4"):
        theirs.uploader(
            str(folder / name), chunk_size=chunk, metadata={"snippet": "one", "filename": name}
        ).upload()
    with world.device() as device:
        answer = device.post("/snippets/one/commit")
    assert answer.json()["state"] == "stored"


def test_an_upload_nobody_goes_on_with_expires_and_is_sent_again(world: World) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    announce(world, folder)
    answer = patch(world, "one/scene.mp4", 0, VIDEO[:100])
    until_s = parsedate_to_datetime(answer.headers["Upload-Expires"]).timestamp()
    week_s = 7 * 86400
    assert abs(until_s - time.time() - week_s) < 60
    media = world.running.services.media
    assert media.expire(now_s=until_s - 120) == 0
    assert media.expire(now_s=until_s + 120) == 1
    assert not list(media.incoming.glob("*/*"))
    assert patch(world, "one/scene.mp4", 100, VIDEO[100:]).status_code == 404
    assert folder.is_dir()
    assert world.syncer().run_once().receipts == 1


def test_two_writers_do_not_mix(world: World) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    announce(world, folder)
    with world.running.services.media.upload(world.identity.device_id, "one", "scene.mp4"):
        assert patch(world, "one/scene.mp4", 0, VIDEO).status_code == 423
        with world.device() as device:
            assert device.post("/snippets/one/commit").status_code == 423


def test_a_commit_cut_short_by_a_crash_is_finished_at_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small_snippet(world.spool, "one", video=VIDEO)

    def crash(*args: object, **kwargs: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(world.running.services.index, "take", crash)
    assert world.syncer().run_once().waiting == 1  # a 500: nothing deleted
    assert (world.spool / "one").is_dir()
    monkeypatch.undo()
    world.running.stop()
    services = make_services(world.running.services.settings)
    assert services.index.known() == {(world.identity.device_id, "one")}
    services.database.close()


def test_a_deleted_database_is_made_again_from_the_media(world: World, tmp_path: Path) -> None:
    for number in range(3):
        make_small_snippet(world.spool, f"s{number}", video=VIDEO)
    world.syncer().run_once()
    before = world.owner.get("/api/v1/moments").json()
    world.running.stop()
    data = world.running.services.settings.data_dir
    for path in data.glob("beheld.sqlite3*"):
        path.unlink()
    services = make_services(ServerSettings(data_dir=data))
    keys = {entry.key for entry in services.index.select().entries}
    assert keys == {moment["key"] for moment in before["moments"]}
    assert services.custody.check() == []
    stored = data / "media" / world.identity.device_id / "s1"
    (stored / "scene.mp4").write_bytes(b"rot")
    assert services.custody.check() == [f"{world.identity.device_id}/s1: scene.mp4 is damaged"]
    services.database.close()


def test_a_receipt_of_another_server_deletes_nothing(
    make_world: Callable[..., World], world: World
) -> None:
    folder = make_small_snippet(world.spool, "one")
    other = make_world()
    forged = other.credentials.__class__(
        **{
            **{n: getattr(world.credentials, n) for n in world.credentials.__slots__},
            "server_public_key": other.credentials.server_public_key,
        }
    )
    report = Syncer(world.spool, forged, world.identity).run_once()
    assert (report.waiting, report.deleted) == (1, 0)
    assert "not the paired server's" in report.reasons[0]
    assert folder.is_dir()


@pytest.mark.parametrize("left", [None, b"", b'{"format": 1, "snip'])
def test_bytes_outlive_a_manifest_that_a_power_cut_spoilt(world: World, left: bytes | None) -> None:
    """The manifest is flushed at the commit; what PATCH answered for stays without it."""
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    announce(world, folder)
    assert patch(world, "one/scene.mp4", 0, VIDEO[:70_001]).status_code == 204
    place = world.running.services.media.arriving(world.identity.device_id, "one")
    (place / "manifest.sig").unlink()
    (place / "manifest.json").unlink()
    if left is not None:
        (place / "manifest.json").write_bytes(left)
    assert announce(world, folder).json()["offsets"] == {"moment.json": 0, "scene.mp4": 70_001}
    assert world.syncer().run_once().deleted == 1
    assert world.running.services.custody.check() == []


def test_another_manifest_under_the_name_begins_anew(world: World) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    announce(world, folder)
    patch(world, "one/scene.mp4", 0, VIDEO[:5_000])
    (folder / "scene.mp4").write_bytes(VIDEO[:4_000])
    write_manifest(folder)
    assert announce(world, folder).json()["offsets"] == {"moment.json": 0, "scene.mp4": 0}
    assert world.syncer().run_once().deleted == 1


def test_a_disk_that_takes_a_part_of_what_it_is_given(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    whole = os.pwritev
    monkeypatch.setattr(
        "server.media.os.pwritev",
        lambda handle, chunks, offset: whole(handle, [bytes(chunks[0])[:70_000]], offset),
    )
    assert world.syncer().run_once().deleted == 1, folder
    assert world.running.services.custody.check() == []


def test_a_full_disk_is_said_plainly_and_loses_nothing(make_world: Callable[..., World]) -> None:
    world = make_world(quota_mb=1)
    make_small_snippet(world.spool, "big", video=VIDEO * 8)
    report = world.syncer().run_once()
    assert report.waiting == 1
    assert "the owner allows 1 MiB" in report.reasons[0]
    assert (world.spool / "big" / "scene.mp4").stat().st_size == len(VIDEO) * 8


def test_the_reserve_of_the_disk_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_small_snippet(world.spool, "one")
    full = shutil.disk_usage(world.spool)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    answer = announce(world, folder)
    assert answer.status_code == 507
    assert "disk is full" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda m: m | {"format": 2}, 422),
        (lambda m: m | {"files": []}, 422),
        (lambda m: m | {"moment_sha256": "0" * 64}, 422),
        (lambda m: m | {"files": [m["files"][0] | {"name": "../../evil"}]}, 422),
        (lambda m: m | {"files": [m["files"][0], m["files"][0] | {"name": "custody.json"}]}, 422),
        (lambda m: m | {"files": [m["files"][0], m["files"][0]]}, 422),
        (lambda m: m | {"files": [m["files"][0], m["files"][0] | {"name": "x", "bytes": 10**13}]}, 413),
        (lambda m: m | {"files": [m["files"][0] | {"bytes": -1}]}, 422),
        (lambda m: m | {"files": [m["files"][0] | {"bytes": True}]}, 422),
        (lambda m: m | {"files": [m["files"][0] | {"name": f"f{n}"} for n in range(17)]}, 422),
        (lambda m: m | {"snippet_id": "two"}, 422),
        (lambda m: m | {"padding": "x" * 300_000}, 413),
        (lambda m: [m], 422),
    ],
)  # fmt: skip
def test_lying_manifests_are_refused(
    world: World, change: Callable[[dict[str, object]], object], status: int
) -> None:
    folder = make_small_snippet(world.spool, "one")
    path = folder / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    answer = announce(world, folder)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    outside = world.running.services.settings.data_dir.parent
    assert not list(outside.glob("evil*"))


def test_two_pairs_of_glasses_may_use_one_snippet_id(world: World, tmp_path: Path) -> None:
    make_small_snippet(world.spool, "one")
    world.syncer().run_once()
    other = Identity.load_or_create(tmp_path / "other")
    credentials = pair(world.running.url, world.running.pairing_code(), other)
    spool = tmp_path / "other-spool"
    make_small_snippet(spool, "one", video=VIDEO)
    assert Syncer(spool, credentials, other).run_once().receipts == 1
    assert len(world.owner.get("/api/v1/moments").json()["moments"]) == 2


def test_a_record_that_is_no_json_is_kept_all_the_same(world: World) -> None:
    folder = make_small_snippet(world.spool, "odd")
    (folder / "moment.json").write_bytes(b"\xff not json")
    write_manifest(folder)
    assert world.syncer().run_once().receipts == 1
    [entry] = world.owner.get("/api/v1/moments").json()["moments"]
    assert world.owner.get(f"/moments/{entry['key']}").status_code == 200


def test_many_at_once(world: World, tmp_path: Path) -> None:
    """Several glasses at one server: every snippet has its receipt, none is mixed up."""
    spools = []
    for number in range(4):
        identity = Identity.load_or_create(tmp_path / f"g{number}")
        credentials = pair(world.running.url, world.running.pairing_code(), identity)
        spool = tmp_path / f"s{number}"
        for item in range(5):
            make_small_snippet(
                spool, f"n{item}", video=hashlib.sha256(b"%d" % number).digest() * 500
            )
        spools.append(Syncer(spool, credentials, identity))
    threads = [threading.Thread(target=syncer.run_once) for syncer in spools]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.running.services.index.known()) == 20
    assert world.running.services.custody.check() == []
    for number in range(4):
        assert {row.state for row in status(tmp_path / f"s{number}")} == {SyncState.DELETED}


def test_what_the_glasses_write_is_received_and_shown(world: World) -> None:
    """The two sides of the format meet: the glasses' own writer, our reader."""
    folder = write(world.spool)
    record = json.loads((folder / "moment.json").read_text())
    assert world.syncer().run_once().receipts == 1
    [entry] = world.owner.get("/api/v1/moments").json()["moments"]
    assert entry["snippet_id"] == record["id"]
    assert entry["title"] == next(tag["name"] for tag in record["tags"] if tag["attended"])
    page = world.owner.get(f"/moments/{entry['key']}").text
    assert "Why it was kept" in page
    assert f'data-origin-ns="{record["video"]["start_ns"]}"' in page
