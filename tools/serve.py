"""`beheld serve`: run the companion server."""

from __future__ import annotations

from pathlib import Path

import click
import uvicorn

from device.errors import ConfigError
from server.app import create_app
from server.problems import ServerError
from server.settings import ServerSettings

DEFAULT_DATA = Path.home() / ".local" / "share" / "beheld-server"


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA,
    show_default=True,
    help="Everything the server keeps: media, index, keys.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 for the whole home.")
@click.option("--port", type=click.IntRange(0, 65535), default=8470, show_default=True)
@click.option("--public-url", default="", help="Address the glasses use, if another one.")
@click.option("--quota-mb", type=click.IntRange(0), default=0, help="Most that media may fill.")
@click.option("--pair", is_flag=True, help="Print a one-time pairing code as well.")
def command(
    data_dir: Path, host: str, port: int, public_url: str, quota_mb: int, pair: bool
) -> None:
    """Run the companion server until it is stopped (Ctrl-C).

    Prints the address and a one-time link that signs the owner in.
    """
    settings = ServerSettings(
        data_dir=data_dir, public_url=public_url.rstrip("/"), quota_mb=quota_mb
    )
    try:
        app = create_app(settings)
    except ServerError as error:
        raise ConfigError(str(error)) from error
    services = app.state.services
    url = settings.public_url or f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    click.echo(f"Beheld serves {data_dir} at {url}")
    click.echo(f"Sign in once with {url}/login?key={services.people.new_login_key()}")
    if pair:
        click.echo(f"Pair glasses with: beheld pair {url} {services.glasses.new_code()}")
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    try:
        uvicorn.Server(config).run()
    except SystemExit as error:
        raise ConfigError(f"{host}:{port}: cannot listen there; choose another --port") from error
