"""Snippets on disk: `spool/<id>/` with video, thumbnail, moment record and manifest.

A snippet is written under a hidden name, every file and folder flushed to the disk, and appears by
one atomic rename: nothing half-written is ever visible, whatever kills the program and when.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2

from device.codec import dumps, to_json
from device.errors import InputError, StorageError
from device.mp4 import write_mp4
from device.types import Capture, Moment, SessionHeader, Snippet, StoredFile, Value

FORMAT = 1
MANIFEST, MOMENT, VIDEO, THUMBNAIL = "manifest.json", "moment.json", "scene.mp4", "thumbnail.jpg"
SIGNATURE = "manifest.sig"


class SnippetWriter:
    """A sink: each `Capture` becomes a snippet in the spool. `records` keeps every moment record.

    `energy_of` gives the millijoules of a moment by component, with their `total`; `decisions_of` what
    the resolution controller decided in it, how often, and what that drew. `sign`, if given, signs the
    bytes of each manifest as they are written, so that no later damage passes for ours.
    """

    def __init__(
        self,
        spool: Path,
        header: SessionHeader,
        energy_of: Callable[[Moment], Mapping[str, Any]],
        sign: Callable[[bytes], str] | None = None,
        decisions_of: Callable[[Moment], Mapping[str, Any]] = lambda moment: {},
    ) -> None:
        """Raises StorageError if the spool cannot be made."""
        self._spool = spool
        self._header = header
        self._energy_of = energy_of
        self._sign = sign
        self._decisions_of = decisions_of
        self.records: list[dict[str, Any]] = []
        with _storage(spool):
            spool.mkdir(parents=True, exist_ok=True)
            for stale in spool.glob(".writing-*"):  # left by a program that was killed
                shutil.rmtree(stale)

    def __call__(self, value: Value) -> None:
        if isinstance(value, Capture):
            self.write(value)

    def write(self, capture: Capture) -> Snippet:
        """Write one snippet. Raises StorageError (disk full, no permission), leaving nothing behind."""
        record = moment_record(capture, self._header, self._energy_of(capture.moment))
        record["evidence"]["decided"] = to_json(self._decisions_of(capture.moment))
        final = self._spool / capture.moment.id
        if final.exists():  # the same recording replayed into the same spool: same id, same bytes
            self.records.append(record)
            return read_snippet(final)
        partial = self._spool / f".writing-{capture.moment.id}"
        with _storage(final), _removed_on_error(partial):
            partial.mkdir()
            self._write_files(partial, capture, record)
            _sync_folder(partial)
            partial.rename(final)
            _sync_folder(self._spool)
        self.records.append(record)
        return read_snippet(final)

    def _write_files(self, folder: Path, capture: Capture, record: dict[str, Any]) -> None:
        if capture.packets:
            write_mp4(folder / VIDEO, capture.packets)
            _sync_file(folder / VIDEO)
        if capture.thumbnail is not None:
            ok, jpeg = cv2.imencode(".jpg", capture.thumbnail, [cv2.IMWRITE_JPEG_QUALITY, 85])
            if ok:
                _write(folder / THUMBNAIL, jpeg.tobytes())
        _write(folder / MOMENT, dumps(record).encode())
        manifest = dumps(make_manifest(folder, record)).encode()
        _write(folder / MANIFEST, manifest)
        if self._sign is not None:
            _write(folder / SIGNATURE, self._sign(manifest).encode())


def moment_record(
    capture: Capture, header: SessionHeader, energy_mj: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of `moment.json`; see docs/snippet-format.md."""
    moment = capture.moment
    first = capture.packets[0] if capture.packets else None
    evidence = dict(moment.evidence)
    record = {
        "id": moment.id,
        "session_id": header.session_id,
        "source": header.source,
        "start_ns": moment.start_ns,
        "end_ns": moment.end_ns,
        "start_utc": wall_time(header, moment.start_ns),
        "zone": header.zone,
        "reasons": moment.reasons,
        "tags": moment.tags,
        "emotion": evidence.pop("emotion", None),
        "embedding": evidence.pop("embedding", None),
        "models": evidence.pop("models", {}),
        "video": None
        if first is None
        else {
            "start_ns": first.t_ns,
            "end_ns": capture.end_ns,
            "width_px": first.width_px,
            "height_px": first.height_px,
            "frames": len(capture.packets),
        },
        "energy_mj": energy_mj,
        "evidence": evidence,
        "format": FORMAT,
    }
    plain: dict[str, Any] = to_json(record)
    return plain


def wall_time(header: SessionHeader, t_ns: int) -> str:
    """UTC wall time of an instant of the session, ISO 8601; `unknown` if the session has none."""
    try:
        start = datetime.fromisoformat(header.start_utc)
    except ValueError:
        return "unknown"
    return (start + timedelta(microseconds=t_ns / 1000)).isoformat(timespec="milliseconds")


def make_manifest(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Names, sizes and hashes of the files of a snippet folder."""
    files = [stored_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST]
    by_name = {f.name: f for f in files}
    return {
        "format": FORMAT,
        "snippet_id": record["id"],
        "session_id": record["session_id"],
        "created_utc": record["start_utc"],
        "moment_sha256": by_name[MOMENT].sha256,
        "files": files,
    }


def stored_file(path: Path) -> StoredFile:
    """Size and hash of a file as it lies on the disk."""
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return StoredFile(name=path.name, bytes=path.stat().st_size, sha256=digest)


def read_snippet(folder: Path) -> Snippet:
    """Read a snippet back. Raises InputError if a file is missing or its hash is another."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files = tuple(StoredFile(**row) for row in manifest["files"])
        for wanted in files:
            if stored_file(folder / wanted.name) != wanted:
                raise InputError(
                    f"{folder / wanted.name}: does not match its hash in {MANIFEST}; "
                    "the file was changed or is damaged"
                )
        return Snippet(
            id=manifest["snippet_id"],
            files=files,
            moment=json.loads((folder / MOMENT).read_text()),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: is not a whole snippet ({error})") from error


def sealed(spool: Path) -> list[Path]:
    """The folders of complete snippets, oldest first by id."""
    if not spool.is_dir():
        return []
    return sorted(p for p in spool.iterdir() if p.is_dir() and not p.name.startswith("."))


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises StorageError."""
    partial = path.with_name(f".writing-{path.name}")
    with _storage(path):
        _write(partial, content)
        partial.replace(path)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def _sync_file(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "free some space" if error.errno == errno.ENOSPC else "check the folder"
        raise StorageError(f"{path}: cannot be written ({error.strerror}); {remedy}") from error


@contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
        raise
