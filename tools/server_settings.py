"""How the verbs about the server are told which one: options, `server.toml`, the environment."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from device.errors import ConfigError
from server.problems import ServerError
from server.settings import ServerSettings

DEFAULT_DATA = Path.home() / ".local" / "share" / "beheld-server"
CONFIG = "server.toml"


def server_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a verb `settings: ServerSettings`; what the server cannot do ends as one plain line."""

    @click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_DATA,
        help="Everything the server keeps: media, index, keys, and server.toml with its settings. "
        "[default: ~/.local/share/beheld-server]",
    )
    @click.option(
        "--database-url",
        envvar="BEHELD_DATABASE_URL",
        help="postgresql://user@host/name instead of SQLite. [env: BEHELD_DATABASE_URL]",
    )
    @click.option("--media-url", help="s3://bucket/prefix instead of a folder.")
    @click.option("--media-endpoint", help="Address of an S3-compatible store.")
    @click.option(
        "--without-backup",
        is_flag=True,
        help="Go on where no verified copy of the database can be made.",
    )
    @wraps(verb)
    def told(
        data_dir: Path,
        database_url: str | None,
        media_url: str | None,
        media_endpoint: str | None,
        without_backup: bool,
        **rest: Any,
    ) -> Any:
        given = {
            "database_url": database_url,
            "media_url": media_url,
            "media_endpoint": media_endpoint,
            "migrate_without_backup": without_backup or None,
        }
        try:
            return verb(settings=read_settings(data_dir, given), **rest)
        except ServerError as error:
            raise ConfigError(str(error)) from error

    return told


def read_settings(data_dir: Path, given: dict[str, Any]) -> ServerSettings:
    """`server.toml` of the data folder, and over it what was given. Raises ConfigError."""
    path = data_dir / CONFIG
    try:
        written = tomllib.loads(path.read_text()) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    kinds = {f.name: f for f in dataclasses.fields(ServerSettings) if f.name != "data_dir"}
    defaults = ServerSettings(data_dir=data_dir)
    for name, value in written.items():
        if name not in kinds:
            raise ConfigError(f"{path}: there is no setting '{name}'; see docs/server.md")
        kind = type(getattr(defaults, name))
        if not isinstance(value, kind) and not (kind is float and type(value) is int):
            raise ConfigError(f"{path}: '{name}' must be {kind.__name__}")
    over = {name: value for name, value in given.items() if value is not None}
    try:
        return ServerSettings(data_dir=data_dir, **(written | over))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
