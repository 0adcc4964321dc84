"""What lists show of moments: values, and how they are read from the rows of the index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from server.problems import Problem
from server.telling import tags_of

COLUMNS = (
    "m.number, m.key, m.device_id, m.snippet_id, m.session_id, m.start_utc, m.local_day, m.local_time,"
    " m.zone, m.time_known, m.start_ns, m.end_ns, m.title, m.reasons, m.energy_mj, m.emotion, m.bytes,"
    " m.has_video, m.has_thumbnail, m.received_utc, m.kept, m.reviewed, m.place, m.probabilities,"
    " m.influence, m.valence, m.arousal, m.corrected"
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
    place: str
    probabilities: dict[str, float] | None
    """Of each emotion class, as the glasses estimated; None if they did not."""
    influence: float | None
    valence: float | None
    arousal: float | None
    corrected: bool
    """`emotion` is what the owner said, not what the glasses estimated."""
    tags: tuple[dict[str, Any], ...] = ()

    @property
    def attended(self) -> tuple[str, ...]:
        return tuple(tag["name"] for tag in self.tags if tag["attended"])

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


def read_entries(db: Connection, query: str, values: Mapping[str, Any]) -> tuple[Entry, ...]:
    """What a query over `COLUMNS` finds, with the tags of each."""
    rows = db.execute(text(query), values).mappings().all()
    tags = tags_of(db, [int(row["number"]) for row in rows])
    return tuple(_entry(row, tags.get(int(row["number"]), ())) for row in rows)


def _entry(row: RowMapping, tags: tuple[dict[str, Any], ...]) -> Entry:
    values = dict(row)
    values["reasons"] = tuple(json.loads(values["reasons"]))
    for name in ("time_known", "has_video", "has_thumbnail", "kept", "reviewed", "corrected"):
        values[name] = bool(values[name])
    if values["probabilities"] is not None:
        values["probabilities"] = json.loads(values["probabilities"])
    return Entry(**values, tags=tags)


def page_of(entries: tuple[Entry, ...], limit: int) -> Page:
    """A page of so many, of entries that were read one beyond it."""
    shown = entries[:limit]
    more = len(entries) > limit
    return Page(shown, f"{shown[-1].start_utc}~{shown[-1].key}" if more else None)


def after(cursor: str) -> dict[str, str]:
    """Where a page goes on, as values of a query. Raises Problem 422."""
    start, mark, key = cursor.partition("~")
    if not mark:
        raise Problem(422, "bad-cursor", "the cursor is not one this server gave")
    return {"after_utc": start, "after_key": key}
