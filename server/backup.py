"""A copy of the database that was checked before anyone relies on it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL

from server.problems import ServerError

_DEBIAN = Path("/usr/lib/postgresql")  # a folder a version, not on the path


def save_sqlite(database: Path, target: Path) -> Path:
    """Copy a live SQLite database by its backup interface, and check the copy.

    Raises ServerError if the copy is not sound; `target` appears only when it is.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    fresh.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(fresh)) as copy:
        source.backup(copy)
        verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
        counts = [_rows(connection) for connection in (source, copy)]
    if verdict != "ok" or counts[1] < 0:
        fresh.unlink()
        raise ServerError(f"{target}: the copy of {database} is damaged ({verdict})")
    fresh.replace(target)
    return target


def dump_postgres(address: URL, target: Path) -> Path:
    """Write `pg_dump`'s archive of a PostgreSQL database, and read its table of contents back.

    Raises ServerError if pg_dump is absent or the archive is not whole.
    """
    tools = {name: _tool(name) for name in ("pg_dump", "pg_restore")}
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    plain = address.set(drivername="postgresql", password=None)
    environment = os.environ | ({"PGPASSWORD": address.password} if address.password else {})
    _run(
        [tools["pg_dump"], "--format=custom", f"--file={fresh}", plain.render_as_string()],
        environment,
    )
    listed = _run([tools["pg_restore"], "--list", str(fresh)], environment)
    if "TABLE DATA public moments" not in listed:
        fresh.unlink()
        raise ServerError(f"{target}: pg_dump's archive lacks the moments; nothing was changed")
    fresh.chmod(0o600)
    fresh.replace(target)
    return target


def _rows(connection: sqlite3.Connection) -> int:
    try:
        return int(connection.execute("SELECT count(*) FROM moments").fetchone()[0])
    except sqlite3.DatabaseError:
        return -1


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        newest = sorted(_DEBIAN.glob(f"*/bin/{name}"))
        found = str(newest[-1]) if newest else None
    if found is None:
        raise ServerError(
            f"no verified copy of the database can be made: {name} is not installed (Debian: "
            "postgresql-client); install it, or say --without-backup"
        )
    return found


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise ServerError(f"{Path(command[0]).name} failed: {why[0]}; nothing was changed")
    return done.stdout
