"""A moment's record as the index needs it: read tolerantly, because it was written by another program.

A record that lacks what is optional, or is not even JSON, still belongs to its owner: it is stored
and listed with what is known.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

DAY_PARTS = ((5, "night"), (12, "morning"), (17, "afternoon"), (22, "evening"), (24, "night"))


@dataclass(frozen=True, slots=True)
class SeenTag:
    name: str
    probability: float | None
    attended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is listed and searched; times as ISO text, `local_*` in the wearer's zone."""

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
    tags: tuple[SeenTag, ...]
    energy_mj: float | None
    emotion: str | None

    def words(self, extra: tuple[str, ...] = ()) -> str:
        """Text to find the moment by: things seen, reasons, feeling, day and part of the day."""
        day = datetime.fromisoformat(f"{self.local_day}T{self.local_time}")
        part = next(name for before, name in DAY_PARTS if day.hour < before)
        when = (f"{day:%A}", f"{day:%B}", part) if self.time_known else ()
        names = tuple(tag.name for tag in self.tags)
        feeling = (self.emotion,) if self.emotion else ()
        return " ".join((*names, *self.reasons, *feeling, *when, *extra))


def parse(data: bytes) -> dict[str, Any]:
    """The object in the bytes of a `moment.json`; an empty one if it cannot be understood."""
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}


def read(raw: Mapping[str, Any], *, session_id: str, fallback_utc: str) -> Record:
    """Pick from a moment record; `fallback_utc` places a moment whose own time is unknown."""
    start, known = _instant(raw.get("start_utc")), True
    if start is None:
        start, known = _instant(fallback_utc) or datetime.now(UTC), False
    zone_name, zone = _zone(raw.get("zone"))
    local = start.astimezone(zone)
    tags = _tags(raw.get("tags"))
    attended = [tag for tag in tags if tag.attended]
    named = attended or list(tags)
    energy, emotion = raw.get("energy_mj"), raw.get("emotion")
    return Record(
        session_id=plain(raw.get("session_id") or session_id)[:200],
        start_utc=start.astimezone(UTC).isoformat(timespec="milliseconds"),
        local_day=local.date().isoformat(),
        local_time=local.time().isoformat(timespec="seconds"),
        zone=zone_name,
        time_known=known,
        start_ns=_whole(raw.get("start_ns")),
        end_ns=max(_whole(raw.get("end_ns")), _whole(raw.get("start_ns"))),
        title=named[0].name if named else "Something looked at",
        reasons=tuple(plain(r)[:80] for r in _listed(raw.get("reasons"))[:8]),
        tags=tags,
        energy_mj=number(energy.get("total")) if isinstance(energy, Mapping) else None,
        emotion=_emotion(emotion),
    )


def plain(given: Any) -> str:
    """Text that every database can hold: without NUL and without halves of characters."""
    return str(given).encode(errors="replace").decode().replace("\0", "")


def number(given: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return float(given) if math.isfinite(given) else None


def _whole(given: Any) -> int:
    value = number(given)
    return int(value) if value is not None and abs(value) < 2**62 else 0


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else []


def _tags(given: Any) -> tuple[SeenTag, ...]:
    """One tag a name, attended ones first, then in the glasses' own order."""
    found: dict[str, SeenTag] = {}
    for entry in _listed(given)[:64]:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            continue
        name = plain(entry["name"]).strip()[:80]
        tag = SeenTag(name, number(entry.get("probability")), entry.get("attended") is True)
        if name and (name not in found or (tag.attended and not found[name].attended)):
            found[name] = tag
    return tuple(sorted(found.values(), key=lambda tag: not tag.attended))


def _emotion(given: Any) -> str | None:
    if not isinstance(given, Mapping):
        return None
    strongest = given.get("strongest")
    return plain(strongest)[:40] if isinstance(strongest, str) and strongest else None


def _instant(given: Any) -> datetime | None:
    if not isinstance(given, str):
        return None
    try:
        instant = datetime.fromisoformat(given)
        return instant.replace(tzinfo=instant.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone(given: Any) -> tuple[str, ZoneInfo]:
    """The wearer's zone; UTC where it is unknown to us (or not a name at all)."""
    try:
        return str(given), ZoneInfo(str(given))
    except (OSError, ValueError, KeyError):  # KeyError: ZoneInfoNotFoundError
        return "UTC", ZoneInfo("UTC")
