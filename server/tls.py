"""A certificate of the server's own, for a home without a certificate authority.

Nobody vouches for it, so whoever connects must have seen its fingerprint elsewhere: it is in the QR code
the owner's page shows, and the glasses pin it when they pair.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server.problems import ServerError

_YEARS = 10  # pinned by hand: it should outlive the glasses


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM, and the SHA-256 of the certificate (DER) as 64 hex digits."""

    certificate: Path
    key: Path
    fingerprint: str


def self_signed(data_dir: Path, names: Iterable[str] = ()) -> Certificate:
    """The server's own certificate, made once. Raises ServerError if its files cannot be read."""
    certificate, key = data_dir / "tls.crt", data_dir / "tls.key"
    if not certificate.exists() or not key.exists():
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(certificate, key, ["localhost", "127.0.0.1", "::1", socket.gethostname(), *names])
    return from_files(certificate, key)


def from_files(certificate: Path, key: Path) -> Certificate:
    """A certificate someone else made. Raises ServerError if there is none in the file."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ServerError(
            f"{certificate}, {key}: no certificate and key in PEM ({error})"
        ) from error
    der = found.public_bytes(serialization.Encoding.DER)
    return Certificate(certificate, key, hashlib.sha256(der).hexdigest())


def _make(certificate: Path, key: Path, names: list[str]) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Beheld companion server")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    secret = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for path, data in ((key, secret), (certificate, made.public_bytes(serialization.Encoding.PEM))):
        fresh = path.with_suffix(path.suffix + ".new")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


def _alternatives(names: list[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name.encode("idna").decode()))
    return found
