"""What makes files durable, and locks that hold between processes and die with them (`flock`)."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.problems import Problem

_READ_BYTES = 1 << 20


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
        lock_handle(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        try:
            same = os.stat(folder).st_ino == os.fstat(handle).st_ino  # noqa: PTH116 - on every upload
        except FileNotFoundError:
            same = False
        if not same:
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
    write_whole(path, data, flushed=True)
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise disk_problem(error) from error


def write_whole(path: Path, data: bytes, *, flushed: bool = False) -> None:
    """Replace a file in one step. Its name becomes durable with `sync_folder`.

    Unless its bytes are `flushed` a power cut may leave it spoilt; a killed process never does.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if flushed:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise disk_problem(error) from error


def flush(path: Path) -> None:
    """The file's bytes are on the disk when this returns."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        raise disk_problem(error) from error
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock_handle(handle: int, how: int) -> None:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Problem(
            423,
            "in-use",
            "another request is writing here; try again",
            headers={"Retry-After": "1"},
        ) from error


def disk_problem(error: OSError) -> Problem | OSError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Problem(507, "disk-full", "the server's disk is full; free some space")
    return error
