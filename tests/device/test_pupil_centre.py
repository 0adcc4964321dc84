"""The centre is refined where pupil and iris differ, and left alone where they do not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from gaze_wearer import pupil_at

from device.pupil_centre import refine
from device.types import EyeFrame


def eye(x: float, y: float, *, pupil: int = 30, glint: bool = False) -> EyeFrame:
    pixels = np.full((120, 120), 170, np.uint8)
    for radius, grey in ((26, 110), (10, pupil)):
        cv2.circle(pixels, (round(x * 16), round(y * 16)), radius * 16, grey, -1, cv2.LINE_AA, 4)
    if glint:
        cv2.circle(pixels, (round(x + 3), round(y - 3)), 2, 255, -1)
    noisy = pixels + np.random.default_rng(1).normal(0, 2, pixels.shape)
    return EyeFrame(t_ns=0, eye="left", seq=0, pixels=np.clip(noisy, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("glint", [False, True])
@pytest.mark.parametrize("off", [(1.5, -1.0), (-2.0, 2.0), (0.0, 0.0)])
def test_an_ellipse_a_little_off_is_put_right(off: tuple[float, float], glint: bool) -> None:
    frame = eye(60.3, 55.7, glint=glint)
    pupil = pupil_at(frame, 60.3 + off[0], 55.7 + off[1])
    assert refine(frame.pixels, pupil) == pytest.approx((60.3, 55.7), abs=0.25)


def test_without_contrast_the_network_is_believed() -> None:
    frame = eye(60.0, 60.0, pupil=108)
    assert refine(frame.pixels, pupil_at(frame, 62.0, 59.0)) == (62.0, 59.0)


@pytest.mark.parametrize("centre", [(3.0, 60.0), (118.0, 119.0), (-20.0, 500.0)])
def test_at_the_edge_the_network_is_believed(centre: tuple[float, float]) -> None:
    frame = eye(60.0, 60.0)
    assert refine(frame.pixels, pupil_at(frame, *centre)) == centre


def test_a_pupil_that_is_none_stays_none() -> None:
    frame = eye(60.0, 60.0)
    assert all(np.isnan(refine(frame.pixels, pupil_at(frame, float("nan"), float("nan")))))
