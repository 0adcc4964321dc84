"""`beheld bench enrolment`: what a wearer's own neutral does to the gate, on wearers who feel nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from device.errors import InputError
from device.model import Model, load
from device.personal import LEAST_FRAMES, Personal, enrol, usual_neutral
from device.pupil import PupilEstimator
from device.stages.emotion import EmotionSettings, EyeEmotionStage
from device.types import EMOTIONS, EmotionEstimate, EyeFrame, Pupil
from export.card import put_section
from tools.bench.gate import open_share
from tools.bench.page import card_option
from tools.enroll import EVERY_MS
from tools.open_source import open_source
from tools.output import emit, json_option, progress
from tools.virtual_wearer import virtual_wearer

FIRST_SEED = 101
MOST_S, BETWEEN_MS = 120.0, 40.0
"""Used of a recording; and between two frames of one eye: looks are four a second at most."""
OFTEN = 0.1
"""A gate open at more looks than this is open often."""

Pair = tuple[EyeFrame, Pupil]


@click.command()
@click.option(
    "--wearers",
    type=click.IntRange(0),
    default=12,
    show_default=True,
    help="Virtual wearers, each with eyes, lids, skin and camera angles of their own.",
)
@click.option("--seconds", default=12.0, show_default=True, help="Of each of a wearer's two days.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A recording with eye video; may be given again.",
)
@card_option
@json_option
def command(
    wearers: int, seconds: float, data: tuple[Path, ...], page: Path | None, as_json: bool
) -> None:
    """How often the gate is open for wearers who feel nothing, before enrolment and after.

    Virtual wearers enrol on one day and are looked at on another. They are drawn, and no feeling moves their
    faces: what is open is a false alarm. Of each recording the first half enrols and the second is looked
    at; what its wearer felt is not known, but an alarm that is on all the time is a false one there too.
    `open` is the share of looks at which the gate is open (with its hysteresis), `neutral` the share at which
    neutral is the strongest class, `often_open` how many wearers have it open at more than a tenth of looks.
    """
    if not wearers and not data:
        raise InputError("neither wearers nor recordings to look at; see --help")
    found = measure(wearers, seconds, [str(path) for path in data])
    if page is not None:
        put_section(page, "`beheld bench enrolment`: wearers who feel nothing", found)
    emit(found, as_json=as_json, title="enrolment")


def measure(wearers: int, seconds: float = 12.0, recordings: Iterable[str] = ()) -> dict[str, Any]:
    """See `command`. Raises InputError for a recording without enough open eyes."""
    model = load("eye_emotion")
    rows: list[dict[str, dict[str, float]]] = []
    found: dict[str, Any] = {"wearers": wearers, "seconds": seconds}
    with progress("wearers", max(wearers, 1)) as tick:
        for number in range(wearers):
            days = [
                list(_pairs(virtual_wearer(seed=FIRST_SEED + number, seconds=seconds, scenario=s)))
                for s in ("calibration", "demo")
            ]
            rows.append(_compare(model, days[0], days[1], f"virtual wearer {number}"))
            tick(number + 1)
    if rows:
        for when in ("before", "enrolled"):
            gates = [row[when]["open"] for row in rows]
            found[f"virtual, {when}"] = {
                "open": float(np.mean(gates)),
                "neutral": float(np.mean([row[when]["neutral"] for row in rows])),
                "often_open": sum(gate > OFTEN for gate in gates),
            }
    for path in recordings:
        pairs = list(_pairs(open_source(path)))
        half = (pairs[0][0].t_ns + pairs[-1][0].t_ns) / 2 if pairs else 0
        early = [p for p in pairs if p[0].t_ns < half]
        made = _compare(model, early, pairs[len(early) :], path)
        for when, row in made.items():
            found[f"{Path(path).name}, {when}"] = row
    return found


def _compare(
    model: Model, first: list[Pair], second: list[Pair], name: str
) -> dict[str, dict[str, float]]:
    """Enrolled on the one, looked at on the other. Raises InputError."""
    stage = EyeEmotionStage(model, EmotionSettings(on=True, every_ms=EVERY_MS))
    looks = [stage.outputs for _ in _estimates(stage, first)]
    if len(looks) < LEAST_FRAMES:
        raise InputError(
            f"{name}: only {len(looks)} looks to enrol from; {LEAST_FRAMES} are needed"
        )
    own = enrol("me", model.sha256, {"neutral": looks}, usual_neutral(model.sha256))
    return {
        when: _scores(model, second, personal, name)
        for when, personal in (("before", None), ("enrolled", own))
    }


def _scores(
    model: Model, pairs: list[Pair], personal: Personal | None, name: str
) -> dict[str, float]:
    settings = EmotionSettings(on=True)
    made = list(_estimates(EyeEmotionStage(model, settings, personal), pairs))
    if not made:
        raise InputError(f"{name}: no open eye is in view after the enrolment")
    strongest = [int(np.argmax(m.probabilities)) for m in made]
    return {
        "looks": len(made),
        "open": open_share([m.non_neutral for m in made], settings),
        "neutral": strongest.count(EMOTIONS.index("neutral")) / len(made),
    }


def _pairs(source: Iterable[Any]) -> Iterator[Pair]:
    """Eye frames with their pupils, as many as the looks need."""
    pupils, last_ns = PupilEstimator(load("eye")), dict[str, int]()
    for value in source:
        if value.t_ns > MOST_S * 1e9:
            return
        if isinstance(value, EyeFrame):
            before = last_ns.get(value.eye)
            if before is None or value.t_ns - before >= BETWEEN_MS * 1e6:
                last_ns[value.eye] = value.t_ns
                yield value, pupils.estimate(value)


def _estimates(stage: EyeEmotionStage, pairs: Iterable[Pair]) -> Iterator[EmotionEstimate]:
    for frame, pupil in pairs:
        for value in (*stage.step(frame), *stage.step(pupil)):
            if isinstance(value, EmotionEstimate):
                yield value
