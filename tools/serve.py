"""`beheld serve`: run the companion server."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path

import click
import uvicorn

from device.errors import ConfigError
from server import announce, tls
from server.app import create_app
from server.observe import log_to_stderr
from server.settings import ServerSettings
from tools.sentence.encoder import packaged
from tools.server_settings import server_options


@click.command()
@server_options
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 for the whole home.")
@click.option("--port", type=click.IntRange(0, 65535), default=8470, show_default=True)
@click.option("--public-url", default=None, help="Address the glasses use, if another one.")
@click.option("--quota-mb", type=click.IntRange(0), default=None, help="Most that media may fill.")
@click.option(
    "--tls",
    "secured",
    metavar="self-signed|FILE",
    help="Serve https: with a certificate of its own, or with FILE (PEM; its key by --tls-key).",
)
@click.option(
    "--tls-key", type=click.Path(path_type=Path, dir_okay=False), help="Key of --tls FILE."
)
@click.option("--mdns", is_flag=True, help="Say in the home network that this server is here.")
@click.option("--log", "log_requests", is_flag=True, help="Log requests to stderr as JSON lines.")
@click.option("--pair", is_flag=True, help="Print a one-time pairing code as well.")
def command(
    settings: ServerSettings,
    host: str,
    port: int,
    public_url: str | None,
    quota_mb: int | None,
    secured: str | None,
    tls_key: Path | None,
    mdns: bool,
    log_requests: bool,
    pair: bool,
) -> None:
    """Run the companion server until it is stopped (Ctrl-C).

    Prints the address and a one-time link that signs the owner in. Settings that are not options here go
    into server.toml in the data folder.
    """
    certificate = _certificate(settings, secured, tls_key, host)
    changes: dict[str, object] = {}
    if public_url is not None:
        changes["public_url"] = public_url.rstrip("/")
    if quota_mb is not None:
        changes["quota_mb"] = quota_mb
    if certificate is not None:
        changes |= {"secure_cookies": True, "tls_fingerprint": certificate.fingerprint}
    settings = dataclasses.replace(settings, **changes)  # type: ignore[arg-type]
    if log_requests:
        log_to_stderr()
    app = create_app(settings, packaged())
    services = app.state.services
    scheme = "https" if certificate else "http"
    reached = announce.own_addresses(host)[0] if host in ("0.0.0.0", "::") else host
    url = settings.public_url or f"{scheme}://{reached}:{port}"
    click.echo(f"Beheld serves {settings.data_dir} at {url}")
    click.echo(f"Sign in once with {url}/login?key={services.people.new_login_key()}")
    if certificate is not None:
        click.echo(f"Certificate (SHA-256): {certificate.fingerprint}")
    if pair:
        told = [services.glasses.new_code(), services.key.server_id, settings.tls_fingerprint]
        click.echo(
            f"Pair glasses with: beheld pair 'beheld-pair:{url}#{'.'.join(filter(None, told))}'"
        )
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
        ssl_certfile=certificate.certificate if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
    )
    try:
        with ExitStack() as stack:
            if mdns:
                stack.enter_context(
                    announce.announced(
                        name=settings.name,
                        server_id=services.key.server_id,
                        port=port,
                        fingerprint=settings.tls_fingerprint,
                        addresses=announce.own_addresses(host),
                    )
                )
            uvicorn.Server(config).run()
    except SystemExit as error:
        raise ConfigError(f"{host}:{port}: cannot listen there; choose another --port") from error


def _certificate(
    settings: ServerSettings, secured: str | None, key: Path | None, host: str
) -> tls.Certificate | None:
    if secured is None:
        return None
    if secured == "self-signed":
        return tls.self_signed(settings.data_dir, announce.own_addresses(host))
    if key is None:
        raise ConfigError("--tls FILE needs its key: --tls-key FILE")
    return tls.from_files(Path(secured), key)
