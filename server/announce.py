"""The server says in the home network (mDNS) that it is here: `_beheld._tcp.local`.

It tells its name, its id and the fingerprint of its certificate: what its login page shows anyone
anyway. Glasses still need a pairing code.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from server.problems import ServerError

SERVICE = "_beheld._tcp.local."


@contextmanager
def announced(
    *, name: str, server_id: str, port: int, fingerprint: str, addresses: list[str]
) -> Iterator[None]:
    """Announce while the block runs. Raises ServerError where the extra `mdns` is not installed."""
    try:
        from zeroconf import InterfaceChoice, ServiceInfo, Zeroconf
    except ModuleNotFoundError as error:
        raise ServerError("announcing needs the extra 'mdns'; or start without --mdns") from error
    told = {"id": server_id, "name": name, "tls": fingerprint}
    info = ServiceInfo(
        SERVICE,
        f"beheld-{server_id[:12]}.{SERVICE}",
        port=port,
        properties=told,
        server=f"beheld-{server_id[:12]}.local.",
        parsed_addresses=addresses,
    )
    local = all(ipaddress.ip_address(address).is_loopback for address in addresses)
    network = Zeroconf(interfaces=addresses if local else InterfaceChoice.All)
    try:
        network.register_service(info, allow_name_change=True)
        yield
    finally:
        network.unregister_all_services()
        network.close()


def own_addresses(host: str) -> list[str]:
    """Under which addresses a server that listens on `host` can be reached from elsewhere."""
    if host not in ("0.0.0.0", "::"):
        return [socket.gethostbyname(host)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: it only asks the routing table
            return [str(probe.getsockname()[0])]
        except OSError:
            return ["127.0.0.1"]
