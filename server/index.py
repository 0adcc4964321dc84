"""The index of moments and receipts: what the pages and the API list and search.

All of it about moments comes from the media folder's sidecars and can be made again from them; what
the owner adds (kept, reviewed, names, feeling) is in `marks.json` beside the media as well (`server.marks`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, text

from server import record as records
from server.database import Database
from server.entries import COLUMNS, Day, Entry, Page, after, moment_key, page_of, read_entries
from server.manifest import THUMBNAIL, VIDEO, Manifest
from server.problems import Problem
from server.telling import (
    feeling_columns,
    forget_meaning,
    insert_look,
    retell,
    sentence_of,
)


class Index:
    """Reads and writes of the moments' tables, each in one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def together(self) -> AbstractContextManager[None]:
        """What this thread writes in the block is flushed once, at its end."""
        return self._db.batch()

    def take(
        self,
        device_id: str,
        manifest: Manifest,
        raw: Mapping[str, Any],
        *,
        receipt: tuple[str, str],
        received_utc: str,
        released: frozenset[str] = frozenset(),
    ) -> None:
        """Index a stored snippet (`raw` is its moment.json) and its receipt in one transaction.

        `released` are files that retention let go.         Doing it twice changes nothing.
        """
        record = records.read(raw, session_id=manifest.session_id, fallback_utc=received_utc)
        sizes = {file.name: file.bytes for file in manifest.stored if file.name not in released}
        row = {
            "key": moment_key(device_id, manifest.snippet_id),
            "device_id": device_id,
            "snippet_id": manifest.snippet_id,
            "session_id": record.session_id,
            "start_utc": record.start_utc,
            "local_day": record.local_day,
            "local_time": record.local_time,
            "zone": record.zone,
            "time_known": record.time_known,
            "start_ns": record.start_ns,
            "end_ns": record.end_ns,
            "title": record.title,
            "reasons": json.dumps(record.reasons),
            "words": record.words(),
            "energy_mj": record.energy_mj,
            "bytes": sum(sizes.values()),
            "video_bytes": sizes.get(VIDEO, 0),
            "preview_bytes": sizes.get(THUMBNAIL, 0),
            "has_video": VIDEO in sizes,
            "has_thumbnail": THUMBNAIL in sizes,
            "received_utc": received_utc,
            "place": record.place,
            **feeling_columns(record.feeling),
        }
        with self._db.write() as db:
            _insert_receipt(db, device_id, manifest.snippet_id, receipt)
            self._insert(db, row, record, records.embedding(raw))

    def _insert(
        self,
        db: Connection,
        row: Mapping[str, Any],
        record: records.Record,
        look: list[float] | None,
    ) -> None:
        names = ", ".join(row)
        places = ", ".join(f":{name}" for name in row)
        number = db.execute(
            text(
                f"INSERT INTO moments ({names}) VALUES ({places})"
                " ON CONFLICT DO NOTHING RETURNING number"
            ),
            row,
        ).scalar_one_or_none()
        if number is None:
            return
        for tag in record.tags:
            db.execute(
                text("INSERT INTO tags VALUES (:n, :name, :probability, :attended, 'glasses')"),
                {
                    "n": number,
                    "name": tag.name,
                    "probability": tag.probability,
                    "attended": tag.attended,
                },
            )
        if look is not None:
            insert_look(db, int(number), look)
        retell(db, self._db.words, int(number))

    def fill(self, number: int, raw: Mapping[str, Any], record: records.Record) -> None:
        """Complete a moment that an older version indexed, from its record."""
        look = records.embedding(raw)
        with self._db.write() as db:
            columns = feeling_columns(record.feeling)
            columns |= {"place": record.place, "words": record.words()}
            changes = ", ".join(f"{name} = :{name}" for name in columns)
            db.execute(
                text(f"UPDATE moments SET {changes} WHERE number = :n"), columns | {"n": number}
            )
            if look is not None:
                insert_look(db, number, look)
            retell(db, self._db.words, number)

    def unfilled(self) -> list[tuple[int, str, str, str]]:
        """(number, device id, snippet id, received) of moments that `fill` has to complete."""
        with self._db.read() as db:
            rows = db.execute(
                text(
                    "SELECT number, device_id, snippet_id, received_utc FROM moments"
                    " WHERE sentence IS NULL ORDER BY number"
                )
            ).all()
        return [(int(n), str(device), str(snippet), str(at)) for n, device, snippet, at in rows]

    def take_receipt(self, device_id: str, snippet_id: str, receipt: tuple[str, str]) -> None:
        """Know a receipt (again) whose moment was erased."""
        with self._db.write() as db:
            _insert_receipt(db, device_id, snippet_id, receipt)

    def receipt(self, device_id: str, snippet_id: str) -> tuple[str, str] | None:
        """(receipt text, signature) given for a snippet before."""
        row = self._db.row(
            "SELECT receipt, signature FROM receipts"
            " WHERE device_id = :device AND snippet_id = :snippet",
            {"device": device_id, "snippet": snippet_id},
        )
        return (str(row[0]), str(row[1])) if row is not None else None

    def known(self) -> set[tuple[str, str]]:
        """(device id, snippet id) of every indexed moment."""
        with self._db.read() as db:
            rows = db.execute(text("SELECT device_id, snippet_id FROM moments")).all()
        return {(str(device), str(snippet)) for device, snippet in rows}

    def stored_bytes(self) -> int:
        with self._db.read() as db:
            return int(db.execute(text("SELECT coalesce(sum(bytes), 0) FROM moments")).scalar_one())

    def days(self, limit: int = 400) -> list[Day]:
        """Days with moments, newest first."""
        with self._db.read() as db:
            rows = db.execute(
                text(
                    "SELECT local_day, count(*), sum(end_ns - start_ns) / 1e9,"
                    " coalesce(sum(energy_mj), 0) FROM moments"
                    " GROUP BY local_day ORDER BY local_day DESC LIMIT :limit"
                ),
                {"limit": limit},
            ).all()
        return [
            Day(day=r[0], moments=int(r[1]), attended_s=float(r[2]), energy_mj=float(r[3]))
            for r in rows
        ]

    def of_day(self, day: str) -> tuple[Entry, ...]:
        """A day's moments in the order they happened."""
        return self._entries(
            f"SELECT {COLUMNS} FROM moments m WHERE m.local_day = :day ORDER BY m.start_utc, m.key",
            {"day": day},
        )

    def select(
        self,
        where: Sequence[str] = (),
        values: Mapping[str, Any] | None = None,
        *,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Moments `m` under SQL conditions, newest first, a page at a time."""
        conditions = [*where]
        given = {**(values or {}), "limit": limit + 1}
        if cursor is not None:
            given |= after(cursor)
            conditions.append("(m.start_utc, m.key) < (:after_utc, :after_key)")
        entries = self._entries(
            f"SELECT {COLUMNS} FROM moments m WHERE {' AND '.join(conditions) or 'TRUE'}"
            " ORDER BY m.start_utc DESC, m.key DESC LIMIT :limit",
            given,
        )
        return page_of(entries, limit)

    def numbered(self, numbers: Sequence[int]) -> tuple[Entry, ...]:
        """The moments with these numbers, as far as they are there, in no order."""
        found: list[Entry] = []
        for start in range(0, len(numbers), 500):
            wanted = ",".join(str(int(n)) for n in numbers[start : start + 500])
            found += self._entries(
                f"SELECT {COLUMNS} FROM moments m WHERE m.number IN ({wanted})", {}
            )
        return tuple(found)

    def since(self, number: int, limit: int = 50) -> tuple[Entry, ...]:
        """Moments that came after that number, in the order they came."""
        return self._entries(
            f"SELECT {COLUMNS} FROM moments m WHERE m.number > :n ORDER BY m.number LIMIT :limit",
            {"n": number, "limit": limit},
        )

    def last_number(self) -> int:
        with self._db.read() as db:
            return int(
                db.execute(text("SELECT coalesce(max(number), 0) FROM moments")).scalar_one()
            )

    def entry(self, key: str) -> Entry:
        """One moment. Raises Problem 404."""
        found = self._entries(f"SELECT {COLUMNS} FROM moments m WHERE m.key = :key", {"key": key})
        if not found:
            raise Problem(404, "no-such-moment", "there is no such moment (any more)")
        return found[0]

    def neighbours(self, entry: Entry) -> tuple[str | None, str | None]:
        """Keys of the moments before and after this one in time."""
        values = {"utc": entry.start_utc, "key": entry.key}
        with self._db.read() as db:
            before = db.execute(
                text(
                    "SELECT key FROM moments WHERE (start_utc, key) < (:utc, :key)"
                    " ORDER BY start_utc DESC, key DESC LIMIT 1"
                ),
                values,
            ).scalar_one_or_none()
            after = db.execute(
                text(
                    "SELECT key FROM moments WHERE (start_utc, key) > (:utc, :key)"
                    " ORDER BY start_utc, key LIMIT 1"
                ),
                values,
            ).scalar_one_or_none()
        return before, after

    def common_tags(self, limit: int = 24) -> list[tuple[str, int]]:
        """What was looked at most: (name, moments)."""
        with self._db.read() as db:
            rows = db.execute(
                text(
                    "SELECT name, count(*) AS n FROM tags WHERE attended GROUP BY name"
                    " ORDER BY n DESC, name LIMIT :limit"
                ),
                {"limit": limit},
            ).all()
        return [(str(name), int(count)) for name, count in rows]

    def forget(self, key: str) -> None:
        """Know a moment no more, if it was known; its receipt stays."""
        with self._db.write() as db:
            number = db.execute(
                text("SELECT number FROM moments WHERE key = :key"), {"key": key}
            ).scalar_one_or_none()
            if number is not None:
                said = sentence_of(db, number)
                self._db.words.drop(db, number)
                db.execute(text("DELETE FROM moments WHERE number = :n"), {"n": number})
                forget_meaning(db, said)

    def _entries(self, query: str, values: Mapping[str, Any]) -> tuple[Entry, ...]:
        with self._db.read() as db:
            return read_entries(db, query, values)


def _insert_receipt(
    db: Connection, device_id: str, snippet_id: str, receipt: tuple[str, str]
) -> None:
    promise = json.loads(receipt[0])
    db.execute(
        text(
            "INSERT INTO receipts VALUES"
            " (:device, :snippet, :sha256, :receipt, :signature, :received) ON CONFLICT DO NOTHING"
        ),
        {
            "device": device_id,
            "snippet": snippet_id,
            "sha256": promise["manifest_sha256"],
            "receipt": receipt[0],
            "signature": receipt[1],
            "received": promise["received_utc"],
        },
    )
