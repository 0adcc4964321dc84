"""The emotion bench: layouts, splits, and data that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import InputError
from device.types import EMOTIONS
from models.emotion_data import held_out, never_seen, person_hash, read_folder
from models.scores import auc, calibration_error, confusion, uar, war
from tools.bench.emotion import measure


def make_folder(folder: Path, rows: list[tuple[str, str]]) -> Path:
    (folder / "images").mkdir(parents=True)
    lines = ["image,emotion,identity"]
    rng = np.random.default_rng(0)
    for number, (emotion, person) in enumerate(rows):
        face = rng.integers(0, 255, (256, 256), dtype=np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), face)
        lines.append(f"{number}.png,{emotion},{person}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_scores_are_what_their_names_say() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]])
    labels = np.array([0, 0, 0, 1])
    assert uar(p, np.array([0, 0, 1, 1]), [0, 1]) == pytest.approx((1 + 0.5) / 2)
    assert war(p, labels, [0, 1]) == 1.0
    assert confusion(p, np.array([0, 1, 0, 1]), [0, 1]) == [[2, 0], [1, 1]]
    assert auc(p[:, 1], labels == 1) == 1.0
    assert calibration_error(np.array([[1.0, 0.0]] * 4), np.zeros(4, np.int64)) == 0.0


def test_noise_scores_near_chance_and_the_scores_are_consistent(tmp_path: Path) -> None:
    rows = [(e, f"person {i}") for i in range(15) for e in ("happiness", "neutral")]
    result = measure(make_folder(tmp_path / "faces", rows))
    assert result["n"] == 30 and result["classes"] == ["happy", "neutral"]
    assert 0.2 <= result["uar"]["two_eyes"] <= 0.8
    assert sum(map(sum, result["confusion"])) == 30
    assert sum(map(sum, result["one_eye"]["confusion"])) == 60  # each eye by itself
    recall = result["one_eye"]["per_class"].values()
    assert sum(recall) / 2 == pytest.approx(result["uar"]["one_eye"])


def test_pictures_without_a_face_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [(e, f"person {i}") for i in range(15) for e in ("happiness", "neutral")]
    folder = make_folder(tmp_path / "faces", rows)
    for number in range(4):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), np.full((256, 256), 90, np.uint8))
    result = measure(folder)
    assert (result["n"], result["faceless"], result["left_out"]) == (26, 4, 4)
    for number in range(30):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), np.full((256, 256), 90, np.uint8))
    with pytest.raises(InputError, match="no two expressions"):
        measure(folder)


def test_people_of_the_training_are_left_out(tmp_path: Path) -> None:
    data = read_folder(make_folder(tmp_path / "faces", [("anger", "Ann"), ("anger", "Bob")]))
    split = tmp_path / "split.txt"
    split.write_text(person_hash("Ann"))
    assert never_seen(data, split).people == ("Bob",)


def test_who_is_held_out_depends_on_the_name_alone() -> None:
    people = tuple(f"person {i}" for i in range(2000))
    aside = held_out(people)
    assert 0.15 < aside.mean() < 0.25
    assert (held_out(people[::-1])[::-1] == aside).all()


def test_an_archive_is_read_and_train_files_are_left_aside(tmp_path: Path) -> None:
    images = np.zeros((3, 48, 48), np.uint8)
    classes = np.array(list(EMOTIONS))
    np.savez(tmp_path / "train.npz", images=images, labels=np.zeros(3, int), classes=classes)
    labels = np.array([0, 3, 6])
    np.savez(tmp_path / "validation.npz", images=images, labels=labels, classes=classes)
    assert read_folder(tmp_path).labels.tolist() == [0, 3, 6]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f.mkdir(), "neither labels.csv nor an .npz"),
        (lambda f: make_folder(f, [("bored", "Ann")]), "unknown expression 'bored'"),
        (lambda f: make_folder(f, [("anger", "Ann")]), "no two expressions"),
        (lambda f: (f.mkdir(), (f / "x.npz").write_bytes(b"no")), "is not an archive"),
        (
            lambda f: (make_folder(f, [("anger", "A")]), (f / "images" / "0.png").unlink()),
            r"0\.png: cannot be read \(labels.csv line 2\)",
        ),
    ],
)
def test_data_that_cannot_be_used_is_refused(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "faces"
    make(folder)
    with pytest.raises(InputError, match=message):
        measure(folder)


def test_it_beats_the_baseline_on_people_never_seen(dataset: Callable[[str], Path]) -> None:
    result = measure(dataset("emo_lfw_expressions_dev"))
    assert result["left_out"] > 1000
    assert result["uar"]["two_eyes"] > result["baseline_uar"]["two_eyes"] + 0.05
    assert result["gate_auc"] > 0.7
