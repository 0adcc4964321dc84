"""Snippets on disk: `spool/<id>/` with video, thumbnail, moment record and manifest.

With a `Sealer` each file is sealed as it is written and nothing of it ever lies on the disk in clear.

A snippet is written under a hidden name, every file and folder flushed to the disk, and appears by
one atomic rename: nothing half-written is ever visible, whatever kills the program and when.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import cv2

from device.codec import dumps, to_json
from device.errors import InputError, StorageError
from device.mp4 import write_mp4
from device.sealing import EXTENSION, Protection, Sealer
from device.types import Capture, Moment, ScenePacket, SessionHeader, Snippet, StoredFile, Value

FORMAT = 1
MANIFEST, MOMENT, VIDEO, THUMBNAIL = "manifest.json", "moment.json", "scene.mp4", "thumbnail.jpg"
SIGNATURE = "manifest.sig"

FileEntry = dict[str, Any]
"""A file as the manifest lists it: name, bytes, sha256; if sealed, the same of its `plain` inside."""


class SnippetWriter:
    """A sink: each `Capture` becomes a snippet in the spool. `records` keeps every moment record.

    `energy_of` gives the millijoules of a moment by component, with their `total`; `decisions_of` what
    the resolution controller decided in it, how often, and what that drew. `protection` says whether
    files are sealed and manifests signed as they are written. `allowed` gives a record as it may be
    written while its block lasts, or None: then the moment is not written (`device.feelings`).
    """

    def __init__(
        self,
        spool: Path,
        header: SessionHeader,
        energy_of: Callable[[Moment], Mapping[str, Any]],
        protection: Protection | None = None,
        decisions_of: Callable[[Moment], Mapping[str, Any]] = lambda moment: {},
        allowed: Callable[
            [dict[str, Any]], AbstractContextManager[dict[str, Any] | None]
        ] = contextlib.nullcontext,
    ) -> None:
        """Raises StorageError if the spool cannot be made."""
        self._spool = spool
        self._header = header
        self._energy_of = energy_of
        self._protection = protection or Protection()
        self._decisions_of = decisions_of
        self._allowed = allowed
        self.records: list[dict[str, Any]] = []
        with _storage(spool):
            spool.mkdir(parents=True, exist_ok=True)
            for stale in spool.glob(".writing-*"):  # left by a program that was killed
                shutil.rmtree(stale)

    def __call__(self, value: Value) -> None:
        if isinstance(value, Capture):
            self.write(value)

    def write(self, capture: Capture) -> Snippet | None:
        """Write one snippet. Raises StorageError (disk full, no permission), leaving nothing behind."""
        made = moment_record(capture, self._header, self._energy_of(capture.moment))
        made["evidence"]["decided"] = to_json(self._decisions_of(capture.moment))
        with self._allowed(made) as record:
            return None if record is None else self._write_record(capture, record)

    def _write_record(self, capture: Capture, record: dict[str, Any]) -> Snippet:
        final = self._spool / capture.moment.id
        if final.exists():  # the same recording replayed into the same spool: same id, same bytes
            self.records.append(record)
            return replace(read_snippet(final), moment=record)
        partial = self._spool / f".writing-{capture.moment.id}"
        with _storage(final), _removed_on_error(partial):
            partial.mkdir()
            self._write_files(partial, capture, record)
            _sync_folder(partial)
            partial.rename(final)
            _sync_folder(self._spool)
        self.records.append(record)
        return replace(read_snippet(final), moment=record)

    def _write_files(self, folder: Path, capture: Capture, record: dict[str, Any]) -> None:
        files = [self._put(folder, MOMENT, dumps(record).encode())]
        if capture.packets:
            files.append(self._put_video(folder, capture.packets))
        if capture.thumbnail is not None:
            ok, jpeg = cv2.imencode(".jpg", capture.thumbnail, [cv2.IMWRITE_JPEG_QUALITY, 85])
            if ok:
                files.append(self._put(folder, THUMBNAIL, jpeg.tobytes()))
        sealer, sign = self._protection.sealer, self._protection.sign
        manifest = dumps(
            make_manifest(files, record, sealer.recipient if sealer else None)
        ).encode()
        _write(folder / MANIFEST, manifest)
        if sign is not None:
            _write(folder / SIGNATURE, sign(manifest).encode())

    def _put(self, folder: Path, name: str, data: bytes) -> FileEntry:
        if self._protection.sealer is not None:
            return _seal(self._protection.sealer, io.BytesIO(data), folder / name)
        _write(folder / name, data)
        return asdict(stored_file(folder / name))

    def _put_video(self, folder: Path, packets: Sequence[ScenePacket]) -> FileEntry:
        path = folder / VIDEO
        if self._protection.sealer is None:
            write_mp4(path, packets)
            _sync_file(path)
            return asdict(stored_file(path))
        with _in_memory() as file:
            write_mp4(Path(f"/proc/self/fd/{file.fileno()}"), packets)
            return _seal(self._protection.sealer, file, path)


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


def make_manifest(
    files: Sequence[FileEntry], record: Mapping[str, Any], sealed_to: str | None = None
) -> dict[str, Any]:
    """Names, sizes and hashes of a snippet's files; of sealed ones also of what is within."""
    files = sorted(files, key=lambda file: str(file["name"]))
    moment = next(entry for entry in (f.get("plain", f) for f in files) if entry["name"] == MOMENT)
    return {
        "format": FORMAT,
        "snippet_id": record["id"],
        "session_id": record["session_id"],
        "created_utc": record["start_utc"],
        "moment_sha256": moment["sha256"],
        "files": files,
        **({"sealed_to": sealed_to} if sealed_to else {}),
    }


def stored_file(path: Path) -> StoredFile:
    """Size and hash of a file as it lies on the disk."""
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return StoredFile(name=path.name, bytes=path.stat().st_size, sha256=digest)


def read_snippet(folder: Path) -> Snippet:
    """Read a snippet back; a sealed one has no moment to read.

    Raises InputError if a file is missing or its hash is another.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        keys = [item.name for item in fields(StoredFile)]
        files = tuple(StoredFile(**{key: row[key] for key in keys}) for row in manifest["files"])
        for wanted in files:
            if stored_file(folder / wanted.name) != wanted:
                raise InputError(
                    f"{folder / wanted.name}: does not match its hash in {MANIFEST}; "
                    "the file was changed or is damaged"
                )
        return Snippet(
            id=manifest["snippet_id"],
            files=files,
            moment={} if "sealed_to" in manifest else json.loads((folder / MOMENT).read_text()),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: is not a whole snippet ({error})") from error


def snippet_folders(spool: Path) -> list[Path]:
    """The folders of complete snippets, oldest first by id."""
    if not spool.is_dir():
        return []
    return sorted(p for p in spool.iterdir() if p.is_dir() and not p.name.startswith("."))


def write_record(path: Path, content: bytes, sealer: Sealer | None) -> Path:
    """Write a file whole or not at all; sealed under its name with `.age`. Raises StorageError."""
    if sealer is not None:
        path, content = path.with_name(path.name + EXTENSION), sealer.seal_bytes(content)
    atomic_write(path, content)
    return path


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises StorageError."""
    partial = path.with_name(f".writing-{path.name}")
    with _storage(path):
        _write(partial, content)
        partial.replace(path)


def _seal(sealer: Sealer, plain: IO[bytes], path: Path) -> FileEntry:
    """Seal a file under its name with `.age`, flushed; both its entries for the manifest."""
    plain.seek(0)
    digest = hashlib.file_digest(plain, "sha256").hexdigest()  # type: ignore[arg-type]
    size = plain.seek(0, os.SEEK_END)
    plain.seek(0)
    sealed = path.with_name(path.name + EXTENSION)
    with sealed.open("wb") as handle:
        sealer.seal(plain, handle)
        handle.flush()
        os.fsync(handle.fileno())
    inside = StoredFile(name=path.name, bytes=size, sha256=digest)
    return {**asdict(stored_file(sealed)), "plain": asdict(inside)}


@contextmanager
def _in_memory() -> Iterator[IO[bytes]]:
    """A file that exists in memory only, also for those who open it by its path."""
    with os.fdopen(os.memfd_create("beheld"), "w+b") as file:
        yield file


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
