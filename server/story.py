"""From records to what people read: a day in chapters, and why a moment was kept in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from server.index import Entry
from server.record import DAY_PARTS, number

REASONS = {
    "attention": "your eyes rested on it and what lay there held your attention",
    "emotion": "of how it made you feel",
    "button": "you pressed the button",
}

MOVES = {
    ("watching", "checking"): "The scene camera woke, at low cost",
    ("watching", "keeping"): "The moment began",
    ("checking", "keeping"): "The moment began",
    ("checking", "watching"): "The scene camera went back to sleep",
    ("keeping", "checking"): "The moment ended",
    ("keeping", "watching"): "The moment ended and the scene camera slept",
}

CHART_WIDTH, CHART_HEIGHT = 1000, 120


@dataclass(frozen=True, slots=True)
class Chapter:
    """Moments that belong together in time."""

    title: str
    span: str
    things: tuple[str, ...]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Something the glasses decided: seconds from the video's start, what, and on what grounds."""

    at_s: float
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A share to draw: `share` of the longest bar, 0 to 100."""

    name: str
    value: float
    share: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Attention over time as SVG points in a box of CHART_WIDTH x CHART_HEIGHT."""

    points: str
    enter: float | None
    leave: float | None
    enter_y: float
    leave_y: float
    kept_x: float
    kept_width: float
    start_s: float
    end_s: float
    peak: float


def chapters(entries: Sequence[Entry], gap_min: float) -> list[Chapter]:
    """Split a day's moments (in time order) where nothing was kept for longer than the gap."""
    groups: list[list[Entry]] = []
    last: datetime | None = None
    for entry in entries:
        start = datetime.fromisoformat(entry.start_utc)
        if last is None or (start - last).total_seconds() > gap_min * 60:
            groups.append([])
        groups[-1].append(entry)
        last = start
    return [_chapter(group) for group in groups]


def _chapter(group: Sequence[Entry]) -> Chapter:
    first, last = group[0], group[-1]
    hour = int(first.local_time[:2])
    part = next(name for before, name in DAY_PARTS if hour < before)
    span = first.local_time[:5]
    if last.local_time[:5] != span:
        span += f" to {last.local_time[:5]}"
    seen = Counter(tag["name"] for entry in group for tag in entry.tags if tag["attended"])
    return Chapter(
        title=part.capitalize() if first.time_known else "Time unknown",
        span=span,
        things=tuple(name for name, _ in seen.most_common(4)),
        entries=tuple(group),
    )


def day_title(day: str, today: date) -> str:
    """`Today`, `Yesterday`, or the weekday and date."""
    given = date.fromisoformat(day)
    distance = (today - given).days
    if distance in (0, 1):
        return ("Today", "Yesterday")[distance]
    year = f" {given.year}" if given.year != today.year else ""
    return f"{given:%A}, {given.day} {given:%B}{year}"


def day_short(day: str) -> str:
    """Weekday and date in little room: `Mon 4`."""
    given = date.fromisoformat(day)
    return f"{given:%a} {given.day}"


def headline(entry: Entry) -> str:
    """Why it was kept, in one sentence."""
    causes = [REASONS.get(reason, reason) for reason in entry.reasons] or ["the glasses said so"]
    things = [tag["name"] for tag in entry.tags if tag["attended"]]
    what = f"the {things[0]}" if things else "something"
    why = " and ".join(causes)
    return f"You looked at {what} for {seconds(entry.duration_s)}. It was kept because {why}."


def steps(raw: Mapping[str, Any]) -> list[Step]:
    """The state changes in order, each with the reason the glasses gave at that instant."""
    zero = origin_ns(raw)
    found = []
    for change in rows(_evidence(raw).get("changes")):
        if not isinstance(change, Mapping):
            continue
        at = number(change.get("t_ns"))
        move = MOVES.get((str(change.get("before")), str(change.get("after"))), "The state changed")
        if at is not None:
            found.append(Step((at - zero) / 1e9, move, str(change.get("why", ""))))
    return found


def thresholds(raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every threshold that was in force, by its name."""
    given = _evidence(raw).get("thresholds")
    if not isinstance(given, Mapping):
        return []
    return [(str(name).replace("_", " "), plain(value)) for name, value in given.items()]


def energy(raw: Mapping[str, Any]) -> list[Bar]:
    """Millijoules by component, largest first."""
    given = raw.get("energy_mj")
    if not isinstance(given, Mapping):
        return []
    values = {
        str(k): number(v) for k, v in given.items() if not str(k).startswith(("total", "always"))
    }
    return _bars({name: value for name, value in values.items() if value})


def feelings(raw: Mapping[str, Any]) -> list[Bar]:
    """Class probabilities in the glasses' order."""
    emotion = raw.get("emotion")
    given = emotion.get("probabilities") if isinstance(emotion, Mapping) else None
    if not isinstance(given, Mapping):
        return []
    values = {str(name): number(value) or 0.0 for name, value in given.items()}
    return [Bar(name, value, 100 * min(1.0, max(0.0, value))) for name, value in values.items()]


def chart(raw: Mapping[str, Any], entry: Entry) -> Chart | None:
    """Attention against its thresholds, on the video's own time; None without a trace."""
    trace = [
        (float(row[0]), float(row[1]))
        for row in rows(_evidence(raw).get("attention"))
        if isinstance(row, list) and len(row) == 2 and None not in (number(row[0]), number(row[1]))
    ]
    if len(trace) < 2:
        return None
    zero, end = origin_ns(raw), float(max(entry.end_ns, trace[-1][0]))
    first = min(zero, trace[0][0])
    span = max(end - first, 1.0)
    limits = _evidence(raw).get("thresholds")
    limits = limits if isinstance(limits, Mapping) else {}
    enter, leave = number(limits.get("enter_probability")), number(limits.get("leave_probability"))
    points = " ".join(f"{CHART_WIDTH * (t - first) / span:.1f},{_height(p):.1f}" for t, p in trace)
    return Chart(
        points=points,
        enter=enter,
        leave=leave,
        enter_y=_height(enter or 0),
        leave_y=_height(leave or 0),
        kept_x=CHART_WIDTH * max(0.0, entry.start_ns - first) / span,
        kept_width=CHART_WIDTH * max(0.0, entry.end_ns - max(entry.start_ns, first)) / span,
        start_s=(first - zero) / 1e9,
        end_s=(end - zero) / 1e9,
        peak=max(p for _, p in trace),
    )


def origin_ns(raw: Mapping[str, Any]) -> float:
    """Session time of the video's first frame; of the moment's start if there is no video."""
    video = raw.get("video")
    start = number(video.get("start_ns")) if isinstance(video, Mapping) else None
    return start if start is not None else number(raw.get("start_ns")) or 0.0


def seconds(value: float) -> str:
    """A duration as people say it."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def joules(millijoules: float | None) -> str:
    """Energy with a unit that keeps the number readable."""
    if millijoules is None:
        return "unknown"
    return f"{millijoules:.0f} mJ" if millijoules < 1000 else f"{millijoules / 1000:.2f} J"


def plain(value: Any) -> str:
    return (
        f"{value:g}"
        if isinstance(value, int | float) and not isinstance(value, bool)
        else str(value)
    )


def rows(given: Any) -> list[Any]:
    return given if isinstance(given, list) else []


def _evidence(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    evidence = raw.get("evidence")
    return evidence if isinstance(evidence, Mapping) else {}


def _height(probability: float) -> float:
    return CHART_HEIGHT * (1 - min(1.0, max(0.0, probability)))


def _bars(values: Mapping[str, float | None]) -> list[Bar]:
    known = {name: value for name, value in values.items() if value is not None}
    most = max(known.values(), default=1.0) or 1.0
    ordered = sorted(known.items(), key=lambda item: -item[1])
    return [Bar(name.replace("_", " "), value, 100 * value / most) for name, value in ordered]
