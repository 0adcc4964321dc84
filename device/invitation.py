"""What a pairing QR code says, and finding a server at home without one.

    beheld-pair:<address>#<code>.<server id>[.<SHA-256 of its certificate>]

A server that was found by mDNS is only *found*: its name proves nothing. What proves it is the code it
accepts and, if the code came as a QR, the server id and fingerprint in it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from device.errors import ConfigError, InputError

SCHEME = "beheld-pair:"
SERVICE = "_beheld._tcp.local."


@dataclass(frozen=True, slots=True)
class Invitation:
    """Where to pair, with what, and how to know the server again."""

    url: str
    code: str
    server_id: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A server that says it is here."""

    url: str
    name: str
    server_id: str
    fingerprint: str | None


def read(text: str) -> Invitation:
    """The invitation in a QR code's text. Raises InputError."""
    address, mark, secret = text.strip().removeprefix(SCHEME).partition("#")
    parts = secret.split(".")
    if not text.strip().startswith(SCHEME) or not mark or not 1 <= len(parts) <= 3 or not parts[0]:
        raise InputError("this is not the text of a pairing code ('beheld-pair:ADDRESS#...')")
    known = [part or None for part in (*parts[1:], "", "")]
    return Invitation(address, parts[0], known[0], known[1])


def search(seconds: float = 3.0, interfaces: list[str] | None = None) -> list[Found]:
    """Servers that announce themselves in this network, in the order of their names.

    Raises ConfigError where the package for it is not installed.
    """
    try:
        from zeroconf import InterfaceChoice, ServiceBrowser, Zeroconf
    except ModuleNotFoundError as error:
        raise ConfigError(
            "finding servers needs the extra 'mdns'; or name the address: 'beheld pair URL CODE'"
        ) from error
    listener = _Listener()
    network = Zeroconf(interfaces=interfaces or InterfaceChoice.All)
    try:
        ServiceBrowser(network, SERVICE, listener=listener)  # type: ignore[arg-type]
        time.sleep(seconds)
        found = [_found(network.get_service_info(SERVICE, name)) for name in listener.names]
    finally:
        network.close()
    return sorted(filter(None, found), key=lambda server: (server.name, server.url))


class _Listener:
    """Collects the names that are announced."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def add_service(self, network: object, kind: str, name: str) -> None:
        self.names.append(name)

    def update_service(self, network: object, kind: str, name: str) -> None:
        return

    def remove_service(self, network: object, kind: str, name: str) -> None:
        if name in self.names:
            self.names.remove(name)


def _found(info: object) -> Found | None:
    addresses: list[str] = getattr(info, "parsed_addresses", list)()
    told = {
        key.decode(): (value or b"").decode(errors="replace")
        for key, value in getattr(info, "properties", {}).items()
    }
    if not addresses or "id" not in told:
        return None
    scheme = "https" if told.get("tls") else "http"
    host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    port = getattr(info, "port", 0)
    return Found(
        url=f"{scheme}://{host}:{port}",
        name=told.get("name", "Beheld")[:60],
        server_id=told["id"],
        fingerprint=told.get("tls") or None,
    )
