"""Which moments to ask the wearer about: few, doubtful, and unlike one another.

Each answer teaches most where the network is in doubt and where it teaches about many moments at once. So
the first question is the most doubtful moment; each further one is doubtful and far from those already
chosen (a greedy choice, as in core-set active learning: Sener and Savarese 2018). Doubt is the entropy of
the class probabilities; distance is the cosine between the moments' embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST = 3
"""Questions a day: more is a nuisance."""
LEAST_DOUBT = 0.35
"""Share of the largest entropy below which nothing is asked: the network is sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A moment that may be asked about."""

    key: str
    probabilities: Mapping[str, float]
    embedding: Sequence[float] = ()
    """Of any length; empty if the moment has none."""
    answered: bool = False
    """The wearer has said already how it was."""


def choose(candidates: Sequence[Candidate], most: int = MOST) -> list[Candidate]:
    """At most `most` candidates, the most worth asking first; equal ones in the order of their keys.

    Candidates without usable probabilities (not numbers, or summing to nothing) are never asked about.
    """
    doubts = {c.key: doubt(c.probabilities) for c in candidates if not c.answered}
    left = sorted(
        (c for c in candidates if doubts.get(c.key, 0.0) >= LEAST_DOUBT), key=lambda c: c.key
    )
    chosen: list[Candidate] = []
    while left and len(chosen) < most:
        best = max(left, key=lambda c: doubts[c.key] * _newness(c, chosen))
        chosen.append(best)
        left.remove(best)
    return chosen


def doubt(probabilities: Mapping[str, float]) -> float:
    """Entropy as a share of the largest possible: 0 sure, 1 anything; 0 for what are no probabilities."""
    values = [float(p) for p in probabilities.values()]
    total = sum(values)
    if len(values) < 2 or not math.isfinite(total) or total <= 0 or min(values) < 0:
        return 0.0
    entropy = -sum(p / total * math.log(p / total) for p in values if p > 0)
    return entropy / math.log(len(values))


def _newness(candidate: Candidate, chosen: Sequence[Candidate]) -> float:
    """How unlike the nearest chosen one (0..1); without an embedding, half."""
    nearest = max((_cosine(candidate.embedding, c.embedding) for c in chosen), default=0.0)
    return 1.0 - max(0.0, nearest)


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    if not a or len(a) != len(b):
        return 0.5
    size = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / size if size > 0 else 0.5
