"""Opening what the glasses sealed: the server's age identity (`seal.key`) and its use at a commit.

Sealed files are verified as they came, against the hashes the glasses signed; then opened into a fresh
folder and verified again, against the hashes of the plain files, which the same signature covers. What is
stored and promised is the plain files (docs/decisions).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyrage

from server.disk import disk_problem, sha256_of, sync_folder
from server.manifest import SealedFile
from server.problems import Problem, ServerError

AGE = b"age-encryption.org/"
"""How every sealed file begins."""


class SealKey:
    """The age X25519 identity that paired glasses seal to; made once, for its owner's eyes only."""

    def __init__(self, path: Path) -> None:
        """Raises ServerError if the file is none."""
        if not path.exists():
            _create(path)
        try:
            lines = path.read_text().splitlines()
            secret = next(line for line in lines if line.startswith("AGE-SECRET-KEY-"))
            self._identity = pyrage.x25519.Identity.from_str(secret.strip())
        except (StopIteration, ValueError, pyrage.IdentityError) as error:
            raise ServerError(f"{path}: is not an age identity; put the right one back") from error
        self.recipient = str(self._identity.to_public())

    def opened(self, sealed: bytes) -> bytes | None:
        """The plain bytes of a small file; None if it cannot be opened."""
        try:
            return bytes(pyrage.decrypt(sealed, [self._identity]))
        except (pyrage.DecryptError, OSError):
            return None

    def open(self, sealed: Path, folder: Path, file: SealedFile) -> None:
        """Open one file into a folder, durably, and check it. Raises Problem 422 or 507."""
        plain = folder / file.plain.name
        try:
            handle = os.open(plain, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with sealed.open("rb") as source, os.fdopen(handle, "wb") as target:
                try:
                    pyrage.decrypt_io(source, target, [self._identity])
                except pyrage.DecryptError as error:
                    raise _cannot_open(file) from error
                except OSError as error:
                    if error.errno is None:  # how a damaged block is told
                        raise _cannot_open(file) from error
                    raise
                target.flush()
                os.fsync(target.fileno())
        except OSError as error:
            raise disk_problem(error) from error
        if plain.stat().st_size != file.plain.bytes or sha256_of(plain) != file.plain.sha256:
            raise Problem(
                422,
                "manifest-lies",
                f"what is in {file.name} is not what the manifest says; the glasses must keep it",
            )


def fresh_folder(path: Path) -> Path:
    """An empty folder of that name; what a crash left in it is gone."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    sync_folder(path.parent)
    return path


def _cannot_open(file: SealedFile) -> Problem:
    return Problem(
        422,
        "cannot-open",
        f"{file.name} cannot be opened with this server's key; the glasses must keep it",
    )


def _create(path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    text = f"# public key: {identity.to_public()}\n{identity}\n"
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)
