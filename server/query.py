"""What somebody looks for: one object for the page and the API, and the SQL it means.

Every filter that is left out lets everything through. Things are names the wearer attended to; times of
day are the wearer's own and may go round midnight.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlencode

from server.problems import Problem
from server.words import WordIndex

EYES_BELOW, SCENE_ABOVE = 0.4, 0.6
"""Influence below: mostly the eyes; above: mostly the scene; between: both."""

INFLUENCES = {
    "eyes": f"m.influence < {EYES_BELOW}",
    "both": f"m.influence BETWEEN {EYES_BELOW} AND {SCENE_ABOVE}",
    "scene": f"m.influence > {SCENE_ABOVE}",
}

_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Words and filters; all must hold."""

    words: str = ""
    """Each must be there; the last may be a beginning."""
    things: tuple[str, ...] = ()
    emotion: str | None = None
    influence: str | None = None
    """`eyes`, `both` or `scene`: what the emotion was mostly read from."""
    least_s: float | None = None
    """Attended for at least so long."""
    from_time: str | None = None
    until_time: str | None = None
    """`HH:MM` of the wearer's local time; from is in, until is out."""
    from_day: str | None = None
    until_day: str | None = None
    """`YYYY-MM-DD`, both in."""
    device: str | None = None
    kept: bool | None = None
    reviewed: bool | None = None

    def __post_init__(self) -> None:
        """Raises Problem 422 naming the filter that makes no sense."""
        for name, form, shape in (
            ("from_time", _TIME, "HH:MM"),
            ("until_time", _TIME, "HH:MM"),
            ("from_day", _DAY, "YYYY-MM-DD"),
            ("until_day", _DAY, "YYYY-MM-DD"),
        ):
            value = getattr(self, name)
            if value is not None and not form.fullmatch(value):
                raise Problem(422, "bad-filter", f"{name} must look like {shape}")
        if self.influence is not None and self.influence not in INFLUENCES:
            raise Problem(422, "bad-filter", f"influence must be one of {', '.join(INFLUENCES)}")

    @property
    def filtered(self) -> bool:
        """Whether anything but the words is asked."""
        return any(
            getattr(self, item.name) not in (None, ())
            for item in fields(self)
            if item.name != "words"
        )

    def address(self, **changes: Any) -> str:
        """The query as the query string of an address, with some parts changed (None: left out)."""
        given: dict[str, Any] = {"q": self.words or None, "thing": list(self.things)}
        given |= {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in ("words", "things")
        }
        given |= changes
        plain = {
            name: _plain(value) for name, value in given.items() if value not in (None, "", [])
        }
        return urlencode(plain, doseq=True)


def conditions(query: Query, words: WordIndex) -> tuple[list[str], dict[str, Any]] | None:
    """SQL conditions on `moments m` and their values; None if nothing can fit (words without letters)."""
    where: list[str] = []
    values: dict[str, Any] = {}
    if query.words:
        found = words.condition(query.words)
        if found is None:
            return None
        where.append(found[0])
        values |= found[1]
    for condition, more in _filters(query):
        where.append(condition)
        values |= more
    return where, values


def _filters(query: Query) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, thing in enumerate(query.things):
        name = f"thing{number}"
        inner = f"SELECT moment FROM tags WHERE name = :{name} AND attended"
        yield f"m.number IN ({inner})", {name: thing}
    if query.emotion is not None:
        yield "m.emotion = :emotion", {"emotion": query.emotion}
    if query.influence is not None:
        yield INFLUENCES[query.influence], {}
    if query.least_s is not None:
        yield "m.end_ns - m.start_ns >= :least_ns", {"least_ns": int(query.least_s * 1e9)}
    yield from _times(query)
    if query.from_day is not None:
        yield "m.local_day >= :from_day", {"from_day": query.from_day}
    if query.until_day is not None:
        yield "m.local_day <= :until_day", {"until_day": query.until_day}
    if query.device is not None:
        yield "m.device_id = :device", {"device": query.device}
    for name in ("kept", "reviewed"):
        value = getattr(query, name)
        if value is not None:
            yield f"m.{name} = :{name}", {name: value}


def _times(query: Query) -> Iterator[tuple[str, dict[str, Any]]]:
    begin, end = query.from_time, query.until_time
    if begin is None and end is None:
        return
    values = {"from_time": begin or "00:00", "until_time": end or "24:00"}
    join = "AND" if values["from_time"] <= values["until_time"] else "OR"  # round midnight
    yield f"(m.local_time >= :from_time {join} m.local_time < :until_time)", values


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value
