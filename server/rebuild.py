"""The index made again from the media and their sidecars, as if the database had never been."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text

from server.app import make_services
from server.database import Database
from server.leaving import alone
from server.problems import ServerError
from server.settings import ServerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What was found. `saved` is where the old database lies now."""

    moments: int
    receipts: int
    devices: int
    saved: str | None


def rebuild(
    settings: ServerSettings, progress: Callable[[int], None] = lambda indexed: None
) -> Rebuilt:
    """Save the old index aside, then read everything again. Raises ServerError, nothing lost.

    An SQLite file is moved aside as it is, damaged or not; PostgreSQL's tables are dumped and emptied.
    """
    with alone(settings.data_dir):
        saved = _set_aside(settings)
        services = make_services(settings, progress=progress)
    try:
        with services.database.read() as db:
            counts = {
                table: int(db.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
                for table in ("moments", "receipts", "devices")
            }
    finally:
        services.database.close()
    return Rebuilt(**counts, saved=saved)


def _set_aside(settings: ServerSettings) -> str | None:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    backups = settings.data_dir / "backups"
    if settings.database_url:
        database = Database(settings.database_url, without_backup=settings.migrate_without_backup)
        try:
            target: str | None = str(database.backup(backups / f"before-rebuild-{stamp}.pgdump"))
        except ServerError:
            if not settings.migrate_without_backup:
                raise
            target = None
        with database.write() as db:
            for table in ("moments", "receipts"):  # the rest of a moment goes with it
                db.execute(text(f"DELETE FROM {table}"))
        database.close()
        return target
    if not settings.database.exists():
        return None
    backups.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = backups / f"before-rebuild-{stamp}.sqlite3"
    for ending in ("-wal", "-shm", ""):  # together they are the database
        part = settings.database.with_name(settings.database.name + ending)
        if part.exists():
            part.rename(place.with_name(place.name + ending))
    return str(place)
