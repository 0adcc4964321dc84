"""What stands around the eye network: stretching back, contract, gate, and the shipped weights."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from device.errors import ModelError
from device.model import WEIGHTS, fit, load
from device.pupil import PupilEstimator, PupilGate, _stretch, frame_ellipse
from device.types import EyeFrame, Pupil

CAMERAS = [(128, 128), (192, 192), (240, 320), (400, 400), (480, 640), (240, 240)]
SIZES = [*CAMERAS, (192, 384), (1000, 1301)]


@pytest.mark.parametrize("shape", SIZES)
def test_a_spot_comes_back_where_it_was(shape):
    """`fit` and `_stretch` are inverse: the centroid of a soft spot survives."""
    height, width = shape
    x, y = 0.43 * width, 0.61 * height
    at_y, at_x = np.mgrid[:height, :width]
    sigma = 0.06 * width
    spot = 250 * np.exp(-((at_x - x) ** 2 + (at_y - y) ** 2) / (2 * sigma**2))
    small = fit(spot.astype(np.uint8), (128, 128)).astype(float)
    sy, sx = np.mgrid[:128, :128]
    (scale_x, first_x), (scale_y, first_y) = _stretch(shape, (128, 128))
    assert scale_x * (sx * small).sum() / small.sum() + first_x == pytest.approx(x, abs=0.05)
    assert scale_y * (sy * small).sum() / small.sum() + first_y == pytest.approx(y, abs=0.05)


@pytest.mark.parametrize("angle_deg", [0.0, 20.0, 90.0, 135.0])
def test_log_shape_is_undone(angle_deg):
    turn = np.deg2rad(angle_deg)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    log_e = axes @ np.diag(np.log([10.0**2, 6.0**2])) @ axes.T
    ellipse = np.array([5, 7, log_e[0, 0], log_e[1, 1], log_e[0, 1]], np.float32)
    found = frame_ellipse(ellipse, (128, 128), (128, 128))
    assert found == pytest.approx((5, 7, 20, 12, angle_deg), abs=1e-3)


def test_a_circle_in_a_wide_frame_is_wide():
    ellipse = np.array([63.5, 63.5, np.log(100), np.log(100), 0], np.float32)
    x, y, major, minor, angle_deg = frame_ellipse(ellipse, (240, 480), (128, 128))
    assert (x, y) == pytest.approx((239.5, 119.5))
    assert (major, minor) == pytest.approx((20 * 480 / 128, 20 * 240 / 128), rel=1e-5)
    assert angle_deg == pytest.approx(0.0, abs=1e-3)


def test_gate():
    def pupil(openness: float, confidence: float) -> Pupil:
        return Pupil(
            t_ns=0,
            eye="left",
            x_px=1,
            y_px=1,
            major_px=1,
            minor_px=1,
            angle_deg=0,
            openness=openness,
            confidence=confidence,
        )

    gate = PupilGate()
    assert gate.reports(pupil(0.9, 0.9)) and not gate.closed(pupil(0.9, 0.9))
    assert not gate.reports(pupil(0.9, 0.1)) and not gate.reports(pupil(0.1, 0.9))
    assert gate.closed(pupil(0.1, 0.9))


def drawn_eye(shape: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    """Skin, white, iris, pupil and two glints; drawn eight times finer and averaged."""
    fine, (height, width) = 8, shape
    image = np.full((height * fine, width * fine), 150, np.uint8)

    def ellipse(cx, cy, rx, ry, grey):
        centre = (round((cx + 0.5) * fine), round((cy + 0.5) * fine))
        cv2.ellipse(image, centre, (round(rx * fine), round(ry * fine)), 0, 0, 360, grey, -1)

    ellipse(x, y, 4.6 * radius, 2.9 * radius, 175)
    ellipse(x, y, 2.5 * radius, 2.5 * radius, 95)
    ellipse(x, y, radius, radius, 25)
    ellipse(x - 1.5 * radius, y - 1.2 * radius, 0.2 * radius, 0.2 * radius, 250)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).normal(0, 2, shape)
    return np.clip(cv2.GaussianBlur(small, (0, 0), 0.008 * width) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def estimator():
    if not (WEIGHTS / "eye.onnx").is_file():
        pytest.fail("device/weights/eye.onnx ships with the package")
    return PupilEstimator(load("eye"))


@pytest.mark.parametrize("shape", CAMERAS)
def test_shipped_weights_find_a_drawn_pupil(estimator, shape):
    height, width = shape
    x, y, radius = 0.47 * width, 0.52 * height, 0.08 * min(height, width)
    image = drawn_eye(shape, x, y, radius)
    pupil = estimator.estimate(EyeFrame(t_ns=7, eye="right", seq=3, pixels=image, camera=1))
    assert (pupil.t_ns, pupil.eye, pupil.camera) == (7, "right", 1)
    assert PupilGate().reports(pupil)
    assert np.hypot(pupil.x_px - x, pupil.y_px - y) < 0.02 * width
    assert pupil.major_px == pytest.approx(2 * radius, rel=0.3)


@pytest.mark.parametrize("grey", [0, 90, 200, 255])
def test_shipped_weights_see_no_pupil_in_a_blank(estimator, grey):
    image = np.full((192, 192), grey, np.uint8)
    pupil = estimator.estimate(EyeFrame(t_ns=0, eye="left", seq=0, pixels=image))
    assert not PupilGate().reports(pupil)
    assert np.isfinite([pupil.x_px, pupil.y_px, pupil.major_px, pupil.minor_px]).all()


def test_another_network_is_refused():
    class Other:
        path = "other.onnx"

        class spec:  # noqa: N801
            inputs = ()
            outputs = ()

    with pytest.raises(ModelError, match="not an eye network"):
        PupilEstimator(Other())
