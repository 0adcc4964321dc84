"""A week of feelings in sums, with how sure they are: what the self-reflection page shows.

Each moment counts with its class probabilities, not with its strongest class only, so a doubtful moment
counts a little for several; where the owner corrected it, it counts wholly for what the owner said. The range
beside each share is a 90 % interval over the moments (a Beta distribution with as many counts, Jeffreys'
prior), which says how much chance alone could move it; it knows nothing of the network's own error.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from server.entries import Entry
from server.judging import EMOTIONS

NEUTRAL = "neutral"
LEAST_TOGETHER = 3
"""A thing must have been there so often before it is said to go with an emotion."""
_Z90 = 1.6449


@dataclass(frozen=True, slots=True)
class Share:
    """An emotion's part of the week: `share` and its 90 % range, 0 to 1; `moments` counts it as strongest."""

    emotion: str
    share: float
    low: float
    high: float
    moments: int


@dataclass(frozen=True, slots=True)
class Together:
    """A thing and an emotion that met more often than by chance: `times` as often, in `moments` moments."""

    thing: str
    emotion: str
    moments: int
    of: int
    times: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """Monday to Sunday of the wearer."""

    monday: str
    sunday: str
    moments: int
    known: int
    """Moments with an emotion."""
    corrected: int
    agreed: int
    """Corrections that said the same as the glasses."""
    sureness: float | None
    """Mean probability of the strongest class, 0 to 1, over moments that were not corrected."""
    shares: tuple[Share, ...]
    together: tuple[Together, ...]
    by_day: tuple[tuple[str, Mapping[str, float]], ...]
    """(day, emotion -> share of that day's moments), Monday first."""


def monday_of(day: date) -> date:
    return day - timedelta(days=day.weekday())


def week(entries: Sequence[Entry], monday: date) -> Week:
    """The sums over a week's moments."""
    felt = [(entry, weights(entry)) for entry in entries]
    known = [(entry, table) for entry, table in felt if table]
    sure = [
        max(entry.probabilities.values())
        for entry, _ in known
        if entry.probabilities and not entry.corrected
    ]
    corrected = [entry for entry, _ in known if entry.corrected]
    days = [(monday + timedelta(days=n)).isoformat() for n in range(7)]
    return Week(
        monday=days[0],
        sunday=days[6],
        moments=len(entries),
        known=len(known),
        corrected=len(corrected),
        agreed=sum(entry.emotion == _estimated(entry) for entry in corrected),
        sureness=sum(sure) / len(sure) if sure else None,
        shares=_shares(known),
        together=_together(known),
        by_day=tuple((day, _day_shares(known, day)) for day in days),
    )


def weights(entry: Entry) -> dict[str, float]:
    """How much a moment counts for each emotion, 1 in all; empty if nothing is known."""
    if entry.emotion is not None and (entry.corrected or not entry.probabilities):
        return {entry.emotion: 1.0}
    table = {name: max(0.0, value) for name, value in (entry.probabilities or {}).items()}
    total = sum(table.values())
    return {name: value / total for name, value in table.items()} if total > 0 else {}


Felt = Sequence[tuple[Entry, Mapping[str, float]]]


def _shares(known: Felt) -> tuple[Share, ...]:
    sums: defaultdict[str, float] = defaultdict(float)
    strongest: Counter[str] = Counter()
    for entry, table in known:
        for name, value in table.items():
            sums[name] += value
        strongest[entry.emotion or max(table, key=lambda name: table[name])] += 1
    order = {name: number for number, name in enumerate(EMOTIONS)}
    names = sorted({*EMOTIONS, *sums}, key=lambda name: order.get(name, 99))
    found = [_share(name, sums[name], len(known), strongest[name]) for name in names]
    return tuple(sorted(found, key=lambda share: -share.share)) if known else ()


def _share(name: str, count: float, total: int, strongest: int) -> Share:
    """Mean and 90 % range of a Beta(count + 1/2, rest + 1/2), the range by its normal approximation."""
    a, b = count + 0.5, total - count + 0.5
    mean = a / (a + b)
    spread = _Z90 * math.sqrt(mean * (1 - mean) / (a + b + 1))
    return Share(
        name,
        count / total if total else 0.0,
        max(0.0, mean - spread),
        min(1.0, mean + spread),
        strongest,
    )


def _together(known: Felt, most: int = 8) -> tuple[Together, ...]:
    """Things with feelings other than neutral, by how much more often than chance they met."""
    total: defaultdict[str, float] = defaultdict(float)
    things: Counter[str] = Counter()
    both: defaultdict[tuple[str, str], float] = defaultdict(float)
    for entry, table in known:
        for name, value in table.items():
            total[name] += value
        for thing in set(entry.attended):
            things[thing] += 1
            for name, value in table.items():
                both[thing, name] += value
    found = []
    for (thing, emotion), count in both.items():
        expected = things[thing] * total[emotion] / len(known)
        chance = math.sqrt(expected) if expected > 0 else math.inf
        if emotion == NEUTRAL or things[thing] < LEAST_TOGETHER or count - expected < chance:
            continue
        found.append(Together(thing, emotion, round(count), things[thing], count / expected))
    return tuple(sorted(found, key=lambda pair: (-pair.moments, -pair.times))[:most])


def _day_shares(known: Felt, day: str) -> dict[str, float]:
    sums: defaultdict[str, float] = defaultdict(float)
    tables = [table for entry, table in known if entry.local_day == day]
    for table in tables:
        for name, value in table.items():
            sums[name] += value / len(tables)
    return dict(sums)


def _estimated(entry: Entry) -> str | None:
    table = entry.probabilities
    return max(table, key=lambda name: table[name]) if table else None
