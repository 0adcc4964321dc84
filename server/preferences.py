"""What the owner chose on the settings page and the server has to remember."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import text

from server.database import Database
from server.settings import ServerSettings

KEEP_EMOTION = "keep_emotion"
RETENTION = ("video_days", "preview_days", "record_days", "retention_mb")
"""Settings that the page may change; until it does, server.toml holds."""


class Preferences:
    """Names and values, in the index."""

    def __init__(self, database: Database, *, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` hears of every choice, which a lost index would have to know again."""
        self._db = database
        self._changed = changed

    def get(self, name: str, default: str) -> str:
        row = self._db.row("SELECT value FROM preferences WHERE name = :name", {"name": name})
        return default if row is None else str(row[0])

    def set(self, name: str, value: str) -> None:
        self.set_all({name: value})

    def set_all(self, values: Mapping[str, str]) -> None:
        """All of them or, if it is cut short, none."""
        with self._db.write() as db:
            for name, value in values.items():
                db.execute(
                    text(
                        "INSERT INTO preferences VALUES (:name, :value)"
                        " ON CONFLICT (name) DO UPDATE SET value = :value"
                    ),
                    {"name": name, "value": value},
                )
        self._changed()

    def over(self, settings: ServerSettings) -> ServerSettings:
        """The settings, with what was chosen of `RETENTION` in their place."""
        chosen: dict[str, Any] = {
            name: int(value) for name in RETENTION if (value := self.get(name, ""))
        }
        return replace(settings, **chosen)

    @property
    def keep_emotion(self) -> bool:
        """Whether emotion data may be kept here at all; the owner may switch it off."""
        return self.get(KEEP_EMOTION, "yes") == "yes"
