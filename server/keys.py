"""The server's own key pair and every signature it makes or checks (Ed25519).

What is signed begins with a line that names its purpose, so that a signature made for one thing can
never be shown as one for another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MANIFEST = b"beheld-manifest-v1\n"
RECEIPT = b"beheld-receipt-v1\n"
PAIRING = b"beheld-pairing-v1\n"
SEAL = b"beheld-seal-v1\n"
SESSION = b"beheld-session-v1\n"


class ServerKey:
    """The Ed25519 key a server signs receipts with; made once, readable by its owner only."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            _create(path)
        self._key = Ed25519PrivateKey.from_private_bytes(path.read_bytes())
        self.public = encode(
            self._key.public_key().public_bytes(
                serialization.Encoding.Raw, serialization.PublicFormat.Raw
            )
        )
        self.server_id = identifier(self.public)

    def sign(self, purpose: bytes, message: bytes) -> str:
        return encode(self._key.sign(purpose + message))


def signed_by(public_key: str, purpose: bytes, message: bytes, signature: str) -> bool:
    """True if that key signed that message for that purpose; never raises on nonsense."""
    try:
        key = Ed25519PublicKey.from_public_bytes(decode(public_key))
        key.verify(decode(signature), purpose + message)
    except (InvalidSignature, ValueError):
        return False
    return True


def identifier(public_key: str) -> str:
    """Short name of a key: the first 32 hex digits of its SHA-256."""
    return hashlib.sha256(decode(public_key)).hexdigest()[:32]


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(given: str) -> bytes:
    """Bytes of unpadded base64url. Raises ValueError on anything else."""
    try:
        return base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"not base64url: {error}") from error


def _create(path: Path) -> None:
    raw = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.Raw,
        serialization.PrivateFormat.Raw,
        serialization.NoEncryption(),
    )
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
