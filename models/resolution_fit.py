"""Finding the learned policy: an evolution strategy that plays whole videos.

A decision's worth shows frames later and drowns in the detector's flicker, so gradients of single steps
(PPO, DQN, regression of action values) win on training videos and lose on new ones. Here a candidate is
played over every clip at every weight of energy, and only the sum counts. The search begins at the tuned
trigger, is pulled back towards it, moves each number by what it has learned of its scale, and keeps the
state that is worth most on videos it is not steered by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from device.resolution_policies import SCALES, Rule, observe
from models.resolution import PARAMETERS, RUNS, SUMMED, Members, Policy
from models.resolution_rules import WEIGHTS
from models.resolution_table import OWN, Table
from models.resolution_world import Costs, Decide, Floats, Ints, World, play, price

ABSENT = -3.5
"""Logarithm of the weight of a measure the trigger does not use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    seed: int = 0
    members: int = 3
    """Searches that are averaged."""
    generations: int = 40
    population: int = 24
    spread: float = 0.25
    """Standard deviation of a candidate's numbers at the beginning."""
    pull: float = 0.002
    """What a squared unit away from the trigger costs."""
    held_out: float = 0.25
    """Share of the videos each search is stopped by."""


def fit_policy(
    tables: Sequence[Table],
    costs: Costs,
    trigger: Mapping[float, Rule],
    settings: FitSettings,
    done: Callable[[int], None] = lambda n: None,
) -> Policy:
    """Search on tables; those of one video (its variants share a fingerprint) are held out together.

    `done` is told how many generations are behind, of members times generations.
    """
    rng = np.random.default_rng(settings.seed)
    start = from_trigger(trigger)
    found = []
    keys = [t.fingerprint for t in tables]
    if len(set(keys)) < 4:  # pieces of one or two recordings are all there is to hold out
        keys = [t.name for t in tables]
    for number, out in enumerate(_folds(keys, settings, rng)):
        mine = World([t for t, held in zip(tables, out, strict=True) if not held])
        judge = World([t for t, held in zip(tables, out, strict=True) if held])
        behind = number * settings.generations
        found.append(
            _search(mine, judge, costs, start, settings, rng, lambda n, b=behind: done(b + n))
        )  # type: ignore[misc]
    policy = Policy(len(found))
    policy.parameters_of.copy_(torch.tensor(np.array(found), dtype=torch.float32))
    return policy.eval()


def from_trigger(levels: Mapping[float, Rule]) -> NDArray[np.float64]:
    """The numbers with which the policy is about the trigger: a line through the logarithms of its limits."""
    weights = np.array(sorted(levels))
    n = len(SUMMED)
    start = np.zeros(PARAMETERS)
    start[:n] = ABSENT
    for column, name in enumerate(SUMMED):
        limits = [dict(levels[w].limits).get(name) for w in weights.tolist()]
        if all(limits):
            logs = np.clip(
                [np.log(SCALES[name] / (limit or 1.0)) for limit in limits], ABSENT - 1, 4
            )
            slope, middle = np.polyfit(weights - 0.5, logs, 1)
            start[column], start[n + column] = middle, slope
    start[-2 * RUNS : -RUNS] = (-2.0, -1.0, 0.0)
    return start


def worth(
    world: World, costs: Costs, candidates: NDArray[np.float64], *, balance: bool = True
) -> NDArray[np.float64]:
    """(candidates,) mean over clips and weights of energy of quality minus the price of energy.

    With `balance` a level counts by the root of its price, so that the dear end is heard as well.
    """
    count, levels, clips = len(candidates), len(WEIGHTS), len(world.tables)
    who, level, clip = (
        a.ravel()
        for a in np.meshgrid(np.arange(count), np.arange(levels), np.arange(clips), indexing="ij")
    )
    weight = np.array(WEIGHTS)[level]
    members = Members(candidates[who], weight)

    def decide(measures: Floats, _share: Floats, _lanes: Ints) -> Ints:
        return members(measures)

    played = play(world, clip, decide)
    share = played.energy_ms(costs.per_action("seeing")) / costs.full_ms
    gain = played.quality[:, OWN] - price(weight) * share
    if balance:
        gain = gain / np.sqrt(price(weight))
    return np.asarray(gain.reshape(count, -1).mean(axis=1))


def policy_decide(policy: Policy, weight: NDArray[np.float64]) -> Decide:
    """The averaged policy's choice, with a weight of energy a lane."""

    def decide(measures: Floats, _share: Floats, lanes: Ints) -> Ints:
        seen = observe(measures, 0.0, weight[lanes])
        with torch.no_grad():
            return np.asarray(policy(torch.from_numpy(seen)).argmax(dim=1).numpy(), np.intp)

    return decide


def _search(
    mine: World,
    judge: World,
    costs: Costs,
    start: NDArray[np.float64],
    settings: FitSettings,
    rng: np.random.Generator,
    done: Callable[[int], None],
) -> NDArray[np.float64]:
    """One evolution: a weighted mean of the better half, and a step size a number."""
    half = settings.population // 2
    share = np.log(half + 0.5) - np.log(np.arange(1, half + 1))
    share /= share.sum()
    middle, spread = start.copy(), np.full(PARAMETERS, settings.spread)
    best, kept = float(worth(judge, costs, middle[None])[0]), middle.copy()
    for generation in range(settings.generations):
        steps = rng.standard_normal((half, PARAMETERS))
        steps = np.concatenate([steps, -steps])  # mirrored: half of the luck cancels
        drawn = middle + spread * steps
        away = ((drawn - start) ** 2).sum(axis=1)
        order = np.argsort(-(worth(mine, costs, drawn) - settings.pull * away))[:half]
        moved = share @ steps[order]
        middle = middle + spread * moved
        spread = spread * np.exp(0.15 * (share @ (steps[order] ** 2) - 1) - 0.01)
        if generation % 3 == 2 or generation == settings.generations - 1:
            now = float(worth(judge, costs, middle[None])[0])
            if now > best:
                best, kept = now, middle.copy()
        done(generation + 1)
    return kept


def _folds(
    keys: Sequence[str], settings: FitSettings, rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """For each search the clips it is stopped by: whole videos, about `held_out` of them."""
    videos = sorted(set(keys))
    count = max(1, round(settings.held_out * len(videos)))
    order = rng.permutation(videos).tolist()
    folds = []
    for number in range(settings.members):
        start = number * count
        chosen = {order[(start + k) % len(order)] for k in range(count)}
        folds.append(np.array([k in chosen for k in keys]))
    return folds
