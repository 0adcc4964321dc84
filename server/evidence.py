"""From a moment's record to the evidence a page shows: what was decided and why, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.entries import Entry
from server.record import number
from server.units import plain

MOVES = {
    ("watching", "checking"): "The scene camera woke, at low cost",
    ("watching", "keeping"): "The moment began",
    ("checking", "keeping"): "The moment began",
    ("checking", "watching"): "The scene camera went back to sleep",
    ("keeping", "checking"): "The moment ended",
    ("keeping", "watching"): "The moment ended and the scene camera slept",
}

CHART_WIDTH, CHART_HEIGHT = 1000, 120
ASLEEP_NS = 600_000_000  # no score for so long: the scene camera slept, nothing lies between


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
    """Attention over the video's time, in a box of CHART_WIDTH x CHART_HEIGHT.

    One line of SVG points for each stretch in which the scene camera was awake.
    """

    lines: tuple[str, ...]
    enter: float | None
    leave: float | None
    enter_y: float
    leave_y: float
    kept_x: float
    kept_width: float
    start_s: float
    end_s: float
    peak: float


def steps(raw: Mapping[str, Any]) -> tuple[list[Step], list[Step]]:
    """The state changes with the reasons given at the time: (what was before, what made this moment).

    A moment is made by the last waking of the camera before it, its opening, and its end.
    """
    zero = origin_ns(raw)
    found: list[Step] = []
    woke = 0
    for change in rows(_evidence(raw).get("changes")):
        at = number(change.get("t_ns")) if isinstance(change, Mapping) else None
        if at is None:
            continue
        move = (str(change.get("before")), str(change.get("after")))
        if move[0] == "watching" or (move[0] == "keeping" and at <= _start_ns(raw)):
            woke = len(found)
        what = MOVES.get(move, "The state changed")
        found.append(Step((at - zero) / 1e9, what, str(change.get("why", ""))))
    ended, end_ns = _evidence(raw).get("ended"), number(raw.get("end_ns"))
    closed = bool(found) and found[-1].what.startswith("The moment ended")
    if isinstance(ended, str) and end_ns is not None and not closed:
        found.append(Step((end_ns - zero) / 1e9, "The moment ended", ended))
    return found[:woke], found[woke:]


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
    return bars({name: value for name, value in values.items() if value})


def feelings(raw: Mapping[str, Any]) -> list[Bar]:
    """Class probabilities in the glasses' order."""
    emotion = raw.get("emotion")
    given = emotion.get("probabilities") if isinstance(emotion, Mapping) else None
    if not isinstance(given, Mapping):
        return []
    values = {str(name): number(value) or 0.0 for name, value in given.items()}
    return [Bar(name, value, 100 * min(1.0, max(0.0, value))) for name, value in values.items()]


def decisions(raw: Mapping[str, Any]) -> list[tuple[str, int, float | None, str]]:
    """What was done with the scene frames: (what, how many, what the networks drew for them in
    millijoules, the reason given most often)."""
    found: dict[str, tuple[str, Counter[str]]] = {}
    for run in rows(_evidence(raw).get("decisions")):
        if not isinstance(run, Mapping):
            continue
        side, count = number(run.get("scale_px")), int(number(run.get("frames")) or 1)
        action = "reuse" if run.get("reuse") is True else f"{side or 0:.0f}"
        what = f"looked at with {action} px"
        what = "carried along by optical flow" if action == "reuse" else what
        found.setdefault(action, (what, Counter()))[1][str(run.get("why", ""))[:120]] += count
    told = [
        (what, sum(why.values()), _drawn_mj(raw, action), why.most_common(1)[0][0])
        for action, (what, why) in found.items()
    ]
    return sorted(told, key=lambda row: -row[1])


def _drawn_mj(raw: Mapping[str, Any], action: str) -> float | None:
    """What the ledger booked for one action of the resolution controller; None if it did not say."""
    decided = _evidence(raw).get("decided")
    booked = decided.get(action) if isinstance(decided, Mapping) else None
    return number(booked.get("mj")) if isinstance(booked, Mapping) else None


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
    trace = [(t, p) for t, p in trace if t >= zero] or trace[-1:]
    span = max(end - zero, 1.0)
    limits = _evidence(raw).get("thresholds")
    limits = limits if isinstance(limits, Mapping) else {}
    enter, leave = number(limits.get("enter_probability")), number(limits.get("leave_probability"))
    return Chart(
        lines=_lines(trace, zero, span),
        enter=enter,
        leave=leave,
        enter_y=_height(enter or 0),
        leave_y=_height(leave or 0),
        kept_x=CHART_WIDTH * max(0.0, entry.start_ns - zero) / span,
        kept_width=CHART_WIDTH * max(0.0, entry.end_ns - max(entry.start_ns, zero)) / span,
        start_s=0.0,
        end_s=span / 1e9,
        peak=max(p for _, p in trace),
    )


def _lines(trace: Sequence[tuple[float, float]], zero: float, span: float) -> tuple[str, ...]:
    """The trace as SVG points, cut where the camera slept."""
    stretches: list[list[str]] = []
    last: float | None = None
    for t_ns, probability in trace:
        if last is None or t_ns - last > ASLEEP_NS:
            stretches.append([])
        stretches[-1].append(f"{CHART_WIDTH * (t_ns - zero) / span:.1f},{_height(probability):.1f}")
        last = t_ns
    return tuple(" ".join(points) for points in stretches)


def origin_ns(raw: Mapping[str, Any]) -> float:
    """Session time of the video's first frame; of the moment's start if there is no video."""
    video = raw.get("video")
    start = number(video.get("start_ns")) if isinstance(video, Mapping) else None
    return start if start is not None else _start_ns(raw)


def video(raw: Mapping[str, Any]) -> dict[str, int] | None:
    """What a page needs of a video, in whole numbers a browser can hold; None if that is not told."""
    told = raw.get("video")
    if not isinstance(told, Mapping):
        return None
    values = {name: number(told.get(name)) for name in ("start_ns", "width_px", "height_px")}
    if any(value is None or not 0 <= value < 2**53 for value in values.values()):
        return None
    return {name: int(value) for name, value in values.items() if value is not None}


def _start_ns(raw: Mapping[str, Any]) -> float:
    return number(raw.get("start_ns")) or 0.0


def rows(given: Any) -> list[Any]:
    return given if isinstance(given, list) else []


def _evidence(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    evidence = raw.get("evidence")
    return evidence if isinstance(evidence, Mapping) else {}


def _height(probability: float) -> float:
    return CHART_HEIGHT * (1 - min(1.0, max(0.0, probability)))


def bars(values: Mapping[str, float | None]) -> list[Bar]:
    known = {name: value for name, value in values.items() if value is not None}
    most = max(known.values(), default=1.0) or 1.0
    ordered = sorted(known.items(), key=lambda item: -item[1])
    return [Bar(name.replace("_", " "), value, 100 * value / most) for name, value in ordered]
