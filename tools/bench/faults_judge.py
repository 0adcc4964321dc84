"""What a live run through a fault must have left behind: the judgement of `beheld bench faults`."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from device.__main__ import Outcome
from device.emulator.board import EmulatedBoard
from device.glasses.session import Glasses
from device.record import SessionSource
from device.sources.camera import AlwaysOn
from device.types import DeviceEvent, EyeFrame, ScenePacket

HOLE_NS = 200_000_000
"""An eye stream without a frame for longer is a gap, which must be accounted for."""
WRONG_STAMP_NS = 100_000_000


@dataclass(slots=True)
class Run:
    """What one run came to."""

    kind: str
    crashed: str = ""
    lost_events: int = 0
    repeated_events: int = 0
    died_with_board: int = 0
    """Button events that are not in the recording, and that a board held unconfirmed when it restarted."""
    presses: int = 0
    unaccounted_s: float = 0.0
    """Time in which no eye was seen and no gap says so, or by which seen and gaps miss the session."""
    unreadable: str = ""
    recovery_s: float | None = None
    """From the end of the fault to the first eye frame after it; of the scene, where its camera was lost."""
    wrong_stamps: int = 0
    """Eye frames stamped more than a tenth of a second from any exposure: told, not judged, because the
    emulated board stamps a frame when the machine gives it time to."""
    stamp_errors_ms: list[float] = field(default_factory=list, repr=False)
    load: float = 0.0
    """How many processes wanted a core of the machine in the last minute of it."""
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        troubles = (self.crashed, self.unreadable, self.lost_events, self.repeated_events)
        return not any(troubles) and self.unaccounted_s < 1e-6


@dataclass(frozen=True, slots=True)
class Fault:
    """When it was, on the machine's monotonic clock."""

    start_ns: int
    end_ns: int


def judge(run: Run, board: EmulatedBoard, glasses: Glasses, outcome: Outcome, fault: Fault) -> None:
    path = glasses.data / "sessions" / glasses.header.session_id / "session.mcap"
    eyes_ns: list[int] = []
    scene_ns: list[int] = []
    pressed: list[bool] = []
    try:
        for value in SessionSource(path, AlwaysOn()):
            if isinstance(value, EyeFrame):
                eyes_ns.append(value.t_ns)
            elif isinstance(value, ScenePacket):
                scene_ns.append(value.t_ns)
            elif isinstance(value, DeviceEvent) and value.name == "button":
                pressed.append(bool(value.value))
    except Exception as error:  # an unreadable recording is a finding, whatever the reader says
        run.unreadable = f"{type(error).__name__}: {error}"
        return
    _judge_events(run, board, pressed)
    # The switch erases what was recorded just before it: that hole is by right.
    erased_ns = fault.start_ns - glasses.clock.start_ns if run.kind == "privacy" else None
    _judge_time(run, outcome, sorted(eyes_ns), erased_ns)
    _judge_stamps(run, board, glasses.clock.start_ns, eyes_ns)
    if run.kind != "drift":
        seen_ns = scene_ns if run.kind == "camera-unplug" else eyes_ns
        after_s = [(t + glasses.clock.start_ns - fault.end_ns) / 1e9 for t in seen_ns]
        run.recovery_s = min((s for s in after_s if s > 0), default=None)
        if run.recovery_s is None and run.kind != "camera-unplug":
            run.crashed = "no eye frame came after the fault"


def _judge_stamps(run: Run, board: EmulatedBoard, start_ns: int, eyes_ns: list[int]) -> None:
    """Each frame's stamp against the exposure nearest to it, on the machine's one clock."""
    exposed = np.array(board.eye_times_ns)
    if not len(exposed) or not eyes_ns:
        return
    stamps = np.array(eyes_ns) + start_ns
    at = np.clip(np.searchsorted(exposed, stamps), 1, len(exposed) - 1)
    nearest = np.minimum(abs(stamps - exposed[at - 1]), abs(stamps - exposed[at]))
    run.stamp_errors_ms = (nearest / 1e6).tolist()
    run.wrong_stamps = int((nearest > WRONG_STAMP_NS).sum())


def _judge_events(run: Run, board: EmulatedBoard, pressed: list[bool]) -> None:
    """Each press the board took is in the recording once, in its order; but for what the board itself
    counted when it restarted."""
    run.presses = len(board.presses)
    missing = len(board.presses) - len(pressed)
    run.died_with_board = min(board.counts.died_presses, max(0, missing))
    run.lost_events = max(0, missing - board.counts.died_presses)
    run.repeated_events = max(0, -missing)
    if missing == 0 and pressed != [on for _, on in board.presses]:
        run.lost_events = 1  # as many, but not these


def _judge_time(
    run: Run, outcome: Outcome, eyes_ns: list[int], erased_ns: int | None = None
) -> None:
    """Seen and gaps make the session, and each hole among the recorded eyes lies in a gap."""
    report = outcome.report
    run.unaccounted_s = abs(report.session_ns - report.seen_ns - report.gap_ns) / 1e9
    edges = [0, *eyes_ns, report.session_ns]
    for before, after in pairwise(edges):
        by_right = erased_ns is not None and before - HOLE_NS <= erased_ns <= after
        if after - before <= HOLE_NS or by_right:
            continue
        covered = sum(
            max(0, min(after, gap.end_ns) - max(before, gap.start_ns)) for gap in report.gaps
        )
        run.unaccounted_s += max(0, after - before - covered) / 1e9
