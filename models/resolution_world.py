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
from device.stages.tag import TagSettings
from models.resolution_table import OWN, RUN, Table

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Decide = Callable[[Floats, Floats, Ints], Ints]
"""(measures (B, M), key share (B,), lanes (B,)) -> actions (B,), indices into `LADDER`."""

AGE, GAZE_OFF = MEASURES.index("age_s"), MEASURES.index("gaze_off")
SHARE_S = 2.0
LOOK_CHANGE = TagSettings().look_change
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
    """Of the actions of `LADDER` beyond flow, measuring and embedding; reuse is free of that."""
    embed_ms: float
    flow_ms: float
    measure_ms: float

    @classmethod
    def of(cls, tables: Sequence[Table]) -> Costs:
        """Medians over the clips."""

        def middle(name: str) -> float:
            return float(np.median([table.cost_ms[name] for table in tables]))

        runs = (0.0, *(middle(name) for name in RUN))
        return cls(runs, middle("embed"), middle("flow"), middle("measure") + CHOOSE_MS)

    def per_action(self, kind: str) -> NDArray[np.float64]:
        """(actions + 1,): of one frame under each action, and at the end of an embedding beside a run.

        `blind` policies pay flow only where they reuse, `seeing` ones always, and for their measures.
        """
        run = np.array(self.run_ms)
        seeing = self.flow_ms + self.measure_ms
        frame = run + seeing if kind == "seeing" else np.where(run > 0, run, self.flow_ms)
        return np.append(frame, self.embed_ms)

    @property
    def full_ms(self) -> float:
        """A frame of always-320, its embedding included."""
        return self.run_ms[FULL] + self.embed_ms


class World:
    """All tables as flat arrays."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = list(tables)
        self.frames = np.array([table.frames for table in tables])
        self.ages = np.array([table.ages for table in tables])
        self.rate_hz = np.array([table.rate_hz for table in tables])
        self._sizes = len(RUN)
        self.measures: Floats = np.concatenate(
            [table.measures.reshape(-1, len(MEASURES)) for table in tables]
        )
        judges = tables[0].tags.shape[-1]
        self.tags: Floats = np.concatenate([t.tags.reshape(-1, judges) for t in tables])
        self.cosines: Floats = np.concatenate(
            [t.cosines.reshape(-1, judges).clip(0, 1) for t in tables]
        )
        self.looks: Floats = np.concatenate([t.looks.ravel() for t in tables])
        self._base = _starts([t.tags[..., 0].size for t in tables])
        self._base_cosines = _starts([t.cosines[..., 0].size for t in tables])
        self._base_looks = _starts([t.looks.size for t in tables])

    def rows(self, clip: Ints, ran: Ints, size: Ints, age: Ints) -> Ints:
        """Flat index of a run at frame `ran` with size index `size`, seen `age` frames later."""
        within = (ran * self._sizes + size) * (self.ages[clip] + 1) + age
        return np.asarray(self._base[clip] + within, np.intp)

    def unlike(self, clip: Ints, one: tuple[Ints, Ints], other: tuple[Ints, Ints]) -> Floats:
        """How unlike the attended regions of two (frame, size index) are, (B,)."""
        first = (one[0] * self._sizes + one[1]) * self.frames[clip] + other[0]
        return self.looks[self._base_looks[clip] + first * self._sizes + other[1]]

    def quality(
        self, clip: Ints, ran: tuple[Ints, Ints], looked: tuple[Ints, Ints], at: Ints
    ) -> Floats:
        """(B, judges) of what is delivered at frame `at`: of the last run and the last embedding, each
        (frame, size index)."""
        tags = self.tags[self.rows(clip, *ran, at - ran[0])]
        within = (looked[0] * self._sizes + looked[1]) * self.frames[clip] + at
        return (tags + self.cosines[self._base_cosines[clip] + within]) / 2


@dataclass(slots=True)
class Played:
    """What lanes came to, all (B, ...)."""

    quality: NDArray[np.float64]
    """(B, judges) mean over the frames."""
    actions: NDArray[np.float64]
    """(B, actions + 1): share of the frames; at the end the share with a new embedding."""

    def energy_ms(self, per_action: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean CPU milliseconds a frame."""
        return np.asarray(self.actions @ per_action)


class Lanes:
    """The state of B lanes; `step` takes their actions."""

    def __init__(
        self,
        world: World,
        clip: Ints,
        at: Ints,
        settings: ResolutionSettings | None = None,
        look_change: float = LOOK_CHANGE,
    ) -> None:
        """The frame before `at` has run in full."""
        s = settings or ResolutionSettings()
        self._world = world
        self._gaze_off, self._settle_s = s.gaze_off, s.settle_ms / 1e3
        self._look_change = look_change
        self.clip, self.at = clip.copy(), at.copy()
        self.ran, self.size = at.copy(), np.full(len(clip), FULL - 1)
        self.looked, self.looked_size = self.ran.copy(), self.size.copy()
        self.embedded = np.zeros(len(clip), bool)
        """Whether the last step embedded anew."""
        self.share = np.zeros(len(clip), np.float32)
        self._kept = np.exp(-1 / world.rate_hz / SHARE_S)

    def begin(self, which: NDArray[np.bool_], clip: Ints, start: Ints, share: Floats) -> None:
        """Put the lanes marked on other clips; frame `start` has run in full, the next is to be decided."""
        self.clip[which], self.at[which], self.share[which] = clip, start + 1, share
        self.ran[which] = self.looked[which] = start
        self.size[which] = self.looked_size[which] = FULL - 1

    def measures(self) -> Floats:
        """Before the decision about frame `at`, (B, M)."""
        age = self.at - self.ran
        return self._world.measures[self._world.rows(self.clip, self.ran, self.size, age)]

    def quality(self) -> Floats:
        """(B, judges) of what would be delivered at frame `at` without a run."""
        ran, looked = (self.ran, self.size), (self.looked, self.looked_size)
        return self._world.quality(self.clip, ran, looked, self.at)

    def bounded(self, measures: Floats, actions: Ints) -> Ints:
        """The actions with the hard bounds applied."""
        age = self.at - self.ran
        too_long = age >= self._world.ages[self.clip]
        new = (measures[:, GAZE_OFF] > self._gaze_off) & (measures[:, AGE] >= self._settle_s)
        # A policy may run by itself at the size it likes where the bound only asks for a run.
        return np.where(new | (too_long & (actions == 0)), FULL, actions)

    def step(self, actions: Ints) -> Floats:
        """Apply actions to frame `at` and go on; the quality of what was delivered, (B, judges)."""
        runs = actions > 0
        self.ran = np.where(runs, self.at, self.ran)
        self.size = np.where(runs, actions - 1, self.size)
        now = (self.ran, self.size)
        changed = self._world.unlike(self.clip, (self.looked, self.looked_size), now)
        first = self.at == 0
        self.embedded = runs & (first | (changed >= self._look_change))
        self.looked = np.where(self.embedded, self.at, self.looked)
        self.looked_size = np.where(self.embedded, self.size, self.looked_size)
        kept = self._kept[self.clip].astype(np.float32)
        self.share = kept * self.share + (1 - kept) * runs
        delivered = self.quality()
        self.at = self.at + 1
        return delivered


def play(world: World, clip: Ints, decide: Decide, look_change: float = LOOK_CHANGE) -> Played:
    """Play each lane's clip from its first frame (which runs in full) to its last."""
    lanes = Lanes(world, clip, np.zeros(len(clip), np.intp), look_change=look_change)
    quality = np.zeros((len(clip), world.tags.shape[1]))
    actions = np.zeros((len(clip), len(LADDER) + 1))
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
        quality += lanes.step(chosen) * alive[:, None]
        actions[everyone, chosen] += alive
        actions[:, -1] += alive & lanes.embedded
    return Played(quality / length[:, None], actions / length[:, None])


# --- the oracle ----------------------------------------------------------------------------------


def oracle(world: World, weight: float, costs: Costs) -> Played:
    """The best any policy could do that knows the future: dynamic programming over the last run, and
    another over the last embedding, which it may renew or keep as it likes."""
    per_action = costs.per_action("blind") / costs.full_ms * float(price(weight))
    rows = [_oracle_of(table, per_action) for table in world.tables]
    return Played(np.array([q for q, _ in rows]), np.array([a for _, a in rows]))


def _oracle_of(
    table: Table, per_action: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bounds = ResolutionSettings()
    off = table.measures[..., GAZE_OFF] > bounds.gaze_off
    off &= table.measures[..., AGE] >= bounds.settle_ms / 1e3
    runs = best_way(table.tags[..., OWN] / 2, per_action[:-1], off)
    cosines = _aged(table.cosines[:, FULL - 1].clip(0, 1))
    embeds = best_way(
        cosines[:, None, :, OWN] / 2, np.array([0.0, per_action[-1]]), np.zeros((1, 1, 1), bool)
    )
    counts = np.append(np.bincount(runs, minlength=len(LADDER)), (embeds > 0).sum())
    quality = np.zeros(table.tags.shape[-1])
    ran = looked = 0
    for t, (run, embed) in enumerate(zip(runs.tolist(), embeds.tolist(), strict=True)):
        ran, looked = (t if run else ran), (t if embed else looked)
        quality += table.tags[ran, runs[ran] - 1, t - ran] / 2 + cosines[looked, t - looked] / 2
    return quality / table.frames, counts / table.frames


def _aged(square: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, T, ...) of frame i at frame t -> (T, T, ...) of frame i, `a` frames later."""
    frames = len(square)
    at = np.minimum(np.arange(frames)[:, None] + np.arange(frames), frames - 1)
    return square[np.arange(frames)[:, None], at]


def best_way(
    worth: NDArray[np.float32], per_action: NDArray[np.float64], forced: NDArray[np.bool_]
) -> Ints:
    """(T,) actions (0 reuse, s + 1 a run at size s) of the greatest sum of worth less cost.

    `worth` (T, S, A + 1) of a run at a frame and size seen some frames later; where `forced` (the same, or
    one for all) the last size has to run. The first frame runs at the last size.
    """
    frames, sizes, stride = worth.shape
    ages = stride - 1
    forced = np.broadcast_to(forced, worth.shape)
    value = np.zeros((frames + 1, sizes, ages + 1))  # before frame t, of a run `age` frames ago
    choice = np.zeros((frames, sizes, ages + 1), np.intp)
    for t in range(frames - 1, 0, -1):
        after = value[t + 1]
        run = worth[t, :, 0] - per_action[1:] + after[:, min(1, ages)]
        best, least = int(run.argmax()), float(run.max())
        age = np.arange(1, min(t, ages) + 1)
        later = np.minimum(age + 1, ages)
        reuse = (worth[t - age, :, age] - per_action[0] + after[:, later].T).T  # (S, ages)
        must = forced[t - age, :, age].T
        keep = (reuse >= least) & ~must & (age < ages)
        value[t][:, age] = np.where(keep, reuse, np.where(must, run[-1], least))
        choice[t][:, age] = np.where(keep, 0, np.where(must, sizes, best + 1))
    way = np.zeros(frames, np.intp)
    way[0] = sizes
    ran, size = 0, sizes - 1
    for t in range(1, frames):
        way[t] = action = int(choice[t, size, t - ran])
        if action:
            ran, size = t, action - 1
    return way


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


def _starts(sizes: Sequence[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)


def lanes_of(world: World, policies: int) -> tuple[Ints, Ints]:
    """(clip, policy) of the lanes of every clip under every policy."""
    clip, policy = np.meshgrid(np.arange(len(world.tables)), np.arange(policies))
    return clip.ravel(), policy.ravel()


def by_policy(values: NDArray[np.float64], policies: int) -> NDArray[np.float64]:
    """Mean over the clips, (policies, ...), of lanes made by `lanes_of`."""
    return np.asarray(values.reshape(policies, -1, *values.shape[1:]).mean(axis=1))


Curve = Mapping[float, tuple[float, float]]
