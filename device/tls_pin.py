"""Trusting one certificate and no other: that of the paired server.

The QR code carries its fingerprint (SHA-256 of the certificate). When the glasses pair they fetch the
certificate, compare, and keep it; from then on it is the only one they accept for that server, and the
name in it does not matter: a home server's address changes, its certificate does not.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from urllib.parse import urlsplit

from device.errors import SyncError

_WAIT_S = 10.0


def fetch(url: str, fingerprint: str | None) -> str:
    """The certificate (PEM) of an https server, if it has this fingerprint (64 hex digits).

    Without a fingerprint there is nothing to pin and the answer is empty: the usual authorities decide.
    Raises SyncError if it cannot be reached or is another.
    """
    parts = urlsplit(url)
    if not fingerprint:
        return ""
    if parts.scheme != "https" or parts.hostname is None:
        raise SyncError(f"{url}: a fingerprint belongs to an https address; do not trust it")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing but the certificate is taken from this connection
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 443), timeout=_WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
        ):
            der = secured.getpeercert(binary_form=True) or b""
    except OSError as error:
        raise SyncError(f"{url}: cannot be reached ({error}); is the server running?") from error
    found = hashlib.sha256(der).hexdigest()
    if not hmac.compare_digest(found, fingerprint.lower().replace(":", "")):
        raise SyncError(
            f"{url}: its certificate is not the one the code came with (it has {found[:16]}...); "
            "someone may be in between, do not trust it"
        )
    return ssl.DER_cert_to_PEM_cert(der)


def trust(certificate: str) -> ssl.SSLContext | bool:
    """What httpx calls `verify`: only this certificate (PEM), or the usual authorities if it is empty."""
    if not certificate:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # the certificate itself is what is known
    context.load_verify_locations(cadata=certificate)
    return context
