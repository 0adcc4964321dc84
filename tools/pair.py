"""`beheld pair [URL] CODE`: make these glasses known to a companion server."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from device.errors import ConfigError, SyncError
from device.identity import Identity, pair
from device.invitation import SCHEME, Invitation, read, search
from tools.home import home_option
from tools.output import emit, json_option


@click.command()
@click.argument("words", nargs=-1, metavar="[URL] CODE")
@click.option("--name", default=socket.gethostname, help="What the server calls these glasses.")
@click.option("--server-id", default=None, help="Refuse any other server (it is in the QR code).")
@click.option(
    "--fingerprint", default=None, help="SHA-256 of its certificate: pin it, refuse any other."
)
@home_option
@json_option
def command(
    words: tuple[str, ...],
    name: str,
    server_id: str | None,
    fingerprint: str | None,
    home: Path,
    as_json: bool,
) -> None:
    """Pair with a companion server by the one-time CODE its page shows.

    \b
    beheld pair URL CODE             by its address
    beheld pair 'beheld-pair:...'    by the text of the QR code: its key and certificate are checked
    beheld pair CODE                 the one server found in this network (needs the extra 'mdns')
    """
    asked = _invitation(words)
    identity = Identity.load_or_create(home)
    credentials = pair(
        asked.url,
        asked.code,
        identity,
        name=name,
        server_id=server_id or asked.server_id,
        fingerprint=fingerprint or asked.fingerprint,
    )
    credentials.save(home)
    result = {
        "device_id": credentials.device_id,
        "server_id": credentials.server_id,
        "server_name": credentials.server_name,
        "server_url": credentials.server_url,
        "pinned": bool(credentials.tls_certificate),
    }
    emit(result, as_json=as_json, title="Paired")


def _invitation(words: tuple[str, ...]) -> Invitation:
    if len(words) == 1 and words[0].startswith(SCHEME):
        return read(words[0])
    if len(words) == 2:
        return Invitation(*words)
    if len(words) != 1:
        raise ConfigError("say 'beheld pair URL CODE', or 'beheld pair CODE' to look for a server")
    servers = search()
    if not servers:
        raise SyncError("no server was found in this network; name it: 'beheld pair URL CODE'")
    if len(servers) > 1:
        told = ", ".join(f"{server.name} at {server.url}" for server in servers)
        raise ConfigError(f"more than one server is here: {told}; say 'beheld pair URL CODE'")
    [server] = servers
    return Invitation(server.url, words[0], server.server_id, server.fingerprint)
