"""How large a share of the wearer's views agrees with what they feel: learnt as they go, from no labels.

Given what the eyes say, p, and how likely the view is for each feeling, n (1 for an average view), a view is
as likely as `a * p.n + 1 - a` if a share `a` of the views agrees. What says something of `a` is how much
better a moment's own eyes explain its view than the wearer's average ones do: the quotient of the two
likelihoods. Where eyes and views have nothing to do with each other its mean is 1 whatever `a` is, so the
belief goes to 0, however one-sided the wearer's days or feelings are; where one of the two never changes it
says nothing, and the belief stays. Kept are a belief over 21 shares and the average eyes, both of which
forget slowly: constant memory, and the same values give the same belief.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.types import EMOTIONS

SHARES = np.linspace(0.0, 1.0, 21)
CAUTION = 1.0
"""The belief before anything is known falls with the share, `exp(-a)`: two fifths of the views on
average."""
MEMORY = 0.995
"""Of the belief that a moment leaves: some two hundred count."""
AVERAGE_OVER = 200
"""Moments that the average eyes go back, at most."""
FIRST = tuple(float(x) for x in -CAUTION * SHARES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What is believed of one wearer's views."""

    moments: int = 0
    """Learnt from."""
    belief: tuple[float, ...] = FIRST
    """Logarithm of the weight of each of `SHARES`."""
    eyes: tuple[float, ...] = (1 / len(EMOTIONS),) * len(EMOTIONS)
    """Average class probabilities of the eyes; of no weight before the first moment."""

    def __post_init__(self) -> None:
        numbers = [*self.belief, *self.eyes]
        if len(self.belief) != len(SHARES) or len(self.eyes) != len(EMOTIONS):
            raise ValueError(f"needs {len(SHARES)} beliefs and {len(EMOTIONS)} average eyes")
        if not all(map(math.isfinite, numbers)) or min(self.eyes) < 0 or self.moments < 0:
            raise ValueError("its beliefs are not numbers, or its eyes no probabilities")

    @property
    def share(self) -> float:
        """Expected share of the views that agree, 0 to 1."""
        weight = np.exp(np.array(self.belief) - max(self.belief))
        return float(weight @ SHARES / weight.sum())

    def after(self, eyes: NDArray[Any], likelihood: NDArray[Any]) -> Agreement:
        """The belief after a moment: class probabilities (7,) of its eyes alone, and likelihoods (7,) of its
        view. What is no number teaches nothing."""
        p, n = np.asarray(eyes, np.float64), np.asarray(likelihood, np.float64)
        if not (np.isfinite(p).all() and np.isfinite(n).all()) or p.min() < 0 or n.min() < 0:
            return self
        if p.sum() <= 0:
            return self
        p = p / p.sum()
        before = min(self.moments, AVERAGE_OVER)
        usual = (np.array(self.eyes) * before + p) / (before + 1)
        own, average = (SHARES * float(q @ n) + 1 - SHARES for q in (p, usual))
        gain = np.log(np.maximum(own, 1e-9)) - np.log(np.maximum(average, 1e-9))
        belief = MEMORY * np.array(self.belief) + (1 - MEMORY) * np.array(FIRST) + gain
        belief -= belief[0]  # a constant added to all says nothing
        return Agreement(
            moments=self.moments + 1, belief=_short(belief), eyes=_short(usual / usual.sum())
        )


def _short(values: NDArray[np.float64]) -> tuple[float, ...]:
    """As they come back from a file."""
    return tuple(float(f"{v:.9g}") for v in values.tolist())
