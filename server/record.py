"""A moment's record as the index needs it: read tolerantly, because it was written by another program.

A record that lacks what is optional, or is not even JSON, still belongs to its owner: it is stored
and listed with what is known.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
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
class Feeling:
    """What the glasses estimated of the wearer's emotion; all None if they did not."""

    strongest: str | None = None
    probabilities: dict[str, float] | None = None
    influence: float | None = None
    """0..1: how much the scene, rather than the eyes, carries the estimate."""
    valence: float | None = None
    arousal: float | None = None


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
    place: str
    """Where it was, in words, if the glasses said so."""
    feeling: Feeling

    @property
    def attended(self) -> tuple[str, ...]:
        return tuple(tag.name for tag in self.tags if tag.attended)

    @property
    def around(self) -> tuple[str, ...]:
        return tuple(tag.name for tag in self.tags if not tag.attended)

    def words(self, extra: tuple[str, ...] = ()) -> str:
        """Text to find the moment by: things seen, place, reasons, day and part of the day.

        The feeling is not among them: it is added by the index, because its owner may take it back.
        """
        day = datetime.fromisoformat(f"{self.local_day}T{self.local_time}")
        when = (f"{day:%A}", f"{day:%B}", day_part(self.local_time)) if self.time_known else ()
        names = tuple(tag.name for tag in self.tags)
        return " ".join((*names, self.place, *self.reasons, *when, *extra))


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
    try:
        local = start.astimezone(zone)
    except OverflowError:  # the last day of the calendar, in a zone where it is over already
        zone_name, local = "UTC", start
    tags = _tags(raw.get("tags"))
    attended = [tag for tag in tags if tag.attended]
    named = attended or list(tags)
    energy, place = raw.get("energy_mj"), raw.get("place")
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
        place=plain(place).strip()[:120] if isinstance(place, str) else "",
        feeling=_feeling(raw.get("emotion")),
    )


def plain(given: Any) -> str:
    """Text that every database can hold: without NUL and without halves of characters."""
    return str(given).encode(errors="replace").decode().replace("\0", "")


def day_part(local_time: str) -> str:
    """`morning`, ... of a local time `HH:MM:SS`."""
    return next(name for before, name in DAY_PARTS if int(local_time[:2]) < before)


def sentence(
    attended: Sequence[str], around: Sequence[str], place: str, emotion: str | None, part: str
) -> str:
    """A moment as one plain sentence, which search by meaning compares with what is asked."""
    said = f"looking at {', '.join(attended or around) or 'something'}"
    if attended and around:
        said += f" with {', '.join(around)} nearby"
    said += f", {place}" if place else ""
    said += f", feeling {emotion}" if emotion else ""
    return f"{said}, in the {part}" if part else said


def embedding(raw: Mapping[str, Any]) -> list[float] | None:
    """The vector of the attended region, finite numbers only; None if there is none."""
    given = raw.get("embedding")
    if not isinstance(given, list) or not 2 <= len(given) <= 4096:
        return None
    values = [number(value) for value in given]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) and any(known) else None


def number(given: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    try:
        return float(given) if math.isfinite(given) else None
    except OverflowError:  # a whole number longer than any float
        return None


def numbers(given: Any) -> dict[str, float]:
    """The finite numbers of a table, by their names."""
    table = given if isinstance(given, Mapping) else {}
    known = {plain(name)[:40]: number(value) for name, value in table.items()}
    return {name: value for name, value in known.items() if value is not None}


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


def _feeling(given: Any) -> Feeling:
    if not isinstance(given, Mapping):
        return Feeling()
    strongest = given.get("strongest")
    return Feeling(
        strongest=plain(strongest)[:40] if isinstance(strongest, str) and strongest else None,
        probabilities=numbers(given.get("probabilities")) or None,
        influence=number(given.get("influence")),
        valence=number(given.get("valence")),
        arousal=number(given.get("arousal")),
    )


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
