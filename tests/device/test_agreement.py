"""How far a wearer's views agree with what they feel: learnt without labels, robust and forgetful."""

from __future__ import annotations

import numpy as np
import pytest

from device.agreement import Agreement
from device.types import EMOTIONS

SEVEN = len(EMOTIONS)


def life(agreeing: float, moments: int, seed: int = 0, felt: int | None = None) -> Agreement:
    """Eyes that are right with probability 0.6, and views that are four times likelier for one feeling."""
    rng, belief = np.random.default_rng(seed), Agreement()
    for _ in range(moments):
        feeling = int(rng.integers(SEVEN)) if felt is None else felt
        eyes = np.full(SEVEN, 0.4 / (SEVEN - 1))
        eyes[feeling if rng.random() < 0.6 else int(rng.integers(SEVEN))] = 0.6
        shown = feeling if rng.random() < agreeing else int(rng.integers(SEVEN))
        likelihood = np.full(SEVEN, (SEVEN - 4.0) / (SEVEN - 1))
        likelihood[shown] = 4.0
        belief = belief.after(eyes / eyes.sum(), likelihood)
    return belief


def test_a_cautious_beginning_goes_where_the_views_lead() -> None:
    start = Agreement().share
    assert 0.3 < start < 0.5
    unrelated = np.mean([life(0.0, 200, seed).share for seed in range(5)])
    agreeing = np.mean([life(0.9, 200, seed).share for seed in range(5)])
    assert unrelated < start / 2 and agreeing > 1.5 * start


def test_one_sided_days_and_feelings_are_no_agreement() -> None:
    office = np.array([0.4] * (SEVEN - 1) + [5.0])  # always a neutral view
    calm, belief = np.array([0.05] * (SEVEN - 1) + [0.7]), Agreement()
    for _ in range(300):
        belief = belief.after(calm, office)  # and always neutral eyes
    assert belief.share == pytest.approx(Agreement().share)
    assert np.mean([life(0.0, 200, seed, felt=3).share for seed in range(5)]) < Agreement().share


def test_what_is_no_number_teaches_nothing() -> None:
    belief, good = life(0.9, 5), np.full(SEVEN, 1 / SEVEN)
    for bad in (np.full(SEVEN, np.nan), np.full(SEVEN, np.inf), np.full(SEVEN, -1.0)):
        assert belief.after(bad, good) is belief and belief.after(good, bad) is belief
    assert belief.after(np.zeros(SEVEN), good) is belief
    assert 0 <= belief.after(good, np.zeros(SEVEN)).share <= 1
    assert 0 <= belief.after(good, np.full(SEVEN, 1e30)).share <= 1


def test_it_forgets() -> None:
    belief = life(0.9, 300)
    before = belief.share
    even = np.full(SEVEN, 1.0)
    for _ in range(2000):
        belief = belief.after(np.array(belief.eyes), even)  # views that say nothing
    assert abs(belief.share - Agreement().share) < 0.02 < before - belief.share


def test_a_damaged_belief_is_refused() -> None:
    with pytest.raises(ValueError, match="21"):
        Agreement(belief=(0.0,))
    with pytest.raises(ValueError, match="numbers"):
        Agreement(belief=(float("nan"),) * 21)
