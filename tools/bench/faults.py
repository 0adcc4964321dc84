"""`beheld bench faults`: the live run on the emulated glasses, a fault at a random time in each run."""

from __future__ import annotations

import json
import logging
import random
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from device.__main__ import Outcome, load_models
from device.emulator import Emulator, EmulatorSettings
from device.emulator.board import EmulatedBoard
from device.emulator.switches import BoardSettings
from device.errors import InputError, StorageError
from device.glasses.session import Glasses, assemble, run_glasses
from device.glasses.settings import (
    GlassesSettings,
    LiveSettings,
    PageSettings,
    SceneCameraSettings,
    SessionSettings,
)
from device.model import Model
from device.sources.board import BoardSettings as LineSettings
from device.sources.video_camera import CameraSettings
from firmware_bridge.link import State
from tools.bench.faults_judge import Fault, Run, judge
from tools.output import emit, json_option, progress

KINDS = (
    "unplug", "freeze", "hang", "brown-out", "noise", "reboot", "privacy", "camera-unplug", "drift"
)  # fmt: skip
MARKS = {"unplug": 2, "freeze": 2, "hang": 4, "noise": 2, "privacy": 2, "brown-out": 2, "reboot": 2}
MARKS |= {"camera-unplug": 1}
"""Begin and end of a fault, as the emulated board notes them."""
PATIENCE_S = 30.0
SETTLE_S = 1.0
"""Also when all have come: one that comes twice would come by then."""
EYE_HZ, EYE_PX, SCENE_HZ = 15.0, 64, 5.0


@click.command()
@click.option("--runs", default=20, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True)
@click.option("--kind", type=click.Choice(KINDS), help="Only this fault. [default: all, in turn]")
@click.option(
    "--log",
    "log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep each run as a line of this file. Runs that are in it are not run again, and count: a long "
    "campaign in slices, `--runs 20 --log F`, then `--runs 40 --log F`, and so on.",
)
@json_option
def command(runs: int, seed: int, kind: str | None, log: Path | None, as_json: bool) -> None:
    """The whole live run (loop, models, recording) on the emulated glasses, a fault in each run.

    Each run lasts some seconds of real time: eyes over the serial line, scene over the camera socket, the
    wearer presses the button at random times, the fault comes at a random time. Afterwards the recording
    must be readable, every press be in it once, every interval without eyes be a gap. `recovery_s` counts
    from the end of the fault to the next eye frame. `died_with_board`: presses (down or up) that a board
    held when it restarted and that had not reached the host; the board itself counts what it holds.
    """
    done = read_log(log) if log is not None else []
    models = load_models()
    with (
        progress("faults", runs) as bar,
        suppress(KeyboardInterrupt),
    ):  # what was done by then counts
        for number in range(len(done), runs):
            run = campaign_run(kind or KINDS[number % len(KINDS)], seed * 10_007 + number, models)
            done.append(run)
            if log is not None:
                write_log(log, run)
            bar(number + 1)
    result = summary(done)
    emit(result, as_json=as_json, title="faults")
    if result["bad"]:
        raise click.exceptions.Exit(1)


def read_log(path: Path) -> list[Run]:
    """The runs of earlier slices. Raises InputError if the file is something else."""
    if not path.exists():
        return []
    try:
        return [Run(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: is no log of bench faults ({error})") from error


def write_log(path: Path, run: Run) -> None:
    """One more line. Raises StorageError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(run)) + "\n")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error


def summary(done: list[Run]) -> dict[str, Any]:
    """The campaign's keys."""
    recovery: dict[str, list[float]] = defaultdict(list)
    for run in done:
        if run.recovery_s is not None:
            recovery[run.kind].append(run.recovery_s)
    return {
        "runs": len(done),
        "faults": dict(Counter(run.kind for run in done)),
        "bad": sum(not run.good for run in done),
        "crashed": sum(bool(run.crashed) for run in done),
        "presses": sum(run.presses for run in done),
        "lost_events": sum(run.lost_events for run in done),
        "repeated_events": sum(run.repeated_events for run in done),
        "died_with_board": sum(run.died_with_board for run in done),
        "unaccounted_s": sum(run.unaccounted_s for run in done),
        "unreadable": sum(bool(run.unreadable) for run in done),
        "wrong_stamps": sum(run.wrong_stamps for run in done),
        "stamp_error_ms": _percentiles([ms for run in done for ms in run.stamp_errors_ms]),
        "recovery_s": {
            kind: {"median": float(np.median(times)), "worst": max(times)}
            for kind, times in recovery.items()
        },
        "troubles": [f"{run.kind}: {run}" for run in done if not run.good][:5],
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(values, p)) for p in (50, 99)} if values else {}


# --- one run ----------------------------------------------------------------------------------------


def campaign_run(kind: str, seed: int, models: Mapping[str, Model]) -> Run:
    """One session with one fault."""
    rng, run = random.Random(seed), Run(kind=kind)
    wearer = EmulatorSettings(
        seed=seed % 97 + 1, duration_s=120, eye_px=EYE_PX, scene_width_px=320, scene_height_px=240
    )
    drift_ppm = 50.0 if kind == "drift" else 0.0
    with (
        tempfile.TemporaryDirectory(prefix="beheld-faults-") as folder,
        EmulatedBoard(
            Emulator(wearer), BoardSettings(eye_px=EYE_PX, drift_ppm=drift_ppm, seed=seed)
        ) as board,
        quiet(),
    ):
        glasses = assemble(live_settings(board, Path(folder)), models)
        session = _Session(glasses)
        fault = _play(board, session, kind, rng, run)
        outcome = session.end(run)
        if outcome is not None:
            judge(run, board, glasses, outcome, fault)
    return run


class _Session(threading.Thread):
    """The live run in a thread of its own."""

    def __init__(self, glasses: Glasses) -> None:
        super().__init__(name="live run", daemon=True)
        self.glasses = glasses
        self.outcome: Outcome | None = None
        self.error = ""
        self.start()

    def run(self) -> None:
        try:
            self.outcome = run_glasses(self.glasses)
        except Exception as error:  # whatever ends the loop is what this bench looks for
            self.error = f"{type(error).__name__}: {error}"

    def frames(self) -> int:
        return self.glasses.report.counts["EyeFrame"]

    def buttons(self) -> int:
        """How often the button has reached the loop, down and up."""
        return self.glasses.latest.counts["button"]

    def wait_for_frames(self, count: int, run: Run) -> None:
        """Until so many more eye frames have passed the loop."""
        goal, until = self.frames() + count, time.monotonic() + PATIENCE_S
        while self.frames() < goal and self.is_alive():
            if time.monotonic() > until:
                run.notes.append("no frames came")
                return
            time.sleep(0.02)

    def end(self, run: Run) -> Outcome | None:
        self.glasses.stop()
        self.join(PATIENCE_S)
        run.crashed = self.error or ("the loop does not end" if self.is_alive() else "")
        return self.outcome


def _play(
    board: EmulatedBoard, session: _Session, kind: str, rng: random.Random, run: Run
) -> Fault:
    """Presses at random times, the fault at one."""
    session.wait_for_frames(5, run)
    fault_s, lasts_s = rng.uniform(0.1, 2.5), rng.uniform(0.2, 1.8)
    presses = [(rng.uniform(0.0, 5.0), "button") for _ in range(rng.randrange(3, 9))]
    if kind == "camera-unplug":  # a moment is open, so the scene camera runs
        presses.append((max(0.0, fault_s - 0.6), "button"))
    orders = {
        "unplug": [(0.0, f"unplug {lasts_s:.2f}")],
        "freeze": [(0.0, f"freeze {lasts_s:.2f}")],
        "hang": [(0.0, "freeze 2.5")],
        "noise": [(0.0, f"noise {rng.uniform(0.002, 0.02):.4f} {lasts_s:.2f}")],
        "privacy": [(0.0, "privacy on"), (lasts_s, "privacy off")],
        "drift": [],
    }.get(kind, [(0.0, kind)])
    board.marks.clear()
    begin_s = time.monotonic()
    for at_s, order in sorted(presses + [(fault_s + at, order) for at, order in orders]):
        time.sleep(max(0.0, begin_s + at_s - time.monotonic()))
        board.order(order)
    marks = _wait_for_marks(board, MARKS.get(kind, 0))
    session.wait_for_frames(5, run)
    _settle(session, board)
    return Fault(marks[0], marks[-1]) if marks else Fault(0, 0)


def _wait_for_marks(board: EmulatedBoard, count: int) -> list[int]:
    """The times at which the fault truly began and ended."""
    until = time.monotonic() + PATIENCE_S
    while len(board.marks) < count and time.monotonic() < until:
        time.sleep(0.02)
    return [t_ns for t_ns, _ in board.marks]


def _settle(session: _Session, board: EmulatedBoard) -> None:
    """Give events that still wait their time: until all have come, or none does. What is lost for good
    does not come in half a minute either; on a crowded machine it is late, which is another matter."""
    until = time.monotonic() + PATIENCE_S
    link = session.glasses.board.link
    time.sleep(SETTLE_S)
    while time.monotonic() < until:
        missing = len(board.presses) - board.counts.died_presses - session.buttons()
        if link.state is State.READY and missing <= 0:
            return
        time.sleep(0.02)


# --- how it is set up ---------------------------------------------------------------------------------


def live_settings(board: EmulatedBoard, folder: Path) -> LiveSettings:
    """Both eyes over the line, the scene over the socket, everything recorded."""
    eye = CameraSettings(device="board", width_px=EYE_PX, height_px=EYE_PX, rate_hz=EYE_HZ)
    scene = SceneCameraSettings(
        device=f"socket:{board.camera}", width_px=320, height_px=240, rate_hz=SCENE_HZ
    )
    return LiveSettings(
        glasses=GlassesSettings(data=str(folder)),
        board=LineSettings(port=str(board.port)),
        eye_left=eye,
        eye_right=eye,
        scene=scene,
        session=SessionSettings(enabled=True, eye_rate_hz=EYE_HZ),
        page=PageSettings(enabled=False),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Faults are what is wanted here: their warnings are not printed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
