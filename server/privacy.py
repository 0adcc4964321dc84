"""Emotion data is the owner's to refuse: switched off, none is kept; erased, nothing is left behind.

What counts as emotion data: the `emotion` of a moment's record with its trace, everything in its evidence
that names emotion, the columns and words and sentence of the index that came from it, corrections of
it, and copies of the index from before. The record is written again without it; what the glasses
signed no longer fits then, and a note in `custody.json` says so to whoever checks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import text

from server.database import Database, utc_now
from server.index import Index
from server.manifest import AMENDED, CUSTODY, MOMENT
from server.marks import Marks
from server.media import MediaFolder
from server.preferences import KEEP_EMOTION, Preferences
from server.telling import retell

_WHY = "emotion data erased by the owner"


class Privacy:
    """The switch for emotion data, and its eraser."""

    def __init__(
        self,
        database: Database,
        index: Index,
        media: MediaFolder,
        preferences: Preferences,
        backups: Path,
        marks: Marks,
    ) -> None:
        self._db = database
        self._index = index
        self._media = media
        self._preferences = preferences
        self._marks = marks
        self._backups = backups

    def arrived(self, device_id: str, snippet_id: str) -> None:
        """Obey the switch for a snippet that was just stored, before the index takes it up."""
        if not self._preferences.keep_emotion:
            self._without_emotion(device_id, snippet_id)

    def switch(self, keep: bool) -> None:
        """From now on keep emotion data, or take it out of everything that arrives."""
        self._preferences.set(KEEP_EMOTION, "yes" if keep else "no")

    def erase_emotion(self) -> int:
        """Take emotion data out of everything that is kept; says how many moments had some.

        Killed halfway it has done a part for good and can be repeated.
        """
        count = 0
        for device_id, snippet_id in self._media.kept.everything():
            count += self._without_emotion(device_id, snippet_id)
        with self._db.write() as db:
            db.execute(text("DELETE FROM feedback WHERE kind = 'emotion'"))
            db.execute(text("UPDATE feedback SET probabilities = NULL, emotion = NULL"))
            had = db.execute(
                text(
                    "SELECT number, reasons FROM moments WHERE emotion IS NOT NULL OR corrected OR"
                    " probabilities IS NOT NULL OR reasons LIKE '%emotion%' OR words LIKE '%emotion%'"
                    " OR influence IS NOT NULL OR valence IS NOT NULL OR arousal IS NOT NULL"
                )
            ).all()
            for number, reasons in had:
                kept = [reason for reason in json.loads(reasons) if "emotion" not in reason.lower()]
                db.execute(
                    text(
                        "UPDATE moments SET emotion = NULL, probabilities = NULL, influence = NULL,"
                        " valence = NULL, arousal = NULL, corrected = FALSE, reasons = :reasons,"
                        " words = replace(words, 'emotion', '') WHERE number = :n"
                    ),
                    {"reasons": json.dumps(kept), "n": number},
                )
                retell(db, self._db.words, int(number))
        self._marks.rewrite()
        for copy in self._backups.glob("*"):
            copy.unlink()
        self._db.scrub()
        return max(count, len(had))

    def _without_emotion(self, device_id: str, snippet_id: str) -> bool:
        """Write a stored moment's record again without emotion data; whether it had some."""
        kept = self._media.kept
        raw = self._media.record(device_id, snippet_id)
        clean = _clean(raw)
        if not raw or clean == raw:
            return False
        data = json.dumps(clean).encode()
        try:  # the note first: a crash between the two must not look like damage for long
            custody = json.loads(kept.read(device_id, snippet_id, CUSTODY))
            note = {"sha256": hashlib.sha256(data).hexdigest(), "why": _WHY, "at_utc": utc_now()}
            custody[AMENDED] = {**custody.get(AMENDED, {}), MOMENT: note}
            kept.write(device_id, snippet_id, CUSTODY, json.dumps(custody, indent=1).encode())
        except (OSError, ValueError):
            pass  # no custody to speak of: `check` says so anyway
        kept.write(device_id, snippet_id, MOMENT, data)
        return True


def _clean(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A record without anything that tells of emotion."""
    clean = dict(raw)
    if "emotion" in clean:
        clean["emotion"] = None
    for name in ("reasons", "models", "energy_mj", "evidence"):
        if name in clean:
            clean[name] = _without(clean[name])
    return clean


def _without(value: Any) -> Any:
    """The value without keys, list entries and sentences that name emotion."""
    if isinstance(value, Mapping):
        return {
            name: _without(inner) for name, inner in value.items() if "emotion" not in name.lower()
        }
    if isinstance(value, list):
        return [
            _without(inner)
            for inner in value
            if not (isinstance(inner, str) and "emotion" in inner.lower())
        ]
    if isinstance(value, str) and "emotion" in value.lower():
        return ""
    return value
