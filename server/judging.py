"""What the owner says of moments: keep, discard, what it is called, how it felt.

Each judgement changes the index at once and goes, numbered, to the glasses that made the moment: they ask
for what is new since the last number they saw (`GET /api/v1/feedback`) and learn from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from server.custody import Custody
from server.database import Database, utc_now
from server.entries import Entry
from server.index import Index
from server.marks import Marks, feedback_of, rename
from server.preferences import Preferences
from server.problems import Problem
from server.telling import retell

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The glasses' classes in their order (`device.types`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One judgement as the glasses get it; `number` is its place in the order."""

    number: int
    snippet_id: str
    moment_key: str
    at_utc: str
    kind: str
    """`emotion`, `keep` or `names`."""
    emotion: str | None = None
    keep: bool | None = None
    names: tuple[str, ...] | None = None
    probabilities: Mapping[str, float] | None = None
    """What the glasses had estimated, for an emotion."""


class Judging:
    """The owner's changes to the index, and their record."""

    def __init__(self, database: Database, index: Index, custody: Custody, marks: Marks) -> None:
        self._db = database
        self._index = index
        self._custody = custody
        self._marks = marks

    def mark(self, key: str, *, kept: bool | None = None, reviewed: bool | None = None) -> Entry:
        """Keep a moment for good (or no longer), mark it as looked at."""
        entry = self._index.entry(key)
        with self._db.write() as db:
            db.execute(
                text(
                    "UPDATE moments SET kept = coalesce(:kept, kept),"
                    " reviewed = coalesce(:reviewed, reviewed) WHERE key = :key"
                ),
                {"key": key, "kept": kept, "reviewed": reviewed},
            )
            if kept is not None and kept != entry.kept:
                _record(db, entry, "keep", keep=kept)
            self._marks.save(db, entry.device_id, entry.snippet_id)
        return self._index.entry(key)

    def name(self, key: str, names: Sequence[str]) -> Entry:
        """Replace what a moment is called: the owner's names become its attended tags."""
        entry = self._index.entry(key)
        clean = list(dict.fromkeys(name.strip()[:80] for name in names if name.strip()))[:32]
        with self._db.write() as db:
            rename(db, entry.number, clean)
            db.execute(
                text("UPDATE moments SET reviewed = TRUE WHERE number = :n"), {"n": entry.number}
            )
            retell(db, self._db.words, entry.number)
            _record(db, entry, "names", names=clean)
            self._marks.save(db, entry.device_id, entry.snippet_id)
        return self._index.entry(key)

    def feel(self, key: str, emotion: str) -> Entry:
        """Say what the emotion was.

        Raises Problem 422 for a class the glasses do not have, 409 where emotion data is switched off.
        """
        if not Preferences(self._db).keep_emotion:
            raise Problem(409, "emotion-off", "emotion data is switched off in the settings")
        if emotion not in EMOTIONS:
            raise Problem(422, "bad-emotion", f"emotion must be one of {', '.join(EMOTIONS)}")
        entry = self._index.entry(key)
        with self._db.write() as db:
            db.execute(
                text(
                    "UPDATE moments SET emotion = :emotion, corrected = TRUE, reviewed = TRUE"
                    " WHERE number = :n"
                ),
                {"emotion": emotion, "n": entry.number},
            )
            retell(db, self._db.words, entry.number)
            _record(db, entry, "emotion", emotion=emotion)
            self._marks.save(db, entry.device_id, entry.snippet_id)
        return self._index.entry(key)

    def discard(self, key: str) -> Entry:
        """Erase a moment with its files, and tell its glasses that it was not worth keeping.

        Raises Problem 409 for a kept one: who wants it gone says first that it is not to be kept.
        """
        entry = self._index.entry(key)
        if entry.kept:
            raise Problem(409, "kept", "this moment is kept; take that back before you discard it")
        with self._db.write() as db:
            _record(db, entry, "keep", keep=False)
            told = feedback_of(db, entry.device_id, entry.snippet_id)
        told = [item for item in told if item["kind"] == "keep"]
        self._custody.erase(entry.device_id, entry.snippet_id, told)
        return entry

    def feelings_said_since(self, at_utc: str) -> int:
        """How many moments the owner said the feeling of since then."""
        with self._db.read() as db:
            found = db.execute(
                text("SELECT count(*) FROM feedback WHERE kind = 'emotion' AND at_utc >= :at"),
                {"at": at_utc},
            )
            return int(found.scalar_one())

    def feedback(self, device_id: str, after: int, limit: int = 200) -> list[Feedback]:
        """That device's judgements after a number, in order."""
        with self._db.read() as db:
            rows = db.execute(
                text(
                    "SELECT number, snippet_id, moment_key, at_utc, kind, emotion, keep, names,"
                    " probabilities FROM feedback WHERE device_id = :device AND number > :after"
                    " ORDER BY number LIMIT :limit"
                ),
                {"device": device_id, "after": after, "limit": limit},
            ).mappings()
            return [_feedback(dict(row)) for row in rows]


def _record(
    db: Connection,
    entry: Entry,
    kind: str,
    *,
    emotion: str | None = None,
    keep: bool | None = None,
    names: Sequence[str] | None = None,
) -> None:
    estimated = entry.probabilities if kind == "emotion" else None
    db.execute(
        text(
            "INSERT INTO feedback (device_id, snippet_id, moment_key, at_utc, kind, emotion, keep,"
            " names, probabilities) VALUES (:device, :snippet, :key, :at, :kind, :emotion, :keep,"
            " :names, :probabilities)"
        ),
        {
            "device": entry.device_id,
            "snippet": entry.snippet_id,
            "key": entry.key,
            "at": utc_now(),
            "kind": kind,
            "emotion": emotion,
            "keep": keep,
            "names": None if names is None else json.dumps(list(names)),
            "probabilities": None if estimated is None else json.dumps(estimated),
        },
    )


def _feedback(values: dict[str, Any]) -> Feedback:
    values["keep"] = None if values["keep"] is None else bool(values["keep"])
    for name in ("names", "probabilities"):
        values[name] = None if values[name] is None else json.loads(values[name])
    if values["names"] is not None:
        values["names"] = tuple(values["names"])
    return Feedback(**values)
