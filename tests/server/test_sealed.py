"""Sealed snippets at the server: opened at the commit, verified twice, stored and promised plain."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from device.errors import SyncError
from device.identity import MANIFEST, Identity, pair
from device.journal import SyncState, read_row
from device.sealing import Protection, Sealer
from device.session_report import leave_report, waiting_reports
from device.spool import write_record
from tests.device.test_capture import write
from tests.device.test_sealing import READABLE, readable
from tests.server.companion import World
from tests.server.snippets import session_document


def sealed_snippet(world: World) -> Path:
    return write(world.spool, Protection(sealer=Sealer(world.credentials.seal_recipient)))


def lie(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_it_is_opened_stored_plain_and_promised(world: World, tmp_path: Path) -> None:
    plain = write(tmp_path / "plain")
    folder = sealed_snippet(world)
    report = world.syncer().run_once()
    assert (report.receipts, report.deleted) == (1, 1)
    services = world.running.services
    stored = services.settings.data_dir / "media" / world.identity.device_id / folder.name
    for path in plain.iterdir():
        if path.name != "manifest.json":
            assert (stored / path.name).read_bytes() == path.read_bytes()
    assert not list(stored.glob("*.age"))
    promise = json.loads(read_row(world.spool, folder.name).receipt)
    assert {file["name"]: file["sha256"] for file in promise["files"]} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in plain.iterdir()
        if path.name != "manifest.json"
    }
    assert services.custody.check() == []
    assert not list(services.media.incoming.glob("*/*"))
    [entry] = world.owner.get("/api/v1/moments").json()["moments"]
    video = world.owner.get(f"/api/v1/moments/{entry['key']}/files/scene.mp4")
    assert video.status_code == 200, video.text
    assert video.content == (plain / "scene.mp4").read_bytes()


def test_stolen_glasses_show_nothing(world: World, tmp_path: Path) -> None:
    """Everything paired glasses keep: spool, journal with receipts, session, keys, pairing."""
    home = tmp_path / "glasses0"
    world.credentials.save(home)
    protection = Protection.of(home)
    folder = write(world.spool, protection)
    record = json.dumps({"tags": [{"name": "cup"}], "evidence": {"gaze": [1]}}).encode()
    for name in ("moments.json", "session.json"):
        write_record(world.spool.parent / name, record, protection.sealer)
    leave_report(world.spool, session_document("walk"), protection.sealer)
    world.credentials = replace(world.credentials, server_url="http://127.0.0.1:9")
    world.syncer().run_once()  # the server was out of reach
    assert read_row(world.spool, folder.name).state is SyncState.WAITING
    kept = [world.spool, home, tmp_path / "loot"]
    kept[2].mkdir()
    for path in world.spool.parent.glob("*.json*"):
        shutil.copy(path, kept[2])
    assert sum(1 for place in kept for path in place.rglob("*") if path.is_file()) >= 8
    assert readable(kept) == set()
    assert readable([write(tmp_path / "plain")]) == set(READABLE)
    files = [path.read_bytes() for place in kept for path in place.rglob("*") if path.is_file()]
    told = (b"no eye was seen", b"seen_s", b"energy_j")
    assert not any(mark in data for data in files for mark in told)
    leave_report(world.spool, session_document("walk"))
    [clear] = waiting_reports(world.spool)  # instead of the sealed one of the same session
    assert all(mark in clear.read_bytes() for mark in told)


def test_a_sealed_report_is_opened_and_shown(world: World) -> None:
    leave_report(world.spool, session_document("walk"))  # before the pairing
    leave_report(world.spool, session_document("walk", 1), Sealer(world.credentials.seal_recipient))
    other = pyrage.x25519.Identity.generate().to_public()
    leave_report(world.spool, session_document("lost"), Sealer(str(other)))
    assert [path.name for path in waiting_reports(world.spool)] == [
        "lost.json.age",
        "walk.json.age",
    ]
    world.syncer().run_once()
    assert [path.name for path in (world.spool / ".sessions").iterdir()] == [
        "lost.json.age.refused"
    ]
    (told,) = world.owner.get("/api/v1/sessions").json()["sessions"]
    assert (told["session_id"], len(told["gaps"])) == ("walk", 2)
    folder = world.running.services.settings.data_dir / "sessions" / world.identity.device_id
    assert json.loads((folder / "walk.json").read_text())["session_id"] == "walk"


def test_sealed_for_another_server_is_refused_and_stays(world: World) -> None:
    other = pyrage.x25519.Identity.generate().to_public()
    folder = write(world.spool, Protection(sealer=Sealer(str(other))))
    report = world.syncer().run_once()
    assert report.refused == 1
    assert "beheld seal open" in report.reasons[0]
    assert (folder / "scene.mp4.age").is_file()


@pytest.mark.parametrize("fault", ["inside", "not sealed", "other key"])
def test_a_lie_about_what_is_inside_is_refused_and_nothing_is_promised(
    world: World, fault: str
) -> None:
    folder = sealed_snippet(world)
    path = folder / "moment.json.age"
    other = pyrage.x25519.Identity.generate().to_public()
    if fault != "inside":
        path.write_bytes(
            b"plain" * 100 if fault == "not sealed" else pyrage.encrypt(b"x" * 900, [other])
        )

    def change(manifest: dict[str, object]) -> None:
        files = manifest["files"]
        assert isinstance(files, list)
        entry = next(file for file in files if file["name"] == path.name)
        data = path.read_bytes()
        entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        entry["plain"] |= {"bytes": 100, "sha256": "0" * 64}
        manifest["moment_sha256"] = "0" * 64

    lie(folder, change)
    report = world.syncer().run_once()
    assert (report.refused, report.receipts) == (1, 0)
    assert "the glasses must keep it" in report.reasons[0]
    assert path.is_file()
    assert world.running.services.index.known() == set()


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.pop("plain"),
        lambda file: file["plain"].update(name="other.json"),
        lambda file: file["plain"].update(bytes=10**9),
        lambda file: file["plain"].update(sha256="x"),
        lambda file: file.update(plain="moment.json"),
    ],
)
def test_a_sealed_manifest_must_say_what_is_inside(
    world: World, change: Callable[[dict[str, object]], None]
) -> None:
    folder = sealed_snippet(world)
    lie(folder, lambda manifest: change(manifest["files"][0]))  # type: ignore[index]
    assert world.syncer().run_once().refused == 1


def test_what_a_crash_left_half_opened_does_no_harm(world: World) -> None:
    folder = sealed_snippet(world)
    half = world.running.services.media.arriving(world.identity.device_id, folder.name)
    half = half.with_name(f".opened-{folder.name}")
    half.mkdir(parents=True)
    (half / "scene.mp4").write_bytes(b"half")
    assert world.syncer().run_once().receipts == 1
    assert world.running.services.custody.check() == []


def test_the_key_stays_the_same_and_is_for_its_owner_only(world: World) -> None:
    path = world.running.services.settings.data_dir / "seal.key"
    assert path.stat().st_mode & 0o077 == 0
    again = pair(world.running.url, world.running.pairing_code(), world.identity)
    assert again.seal_recipient == world.credentials.seal_recipient


def test_a_key_to_seal_to_that_the_server_did_not_sign_is_not_believed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thief = str(pyrage.x25519.Identity.generate().to_public())
    monkeypatch.setattr("server.keys.ServerKey.sign", lambda self, purpose, message: "AAAA")
    monkeypatch.setattr(world.running.services.seal_key, "recipient", thief)
    with pytest.raises(SyncError, match="not signed by the server"):
        pair(world.running.url, world.running.pairing_code(), Identity.load_or_create(tmp_path))


def test_signed_when_written_and_damaged_since_is_refused(world: World) -> None:
    folder = sealed_snippet(world)
    signature = world.identity.sign(MANIFEST, (folder / "manifest.json").read_bytes())
    (folder / "manifest.sig").write_text(signature)
    lie(folder, lambda manifest: manifest.update(session_id="kitchem"))
    report = world.syncer().run_once()
    assert report.refused == 1
    assert "does not fit its signature" in report.reasons[0]
    (folder / "manifest.sig").unlink()
    assert world.syncer().run_once(retry_refused=True).receipts == 1
