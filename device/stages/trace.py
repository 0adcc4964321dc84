"""The why-kept trace: what was measured and decided around a moment, ready to be written as JSON."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from device.types import (
    EMOTIONS,
    Attention,
    EmotionEstimate,
    Gaze,
    MomentStart,
    Region,
    ResolutionDecision,
    Tag,
    Tags,
    Value,
    WakeChange,
)

FRESH_NS = 500_000_000
"""So long the region of a scene analysis holds: its longest pause in an open moment."""


@dataclass(slots=True)
class Trace:
    """Bounded by `forget_before` while no moment is open, by the longest moment while one is."""

    gaze_hz: float
    gaze: list[tuple[int, float | None, float | None, float]] = field(default_factory=list)
    """t_ns, x and y as fractions of the scene frame, confidence."""
    attention: list[Attention] = field(default_factory=list)
    emotion: list[EmotionEstimate] = field(default_factory=list)
    decisions: list[ResolutionDecision] = field(default_factory=list)
    tags: list[Tags] = field(default_factory=list)
    changes: list[WakeChange] = field(default_factory=list)
    starts: list[MomentStart] = field(default_factory=list)

    def add(self, value: Value) -> None:
        match value:
            case Attention():
                self.attention.append(value)
            case EmotionEstimate():
                if self.emotion and self.emotion[-1].t_ns == value.t_ns:
                    self.emotion.pop()  # fusion took the eyes' estimate further
                self.emotion.append(value)
            case ResolutionDecision():
                self.decisions.append(value)
            case Tags():
                self.tags.append(value)
            case WakeChange():
                self.changes.append(value)

    def add_gaze(self, gaze: Gaze, fractions: tuple[float, float] | None) -> None:
        if self.gaze and gaze.t_ns - self.gaze[-1][0] < 0.9e9 / self.gaze_hz:
            return
        x, y = fractions if fractions is not None else (None, None)
        self.gaze.append((gaze.t_ns, x, y, gaze.confidence))

    def add_reason(self, start: MomentStart) -> None:
        self.starts.append(start)

    def reasons(self) -> tuple[str, ...]:
        """Why the moment was opened, without repeats, first cause first."""
        return tuple(dict.fromkeys(start.reason for start in self.starts))

    def forget_before(self, t_ns: int) -> None:
        _trim(self.gaze, t_ns, lambda row: row[0])
        for items in (self.attention, self.emotion, self.decisions, self.tags, self.changes):
            _trim(items, t_ns, lambda value: value.t_ns)

    def _regions(self) -> list[tuple[int, Region]]:
        """The attended region over time: the scene analysis', and the attention network's where there was
        none within the last `FRESH_NS`."""
        analysed_ns = [t.t_ns for t in self.tags]
        rows = [(t.t_ns, t.region) for t in self.tags]
        for said in self.attention:
            before = bisect_right(analysed_ns, said.t_ns)
            if not before or said.t_ns - analysed_ns[before - 1] > FRESH_NS:
                rows.append((said.t_ns, said.region))
        return sorted(rows, key=lambda row: row[0])

    def evidence(self) -> dict[str, Any]:
        """JSON-able: series as rows of numbers, decisions with their reasons in words."""
        return {
            "gaze": [list(row) for row in self.gaze],
            "attention": [[a.t_ns, a.probability] for a in self.attention],
            "region": [[t_ns, *_corners(region)] for t_ns, region in self._regions()],
            "changes": list(self.changes),
            "decisions": _runs(self.decisions),
            # What flow carried along says nothing new, and would be most of a long moment's record.
            "tags": [_tags_row(t) for t in self.tags if not t.reused],
            "emotion": summary_of_emotion(self.emotion),
            "embedding": _mean_embedding(self.tags),
        }


def summary_of_tags(seen: Iterable[Tags], most: int = 8) -> tuple[Tag, ...]:
    """One tag a name over a moment: attended things first, then by summed probability.

    The probability of the summary is the mean over the analysed frames in which the thing was found;
    a thing found in fewer than a quarter of the frames is left out as flicker.
    """
    frames = [t for t in seen if not t.reused] or list(seen)
    found: dict[tuple[str, bool], list[Tag]] = defaultdict(list)
    for tags in frames:
        best: dict[tuple[str, bool], Tag] = {}
        for tag in tags.tags:
            key = (tag.name, tag.attended)
            if key not in best or tag.probability > best[key].probability:
                best[key] = tag
        for key, tag in best.items():
            found[key].append(tag)
    attended = {name for (name, is_attended) in found if is_attended}
    rows = []
    for (name, is_attended), tags_of in found.items():
        if len(tags_of) * 4 < len(frames) or (not is_attended and name in attended):
            continue
        total = sum(t.probability for t in tags_of)
        middle = tags_of[len(tags_of) // 2]
        tag = Tag(
            name=name,
            probability=total / len(tags_of),
            region=middle.region,
            attended=is_attended,
        )
        rows.append((not is_attended, -total, name, tag))
    return tuple(row[3] for row in sorted(rows, key=lambda row: row[:3])[:most])


def summary_of_emotion(estimates: list[EmotionEstimate]) -> dict[str, Any] | None:
    """Mean probabilities, the strongest class and the scene's mean influence; None without estimates."""
    if not estimates:
        return None
    mean = np.mean([e.probabilities for e in estimates], axis=0)
    influences = [e.influence for e in estimates if e.influence is not None]
    return {
        "probabilities": dict(zip(EMOTIONS, (float(p) for p in mean), strict=True)),
        "strongest": EMOTIONS[int(np.argmax(mean))],
        "non_neutral": float(np.mean([e.non_neutral for e in estimates])),
        "influence": float(np.mean(influences)) if influences else None,
        "series": [[e.t_ns, *e.probabilities, e.influence] for e in estimates],
        **_scene_part(estimates),
    }


def _scene_part(estimates: list[EmotionEstimate]) -> dict[str, Any]:
    """What the view has to do with it: mean affect and its doubt, the region that explains most, words."""
    fused = [e for e in estimates if e.affect is not None and e.affect_sd is not None]
    if not fused:
        return {}
    affect = np.mean([e.affect for e in fused if e.affect], axis=0)
    sd = np.mean([e.affect_sd for e in fused if e.affect_sd], axis=0)
    most = max(fused, key=lambda e: e.influence or 0.0)
    words = Counter(word for e in fused for word in e.because)
    return {
        "valence": float(affect[0]),
        "valence_sd": float(sd[0]),
        "arousal": float(affect[1]),
        "arousal_sd": float(sd[1]),
        "region": most.region,
        "because": [word for word, _ in words.most_common(4)],
    }


def _mean_embedding(seen: list[Tags]) -> list[float] | None:
    rows = [t.embedding for t in seen if not t.reused and t.embedding.size]
    if not rows:
        return None
    mean = np.mean(rows, axis=0)
    norm = float(np.linalg.norm(mean))
    # Two decimals of a unit vector's entries carry the ranking; a moment stays a small file.
    return [round(float(v), 4) for v in mean / norm] if norm > 0 else None


def _runs(decisions: list[ResolutionDecision]) -> list[dict[str, Any]]:
    """Equal neighbouring decisions as one row with a count."""
    rows: list[dict[str, Any]] = []
    for decision in decisions:
        what = {"scale_px": decision.scale_px, "reuse": decision.reuse, "why": decision.why}
        if rows and {k: rows[-1][k] for k in what} == what:
            rows[-1]["frames"] += 1
        else:
            rows.append({"t_ns": decision.t_ns, **what, "frames": 1})
    return rows


def _tags_row(tags: Tags) -> dict[str, Any]:
    return {"t_ns": tags.t_ns, "reused": tags.reused, "region": tags.region, "tags": tags.tags}


def _corners(region: Region) -> tuple[float, float, float, float]:
    return region.left, region.top, region.right, region.bottom


def _trim(items: list[Any], t_ns: int, when: Any) -> None:
    """Forget old rows, but not at every call: a list's front is only cut in larger bites."""
    if len(items) > 64 and when(items[32]) < t_ns:
        keep = next((i for i, row in enumerate(items) if when(row) >= t_ns), len(items))
        del items[:keep]
