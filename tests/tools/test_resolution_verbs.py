"""`beheld bench resolution`, `beheld train resolution`, and moments under the controller."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from device.emulator.things import photograph
from models.resolution_compare import KEYED
from models.resolution_set import by_seed, sets, unseen_by
from tools import train_resolution
from tools.cli import beheld


def sequence(folder: Path, frames: int, seed: int) -> None:
    """A cat that walks over a wall, as pictures."""
    folder.mkdir(parents=True)
    cat = cv2.resize(photograph("cat"), (150, 150))
    rng = np.random.default_rng(seed)
    wall = cv2.GaussianBlur(rng.normal(120, 20, (240, 320, 3)), (0, 0), 2).astype(np.uint8)
    alpha = cat[:, :, 3:].astype(np.float32) / 255
    for number in range(frames):
        frame = wall.copy()
        place = frame[60:210, 20 + 6 * number : 170 + 6 * number]
        place[:] = (cat[:, :, :3] * alpha + place * (1 - alpha)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:05d}.png"), frame)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(2):
        sequence(tmp_path / "data" / "JPEGImages" / "480p" / f"cat{number}", 9, number)
        sequence(tmp_path / "data" / "Annotations" / "480p" / f"cat{number}", 9, number)
    return tmp_path / "data"


def test_the_bench_prints_every_policy_at_every_quality(folder: Path) -> None:
    ran = CliRunner().invoke(beheld, ["bench", "resolution", "--data", str(folder), "--json"])
    assert ran.exit_code == 0, ran.output
    result = json.loads(ran.stdout.splitlines()[-1])
    assert set(KEYED) <= set(result["policies"])
    for row in result["policies"].values():
        assert {"energy", "quality", "actions", "embedded"} == set(row)
        assert sum(row["actions"].values()) == pytest.approx(1.0)
    assert set(result["energy_at_quality"]) == {"0.90", "0.95", "0.98"}
    for row in result["energy_at_quality"].values():
        assert set(KEYED) <= set(row)
        assert row["oracle"] <= row["always"] * 1.001
    second = result["second_judge"]
    assert 0.5 < second["always_320_agrees"] <= 1 and second["share_at_quality"]["0.95"]["learned"]
    assert set(result["clips"]) == {"cat0", "cat1"} and "CPU ms" in result["unit"]
    assert all(clip["policies"] == "shipped" for clip in result["clips"].values())
    assert result["decision_us"] > 0


@pytest.mark.parametrize("kind", ["nowhere", "empty", "short"])
def test_bad_folders_are_one_plain_line(tmp_path: Path, kind: str) -> None:
    place = tmp_path / kind
    if kind != "nowhere":
        place.mkdir()
    if kind == "short":
        sequence(place / "cat", 3, 0)
    ran = CliRunner().invoke(beheld, ["bench", "resolution", "--data", str(place)])
    assert ran.exit_code != 0 and type(ran.exception).__name__ == "InputError"
    assert str(place) in str(ran.exception)


def test_open_videos_are_judged_by_policies_that_never_saw_them() -> None:
    known = sets()
    shipped, *folds = known
    assert shipped.name == "shipped" and len(folds) == 2 * len(by_seed(known)) > 0
    for seed in by_seed(known):
        first, *halves = seed
        assert first is shipped and len(halves) == 2
        assert halves[0].videos != halves[1].videos and shipped.videos > halves[0].videos
        judged = [v for v in shipped.videos if (s := unseen_by(v, seed)) and v not in s.videos]
        assert len(judged) >= 14  # fifteen open videos, or sixteen, but for one all have seen
    new = unseen_by("f" * 16, known)
    assert new is not None and new.name == "shipped"


@pytest.mark.slow
def test_a_policy_of_ones_own_is_installed_only_if_it_beats_the_fallback(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_resolution, "SCHEDULER_STEPS", 4096)
    for number in (2, 3):
        sequence(folder / "JPEGImages" / "480p" / f"cat{number}", 9, number)
    home = tmp_path / "home"
    arguments = ["train", "resolution", str(folder), "--home", str(home), "--generations", "1"]
    ran = CliRunner().invoke(beheld, [*arguments, "--json"])
    assert ran.exit_code == 0, ran.output
    result = json.loads(ran.stdout.splitlines()[-1])
    at = result["share_at_quality"]["0.95"]
    assert result["installed"] == (at["learned"] < at["trigger"])
    assert (home / "resolution.onnx").exists() == result["installed"]
    assert [len(result["curve"][name]) for name in ("trigger", "learned")] == [9, 9]
    card = train_resolution.card(result)  # what is installed beside it
    assert f"| 0.5 | {result['curve']['trigger'][4][0]:.3f} |" in card
    assert result["clips"] == {"trained": 3, "held_out": 1}


def test_too_few_recordings_to_judge_by_are_refused(tmp_path: Path) -> None:
    sequence(tmp_path / "one" / "cat", 9, 0)
    ran = CliRunner().invoke(beheld, ["train", "resolution", str(tmp_path / "one")])
    assert type(ran.exception).__name__ == "InputError" and "at least 4" in str(ran.exception)
