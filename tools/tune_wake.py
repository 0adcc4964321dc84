"""`python -m tools.tune_wake eyes|fused|checks DATA[@MODEL] ...`: thresholds of the judge, on known sessions.

The loop runs once per session with the scene camera always on; then the wake stage alone sees the
recorded eye movements and estimates again with every setting of a grid, blind to estimates while it has
the camera off. The rule of the eyes alone gets its own, larger grid, so that the comparison in
`beheld bench attention` is with the best of its kind. Give data the network was not trained on.

`checks` is about how short and how rare the checks may be. For every setting of its grid it prints F1,
onset and the joules an hour that checking and keeping cost beyond watching (`PRICES_W`), the cheapest of
those whose F1 is no lower than the present settings' first. A session `day:SEED[:SECONDS]` is an ordinary
day of the virtual wearer; where there is one, the joules are of such days alone.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.model import Model, load
from device.pipeline import Stage, run
from device.sources.camera import AlwaysOn, SceneCamera
from device.stages.attention import AttentionSettings, AttentionStage
from device.stages.events import EventsStage
from device.stages.wake import WakeSettings, WakeStage
from device.types import Attention, EyeMovement, Gaze, Value, WakeChange, WakeState
from tools.attention_truth import Trial
from tools.bench.attention import Recording, Seen, Tally, sessions

EYES = {
    "eye_only_dwell_ms": (200.0, 300.0, 400.0, 500.0, 650.0, 800.0, 1000.0, 1300.0),
    "eye_only_leave_ms": (0.0, 100.0, 300.0, 500.0),
    "same_place_deg": (1.0, 1.5, 2.0, 3.0, 4.5, 6.0),
    "glance_ms": (150.0, 250.0, 350.0, 500.0),
}
FUSED = {
    "enter_probability": (0.4, 0.5, 0.6, 0.7),
    "leave_probability": (0.15, 0.2, 0.3, 0.4),
    "settled_ms": (800.0, 1200.0),
    "settled_probability": (0.4, 1.0),
    "enter_ms": (0.0, 100.0),
    "leave_ms": (200.0, 400.0, 600.0),
    "same_place_deg": (2.0, 4.0),
}


CHECKS = {
    "dismiss_ms": (100.0, 200.0, 300.0),
    "rest_ms": (2500.0, 4000.0, 5000.0, 6000.0),
    "rest_share": (0.05, 0.1),
    "linger_ms": (300.0, 1000.0),
}
PRICES_W = {WakeState.WATCHING: 0.0, WakeState.CHECKING: 0.043, WakeState.KEEPING: 0.37}
"""What a state draws beyond watching, about: `beheld energy`, joules over seconds of each state."""
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


class Keep:
    """A sink that keeps what the judge would see."""

    def __init__(self) -> None:
        self.values: list[Value] = []

    def __call__(self, value: Value) -> None:
        if isinstance(value, Gaze | EyeMovement | Attention):
            self.values.append(value)


def heard(trial: Trial, model: Model, inputs: str = "both") -> list[Value]:
    """Everything the judge could see in a session, the scene camera always on."""
    keep = Keep()
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


def best(
    recorded: list[tuple[Trial, list[Value]]],
    start: WakeSettings,
    table: dict[str, tuple[float, ...]],
) -> list[tuple[float, float | None, dict[str, float]]]:
    """(F1, onset in ms, settings) of the grid, the best first."""
    rows = []
    for wake in grid(start, table):
        tally = Tally()
        for trial, values in recorded:
            seen = judged(values, wake, trial.duration_ns)
            for truth in trial.truths:
                tally.add(seen, truth, trial.duration_ns)
        rows.append((tally.f1, tally.figures()["onset_ms"], {k: getattr(wake, k) for k in table}))
    return sorted(rows, key=lambda row: -worth(row[0], row[1]))


def sparing(
    recorded: list[tuple[Trial, list[Value]]], start: WakeSettings
) -> list[tuple[float, float, float, dict[str, float]]]:
    """(joules an hour, F1, onset in ms, settings) of the grid `CHECKS`, the cheapest of those that find as
    much as `start` first."""
    days = any(trial.name.startswith(DAY) for trial, _ in recorded)

    def row(wake: WakeSettings) -> tuple[float, float, float, dict[str, float]]:
        tally, joules, hours = Tally(), 0.0, 0.0
        for trial, values in recorded:
            spent = Spent()
            seen = judged(values, wake, trial.duration_ns, spent)
            for truth in trial.truths:
                tally.add(seen, truth, trial.duration_ns)
            if not days or trial.name.startswith(DAY):
                joules, hours = joules + spent.joules, hours + trial.duration_ns / 3.6e12
        chosen = {name: getattr(wake, name) for name in CHECKS}
        return joules / hours, tally.f1, tally.figures()["onset_ms"] or 0.0, chosen

    least = row(start)[1]
    rows = [row(wake) for wake in grid(start, CHECKS)]
    return sorted(rows, key=lambda r: (r[1] < least, r[0]))


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


def worth(f1: float, onset_ms: float | None, aim_ms: float = 500.0) -> float:
    """F1, less a tenth for every 200 ms of onset delay beyond the aim."""
    return f1 - max(0.0, (onset_ms if onset_ms is not None else 2000.0) - aim_ms) / 2000.0


def main() -> None:
    what, given = sys.argv[1], sys.argv[2:]
    recorded = []
    for entry in given:
        data, _, path = entry.partition("@")
        model = Model(Path(path)) if path else load("attention")
        trials = [day(data)] if data.startswith(DAY) else sessions(data)[1]
        recorded += [(t, heard(t, model)) for t in trials]
    if what == "checks":
        for joules, f1, onset_ms, chosen in sparing(recorded, WakeSettings())[:12]:
            print(f"{joules:.1f} J/h  F1 {f1:.3f}  onset {onset_ms:.0f} ms  {chosen}")
        return
    if what == "eyes":
        bare = [(t, [v for v in values if isinstance(v, EyeMovement)]) for t, values in recorded]
        rows = best(bare, WakeSettings(policy="eye_only"), EYES)
    else:
        rows = best(recorded, WakeSettings(), FUSED)
    for f1, onset_ms, settings in rows[:12]:
        print(f"{f1:.3f}  onset {onset_ms or 0:.0f} ms  {settings}")


if __name__ == "__main__":
    main()
