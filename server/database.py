"""The index's database: SQLite in plain sight by default, PostgreSQL for many wearers, one code.

Everything in it about moments can be made again from the media and its sidecars (`server.rebuild`).
A write is one transaction, alone: in this process by a lock, between processes by SQLite's own lock
or PostgreSQL's advisory one, so that "read, decide, write" needs no second thought anywhere. It is on
the disk when its block ends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, PoolProxiedConnection, create_engine, event, text
from sqlalchemy.exc import DatabaseError, DataError

from server.backup import dump_postgres, save_sqlite
from server.migrations import MIGRATIONS
from server.problems import Problem, ServerError
from server.words import Fts5Words, TsvectorWords, WordIndex

_ONE_WRITER = 7_262_113  # PostgreSQL's advisory lock for whoever writes to a Beheld database


class Database:
    """Many readers, one writer at a time."""

    def __init__(
        self, address: Path | str, *, backups: Path | None = None, without_backup: bool = False
    ) -> None:
        """`address` is a file (SQLite) or `postgresql://user@host/name`; brings its schema up to date.

        `backups` is where a verified copy goes before the schema changes (default: beside the file).
        Raises ServerError: unreachable, from a newer version, or no copy could be made (unless
        `without_backup`).
        """
        self.postgres = isinstance(address, str) and address.startswith(("postgres:", "postgresql"))
        self.address = address if isinstance(address, str) else str(address)
        self.words: WordIndex = TsvectorWords() if self.postgres else Fts5Words()
        self._writer, self._asking = threading.Lock(), threading.Lock()
        self._mine = threading.local()
        self._asked: PoolProxiedConnection | None = None
        self._engine = _postgres(self.address) if self.postgres else _sqlite(self.address)
        try:
            self._migrate(backups, without_backup)
        except DatabaseError as error:
            self.close()
            why = str(error.orig).strip().splitlines()[0]
            raise ServerError(
                f"{self.plain_address}: the database cannot be opened ({why})"
            ) from error
        except ServerError:
            self.close()
            raise

    @property
    def plain_address(self) -> str:
        """The address without a password, for messages."""
        return (
            str(self._engine.url.render_as_string(hide_password=True))
            if self.postgres
            else self.address
        )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view; never waits for the writer."""
        if (batch := self._batch) is not None:
            yield batch
            return
        with self._engine.connect() as plain:
            level = {"isolation_level": "REPEATABLE READ"} if self.postgres else {}
            with (
                _said_plainly(),
                plain.execution_options(**level) as connection,
                connection.begin(),
            ):
                yield connection

    def row(self, query: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The one row of a short question, if there is one; for what every request asks.

        On SQLite by a plain statement on a kept connection, at a tenth of what `read` costs.
        """
        if self.postgres or self._batch is not None:
            with self.read() as db:
                found = db.execute(text(query), values).one_or_none()
            return None if found is None else tuple(found)
        with self._asking, _said_plainly():
            if self._asked is None:
                self._asked = self._engine.raw_connection()
            cursor = self._asked.cursor()
            try:
                rows = cursor.execute(
                    query, dict(values)
                ).fetchall()  # to the end: nothing stays open
            finally:
                cursor.close()
        return tuple(rows[0]) if rows else None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, the only one that writes."""
        if (batch := self._batch) is not None:
            with _said_plainly(), batch.begin_nested():
                yield batch
            return
        with self._writer, self._engine.connect() as plain:
            connection = plain.execution_options(beheld_write=True)
            with _said_plainly(), connection.begin():
                if self.postgres:
                    connection.execute(
                        text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_WRITER}
                    )
                yield connection

    @contextmanager
    def batch(self) -> Iterator[None]:
        """What this thread writes until the end of the block is one transaction, and flushed once.

        Every `write` in it still happens whole or not at all; others see none of them before the end.
        """
        with self.write() as db:
            self._mine.connection = db
            try:
                yield
            finally:
                self._mine.connection = None

    @property
    def _batch(self) -> Connection | None:
        """The connection of the batch this thread is in."""
        found: Connection | None = getattr(self._mine, "connection", None)
        return found

    def close(self) -> None:
        with self._asking:
            if self._asked is not None:
                self._asked.close()
                self._asked = None
        self._engine.dispose()

    def backup(self, target: Path) -> Path:
        """Write a verified copy to `target`: an SQLite file, or a pg_dump archive."""
        if self.postgres:
            return dump_postgres(self._engine.url, target)
        return save_sqlite(Path(self.address), target)

    def scrub(self) -> None:
        """Leave nothing of what was deleted in the files: pages and words are written anew."""
        if self.postgres:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
                db.execute(text("VACUUM FULL"))
            return
        with self.write() as db:
            db.execute(text("INSERT INTO moments_fts (moments_fts) VALUES ('optimize')"))
        with self._writer, self._engine.connect() as db:
            cursor = db.connection.cursor()  # VACUUM runs outside of any transaction
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.close()

    def _migrate(self, backups: Path | None, without_backup: bool) -> None:
        with self.write() as db:
            db.execute(
                text(
                    "CREATE TABLE IF NOT EXISTS migrations"
                    " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_utc TEXT NOT NULL)"
                )
            )
            done = _schema(db)
        known = len(MIGRATIONS)
        if done > known:
            raise ServerError(
                f"{self.plain_address}: made by a newer Beheld (schema {done}, this one knows "
                f"{known}); install that version, nothing was changed"
            )
        if 0 < done < known and not without_backup:
            folder = backups or Path(self.address).parent / "backups"
            ending = "pgdump" if self.postgres else "sqlite3"
            self.backup(folder / f"before-schema-{known}.{ending}")
        for number, step in enumerate(MIGRATIONS, start=1):
            with self.write() as db:  # applying and recording share a transaction
                if number <= _schema(db):  # done before, or by another process just now
                    continue
                step(db)
                db.execute(
                    text("INSERT INTO migrations VALUES (:number, :name, :now)"),
                    {"number": number, "name": step.__name__, "now": utc_now()},
                )


def utc_now() -> str:
    """Now as ISO 8601 with milliseconds and offset; sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _schema(db: Connection) -> int:
    return int(db.execute(text("SELECT coalesce(max(number), 0) FROM migrations")).scalar_one())


@contextmanager
def _said_plainly() -> Iterator[None]:
    """What no database can hold (a NUL, half a character, a huge number) is the asker's mistake."""
    try:
        yield
    except (DataError, UnicodeEncodeError, OverflowError) as error:
        raise Problem(
            422, "bad-value", "a text or number is one that cannot be stored here"
        ) from error


def _sqlite(path: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": 30, "check_same_thread": False},
        pool_size=8,
        max_overflow=32,
    )
    event.listen(engine, "connect", _on_sqlite_connect)
    event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def _postgres(address: str) -> Engine:
    url = "postgresql+psycopg:" + address.partition(":")[2]
    try:
        return create_engine(url, pool_size=8, max_overflow=32, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise ServerError(
            "PostgreSQL needs the extra 'postgres' (pip install 'beheld[server,postgres]')"
        ) from error


def _on_sqlite_connect(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions are ours, not the driver's
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # a receipt promises durability
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA temp_store=MEMORY")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("beheld_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
