"""A day in chapters, why a moment was kept, and what of a session was seen, in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from server.entries import Entry
from server.record import DAY_PARTS
from server.session_reports import SessionReport
from server.units import seconds

REASONS = {
    "attention": "your eyes rested on it and what lay there held your attention",
    "emotion": "of how it made you feel",
    "button": "you pressed the button",
}


@dataclass(frozen=True, slots=True)
class Chapter:
    """Moments that belong together in time."""

    title: str
    span: str
    things: tuple[str, ...]
    entries: tuple[Entry, ...]


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
    what = f"the {entry.attended[0]}" if entry.attended else "something"
    why = " and ".join(causes)
    return f"You looked at {what} for {seconds(entry.duration_s)}. It was kept because {why}."


def seen_words(report: SessionReport) -> str:
    """`Seen 97 % of 3 h 10 min, 4 gaps`."""
    gaps = len(report.gaps)
    told = "no gap" if not gaps else f"{gaps} gap{'' if gaps == 1 else 's'}"
    share = 100 * report.seen_share
    rounded = f"{share:.0f}" if share < 99 or share == 100 else f"{share:.1f}"
    return f"Seen {rounded} % of {seconds(report.session_s)}, {told}"


def gap_words(report: SessionReport, most: int = 4) -> list[str]:
    """The longest gaps with when and why, longest first: `12 min at 14:05, glasses were taken off`."""
    start = datetime.fromisoformat(report.start_utc)
    zone = ZoneInfo(report.zone)
    longest = sorted(report.gaps, key=lambda gap: -gap.length_s)[:most]
    told = []
    for gap in longest:
        at = (start + timedelta(seconds=gap.start_s)).astimezone(zone)
        when = f" at {at:%H:%M}" if report.time_known else f" from {seconds(gap.start_s)} on"
        told.append(f"{seconds(gap.length_s)}{when}: {gap.cause or 'no cause given'}")
    return told
