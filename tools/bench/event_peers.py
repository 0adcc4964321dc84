"""Eye-movement classifiers to compare with: I-VT and I-DT (Salvucci & Goldberg 2000), I-VDT, REMoDNaV.

The three threshold methods are written from their published description with the usual thresholds;
none of them is online in the form given here. REMoDNaV is the authors' own package, run offline with its
defaults, where it is installed.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tools.importers.lund import Label, LundTrial, Screen

Labels = NDArray[np.uint8]

IVT_DEG_S = 45.0
"""Faster is a saccade."""
IDT_DEG = 1.0
"""Fixations stay within this dispersion (width plus height)."""
WINDOW_MS = 100.0
"""Shortest fixation of I-DT; window of I-VDT."""

REMODNAV = {
    "FIXA": Label.FIXATION,
    "PURS": Label.PURSUIT,
    "SACC": Label.SACCADE,
    "ISAC": Label.SACCADE,
    "HPSO": Label.PSO,
    "LPSO": Label.PSO,
    "IHPS": Label.PSO,
    "ILPS": Label.PSO,
}


def ivt(trial: LundTrial) -> Labels:
    """Velocity threshold: saccade or fixation."""
    fast = _speed_deg_s(trial) > IVT_DEG_S
    return _where_seen(trial, np.where(fast, Label.SACCADE, Label.FIXATION))


def idt(trial: LundTrial) -> Labels:
    """Dispersion threshold: what stays within a window is fixation, the rest saccade."""
    inside = _compact(trial, np.ones(len(trial.t_ns), dtype=bool))
    return _where_seen(trial, np.where(inside, Label.FIXATION, Label.SACCADE))


def ivdt(trial: LundTrial) -> Labels:
    """Velocity splits off saccades; of the rest, what stays within a window is fixation, else pursuit."""
    fast = _speed_deg_s(trial) > IVT_DEG_S
    inside = _compact(trial, ~fast)
    slow = np.where(inside, Label.FIXATION, Label.PURSUIT)
    return _where_seen(trial, np.where(fast, Label.SACCADE, slow))


def remodnav() -> Callable[[LundTrial], Labels] | None:
    """REMoDNaV with its defaults; None where the package is not installed.

    What it returns raises whatever REMoDNaV raises on a trial it cannot digest.
    """
    try:
        from remodnav.clf import EyegazeClassifier
    except ModuleNotFoundError:
        return None

    def classify(trial: LundTrial) -> Labels:
        x_px, y_px = _pixels(trial.screen, trial.azimuth_deg, trial.elevation_deg)
        gaze = np.zeros(len(x_px), dtype=[("x", float), ("y", float)])
        gaze["x"], gaze["y"] = x_px, y_px
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier = EyegazeClassifier(
                px2deg=_deg_per_px(trial.screen), sampling_rate=trial.rate_hz
            )
            events = classifier(
                classifier.preproc(gaze.view(np.recarray)), classify_isp=True, sort_events=True
            )
        labels = np.zeros(len(trial.t_ns), dtype=np.uint8)
        for event in events:
            first = round(event["start_time"] * trial.rate_hz)
            last = round(event["end_time"] * trial.rate_hz)
            labels[first : last + 1] = REMODNAV[event["label"]]
        return labels

    logging.getLogger("remodnav").setLevel(logging.ERROR)
    return classify


def _where_seen(trial: LundTrial, labels: NDArray[np.int_]) -> Labels:
    seen = np.isfinite(trial.azimuth_deg)
    return np.where(seen, labels, Label.NONE).astype(np.uint8)


def _speed_deg_s(trial: LundTrial) -> NDArray[np.float64]:
    t_s = trial.t_ns / 1e9
    speed = np.hypot(np.gradient(trial.azimuth_deg, t_s), np.gradient(trial.elevation_deg, t_s))
    return np.nan_to_num(speed, nan=0.0)


def _compact(trial: LundTrial, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Samples in a window of allowed ones that stays within the dispersion, grown while it does."""
    x, y, t_ns = trial.azimuth_deg, trial.elevation_deg, trial.t_ns
    ok = allowed & np.isfinite(x)
    inside = np.zeros(len(t_ns), dtype=bool)
    n = max(2, round(WINDOW_MS * 1e-3 * trial.rate_hz))
    i = 0
    while i + n <= len(t_ns):
        j = i + n
        if not ok[i:j].all() or np.ptp(x[i:j]) + np.ptp(y[i:j]) > IDT_DEG:
            i += 1
            continue
        low_x, high_x, low_y, high_y = x[i:j].min(), x[i:j].max(), y[i:j].min(), y[i:j].max()
        while j < len(t_ns) and ok[j]:
            low_x, high_x = min(low_x, x[j]), max(high_x, x[j])
            low_y, high_y = min(low_y, y[j]), max(high_y, y[j])
            if high_x - low_x + high_y - low_y > IDT_DEG:
                break
            j += 1
        inside[i:j] = True
        i = j
    return inside


def _deg_per_px(screen: Screen) -> float:
    half_deg = np.degrees(np.arctan2(screen.width_m / 2, screen.distance_m))
    return float(half_deg / (screen.width_px / 2))


def _pixels(
    screen: Screen, azimuth_deg: NDArray[np.float64], elevation_deg: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    right_m = np.tan(np.radians(azimuth_deg)) * screen.distance_m
    up_m = np.tan(np.radians(elevation_deg)) * screen.distance_m
    return (
        (right_m / screen.width_m + 0.5) * screen.width_px,
        (0.5 - up_m / screen.height_m) * screen.height_px,
    )
