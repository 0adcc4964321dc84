"""The index of moments and receipts: what the pages and the API list and search.

All of it about moments comes from the media folder's sidecars and can be made again from them; what
the owner adds (kept, reviewed, own tags) lives here only and survives a rebuild by key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from server import record as records
from server.database import Database
from server.manifest import THUMBNAIL, VIDEO, Manifest
from server.problems import Problem

_COLUMNS = (
    "m.number, m.key, m.device_id, m.snippet_id, m.session_id, m.start_utc, m.local_day, m.local_time,"
    " m.zone, m.time_known, m.start_ns, m.end_ns, m.title, m.reasons, m.energy_mj, m.emotion, m.bytes,"
    " m.has_video, m.has_thumbnail, m.received_utc, m.kept, m.reviewed"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One moment as a list shows it."""

    number: int
    key: str
    device_id: str
    snippet_id: str
    session_id: str
    start_utc: str
    local_day: str
    local_time: str
    zone: str
    time_known: bool
    start_ns: int
    end_ns: int
    title: str
    reasons: tuple[str, ...]
    energy_mj: float | None
    emotion: str | None
    bytes: int
    has_video: bool
    has_thumbnail: bool
    received_utc: str
    kept: bool
    reviewed: bool
    tags: tuple[dict[str, Any], ...] = ()

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One local day of the wearer, in sums."""

    day: str
    moments: int
    attended_s: float
    energy_mj: float


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, newest first, and the cursor of those after them (None: no more)."""

    entries: tuple[Entry, ...]
    next_cursor: str | None


def moment_key(device_id: str, snippet_id: str) -> str:
    """A moment's name in addresses: stable, and two devices may use one snippet id."""
    return hashlib.sha256(f"{device_id}/{snippet_id}".encode()).hexdigest()[:20]


class Index:
    """Reads and writes of the moments' tables, each in one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

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
            "emotion": record.emotion,
            "bytes": sum(sizes.values()),
            "video_bytes": sizes.get(VIDEO, 0),
            "preview_bytes": sizes.get(THUMBNAIL, 0),
            "has_video": VIDEO in sizes,
            "has_thumbnail": THUMBNAIL in sizes,
            "received_utc": received_utc,
        }
        with self._db.write() as db:
            _insert_receipt(db, device_id, manifest.snippet_id, receipt)
            self._insert(db, row, record)

    def _insert(self, db: Connection, row: Mapping[str, Any], record: records.Record) -> None:
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
        self._db.words.put(db, int(number), str(row["words"]))

    def take_receipt(self, device_id: str, snippet_id: str, receipt: tuple[str, str]) -> None:
        """Know a receipt (again) whose moment was erased."""
        with self._db.write() as db:
            _insert_receipt(db, device_id, snippet_id, receipt)

    def receipt(self, device_id: str, snippet_id: str) -> tuple[str, str] | None:
        """(receipt text, signature) given for a snippet before."""
        with self._db.read() as db:
            row = db.execute(
                text(
                    "SELECT receipt, signature FROM receipts"
                    " WHERE device_id = :device AND snippet_id = :snippet"
                ),
                {"device": device_id, "snippet": snippet_id},
            ).one_or_none()
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
            f"SELECT {_COLUMNS} FROM moments m WHERE m.local_day = :day ORDER BY m.start_utc, m.key",
            {"day": day},
        )

    def newest(
        self,
        *,
        cursor: str | None = None,
        limit: int = 50,
        day: str | None = None,
        tag: str | None = None,
    ) -> Page:
        """Moments newest first, a page at a time; only of one day or with one tag if asked."""
        where, values = ["TRUE"], {"limit": limit + 1}
        conditions: dict[str, Any] = dict(values)
        if day is not None:
            where.append("m.local_day = :day")
            conditions["day"] = day
        if tag is not None:
            where.append("m.number IN (SELECT moment FROM tags WHERE name = :tag)")
            conditions["tag"] = tag
        if cursor is not None:
            conditions |= _cursor(cursor)
            where.append("(m.start_utc, m.key) < (:after_utc, :after_key)")
        entries = self._entries(
            f"SELECT {_COLUMNS} FROM moments m WHERE {' AND '.join(where)}"
            " ORDER BY m.start_utc DESC, m.key DESC LIMIT :limit",
            conditions,
        )
        return _page(entries, limit)

    def search(self, words: str, *, cursor: str | None = None, limit: int = 50) -> Page:
        """Moments that have every word (the last may be a beginning), newest first."""
        found = self._db.words.condition(words)
        if found is None:
            return Page((), None)
        conditions: dict[str, Any] = {**found[1], "limit": limit + 1}
        after = ""
        if cursor is not None:
            conditions |= _cursor(cursor)
            after = " AND (m.start_utc, m.key) < (:after_utc, :after_key)"
        entries = self._entries(
            f"SELECT {_COLUMNS} FROM moments m WHERE {found[0]}"
            f"{after} ORDER BY m.start_utc DESC, m.key DESC LIMIT :limit",
            conditions,
        )
        return _page(entries, limit)

    def entry(self, key: str) -> Entry:
        """One moment. Raises Problem 404."""
        found = self._entries(f"SELECT {_COLUMNS} FROM moments m WHERE m.key = :key", {"key": key})
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

    def mark(self, key: str, *, kept: bool | None = None, reviewed: bool | None = None) -> Entry:
        """Remember the owner's judgement of a moment."""
        with self._db.write() as db:
            db.execute(
                text(
                    "UPDATE moments SET kept = coalesce(:kept, kept),"
                    " reviewed = coalesce(:reviewed, reviewed) WHERE key = :key"
                ),
                {"key": key, "kept": kept, "reviewed": reviewed},
            )
        return self.entry(key)

    def correct(self, key: str, names: Sequence[str]) -> Entry:
        """Replace what a moment is called: the owner's names become its attended tags."""
        entry = self.entry(key)
        clean = list(dict.fromkeys(name.strip()[:80] for name in names if name.strip()))[:32]
        with self._db.write() as db:
            db.execute(
                text("DELETE FROM tags WHERE moment = :n AND (origin = 'owner' OR attended)"),
                {"n": entry.number},
            )
            for name in clean:
                db.execute(
                    text("INSERT INTO tags VALUES (:n, :name, NULL, TRUE, 'owner')"),
                    {"n": entry.number, "name": name},
                )
            words = db.execute(
                text("SELECT words FROM moments WHERE number = :n"), {"n": entry.number}
            ).scalar_one()
            title = clean[0] if clean else "Something looked at"
            db.execute(
                text("UPDATE moments SET title = :title, reviewed = TRUE WHERE number = :n"),
                {"title": title, "n": entry.number},
            )
            self._db.words.put(db, entry.number, " ".join((str(words), *clean)))
        return self.entry(key)

    def forget(self, key: str) -> None:
        """Know a moment no more, if it was known; its receipt stays."""
        with self._db.write() as db:
            number = db.execute(
                text("SELECT number FROM moments WHERE key = :key"), {"key": key}
            ).scalar_one_or_none()
            if number is not None:
                self._db.words.drop(db, number)
                db.execute(text("DELETE FROM moments WHERE number = :n"), {"n": number})

    def _entries(self, query: str, values: Mapping[str, Any]) -> tuple[Entry, ...]:
        with self._db.read() as db:
            rows = db.execute(text(query), values).mappings().all()
            tags = _tags_of(db, [int(row["number"]) for row in rows])
        return tuple(_entry(row, tags.get(int(row["number"]), ())) for row in rows)


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


def _tags_of(db: Connection, numbers: Sequence[int]) -> dict[int, tuple[dict[str, Any], ...]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for start in range(0, len(numbers), 500):
        wanted = ",".join(str(n) for n in numbers[start : start + 500])  # our own integers
        query = f"SELECT moment, name, probability, attended, origin FROM tags WHERE moment IN ({wanted})"
        for row in db.execute(text(f"{query} ORDER BY rowid")).mappings():
            tag = {key: row[key] for key in ("name", "probability", "origin")}
            found.setdefault(int(row["moment"]), []).append(
                {**tag, "attended": bool(row["attended"])}
            )
    return {number: tuple(tags) for number, tags in found.items()}


def _entry(row: RowMapping, tags: tuple[dict[str, Any], ...]) -> Entry:
    values = dict(row)
    values["reasons"] = tuple(json.loads(values["reasons"]))
    for name in ("time_known", "has_video", "has_thumbnail", "kept", "reviewed"):
        values[name] = bool(values[name])
    return Entry(**values, tags=tags)


def _page(entries: tuple[Entry, ...], limit: int) -> Page:
    shown = entries[:limit]
    more = len(entries) > limit
    return Page(shown, f"{shown[-1].start_utc}~{shown[-1].key}" if more else None)


def _cursor(cursor: str) -> dict[str, str]:
    start, mark, key = cursor.partition("~")
    if not mark:
        raise Problem(422, "bad-cursor", "the cursor is not one this server gave")
    return {"after_utc": start, "after_key": key}
