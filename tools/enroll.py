"""`beheld enroll`: a minute of the wearer's own neutral eyes makes the emotion networks theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from device import personal
from device.errors import InputError
from device.feelings import Witness
from device.identity import Identity
from device.model import Model, load
from device.personal import Personal
from device.pipeline import Source
from device.pupil import PupilEstimator
from device.stages.emotion import EmotionSettings, EyeEmotionStage
from device.types import EMOTIONS, EmotionEstimate, EyeFrame
from tools.home import home_option
from tools.open_source import open_source
from tools.output import emit, json_option, progress

EVERY_MS = 250.0
"""Time between two looks: a minute gives 240."""


@click.command()
@click.argument("recording", required=False)
@home_option
@click.option(
    "--expression",
    type=(click.Choice(EMOTIONS), str),
    multiple=True,
    help="A prompted expression and its recording; may be given again.",
)
@click.option("--seconds", type=float, default=60.0, show_default=True, help="Used of a recording.")
@click.option("--undo", is_flag=True, help="Go back to the version before the present one.")
@json_option
def command(
    recording: str | None,
    home: Path,
    expression: tuple[tuple[str, str], ...],
    seconds: float,
    undo: bool,
    as_json: bool,
) -> None:
    """Learn how the wearer looks when nothing is felt, from RECORDING.

    RECORDING is anything `beheld replay` reads that holds eye video: a minute of sitting still and thinking
    of nothing. Prompted expressions may follow, each its own recording. The result is a small file in the
    home folder, `personal.json`, for these glasses and this network only; corrections made on the server are
    added to it by `beheld sync`. Every change is a version of its own, and --undo takes the last one back.

    \b
    Examples:
      beheld enroll minute.mcap
      beheld enroll minute.mcap --expression happy smile.mcap
      beheld enroll --undo
    """
    wearer = Identity.load_or_create(home).device_id
    if undo:
        with personal.locked(home):
            before = personal.back(home, wearer)
        emit(told(before, home), as_json=as_json, title="Undone")
        return
    if recording is None:
        raise InputError(
            "enrolment needs a recording of the wearer's eyes; see beheld enroll --help"
        )
    witness = Witness(home)
    model = load("eye_emotion")
    seen = {"neutral": look(recording, model, seconds)}
    for name, path in expression:
        seen[name] = look(path, model, seconds)
    made = personal.enrol(wearer, model.sha256, seen, personal.usual_neutral(model.sha256))
    with witness.still() as still:
        if not still:
            raise InputError("feelings were erased meanwhile (beheld emotion erase); enrol again")
        made = _after(home, wearer, made)
        personal.write(home, made)
    counts = {name: len(rows) for name, rows in seen.items()}
    emit({**told(made, home), "looks": counts}, as_json=as_json, title="Enrolled")


def look(path: str, model: Model, seconds: float) -> list[dict[str, Any]]:
    """`looks` of a recording. Raises InputError if no open eye is in view."""
    with progress("looking at eyes", seconds) as tick:
        made = looks(open_source(path), model, seconds, tick)
    if not made:
        raise InputError(f"{path}: no open eye is in view; record again")
    return made


def looks(
    source: Source,
    model: Model,
    seconds: float,
    tick: Callable[[float], None] = lambda done_s: None,
) -> list[dict[str, Any]]:
    """The eye network's outputs over the first seconds of a session, through the stage that ships."""
    made: list[dict[str, Any]] = []
    eyes = EyeEmotionStage(model, EmotionSettings(on=True, every_ms=EVERY_MS))
    pupils = PupilEstimator(load("eye"))
    for value in source:
        if value.t_ns > seconds * 1e9:
            break
        if isinstance(value, EyeFrame):
            out = [*eyes.step(value), *eyes.step(pupils.estimate(value))]
            if any(isinstance(v, EmotionEstimate) for v in out):
                made.append(eyes.outputs)
            tick(value.t_ns / 1e9)
    return made


def _after(home: Path, wearer: str, made: Personal) -> Personal:
    """The next version, with what corrections had taught before. Raises PersonalError."""
    before = personal.read(home, wearer)
    if before is None:
        return made
    return dataclasses.replace(
        made,
        version=before.version + 1,
        bias=before.bias,
        keep_shift=before.keep_shift,
        learnt=before.learnt,
        agreement=before.agreement,
    )


def told(now: Personal | None, home: Path) -> dict[str, Any]:
    """What a personal file says, for people."""
    if now is None:
        return {"version": 0, "why": "nothing personal is left"}
    bias = {c: b for c, b in zip(EMOTIONS, now.bias, strict=True) if b}
    return {
        "version": now.version,
        "why": now.why,
        "file": str(home / personal.NAME),
        "references": sorted(now.references) or (["neutral"] if now.neutral else []),
        "bias": bias,
        "keep_shift": now.keep_shift,
        "agreeing_views": None
        if now.agreement is None
        else {"share": now.agreement.share, "moments": now.agreement.moments},
    }
