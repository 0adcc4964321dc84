"""`beheld bench gaze`: our gaze against a recording's own, fitted on one part and scored on another.

n           moments of the scored part that have reference gaze
median_deg  angle between our line of sight and the reference's, over usable moments (p95_deg, mean_deg)
usable      share of the n that have our gaze with a confidence of at least 0.5
eye_network_share  of the eye frames, those on which the network ran; between them pupils are carried
constant_deg  median error of always answering with the median of the fitted part
all_p95_deg   95th percentile over all moments that have our gaze, usable or not
confidence  ten bins of equal size: stated confidence against the share that really lay within 2 deg
peer        pupil-detectors 2D (where installed), both pupil centres, least squares, same moments
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from device.calibrating import interpolate
from device.calibration import NEAR_DEG, USABLE, Calibration
from device.errors import InputError
from device.expert_fit import FitSettings
from device.model import load
from device.pupil import PupilEstimator
from device.pupil_track import PupilTracker
from device.stages.gaze import Estimator, GazeStage, model_sha256
from device.types import Eye, EyeFrame, Gaze
from tools.calibrate import EyeRecording, calibrate, read
from tools.output import emit, json_option, progress

Floats = NDArray[np.float64]


def angle_deg(a: Floats, b: Floats) -> Floats:
    """Angle between lines of sight given as (n, 2) azimuth and elevation in degrees."""
    azimuth = np.radians(a[:, 0] - b[:, 0])
    one, two = np.radians(a[:, 1]), np.radians(b[:, 1])
    half = np.sin((one - two) / 2) ** 2 + np.cos(one) * np.cos(two) * np.sin(azimuth / 2) ** 2
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))))


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Our gaze at the n moments of the scored part that have reference gaze."""

    fitted: Calibration
    off: Floats
    """(n,) degrees between our line of sight and the reference's."""
    confidence: Floats
    """(n,)"""
    truth: Floats
    """(n, 2) degrees"""


def judged(recording: EyeRecording, estimator: Estimator, fit_on: str, score_on: str) -> Judged:
    """Fit on one part, run the stage as it ships over another, compare with the reference there."""
    fitted = calibrate(recording, fit_on, eye_model_sha256=model_sha256(estimator))
    observations, reference = recording.within(recording.spans(score_on))
    stage = GazeStage(estimator, fitted)
    ours = [g for o in observations for g in stage.see(o)]
    ours += [g for g in stage.finish(0) if isinstance(g, Gaze)]
    t_ns = np.array([g.t_ns for g in ours], np.int64)
    truth, known = reference_at(t_ns, reference, f"{recording.path} ({score_on})")
    angles = np.array([[g.azimuth_deg, g.elevation_deg] for g in ours])[known]
    confidence = np.array([g.confidence for g in ours])[known]
    return Judged(fitted, angle_deg(angles, truth), confidence, truth)


def score(
    recording: EyeRecording, estimator: Estimator, fit_on: str, score_on: str
) -> dict[str, Any]:
    """`judged` in figures."""
    run = judged(recording, estimator, fit_on, score_on)
    off, confidence, truth = run.off, run.confidence, run.truth
    _, fitted_on = recording.within(recording.spans(fit_on))
    usable = confidence >= USABLE
    middle = np.nanmedian([[g.azimuth_deg, g.elevation_deg] for g in fitted_on], axis=0)
    errors = off[usable] if usable.any() else np.array([np.nan])
    return {
        "n": len(off),
        "median_deg": float(np.median(errors)),
        "p95_deg": float(np.quantile(errors, 0.95)),
        "usable": float(usable.mean()),
        "constant_deg": float(np.median(angle_deg(np.tile(middle, (len(truth), 1)), truth))),
        "mean_deg": float(errors.mean()),
        "all_median_deg": float(np.median(off)),
        "all_p95_deg": float(np.quantile(off, 0.95)),
        "fit": fit_on,
        "score": score_on,
        "held_out_in_fit": _accuracy(run.fitted),
        "confidence": bins(confidence, off),
    }


def reference_at(
    t_ns: NDArray[np.int64], reference: list[Gaze], where: str
) -> tuple[Floats, NDArray[np.bool_]]:
    """Reference angles of the moments that have them, and which moments those are."""
    valid = [g for g in reference if np.isfinite([g.azimuth_deg, g.elevation_deg]).all()]
    valid = [g for g in valid if g.confidence >= USABLE]
    if not valid or not len(t_ns):
        raise InputError(
            f"{where}: nothing to score against; no valid reference gaze beside eye frames"
        )
    at_ns = np.array([g.t_ns for g in valid], np.int64)
    angles = np.array([[g.azimuth_deg, g.elevation_deg] for g in valid])
    # A saccade of the reference is scored as well: no moment is left out because it is hard.
    settings = FitSettings(max_reference_step_deg=360.0)
    truth, known = interpolate(t_ns, at_ns, angles, settings)
    if not known.any():
        raise InputError(f"{where}: no eye frame lies beside valid reference gaze")
    return truth[known], known


def bins(confidence: Floats, off: Floats, count: int = 10) -> list[dict[str, float]]:
    """Stated confidence against what was observed, in bins of equal numbers, doubtful ones first."""
    order = np.argsort(confidence, kind="stable")
    return [
        {
            "n": len(rows),
            "confidence": float(confidence[rows].mean()),
            "within_2_deg": float((off[rows] <= NEAR_DEG).mean()),
            "median_deg": float(np.median(off[rows])),
        }
        for rows in np.array_split(order, count)
        if len(rows)
    ]


class Peer:
    """pupil-detectors 2D on the same frames, with a linear map of both pupil centres."""

    name = "pupil-detectors 2D + linear map"

    def __init__(self) -> None:
        """Raises ImportError where the package is not installed."""
        from pupil_detectors import Detector2D

        self._detector = Detector2D()
        self._found: dict[int, dict[tuple[Eye, int], tuple[float, float]]] = {}

    def see(self, frame: EyeFrame) -> None:
        result = self._detector.detect(np.ascontiguousarray(frame.pixels))
        if result["confidence"] >= 0.6:  # the threshold its authors recommend
            centre = tuple(result["ellipse"]["center"])
            self._found.setdefault(frame.t_ns, {})[frame.eye, frame.camera] = centre

    def score(self, recording: EyeRecording, fit_on: str, score_on: str) -> dict[str, Any]:
        """Least squares on the frames in which every camera's pupil was found."""
        cameras = sorted({(o.camera.eye, o.camera.number) for o in recording.observations})
        rows = []
        for which in (fit_on, score_on):
            spans, (_, reference) = recording.spans(which), recording.within(recording.spans(which))
            times = sorted({o.t_ns for o in recording.observations})
            times = [t for t in times if any(a <= t < b for a, b in spans)]
            t_ns = np.array(times, np.int64)
            truth, known = reference_at(t_ns, reference, recording.path)
            seen = [self._found.get(int(t), {}) for t in t_ns[known]]
            full = np.array([len(s) == len(cameras) for s in seen])
            x = np.array(
                [[1.0, *np.ravel([s[c] for c in cameras])] for s in seen if len(s) == len(cameras)]
            )
            rows.append((x, truth[full], full))
        (x, y, _), (new_x, truth, full) = rows
        if len(x) < 30 or not len(new_x):
            return {"name": self.name, "median_deg": None, "usable": float(full.mean())}
        slope, *_ = np.linalg.lstsq(x, y, rcond=None)
        off = angle_deg(new_x @ slope, truth)
        return {
            "name": self.name,
            "median_deg": float(np.median(off)),
            "p95_deg": float(np.quantile(off, 0.95)),
            "usable": float(full.mean()),
        }


def _accuracy(fitted: Calibration) -> dict[str, float]:
    return {
        k: getattr(fitted.accuracy, k) for k in ("median_deg", "p95_deg", "usable", "precision_deg")
    }


def measure(
    recording: EyeRecording, estimator: Estimator, peer: Peer | None, fit_on: str, score_on: str
) -> dict[str, Any]:
    """Ours, and the peer under `peer` where it is installed."""
    result = score(recording, estimator, fit_on, score_on)
    return result | {"peer": peer.score(recording, fit_on, score_on) if peer else None}


def peer_or_none() -> Peer | None:
    try:
        return Peer()
    except ImportError:
        return None


@click.command()
@click.option(
    "--data",
    "recording",
    type=click.Path(path_type=Path),
    required=True,
    help="A recording with eye video and gaze.",
)
@click.option(
    "--fit",
    "fit_on",
    default="first-half",
    show_default=True,
    help="first-half, second-half, part:N, A-Bs.",
)
@click.option(
    "--score", "score_on", default="second-half", show_default=True, help="The same, for scoring."
)
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    help="Fit on each part, score on each other, and on drawn wearers for lengths of calibration; "
    "write the tables of this page anew.",
)
@json_option
def command(recording: Path, fit_on: str, score_on: str, page: Path | None, as_json: bool) -> None:
    """Gaze from our pupils against a recording's own gaze, on a part not used for fitting."""
    from tools.open_source import open_source

    source = open_source(recording)
    estimator = PupilTracker(PupilEstimator(load("eye")))
    peer = peer_or_none()
    duration_s = source.header.duration_ns / 1e9 if source.header.duration_ns else None
    with progress("reading eyes", duration_s) as tick:
        found = read(
            source,
            str(recording),
            estimator,
            on_frame=peer.see if peer else lambda frame: None,
            on_time=tick,
        )
    result = measure(found, estimator, peer, fit_on, score_on)
    result["eye_network_share"] = estimator.runs / max(1, estimator.frames)
    if page is not None:
        from tools.bench.gaze_page import write_page

        write_page(lambda a, b: measure(found, estimator, peer, a, b), found, page, estimator)
    emit(result, as_json=as_json, title="Gaze against the recording's own")
