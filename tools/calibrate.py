"""`beheld calibrate REC --out FILE`: fit the wearer's calibration and say honestly how good it is.

The reference is the recording's own gaze, or markers that were looked at: rows of `t_ns, azimuth_deg,
elevation_deg`, as JSON or CSV.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from device.calibrating import fit
from device.calibration import Calibration
from device.errors import InputError
from device.eye_view import Observation, observe
from device.model import load
from device.pipeline import Source
from device.pupil import PupilEstimator
from device.stages.gaze import Estimator, model_sha256
from device.types import EyeFrame, Gaze
from tools.output import emit, json_option, progress

PART_GAP_NS = 1_000_000_000
"""A longer pause of the reference gaze begins a new part of the recording."""
LANDING_NS = 500_000_000
"""A marker that jumps is looked at only after the eye has noticed, moved and settled."""
LAST_MARKER_NS = 1_500_000_000
"""How long the last marker is taken to stay."""
MOVING_NS = 100_000_000
"""Markers closer in time than this are one marker that moves."""

Span = tuple[int, int]


@dataclass(slots=True)
class EyeRecording:
    """All that a calibration needs of a recording; frames are not kept."""

    path: str
    wearer: str = "unknown"
    start_utc: str = "unknown"
    observations: list[Observation] = field(default_factory=list)
    gazes: list[Gaze] = field(default_factory=list)

    def spans(self, which: str) -> list[Span]:
        """`all`, `first-half`, `second-half`, `part:N` or `A-Bs` as intervals of time (end excluded).

        Halves have equal numbers of eye frames that lie beside reference gaze; parts are the stretches of
        reference gaze between pauses, counted from 1; seconds count from the first such frame.
        Raises InputError for anything else.
        """
        parts = self.parts()
        everything = (0, max(end for _, end in parts) + 1)
        number = re.fullmatch(r"part:(\d+)", which)
        if number:
            n = int(number[1])
            if not 1 <= n <= len(parts):
                raise InputError(f"{self.path}: has no part {n}; it has parts 1 to {len(parts)}")
            return [(parts[n - 1][0], parts[n - 1][1] + 1)]
        if which == "all":
            return [everything]
        beside = [o.t_ns for o in self.observations if any(a <= o.t_ns <= b for a, b in parts)]
        if not beside:
            raise InputError(f"{self.path}: no eye frame lies beside its reference gaze")
        seconds = re.fullmatch(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)s", which)
        if seconds:
            start, end = (beside[0] + round(float(s) * 1e9) for s in seconds.groups())
            return [(start, end)]
        middle = beside[len(beside) // 2]
        if which == "first-half":
            return [(0, middle)]
        if which == "second-half":
            return [(middle, everything[1])]
        raise InputError(
            f"'{which}' is no part of a recording; "
            "use first-half, second-half, part:N, A-Bs (as 0-10s) or all"
        )

    def parts(self) -> list[Span]:
        """First and last time of each stretch of reference gaze. Raises InputError if there is none."""
        if not self.gazes:
            raise InputError(
                f"{self.path}: brings no reference gaze; calibrate with markers (--markers FILE)"
            )
        t_ns = np.array([g.t_ns for g in self.gazes])
        cuts = np.flatnonzero(np.diff(t_ns) > PART_GAP_NS)
        starts, ends = t_ns[[0, *(cuts + 1)]], t_ns[[*cuts, len(t_ns) - 1]]
        return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]

    def within(self, spans: Sequence[Span]) -> tuple[list[Observation], list[Gaze]]:
        """Observations and gaze inside the spans."""

        def inside(t_ns: int) -> bool:
            return any(start <= t_ns < end for start, end in spans)

        return (
            [o for o in self.observations if inside(o.t_ns)],
            [g for g in self.gazes if inside(g.t_ns)],
        )


def read(
    source: Source,
    path: str,
    estimator: Estimator,
    *,
    on_frame: Callable[[EyeFrame], None] = lambda frame: None,
    on_time: Callable[[float], None] = lambda t_s: None,
) -> EyeRecording:
    """Pass once through a recording. Raises InputError if it has no eye video."""
    found = EyeRecording(path, source.header.wearer, source.header.start_utc)
    for value in source:
        if isinstance(value, EyeFrame):
            found.observations.append(observe(value, estimator.estimate(value)))
            on_frame(value)
            on_time(value.t_ns / 1e9)
        elif isinstance(value, Gaze):
            found.gazes.append(value)
    if not found.observations:
        raise InputError(f"{path}: has no eye video; choose a recording that brings it")
    return found


def read_markers(path: Path) -> list[Gaze]:
    """Markers as reference gaze. Raises InputError naming file, row and remedy."""
    try:
        text = path.read_text(encoding="utf-8")
        rows: list[Any] = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [*csv.DictReader(io.StringIO(text))]
        )
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as JSON or CSV ({error})") from error
    markers = []
    for number, row in enumerate(rows, 1):
        try:
            t_ns, azimuth_deg, elevation_deg = (
                float(row[key] if isinstance(row, dict) else row[n])
                for n, key in enumerate(("t_ns", "azimuth_deg", "elevation_deg"))
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: row {number} is not t_ns, azimuth_deg, elevation_deg ({error!r})"
            ) from error
        if not np.isfinite([t_ns, azimuth_deg, elevation_deg]).all():
            raise InputError(
                f"{path}: row {number} has a number that is not finite; remove the row"
            )
        markers.append((int(t_ns), azimuth_deg, elevation_deg))
    if not markers:
        raise InputError(f"{path}: lists no markers")
    return as_gaze(sorted(markers))


def as_gaze(markers: Sequence[tuple[int, float, float]]) -> list[Gaze]:
    """(t_ns, azimuth_deg, elevation_deg) in order of time to gaze at 100 Hz where it is known."""
    gazes = []
    ends = [*(m[0] for m in markers[1:]), markers[-1][0] + LAST_MARKER_NS]
    for (t_ns, azimuth_deg, elevation_deg), end_ns in zip(markers, ends, strict=True):
        moving = end_ns - t_ns <= MOVING_NS
        times = [t_ns] if moving else range(t_ns + LANDING_NS, end_ns, 10_000_000)
        gazes += [
            Gaze(t_ns=t, azimuth_deg=azimuth_deg, elevation_deg=elevation_deg, confidence=1.0)
            for t in times
        ]
    return gazes


def calibrate(
    recording: EyeRecording, which: str, *, eye_model_sha256: str = "", natural: bool = True
) -> Calibration:
    """Fit on that part of a recording. `natural`: its gaze is not of markers."""
    observations, gazes = recording.within(recording.spans(which))
    try:
        return fit(
            observations,
            gazes,
            eye_model_sha256=eye_model_sha256,
            wearer=recording.wearer,
            created_utc=recording.start_utc,
            natural=natural,
        )
    except InputError as error:
        raise InputError(f"{recording.path} ({which}): {error}") from error


@click.command()
@click.argument("recording", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option(
    "--fit",
    "which",
    default="all",
    show_default=True,
    help="all, first-half, second-half, part:N, A-Bs.",
)
@click.option("--markers", type=click.Path(path_type=Path), help="Markers looked at (JSON or CSV).")
@json_option
def command(recording: Path, out: Path, which: str, markers: Path | None, as_json: bool) -> None:
    """Fit the wearer's calibration to RECORDING and write it to a file.

    The accuracy printed is measured on blocks of time that were left out of the fit.
    """
    from tools.open_source import open_source

    source = open_source(recording)
    estimator = PupilEstimator(load("eye"))
    duration_s = source.header.duration_ns / 1e9 if source.header.duration_ns else None
    with progress("reading eyes", duration_s) as tick:
        found = read(source, str(recording), estimator, on_time=tick)
    if markers is not None:
        found.gazes = read_markers(markers)
    fitted = calibrate(
        found, which, eye_model_sha256=model_sha256(estimator), natural=markers is None
    )
    fitted.save(out)
    accuracy = fitted.accuracy
    result = {
        "out": str(out),
        "bytes": out.stat().st_size,
        "fitted_on": which,
        "cameras": [f"{c.camera.eye} {c.camera.number}" for c in fitted.cameras],
        "n": accuracy.n,
        "mean_deg": accuracy.mean_deg,
        "median_deg": accuracy.median_deg,
        "p95_deg": accuracy.p95_deg,
        "usable": accuracy.usable,
        "precision_deg": accuracy.precision_deg,
    }
    emit(result, as_json=as_json, title="Calibration (errors on moments left out of the fit)")
