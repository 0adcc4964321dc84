"""Sealed at rest: a stolen pair of glasses shows nothing; whoever has the key opens everything."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import httpx
import pyrage
import pytest

from device import feedback, sealing
from device.errors import ConfigError, InputError, StorageError
from device.glasses.session import protect
from device.glasses.settings import GlassesSettings, LiveSettings, SessionSettings
from device.identity import MANIFEST, Credentials, Identity, signed_by
from device.sealing import Protection, Sealer, make_local_key, read_identity, unseal
from device.spool import read_snippet, write_record
from tests.device.test_capture import write
from tests.small_disk import small_disk

PASSPHRASE = "five quiet otters swim"
READABLE = (
    b"JFIF",
    b"ftyp",
    b"moov",
    b"mdat",
    b"avc1",
    b'"gaze"',
    b'"tags"',
    b'"evidence"',
    b"cup",
)
"""Marks of a picture, a video, a record and what is in it."""


@pytest.fixture(scope="module")
def key() -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def protection(key: pyrage.x25519.Identity) -> Protection:
    return Protection(sealer=Sealer(str(key.to_public())))


def readable(folders: Iterable[Path]) -> set[bytes]:
    """Which marks can be found in any byte of any file, or in a name."""
    found = set()
    for folder in folders:
        for path in folder.rglob("*"):
            data = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
            found |= {mark for mark in READABLE if mark in data}
    return found


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    folder = write(tmp_path / "spool")
    write_record(tmp_path / "moments.json", (folder / "moment.json").read_bytes(), None)
    assert readable([tmp_path]) == set(READABLE)


def test_nothing_readable_lies_on_the_disk_at_any_time(
    tmp_path: Path, protection: Protection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at whenever something reaches the disk, not only at the end."""
    looks, sync = [], os.fsync

    def look(handle: int) -> None:
        sync(handle)
        looks.append(readable([tmp_path]))

    monkeypatch.setattr(os, "fsync", look)
    folder = write(tmp_path / "spool", protection)
    record = json.dumps({"tags": ["cup"], "evidence": {"gaze": []}}).encode()
    write_record(tmp_path / "moments.json", record, protection.sealer)
    assert len(looks) > 5
    assert set().union(*looks) == set()
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json", "moment.json.age", "scene.mp4.age", "thumbnail.jpg.age",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.glob("moments*")] == ["moments.json.age"]


def test_a_sealed_snippet_holds_the_same_bytes_as_a_plain_one(
    tmp_path: Path, key: pyrage.x25519.Identity, protection: Protection
) -> None:
    plain, closed = write(tmp_path / "plain"), write(tmp_path / "sealed", protection)
    assert read_snippet(closed).moment == {}  # whole, but not for us to read
    manifest = json.loads((closed / "manifest.json").read_text())
    assert manifest["sealed_to"] == str(key.to_public())
    inside = [entry["plain"] for entry in manifest["files"]]
    of_plain = json.loads((plain / "manifest.json").read_text())
    assert inside == of_plain["files"]
    assert manifest["moment_sha256"] == of_plain["moment_sha256"]
    for entry in manifest["files"]:
        opened = unseal((closed / entry["name"]).read_bytes(), key, entry["name"])
        assert opened == (plain / entry["plain"]["name"]).read_bytes()


def test_the_age_program_opens_it(
    tmp_path: Path, key: pyrage.x25519.Identity, protection: Protection
) -> None:
    if shutil.which("age") is None:
        pytest.skip("the program 'age' is not installed (Debian: apt-get install age)")
    folder = write(tmp_path / "spool", protection)
    (tmp_path / "seal.key").write_text(f"{key}\n")
    done = subprocess.run(
        ["age", "-d", "-i", str(tmp_path / "seal.key"), str(folder / "moment.json.age")],
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["session_id"] == "kitchen"


def test_another_key_opens_nothing_and_damage_is_noticed(
    tmp_path: Path, key: pyrage.x25519.Identity, protection: Protection
) -> None:
    folder = write(tmp_path, protection)
    closed = (folder / "moment.json.age").read_bytes()
    with pytest.raises(InputError, match=r"moment: cannot be opened"):
        unseal(closed, pyrage.x25519.Identity.generate(), "moment")
    with pytest.raises(InputError, match=r"moment: cannot be opened"):
        unseal(closed[:-1] + bytes([closed[-1] ^ 1]), key, "moment")


def test_a_full_disk_is_said_plainly(tmp_path: Path, protection: Protection) -> None:
    with small_disk(3000), pytest.raises(StorageError, match="cannot be written"):
        write(tmp_path / "spool", protection)
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.slow
def test_a_key_of_ones_own_writes_freely_and_reads_by_passphrase(tmp_path: Path) -> None:
    recipient = make_local_key(tmp_path, PASSPHRASE)
    protection = Protection.of(tmp_path, "required")  # no passphrase needed to write
    assert protection.sealer is not None and protection.sealer.recipient == recipient
    folder = write(tmp_path / "spool", protection)
    manifest = (folder / "manifest.json").read_bytes()
    public = Identity.load_or_create(tmp_path).public_key
    assert signed_by(public, MANIFEST, manifest, (folder / "manifest.sig").read_text())
    assert b"AGE-SECRET" not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    key = read_identity(tmp_path / sealing.LOCKED_FILE, lambda: PASSPHRASE)
    assert json.loads(unseal((folder / "moment.json.age").read_bytes(), key, ""))["id"]
    with pytest.raises(ConfigError, match="the passphrase is wrong"):
        read_identity(tmp_path / sealing.LOCKED_FILE, lambda: "another passphrase")
    with pytest.raises(ConfigError, match="a key already"):
        make_local_key(tmp_path, PASSPHRASE)


def test_whom_the_glasses_seal_to(tmp_path: Path, key: pyrage.x25519.Identity) -> None:
    assert Protection.of(tmp_path).sealer is None
    with pytest.raises(ConfigError, match="beheld pair URL CODE"):
        Protection.of(tmp_path, "required")
    with pytest.raises(ConfigError, match="one of auto, required, off"):
        Protection.of(tmp_path, "sometimes")
    with pytest.raises(ConfigError, match="at least 10"):
        make_local_key(tmp_path, "short")
    paired = dict.fromkeys(("server_url", "server_id", "server_public_key", "server_name"), "x")
    Credentials(**paired, device_id="x", token="x", seal_recipient=str(key.to_public())).save(
        tmp_path
    )
    sealer = Protection.of(tmp_path).sealer
    assert sealer is not None and sealer.recipient == str(key.to_public())
    assert Protection.of(tmp_path, "off").sealer is None
    with pytest.raises(ConfigError, match="not a key to seal to"):
        Sealer("age1nonsense")


def test_sealing_goes_block_by_block(protection: Protection, key: pyrage.x25519.Identity) -> None:
    assert protection.sealer is not None
    plain, closed = os.urandom(300_000), io.BytesIO()
    protection.sealer.seal(io.BytesIO(plain), closed)
    assert len(closed.getvalue()) - len(plain) < 1000
    assert unseal(closed.getvalue(), key, "") == plain


def test_a_live_run_seals_or_says_why_it_cannot(
    tmp_path: Path, key: pyrage.x25519.Identity
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / sealing.PUBLIC_FILE).write_text(f"{key.to_public()}\n")
    glasses = GlassesSettings(home=str(home))
    sealer = protect(LiveSettings(glasses=glasses)).sealer
    assert sealer is not None and sealer.recipient == str(key.to_public())
    recording = LiveSettings(glasses=glasses, session=SessionSettings(enabled=True))
    with pytest.raises(ConfigError, match="a recording of the whole session lies in clear"):
        protect(recording)
    off = GlassesSettings(home=str(home), seal="off")
    assert protect(replace(recording, glasses=off)).sealer is None


def test_corrections_brought_home_name_nothing(tmp_path: Path) -> None:
    item = {"number": 1, "kind": "names", "names": ["cup"], "emotion": None, "keep": None}

    def answer(request: httpx.Request) -> httpx.Response:
        new = [item] if request.url.params["after"] == "0" else []
        return httpx.Response(200, json={"next": 1, "items": new})

    paired = dict.fromkeys(("server_id", "server_public_key", "server_name"), "x")
    credentials = Credentials(**paired, server_url="http://x", device_id="x", token="x")
    assert feedback.fetch(tmp_path, credentials, transport=httpx.MockTransport(answer)) == 1
    assert readable([tmp_path]) == set()
