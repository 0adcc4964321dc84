"""Who these glasses are to a server: an Ed25519 key, the pairing, and whose receipts to believe.

What is signed begins with a line that names its purpose; the same lines are in the server's
`server/keys.py` and are part of the protocol (docs/server.md).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from device.errors import ConfigError, SyncError
from device.tls_pin import fetch, trust

MANIFEST = b"beheld-manifest-v1\n"
RECEIPT = b"beheld-receipt-v1\n"
PAIRING = b"beheld-pairing-v1\n"
SEAL = b"beheld-seal-v1\n"
SESSION = b"beheld-session-v1\n"

KEY_FILE, PAIRING_FILE = "identity.key", "pairing.json"


class Identity:
    """The key pair of one device. `device_id` is a short name of the public half."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw = key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self.public_key = encode(raw)
        self.device_id = hashlib.sha256(raw).hexdigest()[:32]

    @classmethod
    def load_or_create(cls, home: Path) -> Identity:
        """The identity kept in that folder, made at the first call. Raises ConfigError."""
        path = home / KEY_FILE
        try:
            if not path.exists():
                home.mkdir(parents=True, exist_ok=True, mode=0o700)
                key = Ed25519PrivateKey.generate()
                raw = key.private_bytes(
                    serialization.Encoding.Raw,
                    serialization.PrivateFormat.Raw,
                    serialization.NoEncryption(),
                )
                write_private(path, raw)
            return cls(Ed25519PrivateKey.from_private_bytes(path.read_bytes()))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be used ({error.strerror})") from error
        except ValueError as error:
            raise ConfigError(f"{path}: is not a key; move it away and pair again") from error

    def sign(self, purpose: bytes, message: bytes) -> str:
        return encode(self._key.sign(purpose + message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a pairing gave: where to send, what to show, whose receipts to believe, whom to seal to."""

    server_url: str
    server_id: str
    server_public_key: str
    server_name: str
    device_id: str
    token: str = field(repr=False)
    seal_recipient: str = ""
    """age recipient of the server (`device.sealing`); empty: paired with one that has none."""
    tls_certificate: str = field(default="", repr=False)
    """The one certificate (PEM) to accept from that server; empty: the usual authorities decide."""

    def save(self, home: Path) -> None:
        """Keep it in that folder, readable by its owner only. Raises ConfigError."""
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(home / PAIRING_FILE, json.dumps(asdict(self), indent=1).encode())
        except OSError as error:
            raise ConfigError(f"{home}: cannot be written ({error.strerror})") from error

    @classmethod
    def load(cls, home: Path) -> Credentials:
        """Read it back. Raises ConfigError that names the remedy."""
        path = home / PAIRING_FILE
        try:
            given = json.loads(path.read_bytes())
            named = (
                item.name for item in fields(cls) if item.default is MISSING or item.name in given
            )
            return cls(**{name: str(given[name]) for name in named})
        except FileNotFoundError as error:
            raise ConfigError(
                f"{path}: not paired with a server yet; run 'beheld pair URL CODE'"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}: cannot be read; run 'beheld pair URL CODE' again"
            ) from error


def pair(
    url: str,
    code: str,
    identity: Identity,
    *,
    name: str = "Glasses",
    server_id: str | None = None,
    fingerprint: str | None = None,
    transport: httpx.BaseTransport | None = None,
) -> Credentials:
    """Trade a one-time code for a token, and pin the server's key.

    `server_id` and `fingerprint`, if given (from the QR code), must be those of the key and of the
    certificate that answer; the certificate is then pinned. Raises SyncError.
    """
    code = code.strip().upper().replace("-", "").replace(" ", "")
    url = url.rstrip("/")
    body = {
        "code": code,
        "public_key": identity.public_key,
        "proof": identity.sign(PAIRING, code.encode()),
        "name": name,
    }
    certificate = fetch(url, fingerprint)
    try:
        with httpx.Client(transport=transport, timeout=20, verify=trust(certificate)) as client:
            answer = client.post(f"{url}/api/v1/pair", json=body)
        given = answer.json()
        if answer.status_code != 201:
            raise SyncError(
                f"{url}: pairing was refused: {given.get('detail', answer.status_code)}"
            )
        key = str(given["server_public_key"])
        if hashlib.sha256(decode(key)).hexdigest()[:32] != given["server_id"]:
            raise SyncError(f"{url}: the server's key is not the one it names; do not trust it")
        if server_id is not None and server_id != given["server_id"]:
            raise SyncError(f"{url}: this is not the server the code came from; do not trust it")
        recipient = str(given.get("seal_recipient", ""))
        if recipient and not signed_by(
            key, SEAL, recipient.encode(), str(given.get("seal_signature", ""))
        ):
            raise SyncError(
                f"{url}: the key to seal to is not signed by the server; do not trust it"
            )
        return Credentials(
            server_url=url,
            server_id=str(given["server_id"]),
            server_public_key=key,
            server_name=str(given["server_name"]),
            device_id=str(given["device_id"]),
            token=str(given["token"]),
            seal_recipient=recipient,
            tls_certificate=certificate,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SyncError(f"{url}: cannot be reached ({error}); is the server running?") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SyncError(f"{url}: does not answer like a Beheld server") from error


def signed_by(public_key: str, purpose: bytes, message: bytes, signature: str) -> bool:
    """True if that key signed that message for that purpose; never raises on nonsense."""
    try:
        key = Ed25519PublicKey.from_public_bytes(decode(public_key))
        key.verify(decode(signature), purpose + message)
    except (InvalidSignature, ValueError):
        return False
    return True


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(given: str) -> bytes:
    """Bytes of unpadded base64url. Raises ValueError on anything else."""
    try:
        return base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"not base64url: {error}") from error


def write_private(path: Path, data: bytes) -> None:
    """Replace a file in one step, on the disk when this returns, for its owner's eyes only."""
    fresh = path.with_name(f".{path.name}.new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
