"""The emoship bench: constructed pairs agree as stated, and data that cannot be used are named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import InputError
from device.model import load
from device.types import EMOTIONS
from models.emoship_data import AFFECT_OF, construct, degrade
from tools.bench.emoship import Floats, measure


def test_views_agree_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.uniform(1, 7, (400, 2))
    labels = rng.integers(0, 7, 4000)
    goals = np.array([AFFECT_OF[name] for name in EMOTIONS])[labels]
    gaps = {
        degree: np.linalg.norm(ratings[construct(labels, ratings, degree, rng)] - goals, axis=1)
        for degree in (0.0, 0.5, 1.0)
    }
    near = {degree: float((gap < 1.2).mean()) for degree, gap in gaps.items()}
    assert near[1.0] > 0.8 and near[0.0] < 0.3
    assert abs(near[0.5] - (near[0.0] + near[1.0]) / 2) < 0.05


def test_a_degraded_eye_is_dim_and_soft() -> None:
    eyes = np.random.default_rng(0).integers(0, 255, (3, 2, 64, 64), dtype=np.uint8)
    hard = degrade(eyes, np.random.default_rng(1))
    assert hard.shape == eyes.shape and hard.std() < eyes.std() / 2 and hard.mean() < eyes.mean()


def faces(folder: Path, each: int = 12) -> Path:
    (folder / "images").mkdir(parents=True)
    rng, lines = np.random.default_rng(0), ["image,emotion,identity"]
    for number in range(2 * each):
        face = rng.integers(0, 255, (256, 256), dtype=np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), face)
        emotion = "happiness" if number % 2 else "neutral"
        lines.append(f"{number}.png,{emotion},nobody {number}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["image,theme,valence_mean,valence_sd,arousal_mean,arousal_sd"]
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.jpg"), rng.integers(0, 255, (60, 80, 3), np.uint8))
        v, a = rng.uniform(1, 7, 2)
        lines.append(f"{number}.jpg,never seen {number},{v:.2f},1,{a:.2f},1")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_every_key_is_there_and_an_average_view_changes_nothing(tmp_path: Path) -> None:
    result = measure(faces(tmp_path / "eyes"), pictures(tmp_path / "views", 24))
    assert set(result["uar"]) == {"eye", "scene", "fused"}
    assert set(result["influence_shift"]) == {"eye_degraded", "scene_blanked"}
    assert result["agreement"] == 0.8 and -1 <= result["influence_spearman"] <= 1
    for row in (result["uar_learnt"], result["by_agreement"]["0"]["learnt"]):
        assert set(row) == {"25", "100", "400"}
        assert all(0 <= r["share"] <= 1 and 0 <= r["fused"] <= 1 for r in row.values())
    assert result["by_agreement"]["0"]["eye"] == result["by_agreement"]["1"]["eye"]
    for level in ("grey", "black", "white"):
        assert result["uar_without_view"][level] == result["uar"]["eye"]


def fuse(
    affect: tuple[float, float], sd: tuple[float, float], eye: Floats, share: float = 0.8
) -> tuple[Floats, float]:
    made = load("emoship").run(
        vector=np.zeros((1, 96), np.float32),
        eye=eye[None],
        affect=np.array([affect], np.float32),
        sd=np.array([sd], np.float32),
        share=np.array([[share]], np.float32),
    )
    return made["probabilities"][0], float(made["influence"][0, 0])


def test_a_frightful_view_frightens_a_doubtful_eye_and_hardly_a_sure_one() -> None:
    sure = np.full(7, 0.01, np.float32)
    sure[EMOTIONS.index("happy")] = 0.94
    even, usual = np.full(7, 1 / 7, np.float32), (0.83, 0.61)
    doubtful, much = fuse((2.8, 5.0), usual, even)
    assert EMOTIONS[int(doubtful.argmax())] in ("fear", "angry")
    certain, little = fuse((2.8, 5.0), usual, sure)
    assert EMOTIONS[int(certain.argmax())] == "happy" and little < much


def test_a_view_of_which_nothing_is_known_changes_nothing() -> None:
    eye = np.array([0.2, 0.09, 0.12, 0.25, 0.1, 0.05, 0.19], np.float32)
    fused, influence = fuse((4.4, 3.5), (3.1, 3.1), eye)
    assert influence < 0.01 and (np.argsort(fused) == np.argsort(eye)).all()


def test_the_less_views_agree_the_less_one_says() -> None:
    even, usual = np.full(7, 1 / 7, np.float32), (0.83, 0.61)
    fear = [
        fuse((2.8, 5.0), usual, even, share)[0][EMOTIONS.index("fear")] for share in (0, 0.3, 1)
    ]
    assert fear[0] < fear[1] < fear[2] and abs(fear[0] - 1 / 7) < 0.01


def test_likelihoods_know_an_empty_view_and_a_frightful_one() -> None:
    def likelihood(affect: tuple[float, float], sd: float) -> Floats:
        made = load("emoship").run(
            vector=np.zeros((1, 96), np.float32),
            eye=np.full((1, 7), 1 / 7, np.float32),
            affect=np.array([affect], np.float32),
            sd=np.full((1, 2), sd, np.float32),
            share=np.full((1, 1), 0.5, np.float32),
        )
        return made["likelihood"][0]

    assert (likelihood((4.4, 3.5), 3.0) == 1).all()  # it teaches nothing of a wearer's views
    fright = likelihood((2.4, 5.4), 0.7)
    assert fright[EMOTIONS.index("fear")] > 1 > fright[EMOTIONS.index("happy")]


def test_too_few_views_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 pictures"):
        measure(faces(tmp_path / "eyes"), pictures(tmp_path / "views", 3))
