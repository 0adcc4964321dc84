"""Eyes are found in faces and cut out upright; what cannot be a pair of eyes is not believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.model import Model
from models.emotion_data import LFW, PLACES, eye_crops, held_out, read_images

SIDE = 256
EYES = np.array([[0.35, 0.40], [0.65, 0.40]], np.float32)


def drawn() -> np.ndarray:
    """Something with edges everywhere, smooth enough to be resampled."""
    noise = np.random.default_rng(1).integers(0, 255, (16, 16), dtype=np.uint8)
    return cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    ("turn_deg", "zoom", "shift"), [(0, 1.0, (9, -6)), (20, 1.0, (0, 0)), (-12, 0.8, (5, 5))]
)
def test_crops_do_not_depend_on_how_the_head_lies_in_the_picture(
    turn_deg: float, zoom: float, shift: tuple[int, int]
) -> None:
    face = drawn()
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turn_deg, zoom)
    matrix[:, 2] += shift
    moved = cv2.warpAffine(face, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    eyes = (EYES * SIDE) @ matrix[:, :2].T + matrix[:, 2]
    straight = eye_crops(face, LFW, EYES).astype(float)
    again = eye_crops(moved, LFW, (eyes / SIDE).astype(np.float32)).astype(float)
    assert np.abs(straight - again).mean() < 2.0
    assert np.abs(straight - eye_crops(moved, LFW).astype(float)).mean() > 10.0


@pytest.mark.parametrize(
    "eyes",
    [
        [[0.65, 0.4], [0.35, 0.4]],  # the wrong way round
        [[0.45, 0.4], [0.52, 0.4]],  # too near
        [[0.1, 0.4], [0.9, 0.4]],  # too far
        [[0.4, 0.2], [0.6, 0.6]],  # lying on its side
        [[0.35, -0.1], [0.65, 0.1]],  # out of the picture
        [[np.nan, 0.4], [0.65, 0.4]],
    ],
)
def test_what_cannot_be_two_eyes_leaves_the_usual_boxes(eyes: list[list[float]]) -> None:
    face = drawn()
    found = np.array(eyes, np.float32)
    assert (eye_crops(face, LFW, found) == eye_crops(face, LFW)).all()


def test_eyes_of_real_faces_are_found_where_they_are(dataset: Callable[[str], Path]) -> None:
    faces = read_images(dataset("emo_lfw_expressions_dev"))
    some = faces.faces[held_out(faces.people)][:60]
    model = Model(PLACES)
    eyes = np.stack([model.run(faces=face[None])["eyes"][0] for face in some])
    usual = np.array([[84, 97], [172, 97]]) / 256  # averages of the data set's own description
    assert np.abs(np.median(eyes, 0) - usual).max() < 0.03
    mirrored = np.stack([model.run(faces=face[None, :, ::-1].copy())["eyes"][0] for face in some])
    back = np.stack([1 - mirrored[:, ::-1, 0], mirrored[:, ::-1, 1]], 2)
    assert np.median(np.linalg.norm(eyes - back, axis=2)) < 0.02
