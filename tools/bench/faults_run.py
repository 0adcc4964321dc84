"""One run of the fault campaign: a live session on the emulated glasses, presses, one fault."""

from __future__ import annotations

import logging
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from device.__main__ import Outcome
from device.emulator import Emulator, EmulatorSettings
from device.emulator.board import EmulatedBoard
from device.emulator.switches import BoardSettings
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

MARKS = {"unplug": 2, "freeze": 2, "hang": 4, "noise": 2, "privacy": 2, "brown-out": 2, "reboot": 2}
MARKS |= {"camera-unplug": 1}
"""Begin and end of a fault, as the emulated board notes them."""
PATIENCE_S = 30.0
CAUGHT_UP_NS = 300_000_000
"""A run may end when eyes seen so long after the fault have passed the loop. To count frames is not enough:
on a crowded machine those that still come may be from before the fault."""
SETTLE_S = 1.0
"""Also when all have come: one that comes twice would come by then."""
EYE_HZ, EYE_PX, SCENE_HZ = 15.0, 64, 5.0


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
    run.load = os.getloadavg()[0]
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

    def wait_for_frames_of(self, since_ns: int, run: Run) -> None:
        """Until eyes seen after that time, of the machine's monotonic clock, have passed the loop; the scene
        too, if its camera was lost and is still wanted."""
        goal_ns = since_ns + CAUGHT_UP_NS - self.glasses.clock.start_ns
        until = time.monotonic() + PATIENCE_S
        while self.is_alive():
            latest, scene_hz = self.glasses.latest, self.glasses.controls.scene_sensor_hz()
            seen = any(eye.t_ns > goal_ns for eye in latest.eyes.values())
            if run.kind == "camera-unplug" and scene_hz > 0:
                seen = seen and latest.scene is not None and latest.scene.t_ns > goal_ns
            if seen:
                return
            if time.monotonic() > until:
                run.notes.append("no frames came after the fault")
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
    fault = _wait_for_fault(board, MARKS.get(kind, 0), run)
    session.wait_for_frames_of(fault.end_ns, run)
    _settle(session, board)
    return fault


def _wait_for_fault(board: EmulatedBoard, marks: int, run: Run) -> Fault:
    """When it truly began and ended; now, for one that does neither."""
    until = time.monotonic() + PATIENCE_S
    while len(board.marks) < marks and time.monotonic() < until:
        time.sleep(0.02)
    times_ns = [t_ns for t_ns, _ in board.marks]
    if len(times_ns) < marks:
        run.notes.append(f"the fault did not end: {board.marks}")
    return Fault(times_ns[0], times_ns[-1]) if times_ns else Fault(*[time.monotonic_ns()] * 2)


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
