"""Rules of the resolution controller tuned on training videos: limits found by random search.

For each weight of energy the limits (and the size at which the rule runs) are those of the highest mean over
clips of quality minus the price of energy; candidates are drawn around the best so far. The sum over
clips, not over frames: each video counts alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from device.carry import MEASURES
from device.resolution_policies import FULL, LADDER, SCALES, Rule
from models.resolution_table import OWN
from models.resolution_world import (
    Costs,
    Decide,
    Floats,
    Ints,
    World,
    by_policy,
    lanes_of,
    play,
    price,
)

WEIGHTS = tuple(float(w) for w in np.linspace(0, 1, 9))
"""Levels at which policies are tuned and compared."""
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "difference": ("changed",),
    "heuristic": ("age_s", "changed"),
    "trigger": ("age_s", "shift", "spread", "residual_sum", "misfit_sum"),
}
CANDIDATES, ROUNDS = 96, 7
SPREAD = (1.2, 0.9, 0.6, 0.4, 0.3, 0.2, 0.1)
"""Standard deviation of the logarithm of the limits, a round."""


def rule_decide(rules: Sequence[Rule], policy: Ints) -> Decide:
    """A rule a lane."""
    weights = np.zeros((len(rules), len(MEASURES)), np.float32)
    for row, rule in zip(weights, rules, strict=True):
        for name, limit in rule.limits:
            row[MEASURES.index(name)] = 1.0 / limit
    lane_weights = weights[policy]
    action = np.array([LADDER.index(rule.size_px) for rule in rules])[policy]

    def decide(measures: Floats, _share: Floats, _lanes: Ints) -> Ints:
        fires = np.einsum("bm,bm->b", measures, lane_weights) >= 1
        return np.where(fires, action, 0)

    return decide


def objective(
    world: World, rules: Sequence[Rule], weight: float, costs: Costs
) -> NDArray[np.float64]:
    """(rules,) mean over the clips of quality minus the price of energy."""
    clip, policy = lanes_of(world, len(rules))
    played = play(world, clip, rule_decide(rules, policy))
    share = played.energy_ms(costs.per_action("seeing")) / costs.full_ms
    return by_policy(played.quality[:, OWN] - float(price(weight)) * share, len(rules))


def tune(
    name: str,
    world: World,
    costs: Costs,
    *,
    seed: int = 0,
    done: Callable[[int], None] = lambda n: None,
) -> dict[float, Rule]:
    """The rule of one family at every level of `WEIGHTS`; `done` is told how many levels are ready."""
    rng = np.random.default_rng(seed)
    terms = FAMILIES[name]
    ordinary = np.log([SCALES[term] for term in terms])
    centre, size = ordinary + np.log(len(terms)), 320
    levels: dict[float, Rule] = {}
    for number, weight in enumerate(WEIGHTS):
        best = -np.inf
        for spread in SPREAD:
            drawn = centre + rng.normal(0, spread, (CANDIDATES, len(terms)))
            # Together looser or tighter is the direction that matters most.
            drawn += rng.normal(0, spread, (CANDIDATES, 1))
            drawn[0] = centre
            sizes = np.where(rng.random(CANDIDATES) < 0.8, size, rng.choice(LADDER[1:], CANDIDATES))
            sizes[0] = size
            rules = [
                Rule(name, tuple(zip(terms, np.exp(row).tolist(), strict=True)), int(px))
                for row, px in zip(drawn, sizes, strict=True)
            ]
            worth = objective(world, rules, weight, costs)
            winner = int(worth.argmax())
            if worth[winner] > best:
                best, centre, size = float(worth[winner]), drawn[winner], int(sizes[winner])
                levels[weight] = rules[winner]
        done(number + 1)
    return levels


def fixed_decide(every: NDArray[np.intp], policy: Ints, action: int = FULL) -> Decide:
    """A run on each k-th frame, a k a policy; counted from the last run, whoever asked for it."""
    k = every[policy]
    since = np.zeros(len(policy), np.intp)
    last = np.full(len(policy), -1.0)

    def decide(measures: Floats, _share: Floats, _lanes: Ints) -> Ints:
        age = measures[:, 0]
        since[:] = np.where(age <= last, 1, since + 1)
        last[:] = age
        return np.where(since >= k, action, 0)

    return decide


def random_decide(share: NDArray[np.float64], policy: Ints, seed: int = 0) -> Decide:
    """A run by chance, a share a policy."""
    rng = np.random.default_rng(seed)
    odds = share[policy]
    return lambda measures, shares, lanes: np.where(rng.random(len(odds)) < odds, FULL, 0)
