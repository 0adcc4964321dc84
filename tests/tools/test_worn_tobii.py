"""From four eye cameras before bright lamps, in Tobii's layout, to gaze in degrees."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from worn_tobii import BLINK, BLINK_EVERY, EVTS_US, STEP_US, gaze_of, worn_tobii

import tools.bench.gaze as bench
from device.calibration import Calibration
from device.model import load
from device.pupil import PupilEstimator, PupilGate
from device.pupil_track import PupilTracker
from device.types import EyeFrame, Gaze
from tools.calibrate import EyeRecording, calibrate, read
from tools.open_source import open_source

FRAMES = 600


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worn_tobii(tmp_path_factory.mktemp("tobii") / "rec", FRAMES)


@pytest.fixture(scope="module")
def recording(folder: Path) -> EyeRecording:
    estimator = PupilTracker(PupilEstimator(load("eye")))
    return read(open_source(folder), str(folder), estimator)


def blinking(number: int) -> bool:
    return number % BLINK_EVERY >= BLINK_EVERY - BLINK


def test_frames_and_gaze_are_on_one_clock_and_lost_gaze_is_no_gaze(folder: Path) -> None:
    values = list(open_source(folder))
    frames = [v for v in values if isinstance(v, EyeFrame)]
    gaze = [v for v in values if isinstance(v, Gaze)]
    seen = [n for n in range(FRAMES) if not blinking(n)]
    assert [g.t_ns for g in gaze] == [1000 * STEP_US * n for n in seen]
    truth = gaze_of(FRAMES, 3)[seen]
    assert np.abs([[g.azimuth_deg, g.elevation_deg] for g in gaze] - truth).max() < 0.05
    assert [f.t_ns for f in frames[::4]] == [1000 * STEP_US * n for n in range(FRAMES)]
    assert {f.pixels.shape for f in frames} == {(240, 240)}


def test_reflections_hide_no_pupil_and_blinks_are_seen(recording: EyeRecording) -> None:
    gate = PupilGate()
    found: dict[tuple[str, int, bool], list[bool]] = {}
    for n, observation in enumerate(recording.observations):
        pupil, shut = observation.pupil, blinking(n // 4)
        answer = gate.closed(pupil) if shut else gate.reports(pupil)
        found.setdefault((*observation.camera, shut), []).append(answer)
    assert len(found) == 8
    assert all(np.mean(answers) > 0.95 for answers in found.values()), found


@pytest.mark.slow
def test_the_bench_comes_within_the_aim_on_all_four_cameras(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Calibration] = []

    def noted(*args: Any, **kwargs: Any) -> Calibration:
        made.append(calibrate(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(bench, "calibrate", noted)
    run = CliRunner().invoke(
        bench.command,
        ["--data", str(folder), "--fit", "first-half", "--score", "second-half", "--json"],
    )
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout.splitlines()[-1])
    assert 0.9 * FRAMES / 2 < result["n"] <= FRAMES / 2
    assert result["median_deg"] <= 1.1 < 3.0 < result["constant_deg"]
    assert result["usable"] >= 0.98
    cameras = {e.camera for e in made[0].experts if e.kind == "pupil"}
    assert cameras == {("left", 0), ("left", 1), ("right", 0), ("right", 1)}


def test_a_video_clock_with_another_origin_is_said(folder: Path, tmp_path: Path) -> None:
    live = folder / "segments" / "1" / "livedata.json.gz"
    other = tmp_path / "segments" / "1"
    other.mkdir(parents=True)
    (other / "eyesstream.mp4").symlink_to(live.with_name("eyesstream.mp4"))
    with gzip.open(live, "rt") as old, gzip.open(other / live.name, "wt") as new:
        for line in old:
            row = json.loads(line)
            if "evts" in row:
                row["evts"] += 4_000_000_000 - EVTS_US
            new.write(json.dumps(row) + "\n")
    source = open_source(tmp_path)
    assert any("from elsewhere" in note for note in source.header.notes)
    first = next(v for v in source if isinstance(v, EyeFrame))
    assert first.t_ns == pytest.approx(7 * 1000 * STEP_US, abs=1000)
