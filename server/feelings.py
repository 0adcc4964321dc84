"""How it felt, in words and lines: the ribbon of a moment, what carried the estimate, what explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.judging import EMOTIONS
from server.record import number

RIBBON_WIDTH, RIBBON_HEIGHT = 1000, 100
SHOWN = tuple(name for name in EMOTIONS if name != "neutral")
"""Drawn from the ground up; what is left to the top is neutral."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One emotion of the ribbon: SVG points of its area in RIBBON_WIDTH x RIBBON_HEIGHT."""

    emotion: str
    points: str
    peak: float


@dataclass(frozen=True, slots=True)
class Ribbon:
    """Probabilities stacked over the video's time, and the influence of the scene as a line."""

    layers: tuple[Layer, ...]
    influence: str
    start_s: float
    end_s: float


def ribbon(raw: Mapping[str, Any], zero_ns: float) -> Ribbon | None:
    """The ribbon of a record on the video's own time; None without at least two estimates."""
    emotion = raw.get("emotion")
    series = emotion.get("series") if isinstance(emotion, Mapping) else None
    rows = [row for row in (series if isinstance(series, list) else []) if _sound(row)]
    if len(rows) < 2:
        return None
    start, end = float(rows[0][0]), float(rows[-1][0])
    span = max(end - start, 1.0)
    x = [RIBBON_WIDTH * (float(row[0]) - start) / span for row in rows]
    order = [EMOTIONS.index(name) for name in SHOWN]
    base = [0.0] * len(rows)
    layers = []
    for name, place in zip(SHOWN, order, strict=True):
        values = [min(1.0, max(0.0, float(row[1 + place]))) for row in rows]
        top = [b + v for b, v in zip(base, values, strict=True)]
        if max(values) > 0.01:
            upper = [f"{a:.1f},{_height(t):.1f}" for a, t in zip(x, top, strict=True)]
            lower = [f"{a:.1f},{_height(b):.1f}" for a, b in zip(x, base, strict=True)]
            layers.append(Layer(name, " ".join((*upper, *reversed(lower))), max(values)))
        base = top
    line = [
        f"{a:.1f},{_height(value):.1f}"
        for a, row in zip(x, rows, strict=True)
        if len(row) > 8 and (value := number(row[8])) is not None
    ]
    return Ribbon(
        tuple(layers),
        " ".join(line) if len(line) > 1 else "",
        (start - zero_ns) / 1e9,
        (end - zero_ns) / 1e9,
    )


def influence_words(influence: float | None) -> str | None:
    """What an estimate was mostly read from."""
    if influence is None:
        return None
    for below, words in (
        (0.2, "almost only your eyes"),
        (0.4, "mostly your eyes"),
        (0.6, "your eyes and the scene alike"),
        (0.8, "mostly the scene"),
    ):
        if influence < below:
            return words
    return "almost only the scene"


def because(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Names that the glasses gave as what the feeling went with."""
    emotion = raw.get("emotion")
    given = emotion.get("because") if isinstance(emotion, Mapping) else None
    return tuple(str(word)[:80] for word in (given if isinstance(given, list) else [])[:6] if word)


def mood_words(valence: float | None, arousal: float | None) -> str | None:
    """Valence and arousal (-1..1) as people say it."""
    if valence is None or arousal is None:
        return None
    pleasant = (
        "pleasant"
        if valence > 0.15
        else "unpleasant"
        if valence < -0.15
        else "neither pleasant nor unpleasant"
    )
    awake = "stirring" if arousal > 0.15 else "calm" if arousal < -0.15 else "of middling calm"
    return f"{pleasant} and {awake}" if abs(valence) > 0.15 else f"{pleasant}, and {awake}"


def region(raw: Mapping[str, Any]) -> Sequence[float] | None:
    """The region that explains the feeling: left, top, right, bottom as fractions of the frame."""
    emotion = raw.get("emotion")
    given = emotion.get("region") if isinstance(emotion, Mapping) else None
    if not isinstance(given, Mapping):
        return None
    sides = [number(given.get(side)) for side in ("left", "top", "right", "bottom")]
    known = [side for side in sides if side is not None]
    return known if len(known) == 4 else None


def _sound(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) >= 1 + len(EMOTIONS)
        and all(number(value) is not None for value in row[: 1 + len(EMOTIONS)])
    )


def _height(share: float) -> float:
    return RIBBON_HEIGHT * (1 - min(1.0, share))
