"""What the owner said of a moment, beside its files: `marks.json`, so that no index is its only copy.

Written in the transaction that changes the index, before it ends: the sidecar may know of a judgement
whose answer was lost, the index never of one the sidecar lacks.

    {"format": 1, "kept": bool, "reviewed": bool, "names": [text] | null, "emotion": class | null,
     "feedback": [{"number", "at_utc", "kind", "emotion", "keep", "names", "probabilities"}]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from server.database import Database
from server.entries import moment_key
from server.manifest import MARKS
from server.media import MediaFolder
from server.migrations import is_postgres
from server.telling import retell

_COLUMNS = ("number", "at_utc", "kind", "emotion", "keep", "names", "probabilities")
_LEAP = 1000  # glasses remember the last number they saw: after a rebuild none may come twice


class Marks:
    """Writes the sidecar, and reads it into an index that is made again."""

    def __init__(self, database: Database, media: MediaFolder) -> None:
        self._db = database
        self._media = media

    def save(self, db: Connection, device_id: str, snippet_id: str) -> None:
        """Write down what the index says of a moment now, inside the transaction that changed it."""
        row = db.execute(
            text(
                "SELECT number, kept, reviewed, emotion, corrected FROM moments"
                " WHERE device_id = :device AND snippet_id = :snippet"
            ),
            {"device": device_id, "snippet": snippet_id},
        ).one_or_none()
        if row is None:
            return
        told = feedback_of(db, device_id, snippet_id)
        named = any(item["kind"] == "names" for item in told)
        marks = {
            "format": 1,
            "kept": bool(row.kept),
            "reviewed": bool(row.reviewed),
            "names": _owners_names(db, row.number) if named else None,
            "emotion": row.emotion if row.corrected else None,
            "feedback": told,
        }
        self._media.kept.write(device_id, snippet_id, MARKS, json.dumps(marks, indent=1).encode())

    def recall(self, device_id: str, snippet_id: str) -> None:
        """Bring the sidecar of a moment that was just indexed into the index; twice changes nothing."""
        marks = self._media.note(device_id, snippet_id, MARKS)
        if marks:
            with self._db.write() as db:
                self._apply(db, device_id, snippet_id, marks)

    def recall_erased(self, device_id: str, snippet_id: str, note: Mapping[str, Any]) -> None:
        """The same for an erased moment, of which only what the glasses were told is left."""
        if note.get("feedback"):
            with self._db.write() as db:
                _tell_again(db, device_id, snippet_id, note["feedback"])

    def rewrite(self) -> None:
        """Write every sidecar there is again from the index."""
        for device_id, snippet_id in self._media.kept.everything():
            if self._media.kept.has(device_id, snippet_id, MARKS):
                with self._db.write() as db:
                    self.save(db, device_id, snippet_id)

    def _apply(
        self, db: Connection, device_id: str, snippet_id: str, marks: Mapping[str, Any]
    ) -> None:
        place = {"device": device_id, "snippet": snippet_id}
        number = db.execute(
            text(
                "UPDATE moments SET kept = :kept, reviewed = :reviewed"
                " WHERE device_id = :device AND snippet_id = :snippet RETURNING number"
            ),
            {**place, "kept": marks.get("kept") is True, "reviewed": marks.get("reviewed") is True},
        ).scalar_one_or_none()
        if number is None:
            return
        names = marks.get("names")
        if isinstance(names, list):
            rename(db, number, [str(name) for name in names])
        if isinstance(marks.get("emotion"), str):
            db.execute(
                text("UPDATE moments SET emotion = :e, corrected = TRUE WHERE number = :n"),
                {"e": marks["emotion"], "n": number},
            )
        retell(db, self._db.words, number)
        _tell_again(db, device_id, snippet_id, marks.get("feedback") or [])


def rename(db: Connection, number: int, names: Sequence[str]) -> None:
    """The owner's names become a moment's attended tags and its title."""
    db.execute(
        text("DELETE FROM tags WHERE moment = :n AND (origin = 'owner' OR attended)"), {"n": number}
    )
    for name in names:
        db.execute(
            text("INSERT INTO tags VALUES (:n, :name, NULL, TRUE, 'owner')"),
            {"n": number, "name": name},
        )
    title = names[0] if names else "Something looked at"
    db.execute(
        text("UPDATE moments SET title = :title WHERE number = :n"), {"title": title, "n": number}
    )


def _owners_names(db: Connection, number: int) -> list[str]:
    rows = db.execute(
        text("SELECT name FROM tags WHERE moment = :n AND origin = 'owner' ORDER BY rowid"),
        {"n": number},
    )
    return [str(name) for name in rows.scalars()]


def feedback_of(db: Connection, device_id: str, snippet_id: str) -> list[dict[str, Any]]:
    """What the glasses were told of a moment, in order."""
    rows = db.execute(
        text(
            f"SELECT {', '.join(_COLUMNS)} FROM feedback"
            " WHERE device_id = :device AND snippet_id = :snippet ORDER BY number"
        ),
        {"device": device_id, "snippet": snippet_id},
    ).mappings()
    found = [dict(row) for row in rows]
    for item in found:
        item["keep"] = None if item["keep"] is None else bool(item["keep"])
    return found


def _tell_again(
    db: Connection, device_id: str, snippet_id: str, told: Sequence[Mapping[str, Any]]
) -> None:
    """Put feedback back under its old numbers, and let new ones begin well after them."""
    for item in told:
        if not isinstance(item, Mapping) or not isinstance(item.get("number"), int):
            continue
        db.execute(
            text(
                f"INSERT INTO feedback (device_id, snippet_id, moment_key, {', '.join(_COLUMNS)})"
                f" VALUES (:device, :snippet, :key, {', '.join(f':{n}' for n in _COLUMNS)})"
                " ON CONFLICT DO NOTHING"
            ),
            {
                "device": device_id,
                "snippet": snippet_id,
                "key": moment_key(device_id, snippet_id),
                **{name: item.get(name) for name in _COLUMNS},
            },
        )
    last = db.execute(text("SELECT coalesce(max(number), 0) FROM feedback")).scalar_one()
    if is_postgres(db):
        db.execute(
            text(
                "SELECT setval(pg_get_serial_sequence('feedback', 'number'),"
                " greatest(:last, (SELECT last_value FROM feedback_number_seq)))"
            ),
            {"last": last + _LEAP},
        )
    else:
        db.execute(
            text("UPDATE sqlite_sequence SET seq = max(seq, :last) WHERE name = 'feedback'"),
            {"last": last + _LEAP},
        )
