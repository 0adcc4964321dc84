"""Rendered eyes: the ellipse that is told is the dark disc that is drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from device.emulator import Emulator, EmulatorSettings
from device.emulator.eye import EyeState, PupilTruth, pupil_ellipse, render_eye
from device.emulator.eye_looks import make_appearance
from device.types import EyeFrame

SEEDS = range(12)


def state(azimuth_deg: float = 0.0, elevation_deg: float = 0.0, openness: float = 1.0) -> EyeState:
    return EyeState(
        azimuth_deg=azimuth_deg, elevation_deg=elevation_deg, openness=openness, pupil_mm=3.6
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("eye", ["left", "right"])
def test_the_told_ellipse_covers_the_dark_pixels(seed: int, eye: str) -> None:
    # Spectacles may mirror a lamp right before the pupil; here the ellipse is tested, not them.
    looks = replace(make_appearance(seed, eye, 192, noise=0.0), glasses=False)
    checked = 0
    for azimuth_deg in (-15.0, 0.0, 15.0):
        now = state(azimuth_deg, -8.0)
        pixels, truth = render_eye(looks, now, np.random.default_rng(0))
        if truth.visible < 0.97:
            continue
        inside, near, around = (_disc(pixels, truth, k) for k in (0.85, 1.08, 1.2))
        ring = cv2.subtract(around, near)
        pupil, iris = np.median(pixels[inside > 0]), np.median(pixels[ring > 0])
        assert pupil < 0.75 * iris
        # The centre of what is darker than halfway, glints aside, is the ellipse's own centre.
        dark = (pixels < (pupil + iris) / 2) & (around > 0)
        y, x = np.nonzero(dark)
        assert np.hypot(x.mean() - truth.x_px, y.mean() - truth.y_px) < 0.08 * truth.major_px
        checked += 1
    if not checked:
        pytest.skip("this wearer's lids cover the pupil at every one of these gazes")


def _disc(like: np.ndarray, truth: PupilTruth, zoom: float) -> np.ndarray:
    size = (truth.major_px * zoom, truth.minor_px * zoom)
    where = ((truth.x_px, truth.y_px), size, truth.angle_deg)
    return cv2.ellipse(np.zeros_like(like), where, 255, -1)


def test_most_wearers_show_their_pupil() -> None:
    seen = [
        render_eye(make_appearance(s, e, 96), state(0, -3, 0.9), np.random.default_rng(0))[
            1
        ].visible
        for s in range(40)
        for e in ("left", "right")
    ]
    assert np.mean(np.array(seen) > 0.7) > 0.85


def test_a_closed_lid_hides_the_pupil() -> None:
    looks = make_appearance(1, "right")
    shares = [
        render_eye(looks, state(openness=o), np.random.default_rng(0))[1].visible
        for o in (0.0, 0.3, 0.5, 0.7, 1.0)
    ]
    assert shares[0] == 0.0 and shares[-1] > 0.9
    assert all(a <= b + 0.01 for a, b in pairwise(shares))


def test_the_ellipse_needs_no_drawing() -> None:
    looks = make_appearance(2, "left")
    drawn = render_eye(looks, state(7, 4), np.random.default_rng(0))[1]
    told = pupil_ellipse(looks, state(7, 4))
    for name in ("x_px", "y_px", "major_px", "minor_px", "angle_deg"):
        assert getattr(drawn, name) == getattr(told, name)
    assert told.minor_px <= told.major_px


def test_looking_right_moves_both_pupils_to_the_left_of_the_image() -> None:
    for eye in ("left", "right"):
        looks = make_appearance(3, eye)
        left, right = (pupil_ellipse(looks, state(a)).x_px for a in (-10.0, 10.0))
        assert right < left - 5
        low, high = (pupil_ellipse(looks, state(0, e)).y_px for e in (-10.0, 10.0))
        assert high < low - 5


def test_the_session_tells_the_ellipse_of_each_frame() -> None:
    source = Emulator(EmulatorSettings(seed=5, duration_s=1.0, eye_noise=0.0))
    darker = []
    for frame in source:
        if not isinstance(frame, EyeFrame) or frame.seq % 10:
            continue
        truth = source.pupil(frame.eye, frame.t_ns)
        if truth.openness < 0.8:
            continue
        x, y = round(truth.x_px), round(truth.y_px + 0.2 * truth.minor_px)
        darker.append(frame.pixels[y - 2 : y + 3, x - 2 : x + 3].mean() < np.median(frame.pixels))
    assert len(darker) > 5 and np.mean(darker) >= 0.8
