"""Policies side by side on clips none of them was tuned on: what `beheld bench resolution` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.resolution_policies import LADDER, observe
from models.resolution_rules import WEIGHTS, fixed_decide, random_decide, rule_decide
from models.resolution_set import PolicySet
from models.resolution_table import OWN, SHIFTED, Table
from models.resolution_world import (
    LOOK_CHANGE,
    Costs,
    Decide,
    Floats,
    Ints,
    Played,
    World,
    energy_at,
    lanes_of,
    oracle,
    play,
)

QUALITIES = (0.90, 0.95, 0.98)
EVERY = np.arange(2, 21)
KEYED = ("always", "fixed", "heuristic", "trigger", "scheduler", "learned", "oracle")
SEEING = ("difference", "heuristic", "trigger", "scheduler", "learned")


@dataclass(slots=True)
class Curve:
    """Of one policy: what each level came to on each clip."""

    quality: list[NDArray[np.float64]] = field(default_factory=list)
    """(levels, judges) a clip."""
    actions: list[NDArray[np.float64]] = field(default_factory=list)
    """(levels, actions + 1) a clip."""

    def add(self, played: Played, levels: int) -> None:
        clips = len(played.quality) // levels
        self.quality += list(played.quality.reshape(levels, clips, -1).transpose(1, 0, 2))
        self.actions += list(played.actions.reshape(levels, clips, -1).transpose(1, 0, 2))

    def judged(self, judge: int) -> NDArray[np.float64]:
        """(clips, levels) quality in the eyes of one judge."""
        return np.array(self.quality)[..., judge]

    def points(
        self, per_action: NDArray[np.float64], quality: NDArray[np.float64]
    ) -> list[tuple[float, float]]:
        """(energy in ms a frame, quality) a level; each clip counts alike."""
        energy = (np.mean(self.actions, axis=0) @ per_action).tolist()
        return list(zip(energy, quality.mean(axis=0).tolist(), strict=True))


def network_decide(chosen: PolicySet, output: str, weight: NDArray[np.float64]) -> Decide:
    """The shipped network's choice (through the runner that ships), with a weight of energy a lane."""
    network = chosen.network
    assert network is not None

    def decide(measures: Floats, share: Floats, lanes: Ints) -> Ints:
        seen = observe(measures, share, weight[lanes])
        return np.asarray(network.run(observation=seen)[output].argmax(axis=1), np.intp)

    return decide


def curves(
    groups: Sequence[tuple[PolicySet, Sequence[Table]]],
    costs: Costs,
    done: Callable[[int], None] = lambda n: None,
) -> dict[str, Curve]:
    """Every policy over every clip, each clip with policies of the set it is grouped with."""
    found: dict[str, Curve] = {}
    ready = 0
    for chosen, tables in groups:
        world = World(tables)
        for name, (levels, run) in _policies(chosen, world, costs).items():
            found.setdefault(name, Curve()).add(run(), levels)
            ready += 1
            done(ready)
    return found


def _policies(
    chosen: PolicySet, world: World, costs: Costs
) -> dict[str, tuple[int, Callable[[], Played]]]:
    """Policy -> (levels, how to play them all)."""
    weights = np.array(WEIGHTS)

    def at_levels(
        levels: int, make: Callable[[Ints], Decide], look_change: float = LOOK_CHANGE
    ) -> tuple[int, Callable[[], Played]]:
        clip, level = lanes_of(world, levels)
        return levels, lambda: play(world, clip, make(level), look_change)

    def all_oracles() -> Played:
        rows = [oracle(world, w, costs) for w in WEIGHTS]
        return Played(
            np.concatenate([r.quality for r in rows]), np.concatenate([r.actions for r in rows])
        )

    found: dict[str, tuple[int, Callable[[], Played]]] = {
        f"always_{px}": at_levels(1, lambda level, a=action: _constant(a), look_change=0.0)  # type: ignore[misc]
        for action, px in enumerate(LADDER)
        if px
    }
    found["fixed"] = at_levels(len(EVERY), lambda level: fixed_decide(EVERY, level))
    found["random"] = at_levels(len(EVERY), lambda level: random_decide(1.0 / EVERY, level))
    for family, levels in chosen.rules.items():
        rules = [levels[w] for w in sorted(levels)]
        found[family] = at_levels(len(rules), lambda level, r=rules: rule_decide(r, level))  # type: ignore[misc]
    if chosen.network is not None:
        for output in ("scheduler", "learned"):
            found[output] = at_levels(
                len(WEIGHTS),
                lambda level, o=output: network_decide(chosen, o, weights[level]),  # type: ignore[misc]
            )
    found["oracle"] = (len(WEIGHTS), all_oracles)
    return found


def _constant(action: int) -> Decide:
    return lambda measures, share, lanes: np.full(len(measures), action)


def summary(found: Mapping[str, Curve], costs: Costs) -> dict[str, Any]:
    """The figures: operating points at 95 %, energy at each quality, curves; the same once more in the
    eyes of the second judge, as a share of what he gives always-320."""
    points = {
        name: curve.points(_per_action(name, costs), curve.judged(OWN))
        for name, curve in found.items()
    }
    points["always"] = points["always_320"]
    policies = {}
    for name, row in points.items():
        level = _nearest(row, 0.95)
        actions = np.mean(found["always_320" if name == "always" else name].actions, axis=0)
        shares = dict(zip(("reuse", *map(str, LADDER[1:])), actions[level].tolist(), strict=False))
        policies[name] = {
            "energy": row[level][0],
            "quality": row[level][1],
            "actions": shares,
            "embedded": float(actions[level, -1]),
        }
    full = found["always_320"].judged(SHIFTED)
    shifted = {
        name: curve.points(_per_action(name, costs), curve.judged(SHIFTED) / full)
        for name, curve in found.items()
    }
    shifted["always"] = shifted["always_320"]
    at = _at_qualities(points, costs)
    at_shifted = _at_qualities(shifted, costs)
    return {
        "policies": policies,
        "energy_at_quality": at,
        "share_at_quality": _shares(at, costs),
        "second_judge": {
            "what": "quality against 320 px on the frame shifted by a pixel, always-320 being 1",
            "always_320_agrees": float(full.mean()),
            "energy_at_quality": at_shifted,
            "share_at_quality": _shares(at_shifted, costs),
            "curves": shifted,
        },
        "curves": points,
        "unit": "CPU ms a frame (medians of this run, one thread; controller and flow counted in)",
        "cost_ms": {
            **dict(zip(("reuse", "160", "224", "320"), costs.run_ms, strict=True)),
            "embedding": costs.embed_ms,
            "flow": costs.flow_ms,
            "measure_and_decide": costs.measure_ms,
        },
    }


Points = Mapping[str, Sequence[tuple[float, float]]]


def _at_qualities(points: Points, costs: Costs) -> dict[str, dict[str, float]]:
    return {
        f"{quality:.2f}": {
            name: energy_at(points[name], quality, costs.full_ms)
            for name in (*KEYED, "random", "difference")
            if name in points
        }
        for quality in QUALITIES
    }


def _shares(at: Mapping[str, Mapping[str, float]], costs: Costs) -> dict[str, dict[str, float]]:
    return {
        quality: {name: energy / costs.full_ms for name, energy in row.items()}
        for quality, row in at.items()
    }


def _per_action(name: str, costs: Costs) -> NDArray[np.float64]:
    return costs.per_action("seeing" if name in SEEING else "blind")


def _nearest(points: Sequence[tuple[float, float]], quality: float) -> int:
    """The cheapest level of at least that quality, else the best there is."""
    good = [i for i, (_, q) in enumerate(points) if q >= quality]
    if good:
        return min(good, key=lambda i: points[i][0])
    return max(range(len(points)), key=lambda i: points[i][1])
