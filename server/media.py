"""Media on their way in, and the store they end in.

    incoming/<device>/<snippet>/   manifest.json, manifest.sig and files as far as they came

The offset of an upload is the length of its file: there is no second place that could disagree. A
verified snippet moves as a whole into the store (`server.store`): a folder by default, or S3.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from server import record as records
from server.disk import disk_problem, lock_handle, locked, sync_folder, write_whole
from server.manifest import MANIFEST, MOMENT, SIDECARS, SIGNATURE, Manifest, parse, safe_name
from server.problems import Problem
from server.settings import ServerSettings
from server.store import FolderStore, MediaStore
from server.store_s3 import ObjectStore


class MediaFolder:
    """Unfinished uploads under `data_dir`; `kept` is the store of what was verified."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.root = settings.data_dir
        self.incoming = settings.data_dir / "incoming"
        self.incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.kept: MediaStore = (
            ObjectStore(settings.media_url, settings.media_endpoint)
            if settings.media_url
            else FolderStore(settings.data_dir)
        )

    def arriving(self, device_id: str, snippet_id: str) -> Path:
        return self.incoming / safe_name(device_id) / safe_name(snippet_id)

    def record(self, device_id: str, snippet_id: str) -> dict[str, Any]:
        """`moment.json` of a stored snippet; an empty record if it cannot be read."""
        try:
            return records.parse(self.kept.read(device_id, snippet_id, MOMENT))
        except FileNotFoundError:
            return {}

    def note(self, device_id: str, snippet_id: str, name: str) -> dict[str, Any]:
        """A sidecar the server wrote beside a stored snippet; empty if there is none."""
        try:
            return records.parse(self.kept.read(device_id, snippet_id, name))
        except FileNotFoundError:
            return {}

    def require_room(self, size_bytes: int) -> None:
        """Raises Problem 507 if so many bytes more would touch the reserve."""
        reserve = self._settings.reserve_mb << 20
        if shutil.disk_usage(self.root).free - size_bytes < reserve:
            raise Problem(
                507,
                "disk-full",
                "the server's disk is full (its reserve is kept); free some space, the glasses "
                "keep the snippet and try again",
            )

    def announce(self, device_id: str, manifest: Manifest, signature: str) -> None:
        """Make the place a snippet arrives in; keep what already came and still fits.

        The names of its files are durable, so that flushing the bytes of one is enough later. Manifest
        and signature are flushed at the commit: until then the glasses announce again before they
        go on, and nothing is promised.
        """
        folder = self.arriving(device_id, manifest.snippet_id)
        self.require_room(manifest.bytes)
        new_device = not folder.parent.is_dir()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(folder):
            if not self._is_announced(folder, manifest):
                for file in manifest.files:
                    (folder / file.name).touch(mode=0o600)
                write_whole(folder / MANIFEST, manifest.raw)
            write_whole(folder / SIGNATURE, signature.encode())
            sync_folder(folder)
        sync_folder(folder.parent)
        if new_device:
            sync_folder(folder.parent.parent)

    def _is_announced(self, folder: Path, manifest: Manifest) -> bool:
        """Whether this very manifest has its place already; removes what cannot belong to it."""
        there = {path.name: path for path in folder.iterdir()}
        raw = there[MANIFEST].read_bytes() if MANIFEST in there else b""
        if raw != manifest.raw and self._readable(raw):  # of another snippet by this name
            for path in sorted(there.values(), key=lambda path: path.name == MANIFEST):
                path.unlink()
            return False
        # Without a manifest, or with one that a power cut spoilt, the hashes will tell what belongs.
        sizes = {file.name: file.bytes for file in manifest.files}
        for name in there.keys() - set(SIDECARS):
            if there[name].stat().st_size > sizes.get(name, -1):
                there.pop(name).unlink()
        return raw == manifest.raw and sizes.keys() <= there.keys()

    def _readable(self, manifest: bytes) -> bool:
        try:
            parse(manifest, self._settings)
        except Problem:
            return False
        return True

    def announced_bytes(self, *, but: tuple[str, str]) -> int:
        """What all unfinished uploads will come to, one left out."""
        total = 0
        for folder in self.incoming.glob("*/[!.]*"):
            if (folder.parent.name, folder.name) != but:
                with suppress(OSError, Problem):  # just finished, or never announced whole
                    raw = (folder / MANIFEST).read_bytes()
                    total += parse(raw, self._settings).bytes
        return total

    @contextmanager
    def upload(self, device_id: str, snippet_id: str, name: str) -> Iterator[Upload]:
        """One file as far as it came, for one writer at a time. Problem 404 or 423 otherwise."""
        folder = self.arriving(device_id, snippet_id)
        with locked(folder, shared=True):
            try:
                handle = os.open(folder / safe_name(name), os.O_RDWR)
            except FileNotFoundError as error:
                raise Problem(
                    404, "no-such-upload", "announce the snippet's manifest first"
                ) from error
            try:
                lock_handle(handle, fcntl.LOCK_EX)
                yield Upload(handle)
            finally:
                os.close(handle)

    def offset(self, device_id: str, snippet_id: str, name: str) -> int:
        """Bytes of a file that came so far, of an arriving or a stored snippet."""
        try:
            return (self.arriving(device_id, snippet_id) / safe_name(name)).stat().st_size
        except FileNotFoundError:
            pass
        try:
            return self.kept.sizes(device_id, snippet_id)[name]
        except (FileNotFoundError, KeyError) as error:
            raise Problem(404, "no-such-upload", "announce the snippet's manifest first") from error

    def store(self, device_id: str, snippet_id: str, opened: Path | None = None) -> None:
        """Move a verified snippet into the store; durable when this returns.

        `opened`: the folder its sealed files were opened into, which is stored in place of them.
        """
        source = self.arriving(device_id, snippet_id)
        if opened is not None:
            self.kept.take(device_id, snippet_id, opened)
            shutil.rmtree(source, ignore_errors=True)  # if this is cut short, it expires
            return
        (source / SIGNATURE).unlink(missing_ok=True)  # custody.json holds it from here on
        self.kept.take(device_id, snippet_id, source)

    def expire(self, *, now_s: float | None = None) -> int:
        """Remove unfinished uploads nobody touched for `upload_expiry_h`; says how many."""
        oldest = (now_s or time.time()) - self._settings.upload_expiry_h * 3600
        count = 0
        for folder in self.incoming.glob("*/*"):
            try:
                newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
                if newest < oldest:
                    with locked(folder):
                        shutil.rmtree(folder)
                    count += 1
            except (Problem, FileNotFoundError):
                continue  # someone is writing to it after all, or just finished it
        return count


_MOST_CHUNKS = 512


def _rest(chunks: list[bytes], written: int) -> list[bytes]:
    """What of the chunks is left after so many bytes of them."""
    for number, chunk in enumerate(chunks):
        if written < len(chunk):
            return [chunk[written:], *chunks[number + 1 :]]
        written -= len(chunk)
    return []


class Upload:
    """An open, locked file of an arriving snippet."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.size = os.fstat(handle).st_size

    def append(self, chunks: Sequence[bytes]) -> None:
        """Write at the end. Raises Problem 507 when the disk is full; what fitted stays."""
        left = list(chunks)
        try:
            while left:
                written = os.pwritev(self._handle, left[:_MOST_CHUNKS], self.size)
                self.size += written
                left = _rest(left, written)
        except OSError as error:
            raise disk_problem(error) from error

    def truncate(self, size: int) -> None:
        os.ftruncate(self._handle, size)
        self.size = size

    def sync(self) -> None:
        """Everything written is on the disk when this returns."""
        try:
            os.fdatasync(self._handle)
        except OSError as error:
            raise disk_problem(error) from error
