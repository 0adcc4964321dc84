"""How long must one calibrate? Drawn wearers, calibrated for so many seconds and scored on the next ones.

Of real eyes with reference gaze there are ten seconds; the virtual wearer looks about as long as asked, with
the truth known. Calibrated from the start on, by natural viewing, and scored on the same 45 s later on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from device.calibration import USABLE
from device.emulator import Emulator, EmulatorSettings
from device.eye_view import observe
from device.stages.gaze import Estimator
from device.types import EyeFrame, Gaze
from tools.bench.gaze import bins, judged
from tools.bench.page import table
from tools.calibrate import EyeRecording

SEEDS = (11, 12, 13)
LENGTHS_S = (5, 10, 20, 30)
SCORED = "45-90s"
SLIPPAGE_MM = EmulatorSettings().slippage_mm
"""How far glasses creep on the nose within minutes."""


def drawn(
    seed: int, estimator: Estimator, slippage_mm: float, duration_s: float = 90.0
) -> EyeRecording:
    """A drawn wearer's eyes, 128 px at 60 Hz, with the true gaze as reference."""
    settings = EmulatorSettings(
        seed=seed, duration_s=duration_s, eye_px=128, slippage_mm=slippage_mm
    )
    wearer = Emulator(settings)
    found = EyeRecording(f"emulator:{seed}")
    for _, _, make in wearer.ticks(("eyes",)):
        frame = make()
        if isinstance(frame, EyeFrame):
            found.observations.append(observe(frame, estimator.estimate(frame)))
    for t_ns in sorted({o.t_ns for o in found.observations}):
        azimuth, elevation = (float(a[0]) for a in wearer.truth.gaze(np.array([t_ns])))
        found.gazes.append(
            Gaze(t_ns=t_ns, azimuth_deg=azimuth, elevation_deg=elevation, confidence=1.0)
        )
    return found


def lengths(estimator: Estimator) -> str:
    """The table: a row a length, over all wearers, and one with glasses that creep."""
    still = [drawn(seed, estimator, 0.0) for seed in SEEDS]
    rows = [_row(f"{length} s", still, estimator, length) for length in LENGTHS_S]
    creep = [drawn(seed, estimator, SLIPPAGE_MM) for seed in SEEDS]
    rows.append(_row("30 s, glasses creep", creep, estimator, 30))
    header = ["calibrated for", "median deg", "p95 deg", "usable"]
    return table([*header, *(f"bin {n}" for n in range(1, 11))], rows)


def _row(
    name: str, wearers: Sequence[EyeRecording], estimator: Estimator, length_s: int
) -> list[str]:
    runs = [judged(w, estimator, f"0-{length_s}s", SCORED) for w in wearers]
    off = np.concatenate([run.off for run in runs])
    confidence = np.concatenate([run.confidence for run in runs])
    errors = off[(usable := confidence >= USABLE)]
    stated: list[dict[str, Any]] = bins(confidence, off)
    return [
        name,
        f"{np.median(errors):.2f}",
        f"{np.quantile(errors, 0.95):.2f}",
        f"{usable.mean():.2f}",
        *(f"{row['confidence']:.2f} / {row['within_2_deg']:.2f}" for row in stated),
    ]
