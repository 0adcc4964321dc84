"""`beheld pair URL CODE`: make these glasses known to a companion server."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from device.identity import Identity, pair
from tools.home import home_option
from tools.output import emit, json_option


@click.command()
@click.argument("url")
@click.argument("code")
@click.option("--name", default=socket.gethostname, help="What the server calls these glasses.")
@click.option("--server-id", default=None, help="Refuse any other server (it is in the QR code).")
@home_option
@json_option
def command(
    url: str, code: str, name: str, server_id: str | None, home: Path, as_json: bool
) -> None:
    """Pair with the server at URL by the one-time CODE its page shows."""
    identity = Identity.load_or_create(home)
    credentials = pair(url, code, identity, name=name, server_id=server_id)
    credentials.save(home)
    result = {
        "device_id": credentials.device_id,
        "server_id": credentials.server_id,
        "server_name": credentials.server_name,
        "server_url": credentials.server_url,
    }
    emit(result, as_json=as_json, title="Paired")
