"""`beheld bench still`: the emotion stage's fast-forward rule on real eye video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from device.errors import InputError
from device.model import load
from device.pupil import PupilEstimator
from device.stages.emotion import EmotionSettings, EyeEmotionStage
from device.types import EmotionEstimate, EyeFrame, Pupil
from export.card import put_section
from tools.bench.page import card_option
from tools.open_source import open_source
from tools.output import emit, json_option, progress

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3)
EVERY_MS = 100.0


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="A recording.")
@click.option("--seconds", default=60.0, show_default=True, help="Used of it.")
@card_option
@json_option
def command(data: Path, seconds: float, page: Path | None, as_json: bool) -> None:
    """How often the eye network need not run because its crops barely changed, and what that costs.

    DATA is anything `beheld replay` reads that holds eye video. Looks are ten a second, unsmoothed. By
    threshold (`emotion.fast_forward`): the share of looks skipped, the share at which the strongest class is
    that of the network run afresh, and the mean change of the gate. Real eye video has no labels of feeling:
    this is agreement with the network itself, not accuracy.
    """
    found = measure(str(data), seconds)
    if page is not None:
        put_section(page, f"`beheld bench still --data {data.resolve().name}`: fast-forward", found)
    emit(found, as_json=as_json, title=f"still on {data}")


def measure(path: str, seconds: float = 60.0) -> dict[str, Any]:
    """See `command`. Raises InputError for a recording without an open eye."""
    pairs: list[tuple[EyeFrame, Pupil]] = []
    pupils = PupilEstimator(load("eye"))
    last_ns: dict[str, int] = {}
    with progress("reading eyes", seconds) as tick:
        for value in open_source(path):
            if value.t_ns > seconds * 1e9:
                break
            if isinstance(value, EyeFrame):
                if value.t_ns - last_ns.get(value.eye, -(10**12)) >= EVERY_MS * 0.4e6:
                    last_ns[value.eye] = value.t_ns
                    pairs.append((value, pupils.estimate(value)))
                tick(value.t_ns / 1e9)
    afresh, _ = _looks(pairs, 0.0)
    if len(afresh) < 10:
        raise InputError(f"{path}: an open eye is in view at {len(afresh)} looks; 10 are needed")
    found: dict[str, dict[str, float]] = {}
    for threshold in THRESHOLDS:
        made, skipped = _looks(pairs, threshold)
        same = [a.probabilities.index(max(a.probabilities)) for a in afresh]
        mine = [m.probabilities.index(max(m.probabilities)) for m in made]
        gates = [abs(a.non_neutral - m.non_neutral) for a, m in zip(afresh, made, strict=True)]
        found[f"{threshold:g}"] = {
            "skipped": skipped / len(made),
            "agreement": float(np.mean([a == b for a, b in zip(same, mine, strict=True)])),
            "gate_change": float(np.mean(gates)),
        }
    return {"looks": len(afresh), "by_threshold": found}


def _looks(
    pairs: list[tuple[EyeFrame, Pupil]], threshold: float
) -> tuple[list[EmotionEstimate], int]:
    """Estimates with this threshold, unsmoothed, and how many were skipped."""
    settings = EmotionSettings(on=True, every_ms=EVERY_MS, smooth_ms=1e-3, fast_forward=threshold)
    stage = EyeEmotionStage(load("eye_emotion"), settings)
    made = [v for pair in pairs for value in pair for v in stage.step(value)]
    return [v for v in made if isinstance(v, EmotionEstimate)], stage.skipped
