"""Dynamic ensemble active learning (Pang, Dong, Wu, Hospedales 2018, arXiv 1810.07778): the rule's ablation.

Experts rank the candidates; which expert is worth following changes while one learns, so they are played as a
bandit with expert advice (REXP4: weights are forgotten every `RESTART` questions). An expert's advice is a
distribution that falls off with its rank; a question is drawn from the weighted advice mixed with chance; the
reward is the accuracy over all answers so far, each counted by one over the probability of having been asked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EXPLORE = 0.1
"""Share of chance in what is asked; also the learning rate, as in EXP4."""
SHARPNESS = 5.0
"""Of the advice: its fall from the first to the last rank is exp(-SHARPNESS)."""
RESTART = 10
"""Questions after which the weights are even again."""

Floats = NDArray[np.float64]


class Ensemble:
    """Draws one of some candidates at a time, and learns whom to follow."""

    def __init__(self, experts: int) -> None:
        self.weights: Floats = np.ones(experts)
        self._asked = 0
        self._waiting: list[tuple[float, Floats]] = []  # probability and advice of what was asked
        self._right = self._all = 0.0

    def pick(self, scores: Floats, rng: np.random.Generator) -> int:
        """Index of the candidate to ask about; scores are (experts, candidates), more is better."""
        count = scores.shape[1]
        rank = (-scores).argsort(1, kind="stable").argsort(1) / max(1, count - 1)
        advice = np.exp(-SHARPNESS * rank)
        advice /= advice.sum(1, keepdims=True)
        follow = self.weights @ advice / self.weights.sum()
        p = (1 - EXPLORE) * follow + EXPLORE / count
        chosen = int(rng.choice(count, p=p / p.sum()))
        self._waiting.append((float(p[chosen]), advice[:, chosen]))
        return chosen

    def told(self, right: bool) -> None:
        """The answer to the oldest question that waits for one: was the network's guess right?"""
        p, advice = self._waiting.pop(0)
        self._right += right / p
        self._all += 1 / p
        reward = self._right / self._all
        self.weights = self.weights * np.exp(EXPLORE / len(self.weights) * advice * reward / p)
        self._asked += 1
        if self._asked % RESTART == 0:
            self.weights = np.ones(len(self.weights))
