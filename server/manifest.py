"""What the glasses announce before they upload: the files of one snippet, signed.

The signature covers the exact bytes of `manifest.json`, so nothing has to be written twice the same
way by two programs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from device.types import StoredFile
from server.problems import Problem
from server.settings import ServerSettings

FORMAT = 1
MOMENT = "moment.json"
THUMBNAIL = "thumbnail.jpg"
VIDEO = "scene.mp4"
MANIFEST = "manifest.json"
CUSTODY = "custody.json"
SIGNATURE = "manifest.sig"
"""The glasses' signature over it, while the snippet is on its way."""
MARKS = "marks.json"
"""What the owner says of a moment."""
RELEASED = "released.json"
"""What retention let go of it."""
SIDECARS = (MANIFEST, SIGNATURE, CUSTODY, MARKS, RELEASED)
"""Names the server keeps for itself."""
AMENDED = "amended"
"""Key of `custody.json`: files that the owner had changed, with their new SHA-256 and why."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEPT_BYTES = 16 << 10
_MAX_MOMENT_BYTES = 32 << 20  # it is read whole, a minute of traces at 120 Hz is under 1 MiB


@dataclass(frozen=True, slots=True)
class SealedFile(StoredFile):
    """A file that travels sealed, and the plain one within it."""

    plain: StoredFile


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked manifest. `raw` is what was signed, `sha256` its digest."""

    snippet_id: str
    session_id: str
    created_utc: str
    files: tuple[StoredFile, ...]
    """As they travel."""
    raw: bytes
    sha256: str
    sealed_to: str = ""
    """The age recipient they are sealed to; empty if they are plain."""

    @property
    def bytes(self) -> int:
        """Of the files as they travel; those within are smaller."""
        return sum(file.bytes for file in self.files)

    @property
    def stored(self) -> tuple[StoredFile, ...]:
        """The files as they are stored and promised: plain."""
        return tuple(f.plain if isinstance(f, SealedFile) else f for f in self.files)

    def stored_file(self, name: str) -> StoredFile:
        """One of the files as stored. Raises Problem 404."""
        for file in self.stored:
            if file.name == name:
                return file
        raise Problem(404, "no-such-file", f"snippet {self.snippet_id} has no file '{name}'")

    def file(self, name: str) -> StoredFile:
        """One of the files as they travel. Raises Problem 404."""
        for file in self.files:
            if file.name == name:
                return file
        raise Problem(404, "no-such-file", f"snippet {self.snippet_id} announces no file '{name}'")


def safe_name(name: str) -> str:
    """The name itself if it can be a file or folder name here. Raises Problem 422 else."""
    if not _NAME.fullmatch(name):
        raise Problem(
            422,
            "bad-name",
            "names are 1 to 100 letters, digits, '.', '_' or '-' and begin with neither dot nor dash",
        )
    return name


def parse(raw: bytes, settings: ServerSettings) -> Manifest:
    """Check a manifest against our limits. Raises Problem 413 or 422 naming the place."""
    if len(raw) > settings.max_manifest_kb << 10:
        raise Problem(
            413, "manifest-too-large", f"a manifest may have {settings.max_manifest_kb} KiB"
        )
    limits = (settings.max_files, settings.max_file_mb)
    return (_parse if len(raw) > _KEPT_BYTES else _parse_kept)(bytes(raw), *limits)


def _parse(raw: bytes, max_files: int, max_file_mb: int) -> Manifest:
    try:
        given = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Problem(422, "bad-manifest", "the manifest is not JSON") from error
    if not isinstance(given, dict) or given.get("format") != FORMAT:
        raise Problem(422, "bad-manifest", f"the manifest must be an object with format {FORMAT}")
    listed = given.get("files")
    if not isinstance(listed, list) or not 0 < len(listed) <= max_files:
        raise Problem(422, "bad-manifest", f"'files' must list 1 to {max_files} files")
    sealed_to = _text(given, "sealed_to") if "sealed_to" in given else ""
    files = tuple(_file(entry, max_file_mb, bool(sealed_to)) for entry in listed)
    plain = tuple(file.plain if isinstance(file, SealedFile) else file for file in files)
    for names in ([file.name for file in files], [file.name for file in plain]):
        if len({name.lower() for name in names}) != len(names):
            raise Problem(422, "bad-manifest", "two files have one name")
    moment = next((file for file in plain if file.name == MOMENT), None)
    if moment is None or moment.sha256 != given.get("moment_sha256"):
        raise Problem(
            422, "bad-manifest", f"'moment_sha256' must be the sha256 listed for {MOMENT}"
        )
    if moment.bytes > _MAX_MOMENT_BYTES:
        raise Problem(413, "moment-too-large", f"{MOMENT} may have {_MAX_MOMENT_BYTES >> 20} MiB")
    return Manifest(
        snippet_id=safe_name(_text(given, "snippet_id")),
        session_id=_text(given, "session_id"),
        created_utc=_text(given, "created_utc"),
        files=files,
        raw=raw,
        sha256=hashlib.sha256(raw).hexdigest(),
        sealed_to=sealed_to,
    )


_parse_kept = lru_cache(512)(_parse)
"""A manifest is looked at with every request of its upload: small ones are kept as they were read."""


def _file(entry: Any, max_file_mb: int, sealed: bool) -> StoredFile:
    file = _entry(entry, max_file_mb)
    if not sealed:
        return file
    plain = _entry(entry.get("plain"), max_file_mb)
    if file.name != f"{plain.name}.age" or plain.bytes > file.bytes:
        raise Problem(422, "bad-manifest", f"{file.name}: 'plain' must say what is sealed in it")
    return SealedFile(name=file.name, bytes=file.bytes, sha256=file.sha256, plain=plain)


def _entry(entry: Any, max_file_mb: int) -> StoredFile:
    if not isinstance(entry, dict):
        raise Problem(422, "bad-manifest", "each of 'files' must be an object")
    name, size, digest = safe_name(_text(entry, "name")), entry.get("bytes"), entry.get("sha256")
    if name.lower() in SIDECARS:
        raise Problem(422, "bad-name", f"'{name}' is a name the server keeps for itself")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Problem(422, "bad-manifest", f"{name}: 'bytes' must be a whole number")
    if size > max_file_mb << 20:
        raise Problem(413, "file-too-large", f"{name}: a file may have {max_file_mb} MiB")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise Problem(422, "bad-manifest", f"{name}: 'sha256' must be 64 hex digits")
    return StoredFile(name=name, bytes=size, sha256=digest)


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not value or len(value) > 200:
        raise Problem(422, "bad-manifest", f"'{key}' must be a text of 1 to 200 characters")
    return value
