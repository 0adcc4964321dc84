"""`beheld enroll`: a minute of one's own eyes brings the gate to rest; what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from device import personal
from device.agreement import Agreement
from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.identity import Identity
from device.model import load
from device.record import Recorder, SessionSource
from device.stages.emotion import EmotionSettings, EyeEmotionStage
from device.types import EmotionEstimate, EyeFrame
from tools.cli import beheld

SECONDS = 5.0


def record(path: Path, *, seconds: float = SECONDS, covered: bool = False) -> Path:
    settings = EmulatorSettings(seed=1, duration_s=seconds, scenario="calibration", eye_hz=10.0)
    source = Emulator(settings)
    with Recorder(path, source.header) as recorder:
        for value in source:
            if isinstance(value, EyeFrame):
                dark = np.full_like(value.pixels, 40)
                recorder(dataclasses.replace(value, pixels=dark) if covered else value)
    return path


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("minute") / "minute.mcap")


def run(home: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(beheld, ["enroll", *map(str, arguments), "--home", str(home)])


def answer(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    made: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return made


def gates(recording: Path, own: personal.Personal | None) -> Sequence[float]:
    settings = EmotionSettings(on=True, every_ms=250.0, smooth_ms=1.0)
    stage = EyeEmotionStage(load("eye_emotion"), settings, own, sees_pupils=False)
    values = (v for v in SessionSource(recording) if isinstance(v, EyeFrame))
    made = [e for value in values for e in stage.step(value)]
    return [e.non_neutral for e in made if isinstance(e, EmotionEstimate)]


def test_who_enrolled_has_a_gate_at_rest_and_can_undo_it(minute: Path, tmp_path: Path) -> None:
    found = answer(run(tmp_path, minute, "--json"))
    assert found["looks"]["neutral"] >= 10
    own = personal.read(tmp_path, Identity.load_or_create(tmp_path).device_id)
    assert own is not None and own.model_sha256 == load("eye_emotion").sha256
    rest = float(np.median(gates(minute, own)))
    assert rest == pytest.approx(personal.GATE_REST, abs=0.1)
    assert answer(run(tmp_path, minute, "--json"))["looks"] == found["looks"]
    assert personal.read(tmp_path, own.wearer).version == 2  # type: ignore[union-attr]
    answer(run(tmp_path, "--undo", "--json"))
    again = personal.read(tmp_path, own.wearer)
    assert again is not None and (again.version, again.neutral) == (1, own.neutral)


def test_a_prompted_expression_is_kept_beside_the_neutral_one(minute: Path, tmp_path: Path) -> None:
    found = answer(run(tmp_path, minute, "--expression", "happy", minute, "--json"))
    own = personal.read(tmp_path, Identity.load_or_create(tmp_path).device_id)
    assert set(found["looks"]) == {"neutral", "happy"}
    assert own is not None and set(own.references) == {"neutral", "happy"}


def test_what_sessions_taught_is_told_outlives_enrolling_and_is_erased(
    minute: Path, tmp_path: Path
) -> None:
    wearer, taught = Identity.load_or_create(tmp_path).device_id, Agreement(moments=7)
    blank = personal.Personal(wearer=wearer, model_sha256=load("eye_emotion").sha256, version=0)
    personal.write(tmp_path, personal.lived(blank, taught))
    answer(run(tmp_path, minute, "--json"))

    def emotion(*arguments: str) -> dict[str, Any]:
        at = ["--home", str(tmp_path), "--json"]
        return answer(CliRunner().invoke(beheld, ["emotion", *arguments, *at]))

    told = emotion("status")["agreeing_views"]
    assert told == {"moments": 7, "share": pytest.approx(taught.share)}
    assert emotion("erase", "--spool", str(tmp_path / "spool"))["personal_files"] == 3
    assert emotion("status")["version"] == 0
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert left and all(b"belief" not in p.read_bytes() for p in left)


def test_without_an_eye_in_view_nothing_is_made(tmp_path: Path) -> None:
    dark = record(tmp_path / "dark.mcap", covered=True)
    refused = run(tmp_path / "home", dark)
    assert refused.exit_code != 0 and "no open eye is in view" in str(refused.exception)
    assert not (tmp_path / "home" / personal.NAME).exists()


def test_a_glance_is_too_short_and_a_missing_recording_is_said(tmp_path: Path) -> None:
    short = run(tmp_path, record(tmp_path / "short.mcap", seconds=1.0))
    assert short.exit_code != 0 and "10" in str(short.exception)
    missing = run(tmp_path)
    assert missing.exit_code != 0 and "needs a recording" in str(missing.exception)
