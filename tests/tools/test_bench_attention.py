from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from device.errors import InputError
from device.model import load
from device.stages.attention import AttentionSettings
from models.attention_data import GazeStatistics, composite, davis_scenes, generate
from tools.attention_truth import gaze_statistics, real, trial_of
from tools.bench.attention import Seen, Tally, bench, command, matched, sessions, watch

S = 1_000_000_000


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(2)
    pictures = [
        cv2.blur(rng.integers(0, 256, (400, 500, 3), dtype=np.uint8), (k, k)) for k in (9, 25)
    ]
    return composite(pictures, rng, seconds=3.0)


def test_generated_gaze_is_on_the_thing_when_it_attends_and_says_the_same_twice(scene):
    one, two = generate(scene, 5, 40.0), generate(scene, 5, 40.0)
    assert one.attended_ns == two.attended_ns
    assert [g.t_ns for g in one.gaze] == [g.t_ns for g in two.gaze]
    assert len(one.attended_ns) >= 3
    assert all(b - a >= 1 * S for a, b in one.attended_ns)
    others = generate(scene, 6, 40.0)
    assert others.attended_ns != one.attended_ns


def test_intervals_are_matched_once_and_only_by_half():
    assert matched([(0, 10), (0, 9)], [(0, 10)]) == [(0, 0)]
    assert matched([(0, 4)], [(0, 10)]) == []
    tally = Tally()
    tally.add(
        Seen(decided=[2 * S], moments=[(1 * S, 4 * S)]), [(1 * S, 4 * S), (8 * S, 9 * S)], 10 * S
    )
    assert tally.f1 == pytest.approx(2 / 3) and tally.onset_ms == [1000.0]
    assert tally.figures()["false_per_h"] == 0


def test_a_moment_of_nothing_is_a_false_capture():
    tally = Tally()
    tally.add(Seen(decided=[6 * S], moments=[(5 * S, 8 * S)]), [(0, 2 * S)], 3600 * S)
    assert tally.figures()["false_per_h"] == pytest.approx(1.0)


def test_the_eyes_alone_never_see_a_frame(scene):
    trial = trial_of(generate(scene, 1, 20.0), "t")
    from tools.bench.attention import EYE_ONLY

    assert (
        watch(trial, None, AttentionSettings(inputs="eyes"), EYE_ONLY["generated"]).scene_frames
        == 0
    )


def test_every_key_of_the_contract_is_there(scene):
    result = bench("generated", [trial_of(generate(scene, 3, 20.0), "t")], load("attention"))
    assert set(result["f1"]) == {"eye_only", "content_only", "fused"}
    keys = {"f1", "onset_ms", "false_per_h", "region_iou", "n_intervals", "gaze"}
    assert keys <= set(result) and result["gaze"] == "generated"


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="neither DAVIS layout"):
        sessions(str(tmp_path))
    assert CliRunner().invoke(command, ["--data", "emulator:x"]).exit_code != 0


def test_statistics_are_those_of_real_gaze(dataset: Callable[[str], Path]):
    measured = gaze_statistics(dataset("gaze_lund2013_dev"))
    stated = GazeStatistics()
    assert measured.noise_deg == pytest.approx(stated.noise_deg, abs=0.005)
    assert measured.wander_deg == pytest.approx(stated.wander_deg, abs=0.01)
    assert measured.fixation_log_mean == pytest.approx(stated.fixation_log_mean, abs=0.02)
    assert measured.fixation_log_std == pytest.approx(stated.fixation_log_std, abs=0.02)


def test_davis_and_lund_are_read(dataset: Callable[[str], Path]):
    assert len(davis_scenes(dataset("scene_davis16_dev"))) == 4
    trials, without = real(dataset("gaze_lund2013_dev"))
    assert len(trials) == 3 and len(without) == 2
    assert all(len(t.truths) == 2 for t in trials)


def test_real_gaze_over_film(dataset: Callable[[str], Path]):
    folder = str(dataset("gaze_lund2013_dev"))
    done = CliRunner().invoke(command, ["--data", folder, "--json"])
    result = json.loads(done.output.splitlines()[-1])
    assert result["gaze"] == "real" and result["n_intervals"] > 4
    assert result["f1"]["fused"] > 0.5
