"""Cohen's kappa between labels of samples: one class against the rest, samples of all trials pooled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tools.importers.lund import Label

CLASSES = {
    "fixation": Label.FIXATION,
    "saccade": Label.SACCADE,
    "pursuit": Label.PURSUIT,
}
"""What the macro mean is over. Oscillation, blink and undefined count as none of these."""

Labels = NDArray[np.uint8]


def kappa(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> float:
    """Cohen's kappa of two yes-or-no ratings, both (N,).

    Zero where one of them never varies: it then agrees by chance alone. NaN where neither says yes.
    """
    if not len(ours) or not (ours.any() or theirs.any()):
        return float("nan")
    if ours.all() or theirs.all() or not ours.any() or not theirs.any():
        return 0.0 if (ours != theirs).any() else 1.0
    p, q = float(ours.mean()), float(theirs.mean())
    by_chance = p * q + (1 - p) * (1 - q)
    return (float((ours == theirs).mean()) - by_chance) / (1 - by_chance)


def by_class(pairs: Sequence[tuple[Labels, Labels]]) -> dict[str, float]:
    """Kappa of each class over the pooled samples of many trials; a pair is two ratings of one trial."""
    a = np.concatenate([ours for ours, _ in pairs])
    b = np.concatenate([theirs for _, theirs in pairs])
    return {name: kappa(a == label, b == label) for name, label in CLASSES.items()}


def against_raters(
    raters: Sequence[Sequence[tuple[Labels, Labels]]],
) -> tuple[float, dict[str, float]]:
    """(macro, kappa of each class), each class a mean over the raters' trials given."""
    each = [by_class(pairs) for pairs in raters]
    kappas = {name: _mean([k[name] for k in each]) for name in CLASSES}
    return _mean(list(kappas.values())), kappas


def _mean(values: list[float]) -> float:
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")
