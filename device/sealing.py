"""Sealed at rest: files encrypted as they are written, to a key the glasses do not have.

The format is age (https://age-encryption.org/v1, X25519 recipients), so the `age` program opens them with
the identity. Paired glasses seal to their server's key, which the pairing pinned. Unpaired glasses seal
to a key of their own, whose secret half lies beside it, locked by a passphrase (age's scrypt): writing
needs no passphrase, reading does. Without either, files are plain, and whoever asks is told so.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyrage

from device.errors import ConfigError, InputError
from device.identity import KEY_FILE, MANIFEST, PAIRING_FILE, Credentials, Identity, write_private

EXTENSION = ".age"
PUBLIC_FILE, LOCKED_FILE = "seal.pub", "seal.key.age"
MODES = ("auto", "required", "off")
SHORTEST_PASSPHRASE = 10


class Sealer:
    """Seals to one recipient (`age1...`). It cannot open what it sealed."""

    def __init__(self, recipient: str) -> None:
        """Raises ConfigError if that is no recipient."""
        try:
            self._key = pyrage.x25519.Recipient.from_str(recipient)
        except pyrage.RecipientError as error:
            raise ConfigError(f"'{recipient[:80]}' is not a key to seal to; pair again") from error
        self.recipient = recipient

    def seal(self, source: IO[bytes], target: IO[bytes]) -> None:
        """Encrypt one file into another, 64 KiB at a time. Raises OSError if it cannot be written."""
        try:
            pyrage.encrypt_io(source, target, [self._key])
        except pyrage.EncryptError as error:
            raise OSError(errno.EIO, str(error)) from error

    def seal_bytes(self, plain: bytes) -> bytes:
        return bytes(pyrage.encrypt(plain, [self._key]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """What a snippet gets when it is written: sealed, signed, both or neither."""

    sealer: Sealer | None = None
    sign: Callable[[bytes], str] | None = None
    """Signs the bytes of a manifest as they are written: later damage cannot pass for ours."""

    @classmethod
    def of(cls, home: Path, mode: str = "auto") -> Protection:
        """What these glasses have: the server's key if paired, else their own, else none.

        `required` raises ConfigError where there is none; `off` seals nothing.
        """
        if mode not in MODES:
            raise ConfigError(f"seal is '{mode}'; one of {', '.join(MODES)}")
        identity = Identity.load_or_create(home) if (home / KEY_FILE).exists() else None
        recipient = None if mode == "off" else recipient_of(home)
        if recipient is None and mode == "required":
            raise ConfigError(
                f"{home}: nothing to seal to; pair with a server ('beheld pair URL CODE') or make a "
                "key of your own ('beheld seal key')"
            )
        return cls(
            sealer=None if recipient is None else Sealer(recipient),
            sign=None if identity is None else lambda manifest: identity.sign(MANIFEST, manifest),
        )


def recipient_of(home: Path) -> str | None:
    """Whom these glasses seal to: the paired server, else their own key, else nobody."""
    if (home / PAIRING_FILE).exists():
        recipient = Credentials.load(home).seal_recipient
        if recipient:
            return recipient
    try:
        return (home / PUBLIC_FILE).read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{home / PUBLIC_FILE}: cannot be read ({error.strerror})") from error


def make_local_key(home: Path, passphrase: str) -> str:
    """A key of these glasses' own, its secret half locked by the passphrase; the public half.

    Raises ConfigError if there is one already (what it sealed would be lost) or the passphrase is short.
    """
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise ConfigError(f"a passphrase has at least {SHORTEST_PASSPHRASE} characters")
    if (home / LOCKED_FILE).exists():
        raise ConfigError(f"{home / LOCKED_FILE}: there is a key already; move it away first")
    identity = pyrage.x25519.Identity.generate()
    recipient = str(identity.to_public())
    Identity.load_or_create(home)  # whose signature the manifests get
    try:
        locked = pyrage.passphrase.encrypt(f"{identity}\n".encode(), passphrase)
        write_private(home / LOCKED_FILE, locked)
        write_private(home / PUBLIC_FILE, f"{recipient}\n".encode())
    except OSError as error:
        raise ConfigError(f"{home}: cannot be written ({error.strerror})") from error
    return recipient


def read_identity(path: Path, passphrase: Callable[[], str]) -> pyrage.x25519.Identity:
    """An age identity file, plain or locked by a passphrase (asked for only then). Raises ConfigError."""
    try:
        content = path.read_bytes()
        if content.startswith(b"age-encryption.org/"):
            content = pyrage.passphrase.decrypt(content, passphrase())
        lines = content.decode().splitlines()
        secret = next(line for line in lines if line.startswith("AGE-SECRET-KEY-"))
        return pyrage.x25519.Identity.from_str(secret.strip())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except pyrage.DecryptError as error:
        raise ConfigError(f"{path}: the passphrase is wrong") from error
    except (StopIteration, ValueError, pyrage.IdentityError) as error:
        raise ConfigError(f"{path}: is not an age identity") from error


def unseal(sealed: bytes, identity: pyrage.x25519.Identity, where: str) -> bytes:
    """The plain bytes of a sealed file. Raises InputError naming it."""
    plain = io.BytesIO()
    try:
        pyrage.decrypt_io(io.BytesIO(sealed), plain, [identity])
    except (pyrage.DecryptError, OSError) as error:
        raise InputError(f"{where}: cannot be opened with this key ({error})") from error
    return plain.getvalue()
