"""`beheld bench track`: the pupil carried between runs of the eye network, on real eye video."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from device.errors import InputError
from device.model import load
from device.pupil import PupilEstimator, PupilGate
from device.pupil_track import PupilTracker
from device.types import EyeFrame, Pupil
from tools.bench.eye_folders import read_eyes
from tools.open_source import open_source
from tools.output import emit, json_option, progress

RATE_HZ = 60.0
"""Frames are thinned to about this, the rate of the glasses' own eye cameras."""
FOLDER_RATE_HZ = 120.0
"""Of the videos in folders, which do not say theirs."""
NEAR_PX = 5.0


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="A recording with eye video, or a folder of eye videos (as for `bench pupil`).",
)
@click.option("--rate-hz", default=RATE_HZ, show_default=True, help="Thin the video to this.")
@click.option("--seconds", default=60.0, show_default=True, help="Most of each eye.")
@json_option
def command(data: Path, rate_hz: float, seconds: float, as_json: bool) -> None:
    """How often the eye network has to run while pupils are carried, and what that costs.

    \b
    network_share     of the eye frames, those on which the network ran
    still_share       the same among frames on which the network finds an open eye
    off_median, off_p95  of the carried pupils, distance to the network's own, in pupil diameters
    step_median       the network's own distance from frame to frame, for comparison
    lids_changed      frames on which the verdict open or closed is another one
    within_5px        against labels, where the folder has them: carried, and network on every frame
    us                CPU microseconds a carried frame
    """
    if not rate_hz > 0 or not seconds > 0:
        raise InputError("--rate-hz and --seconds must be above 0")
    emit(measure(data, rate_hz, seconds), as_json=as_json, title=f"track on {data}")


Eyes = dict[str, list[tuple[EyeFrame, tuple[float, float] | None]]]


def measure(data: Path, rate_hz: float = RATE_HZ, seconds: float = 60.0) -> dict[str, Any]:
    """See `command`. Raises InputError where there is no eye video."""
    eyes: Eyes = {}
    last_ns: dict[str, int] = {}
    first_ns: dict[str, int] = {}
    for name, frame, centre in _frames(data):
        before_ns = last_ns.get(name)
        thinned = before_ns is not None and frame.t_ns - before_ns < 0.8e9 / rate_hz
        if frame.t_ns - first_ns.setdefault(name, frame.t_ns) >= seconds * 1e9:
            continue
        if not thinned:
            last_ns[name] = frame.t_ns
            eyes.setdefault(name, []).append((frame, centre))
    if not eyes:
        raise InputError(f"{data}: holds no eye video")
    count = sum(len(rows) for rows in eyes.values())
    with progress("eyes", count) as bar:
        parts = {}
        behind = 0
        for name, rows in eyes.items():
            parts[name] = _Part(rows)
            behind += len(rows)
            bar(behind)
    return {
        "n": count,
        **_figures(list(parts.values())),
        "by_part": {name: _figures([part]) for name, part in parts.items()},
    }


class _Known:
    """Answers that the network gave already."""

    def __init__(self, pupils: dict[int, Pupil], estimator: PupilEstimator) -> None:
        self.model, self._pupils = estimator.model, pupils

    def estimate(self, frame: EyeFrame) -> Pupil:
        return self._pupils[frame.seq]


class _Part:
    """One eye: the network on every frame, and the tracker."""

    def __init__(self, rows: list[tuple[EyeFrame, tuple[float, float] | None]]) -> None:
        estimator = PupilEstimator(load("eye"))
        self.network = {f.seq: estimator.estimate(f) for f, _ in rows}
        tracker = PupilTracker(_Known(self.network, estimator))
        self.rows = rows
        self.pupils: list[Pupil] = []
        self.spent_s = 0.0
        self.ran: list[bool] = []
        for frame, _ in rows:
            started, before = time.thread_time(), tracker.runs
            self.pupils.append(tracker.estimate(frame))
            self.ran.append(tracker.runs > before)
            self.spent_s += (time.thread_time() - started) * (not self.ran[-1])


def _figures(parts: list[_Part]) -> dict[str, Any]:
    gate = PupilGate()
    ran = np.concatenate([p.ran for p in parts])
    network = [pupil for p in parts for pupil in p.network.values()]
    carried = [pupil for p in parts for pupil in p.pupils]
    is_open = np.array([not gate.closed(p) for p in network])
    off = np.array([_apart(a, b) for a, b in zip(carried, network, strict=True)])[~ran]
    steps = np.concatenate([_steps(list(p.network.values())) for p in parts])
    labels = [centre for p in parts for _, centre in p.rows]
    verdicts = [gate.closed(a) != gate.closed(b) for a, b in zip(carried, network, strict=True)]
    return {
        "network_share": float(ran.mean()),
        "still_share": float(ran[is_open].mean()) if is_open.any() else None,
        "off_median": float(np.median(off)) if len(off) else None,
        "off_p95": float(np.quantile(off, 0.95)) if len(off) else None,
        "step_median": float(np.nanmedian(steps)) if len(steps) else None,
        "lids_changed": int(np.sum(verdicts)),
        "within_5px": {
            "carried": _within(carried, labels),
            "every_frame": _within(network, labels),
        },
        "us": sum(p.spent_s for p in parts) / max(1, int((~ran).sum())) * 1e6,
    }


def _frames(data: Path) -> Iterator[tuple[str, EyeFrame, tuple[float, float] | None]]:
    """Eye frames by the name of their video or camera, with the labelled centre where there is one."""
    try:
        source = open_source(data)
    except InputError:
        for eye in read_eyes(data):
            if eye.frame is not None:
                t_ns = round(eye.frame * 1e9 / FOLDER_RATE_HZ)
                frame = EyeFrame(t_ns=t_ns, seq=eye.frame, eye="left", camera=0, pixels=eye.pixels)
                yield eye.part, frame, eye.centre_px
        return
    for value in source:
        if isinstance(value, EyeFrame):
            yield f"{value.eye} {value.camera}", value, None


def _apart(one: Pupil, other: Pupil) -> float:
    """Distance of two centres in diameters of the second."""
    away = np.hypot(one.x_px - other.x_px, one.y_px - other.y_px)
    return float(away / max(1.0, other.major_px))


def _steps(pupils: list[Pupil]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    sure = [p.confidence >= 0.5 and p.openness >= 0.7 for p in pupils]
    pairs = zip(pupils[1:], pupils, sure[1:], sure, strict=False)
    return np.array([_apart(a, b) for a, b, x, y in pairs if x and y])


def _within(pupils: list[Pupil], labels: list[tuple[float, float] | None]) -> float | None:
    """Share of the labelled centres hit; doubtful pupils are misses."""
    gate = PupilGate()
    hit = [
        gate.reports(p) and np.hypot(p.x_px - c[0], p.y_px - c[1]) <= NEAR_PX
        for p, c in zip(pupils, labels, strict=True)
        if c is not None
    ]
    return float(np.mean(hit)) if hit else None
