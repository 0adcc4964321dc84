"""`python -m tools.tune_wake eyes|eyes-again|fused|checks DATA[@MODEL] ...`: the judge's thresholds.

The loop runs once per session with the scene camera always on; then the wake stage alone sees the
recorded eye movements and estimates again with every setting of a grid, blind to estimates while it has
the camera off. The rule of the eyes alone gets its own, larger grid, so that the comparison in
`beheld bench attention` is with the best of its kind. Give data the network was not trained on.

`checks` is about what checks and doubtful moments cost. For every setting of its grid it prints F1 and
onset, of days and of other sessions, and the joules an hour that checking and keeping cost beyond watching
(`PRICES_W`, `MOMENT_J`), the cheapest of those first that are worth no less than the present settings, on
days and on the others. A session `day:SEED[:SECONDS]` is an ordinary day of the virtual wearer; where there
is one, the joules are of such days alone.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.model import Model, load
from device.pipeline import Stage, run
from device.sources.camera import AlwaysOn, SceneCamera
from device.stages.attention import AttentionSettings, AttentionStage
from device.stages.events import EventsStage
from device.stages.wake import WakeSettings, WakeStage
from device.types import Attention, EyeMovement, Gaze, MomentEnd, Value, WakeChange, WakeState
from tools.attention_truth import Trial
from tools.bench.attention import EYE_ONLY, Recording, Seen, Tally, sessions

EYES = {
    "eye_only_dwell_ms": (200.0, 300.0, 400.0, 500.0, 650.0, 800.0, 1000.0, 1300.0),
    "eye_only_leave_ms": (0.0, 100.0, 300.0, 500.0),
    "same_place_deg": (1.0, 1.5, 2.0, 3.0, 4.5, 6.0),
    "glance_ms": (150.0, 250.0, 350.0, 500.0),
}
EYES_AGAIN = {
    "eye_only_dwell_ms": (150.0, 200.0, 300.0, 400.0, 500.0, 650.0),
    "shortest_ms": (0.0, 600.0, 800.0, 1000.0),
    "eye_only_leave_ms": (100.0, 300.0),
}
"""Around the best of `EYES` of the same kind: whether taking back what did not last helps the eyes too."""
FUSED = {
    "leave_probability": (0.15, 0.2, 0.3, 0.4),
    "leave_ms": (400.0, 600.0, 800.0, 1000.0),
    "shortest_ms": (0.0, 600.0, 800.0, 1000.0),
    "min_moment_ms": (400.0, 700.0, 1000.0),
    "dismiss_probability": (0.2, 0.25, 0.3),
    "dismiss_ms": (100.0, 200.0, 300.0),
    "dwell_ms": (120.0, 150.0, 200.0, 250.0),
    "enter_probability": (0.35, 0.4, 0.5, 0.6),
}
"""Searched one setting after the other, twice round; the eyes' tables are searched whole."""
BEFORE = WakeSettings(
    early_ms=0,
    dwell_ms=250,
    dismiss_probability=0.25,
    dismiss_ms=300,
    enter_probability=0.6,
    leave_probability=0.15,
    leave_ms=400,
    min_moment_ms=1000,
    shortest_ms=0,
    rest_ms=2500,
)
"""Where that search begins: the judge of attention 1.0. Its time of the camera is the budget."""


CHECKS = {
    "dismiss_ms": (100.0, 200.0),
    "linger_ms": (100.0, 200.0, 500.0),
    "enter_probability": (0.5, 0.55, 0.6),
    "settled_probability": (0.4, 0.5),
    "leave_probability": (0.3, 0.4),
}
PRICES_W = {WakeState.WATCHING: 0.0, WakeState.CHECKING: 0.043, WakeState.KEEPING: 0.15}
"""What a state draws beyond watching, about: `beheld energy`, joules over seconds of each state."""
MOMENT_J = 0.35
"""What a kept moment costs beyond its time: bursts of encoding, storage, radio."""
DAY, DAY_S = "day:", 500.0


class Spent:
    """A sink that books the time in each state."""

    def __init__(self) -> None:
        self.joules = 0.0
        self._state, self._since_ns = WakeState.WATCHING, 0

    def __call__(self, value: Value) -> None:
        if isinstance(value, WakeChange):
            self.joules += (value.t_ns - self._since_ns) / 1e9 * PRICES_W[self._state]
            self._state, self._since_ns = value.after, value.t_ns
        elif isinstance(value, MomentEnd) and value.kept:
            self.joules += MOMENT_J


class Keep:
    """A sink that keeps what the judge would see."""

    def __init__(self) -> None:
        self.values: list[Value] = []

    def __call__(self, value: Value) -> None:
        if isinstance(value, Gaze | EyeMovement | Attention):
            self.values.append(value)


def heard(trial: Trial, model: Model | None, inputs: str = "both") -> list[Value]:
    """Everything the judge could see in a session, the scene camera always on; without a model the eyes."""
    keep = Keep()
    if model is None:
        run(Recording(trial, SceneCamera(start_ns=10**18)), [EventsStage()], [keep])
        return keep.values
    attention = AttentionStage(model, trial.geometry, AttentionSettings(inputs=inputs))
    stages: list[Stage] = [EventsStage(), attention]
    run(Recording(trial, AlwaysOn()), stages, [keep])
    return keep.values


def judged(
    values: Iterable[Value], wake: WakeSettings, end_ns: int, spent: Spent | None = None
) -> Seen:
    """The moments a judge with these settings would keep."""
    spent = spent or Spent()
    seen, stage, camera = Seen(), WakeStage(wake), SceneCamera()
    for value in values:
        if isinstance(value, Attention) and not camera.awake(value.t_ns):
            continue
        seen(value)
        for made in stage.step(value):
            camera(made)
            seen(made)
            spent(made)
    for made in stage.finish(end_ns):
        seen(made)
        spent(made)
    return seen


def grid(start: WakeSettings, table: dict[str, tuple[float, ...]]) -> Iterator[WakeSettings]:
    for values in itertools.product(*table.values()):
        chosen = dict(zip(table, values, strict=True))
        with suppress(ValueError):  # a pair of thresholds that contradict each other
            yield replace(start, **chosen)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Row:
    """What a judge with these settings does on all sessions."""

    f1: float
    onset_ms: float
    awake: float
    """Share of the network's estimates it asked for: of the time the scene camera was on."""
    false_per_h: float
    settings: dict[str, float]

    @property
    def worth(self) -> float:
        """F1, less a tenth for every 200 ms of onset delay beyond the aim of 500."""
        return self.f1 - max(0.0, self.onset_ms - 500.0) / 2000.0


def tried(
    recorded: list[tuple[Trial, list[Value]]], wake: WakeSettings, names: Iterable[str]
) -> Row:
    """One setting of the judge on all sessions."""
    tally, asked, all_ = Tally(), 0, 0
    for trial, values in recorded:
        seen = judged(values, wake, trial.duration_ns)
        asked += len(seen.estimates)
        all_ += sum(isinstance(v, Attention) for v in values)
        for truth in trial.truths:
            tally.add(seen, truth, trial.duration_ns)
    onset_ms = float(np.median(tally.onset_ms)) if tally.onset_ms else 2000.0
    false_per_h = tally.false / max(1e-9, tally.hours)
    settings = {name: getattr(wake, name) for name in names}
    return Row(tally.f1, onset_ms, asked / max(1, all_), false_per_h, settings)


def best(
    recorded: list[tuple[Trial, list[Value]]],
    start: WakeSettings,
    table: dict[str, tuple[float, ...]],
) -> list[Row]:
    """The whole grid, the best F1 first: what the eyes alone can do."""
    rows = [tried(recorded, wake, table) for wake in grid(start, table)]
    return sorted(rows, key=lambda row: -row.f1)


@dataclass(frozen=True)
class Spare:
    """What a judge with these settings finds and spends."""

    joules_per_h: float
    rows: tuple[Row, ...]
    """Of the days, of the other sessions; only what there is."""

    @property
    def settings(self) -> dict[str, float]:
        return self.rows[0].settings

    def as_good_as(self, other: Spare) -> bool:
        pairs = zip(self.rows, other.rows, strict=True)
        return all(mine.worth >= theirs.worth for mine, theirs in pairs)


def sparing(recorded: list[tuple[Trial, list[Value]]], start: WakeSettings) -> list[Spare]:
    """The grid `CHECKS`, the cheapest of those that are worth as much as `start` first."""
    days = [entry for entry in recorded if entry[0].name.startswith(DAY)]
    others = [entry for entry in recorded if not entry[0].name.startswith(DAY)]
    groups = [group for group in (days, others) if group]

    def spare(wake: WakeSettings) -> Spare:
        joules, hours = 0.0, 0.0
        for trial, values in groups[0]:
            spent = Spent()
            judged(values, wake, trial.duration_ns, spent)
            joules, hours = joules + spent.joules, hours + trial.duration_ns / 3.6e12
        return Spare(joules / hours, tuple(tried(group, wake, CHECKS) for group in groups))

    present = spare(start)
    spares = [spare(wake) for wake in grid(start, CHECKS)]
    return sorted(spares, key=lambda s: (not s.as_good_as(present), s.joules_per_h))


def day(text: str) -> Trial:
    """`day:SEED[:SECONDS]`: an ordinary day of the virtual wearer, with its own gaze."""
    _, seed, *length = text.split(":")
    wearer = EmulatorSettings(
        seed=int(seed),
        duration_s=float(length[0]) if length else DAY_S,
        scenario="ordinary_day",
        eyes=False,
    )
    truth = Emulator(wearer).truth
    attended = [(a.start_ns, a.end_ns) for a in truth.attended]
    return Trial(
        text,
        lambda camera: iter(Emulator(wearer, camera)),
        truth.geometry,
        truth.duration_ns,
        (attended,),
        lambda t_ns: None,
    )


def descend(
    recorded: list[tuple[Trial, list[Value]]],
    start: WakeSettings,
    table: dict[str, tuple[float, ...]],
    rounds: int = 2,
) -> list[Row]:
    """One setting after the other from `start` on, the most worth first.

    What keeps the camera awake longer than `start` does comes last.
    """
    rows = [tried(recorded, start, table)]
    budget = rows[0].awake + 0.005
    order = lambda row: (row.awake > budget, -row.worth)  # noqa: E731
    for _ in range(rounds):
        for name, values in table.items():
            here = replace(start, **min(rows, key=order).settings)  # type: ignore[arg-type]
            rows += [
                tried(recorded, wake, table) for wake in grid(here, {name: values}) if wake != here
            ]
    return sorted(rows, key=order)


def main() -> None:
    what, given = sys.argv[1], sys.argv[2:]
    if what not in ("eyes", "eyes-again", "fused", "checks"):
        raise SystemExit("say eyes, eyes-again, fused or checks, then the sessions")
    recorded, kind = [], "emulator"
    for entry in given:
        data, _, path = entry.partition("@")
        model = Model(Path(path)) if path else load("attention")
        kind, trials = ("day", [day(data)]) if data.startswith(DAY) else sessions(data)[:2]
        recorded += [(t, heard(t, None if what.startswith("eyes") else model)) for t in trials]
    if what == "checks":
        for spare in sparing(recorded, WakeSettings())[:12]:
            found = "  ".join(f"F1 {row.f1:.3f} onset {row.onset_ms:.0f} ms" for row in spare.rows)
            print(f"{spare.joules_per_h:.1f} J/h  {found}  {spare.settings}")
        return
    start, table = {
        "eyes": (WakeSettings(policy="eye_only", min_moment_ms=0), EYES),
        "eyes-again": (EYE_ONLY.get(kind, EYE_ONLY["emulator"]), EYES_AGAIN),
        "fused": (BEFORE, FUSED),
    }[what]
    print("as it is", tried(recorded, start, table))
    search = descend if what == "fused" else best
    for row in search(recorded, start, table)[:12]:
        print(
            f"{row.f1:.3f}  onset {row.onset_ms:.0f} ms  awake {row.awake:.2f}  "
            f"false {row.false_per_h:.0f}/h  {row.settings}"
        )


if __name__ == "__main__":
    main()
