"""Tables laid end to end, and policies played over them: many clips and many policies at once.

One lane is one clip under one policy. A step looks up what a run made `age` frames ago would measure now,
asks for an action, and books quality and energy. The hard bounds of the stage hold for every policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.carry import MEASURES
from device.resolution_policies import FULL, LADDER
from device.stages.resolution import ResolutionSettings
from models.resolution_table import RUN, Table

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Decide = Callable[[Floats, Floats, Ints], Ints]
"""(measures (B, M), key share (B,), lanes (B,)) -> actions (B,), indices into `LADDER`."""

AGE, GAZE_OFF = MEASURES.index("age_s"), MEASURES.index("gaze_off")
SHARE_S = 2.0
LEAST_PRICE, HIGHEST_PRICE = 0.02, 1.2
CHOOSE_MS = 0.02
"""What a policy itself may take for a decision; counted in for every policy that measures."""


def price(weight: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """What a frame's energy (in always-320s) costs in quality, for a weight of energy 0..1."""
    return np.asarray(LEAST_PRICE * (HIGHEST_PRICE / LEAST_PRICE) ** np.asarray(weight))


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU milliseconds."""

    run_ms: tuple[float, ...]
    """Of the actions of `LADDER` beyond flow and measuring; reuse is free of that."""
    flow_ms: float
    measure_ms: float

    @classmethod
    def of(cls, tables: Sequence[Table]) -> Costs:
        """Medians over the clips."""

        def middle(name: str) -> float:
            return float(np.median([table.cost_ms[name] for table in tables]))

        runs = (0.0, *(middle(name) for name in RUN))
        return cls(runs, middle("flow"), middle("measure") + CHOOSE_MS)

    def per_action(self, kind: str) -> NDArray[np.float64]:
        """(actions,) of one frame. `blind` policies pay flow only where they reuse, `seeing` ones always,
        and for their measures."""
        run = np.array(self.run_ms)
        if kind == "seeing":
            return run + self.flow_ms + self.measure_ms
        return np.where(run > 0, run, self.flow_ms)

    @property
    def full_ms(self) -> float:
        """A frame of always-320."""
        return self.run_ms[FULL]


class World:
    """All tables as flat arrays."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = list(tables)
        self.frames = np.array([table.frames for table in tables])
        self.ages = np.array([table.ages for table in tables])
        self.rate_hz = np.array([table.rate_hz for table in tables])
        self._stride = self.ages + 1
        sizes = [table.parts[..., 0].size for table in tables]
        self._base = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
        self.measures: Floats = np.concatenate(
            [table.measures.reshape(-1, len(MEASURES)) for table in tables]
        )
        self.quality: Floats = np.concatenate([table.quality.ravel() for table in tables])
        self._sizes = len(RUN)

    def rows(self, clip: Ints, ran: Ints, size: Ints, age: Ints) -> Ints:
        """Flat index of a run at frame `ran` with size index `size`, seen `age` frames later."""
        within = (ran * self._sizes + size) * self._stride[clip] + age
        return np.asarray(self._base[clip] + within, np.intp)


@dataclass(slots=True)
class Played:
    """What lanes came to, all (B, ...)."""

    quality: NDArray[np.float64]
    """Mean over the frames."""
    actions: NDArray[np.float64]
    """(B, actions): share of the frames."""

    def energy_ms(self, per_action: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean CPU milliseconds a frame."""
        return np.asarray(self.actions @ per_action)


class Lanes:
    """The state of B lanes; `step` takes their actions."""

    def __init__(
        self, world: World, clip: Ints, at: Ints, settings: ResolutionSettings | None = None
    ) -> None:
        s = settings or ResolutionSettings()
        self._world = world
        self._gaze_off, self._settle_s = s.gaze_off, s.settle_ms / 1e3
        self.clip, self.at = clip.copy(), at.copy()
        self.ran, self.size = at.copy(), np.full(len(clip), FULL - 1)
        self.share = np.zeros(len(clip), np.float32)
        self._kept = np.exp(-1 / world.rate_hz / SHARE_S)

    def measures(self) -> Floats:
        """Before the decision about frame `at`, (B, M)."""
        age = self.at - self.ran
        return self._world.measures[self._world.rows(self.clip, self.ran, self.size, age)]

    def bounded(self, measures: Floats, actions: Ints) -> Ints:
        """The actions with the hard bounds applied."""
        age = self.at - self.ran
        too_long = age >= self._world.ages[self.clip]
        new = (measures[:, GAZE_OFF] > self._gaze_off) & (measures[:, AGE] >= self._settle_s)
        # A policy may run by itself at the size it likes where the bound only asks for a run.
        return np.where(new | (too_long & (actions == 0)), FULL, actions)

    def step(self, actions: Ints) -> Floats:
        """Apply actions to frame `at` and go on to the next; the quality of what was delivered (B,)."""
        runs = actions > 0
        self.ran = np.where(runs, self.at, self.ran)
        self.size = np.where(runs, actions - 1, self.size)
        kept = self._kept[self.clip].astype(np.float32)
        self.share = kept * self.share + (1 - kept) * runs
        rows = self._world.rows(self.clip, self.ran, self.size, self.at - self.ran)
        self.at = self.at + 1
        return self._world.quality[rows]


def play(world: World, clip: Ints, decide: Decide) -> Played:
    """Play each lane's clip from its first frame (which runs in full) to its last."""
    lanes = Lanes(world, clip, np.zeros(len(clip), np.intp))
    quality = np.zeros(len(clip))
    actions = np.zeros((len(clip), len(LADDER)))
    length = world.frames[clip]
    everyone = np.arange(len(clip))
    for t in range(int(length.max())):
        alive = t < length
        if t == 0:
            chosen = np.full(len(clip), FULL)
        else:
            lanes.at = np.minimum(lanes.at, length - 1)
            lanes.ran = np.minimum(lanes.ran, lanes.at)
            measures = lanes.measures()
            chosen = lanes.bounded(measures, decide(measures, lanes.share, everyone))
        quality += lanes.step(chosen) * alive
        actions[everyone, chosen] += alive
    return Played(quality / length, actions / length[:, None])


# --- the oracle ----------------------------------------------------------------------------------


def oracle(world: World, weight: float, costs: Costs) -> Played:
    """The best any policy could do that knows the future: dynamic programming over the last run."""
    per_action = costs.per_action("blind") / costs.full_ms * float(price(weight))
    rows = [_oracle_of(table, per_action) for table in world.tables]
    return Played(np.array([q for q, _ in rows]), np.array([a for _, a in rows]))


def _oracle_of(table: Table, per_action: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    worth = table.quality.astype(np.float64)
    frames, sizes, stride = worth.shape
    ages = stride - 1
    bounds = ResolutionSettings()
    off = table.measures[..., GAZE_OFF] > bounds.gaze_off
    off &= table.measures[..., AGE] >= bounds.settle_ms / 1e3
    # value[t % 2 ...] is kept whole: it is needed again to walk the best way.
    value = np.zeros((frames + 1, sizes, ages + 1))  # before frame t, of a run `age` frames ago
    choice = np.zeros((frames, sizes, ages + 1), np.intp)
    for t in range(frames - 1, 0, -1):
        after = value[t + 1]
        run = worth[t, :, 0] - per_action[1:] + after[:, min(1, ages)]
        best, least = int(run.argmax()), float(run.max())
        for age in range(1, min(t, ages) + 1):
            ran = t - age
            reuse = worth[ran, :, age] - per_action[0]
            reuse = reuse + (after[:, age + 1] if age < ages else -np.inf)
            forced = off[ran, :, age]
            keep = (reuse >= least) & ~forced & (age < ages)
            value[t, :, age] = np.where(keep, reuse, np.where(forced, run[-1], least))
            choice[t, :, age] = np.where(keep, 0, np.where(forced, FULL, best + 1))
    quality, counts = float(worth[0, -1, 0]), np.zeros(len(per_action))
    counts[FULL] += 1
    ran, size = 0, sizes - 1
    for t in range(1, frames):
        action = int(choice[t, size, t - ran])
        counts[action] += 1
        if action:
            ran, size = t, action - 1
        quality += float(worth[ran, size, t - ran])
    return quality / frames, counts / frames


# --- curves --------------------------------------------------------------------------------------


def energy_at(points: Sequence[tuple[float, float]], quality: float, full_ms: float) -> float:
    """Energy needed for a quality along a curve of (energy, quality), always-320 as its dear end.

    The curve is the upper hull: changing between two levels gives every point of the line between them.
    Below the cheapest point the cheapest is needed all the same.
    """
    hull: list[tuple[float, float]] = []
    for energy, worth in sorted([*points, (full_ms, 1.0)]):
        if energy > full_ms or (hull and worth <= hull[-1][1]):
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], (energy, worth)):
            hull.pop()
        hull.append((energy, worth))
    for before, (energy, worth) in zip([hull[0], *hull], hull, strict=False):
        if worth >= quality:
            if worth <= before[1]:
                return energy
            return before[0] + max(0.0, quality - before[1]) / _slope(before, (energy, worth))
    return full_ms


def _slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (other[1] - one[1]) / max(1e-12, other[0] - one[0])


def lanes_of(world: World, policies: int) -> tuple[Ints, Ints]:
    """(clip, policy) of the lanes of every clip under every policy."""
    clip, policy = np.meshgrid(np.arange(len(world.tables)), np.arange(policies))
    return clip.ravel(), policy.ravel()


def by_policy(values: NDArray[np.float64], policies: int) -> NDArray[np.float64]:
    """Mean over the clips, (policies, ...), of lanes made by `lanes_of`."""
    return np.asarray(values.reshape(policies, -1, *values.shape[1:]).mean(axis=1))


Curve = Mapping[float, tuple[float, float]]
