"""The folder of media: unfinished uploads, stored snippets, and what makes both durable.

    incoming/<device>/<snippet>/   manifest.json, manifest.sig and files as far as they came
    media/<device>/<snippet>/      complete and verified, with custody.json beside the files

A snippet moves from one to the other by one rename of its folder. The offset of an upload is the
length of its file: there is no second place that could disagree. Locks are the system's (`flock`), so
they hold between processes and die with them.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.manifest import MANIFEST, Manifest, safe_name
from server.problems import Problem
from server.settings import ServerSettings

SIGNATURE = "manifest.sig"
_READ_BYTES = 1 << 20


class MediaFolder:
    """Default store: plain files under `data_dir`, readable without Beheld."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.root = settings.data_dir
        self.incoming = settings.data_dir / "incoming"
        self.media = settings.data_dir / "media"
        for folder in (self.incoming, self.media):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def arriving(self, device_id: str, snippet_id: str) -> Path:
        return self.incoming / safe_name(device_id) / safe_name(snippet_id)

    def stored(self, device_id: str, snippet_id: str) -> Path:
        return self.media / safe_name(device_id) / safe_name(snippet_id)

    def file(self, device_id: str, snippet_id: str, name: str) -> Path:
        """Path of a stored file. Raises Problem 404 if it is not there."""
        path = self.stored(device_id, snippet_id) / safe_name(name)
        if not path.is_file():
            raise Problem(404, "no-such-file", f"this moment has no file '{name}'")
        return path

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
        """Make the durable place a snippet arrives in; keep what already came and still fits."""
        folder = self.arriving(device_id, manifest.snippet_id)
        self.require_room(manifest.bytes)
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(folder.parent)
            sync_folder(folder.parent.parent)
        with locked(folder):
            known = folder / MANIFEST
            if not known.exists() or known.read_bytes() != manifest.raw:
                for old in folder.iterdir():
                    old.unlink()
            for file in manifest.files:
                (folder / file.name).touch(mode=0o600)
            write_durably(folder / SIGNATURE, signature.encode())
            write_durably(known, manifest.raw)

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
                _lock(handle, fcntl.LOCK_EX)
                yield Upload(handle)
            finally:
                os.close(handle)

    def offset(self, device_id: str, snippet_id: str, name: str) -> int:
        """Bytes of a file that came so far, of an arriving or a stored snippet."""
        for folder in (self.arriving(device_id, snippet_id), self.stored(device_id, snippet_id)):
            try:
                return (folder / safe_name(name)).stat().st_size
            except FileNotFoundError:
                continue
        raise Problem(404, "no-such-upload", "announce the snippet's manifest first")

    def store(self, device_id: str, snippet_id: str) -> Path:
        """Move a verified snippet into place; durable when this returns."""
        source, target = self.arriving(device_id, snippet_id), self.stored(device_id, snippet_id)
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(self.media)
        (source / SIGNATURE).unlink(missing_ok=True)  # custody.json holds it from here on
        sync_folder(source)
        source.rename(target)
        sync_folder(target.parent)
        sync_folder(source.parent)
        return target

    def everything(self) -> Iterator[tuple[str, Path]]:
        """(device id, folder) of every stored snippet, in a stable order."""
        for device in sorted(path for path in self.media.iterdir() if path.is_dir()):
            for folder in sorted(path for path in device.iterdir() if path.is_dir()):
                if not folder.name.startswith("."):
                    yield device.name, folder

    def remove(self, device_id: str, snippet_id: str) -> None:
        """Erase a stored snippet: out of sight by one rename, then file by file."""
        folder = self.stored(device_id, snippet_id)
        if folder.is_dir():
            grave = folder.with_name(f".erased-{folder.name}")
            folder.rename(grave)
            sync_folder(folder.parent)
            shutil.rmtree(grave)

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


class Upload:
    """An open, locked file of an arriving snippet."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.size = os.fstat(handle).st_size

    def append(self, data: bytes | memoryview) -> None:
        """Write at the end. Raises Problem 507 when the disk is full; what fitted stays."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._handle, view, self.size)
                self.size += written
                view = view[written:]
        except OSError as error:
            raise _disk_problem(error) from error

    def truncate(self, size: int) -> None:
        os.ftruncate(self._handle, size)
        self.size = size

    def sync(self) -> None:
        """Everything written is on the disk when this returns."""
        try:
            os.fdatasync(self._handle)
        except OSError as error:
            raise _disk_problem(error) from error


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a folder: shared to write one of its files, else alone to verify or move it.

    Never waits: raises Problem 423 if someone holds it, 404 if it is not there (any more).
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Problem(404, "no-such-upload", "announce the snippet's manifest first") from error
    try:
        _lock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        if not folder.exists() or folder.stat().st_ino != os.fstat(handle).st_ino:
            raise Problem(404, "no-such-upload", "this upload has just been completed or removed")
        yield
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits, read from the disk, not from memory of it."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file in one step; on the disk, with its name, when this returns."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise _disk_problem(error) from error


def flush(path: Path) -> None:
    """The file's bytes are on the disk when this returns."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        raise _disk_problem(error) from error
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock(handle: int, how: int) -> None:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Problem(
            423,
            "in-use",
            "another request is writing here; try again",
            headers={"Retry-After": "1"},
        ) from error


def _disk_problem(error: OSError) -> Problem | OSError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Problem(507, "disk-full", "the server's disk is full; free some space")
    return error
