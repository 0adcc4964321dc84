"""The index: SQLite in plain sight, one writer, synchronous to the disk.

Everything in it about moments can be made again from the media folder and its sidecars
(`server.index.rebuild`); what cannot (people, sessions, pairings) is small.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, text

from server.migrations import MIGRATIONS
from server.problems import ServerError


class Database:
    """Many readers, one writer at a time; a write is on the disk when the block ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = threading.Lock()
        self._engine = create_engine(
            f"sqlite:///{path}",
            connect_args={"timeout": 30, "check_same_thread": False},
            pool_size=8,
            max_overflow=32,
        )
        event.listen(self._engine, "connect", _on_connect)
        event.listen(self._engine, "begin", _on_begin)
        self._migrate()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view; never waits for the writer."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, exclusive in this process by a lock and between processes by SQLite."""
        with self._writer, self._engine.connect() as plain:
            connection = plain.execution_options(beheld_write=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        self._engine.dispose()

    def _migrate(self) -> None:
        with self.write() as db:
            db.execute(
                text(
                    "CREATE TABLE IF NOT EXISTS migrations"
                    " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_utc TEXT NOT NULL)"
                )
            )
            done = int(
                db.execute(text("SELECT coalesce(max(number), 0) FROM migrations")).scalar_one()
            )
        if done > len(MIGRATIONS):
            raise ServerError(
                f"{self.path}: made by a newer Beheld (schema {done}, this one knows "
                f"{len(MIGRATIONS)}); install that version, nothing was changed"
            )
        if 0 < done < len(MIGRATIONS):
            backup(
                self.path, self.path.parent / "backups" / f"before-schema-{len(MIGRATIONS)}.sqlite3"
            )
        for number, step in enumerate(MIGRATIONS[done:], start=done + 1):
            with self.write() as db:  # applying and recording share a transaction
                step(db)
                db.execute(
                    text("INSERT INTO migrations VALUES (:number, :name, :now)"),
                    {"number": number, "name": step.__name__, "now": utc_now()},
                )


def backup(database: Path, target: Path) -> Path:
    """Copy a live database and check the copy. Raises ServerError if the copy is not sound."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(database) as source, sqlite3.connect(target) as copy:
        source.backup(copy)
        verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
    source.close()
    copy.close()
    os.chmod(target, 0o600)  # noqa: PTH101 - one call, no second Path
    if verdict != "ok":
        raise ServerError(f"{target}: the copy of {database} is damaged ({verdict})")
    return target


def utc_now() -> str:
    """Now as ISO 8601 with milliseconds and offset; sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _on_connect(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions are ours, not the driver's
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # a receipt promises durability
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA temp_store=MEMORY")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("beheld_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
