"""`beheld server ...`: care of what a companion server keeps, for whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from device.errors import ConfigError, StorageError
from server import leaving, rebuild
from server.access import Services
from server.app import make_services
from server.settings import ServerSettings
from tools.output import emit, json_option, progress
from tools.server_settings import server_options


@click.group()
def command() -> None:
    """Care for what a companion server keeps: check, back up, rebuild, export, erase."""


@contextmanager
def _open(settings: ServerSettings, *, new: bool = False) -> Iterator[Services]:
    if not new and not settings.data_dir.is_dir():
        raise ConfigError(f"{settings.data_dir}: there is no server's data; name it by --data-dir")
    services = make_services(settings)
    try:
        yield services
    finally:
        services.database.close()


@command.command()
@server_options
@json_option
def check(settings: ServerSettings, as_json: bool) -> None:
    """Read every stored byte back and compare its hash to what the glasses signed.

    Ends with exit code 2 if anything is missing or damaged, naming each file.
    """
    with _open(settings) as services:
        total = len(services.index.known())
        with progress("check", total or None) as show:
            faults = services.custody.check(lambda done: show(done))
    emit({"moments": total, "faults": faults}, as_json=as_json, title="Checked")
    if faults:
        raise StorageError(f"{len(faults)} faults; the first: {faults[0]}")


@command.command("rebuild-index")
@server_options
@json_option
def rebuild_index(settings: ServerSettings, as_json: bool) -> None:
    """Make the index again from the media and their sidecars.

    The old database is set aside in the folder `backups`, not deleted. What comes back: moments, the
    owner's marks and corrections, receipts (also of erased moments), paired glasses, people. What does
    not: who is signed in, pairing codes, share links.
    """
    if not settings.data_dir.is_dir():
        raise ConfigError(f"{settings.data_dir}: there is no server's data; name it by --data-dir")
    with progress("index", None) as show:
        found = rebuild.rebuild(settings, lambda done: show(done))
    emit(asdict(found), as_json=as_json, title="Index made again")


@command.command()
@click.argument("target", type=click.Path(path_type=Path), required=False)
@server_options
@json_option
def backup(target: Path | None, settings: ServerSettings, as_json: bool) -> None:
    """Write a verified copy of the index to TARGET (default: the folder `backups`).

    Media are plain files: copy their folder with any tool, or use 'beheld server export'.
    """
    ending = "pgdump" if settings.database_url else "sqlite3"
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with _open(settings) as services:
        path = services.database.backup(
            target or settings.data_dir / "backups" / f"{stamp}.{ending}"
        )
    emit({"path": str(path), "bytes": path.stat().st_size}, as_json=as_json, title="Saved")


@command.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@server_options
@json_option
def export(target: Path, settings: ServerSettings, as_json: bool) -> None:
    """Write everything as plain files to the new folder DIR, each checked on the way.

    A folder a day and one in it for each moment, lists as JSON, and SHA256SUMS.
    """
    with _open(settings) as services, progress("export", len(services.index.known())) as show:
        done = leaving.export(services, target, lambda number: show(number))
    emit({"path": str(target), **asdict(done)}, as_json=as_json, title="Exported")
    if done.faults:
        raise StorageError(f"{len(done.faults)} files are damaged; the first: {done.faults[0]}")


@command.command()
@server_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def erase(settings: ServerSettings, yes: bool, as_json: bool) -> None:
    """Erase everything this server keeps, and verify that nothing is left.

    Media, index, keys, pairings, copies: all of it. The server must be stopped. Export first if you want
    to have it once more.
    """
    if not settings.data_dir.is_dir():
        raise ConfigError(f"{settings.data_dir}: there is no server's data; name it by --data-dir")
    if not yes and click.prompt(f"Type 'erase' to erase all of {settings.data_dir}") != "erase":
        raise click.Abort
    services = make_services(settings)
    try:
        moments = len(services.index.known())
        left = leaving.erase(settings, services)
    finally:
        services.database.close()
    emit({"moments": moments, "left": left}, as_json=as_json, title="Erased")
    if left:
        raise StorageError(f"{len(left)} things could not be erased; the first: {left[0]}")


@command.command()
@server_options
@click.option("--dry-run", is_flag=True, help="Say what would go, and leave it.")
@json_option
def retention(settings: ServerSettings, dry_run: bool, as_json: bool) -> None:
    """Let go of what is past its days or above the limit, and say how long the space lasts.

    Set on the page, or in server.toml: video_days, preview_days, record_days, retention_mb. Kept
    moments stay. A running server does the same every hour.
    """
    with _open(settings) as services:
        steps = services.retention.plan() if dry_run else services.retention.apply()
        seen = services.retention.forecast()
    told = [{"moment": s.moment.key, "tier": s.tier, "bytes": s.bytes, "why": s.why} for s in steps]
    result = {"let_go": told, "dry_run": dry_run, "forecast": asdict(seen)}
    emit(result, as_json=as_json, title="Retention")
