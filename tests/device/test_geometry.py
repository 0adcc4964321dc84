from __future__ import annotations

import cv2
import numpy as np
import pytest

from device.errors import ConfigError
from device.geometry import degrees_across, from_frame, in_frame, pinhole, project, unproject
from device.types import SceneGeometry

NEON_LIKE = SceneGeometry(
    width_px=1600,
    height_px=1200,
    camera_matrix=np.array([[892.0, 0, 819.0], [0, 891.0, 610.0], [0, 0, 1]]),
    distortion=np.array([-0.131, 0.109, 0.0, 0.0001, 0.001, 0.17, 0.052, 0.0237]),
)


def test_axes_right_is_right_and_up_is_up():
    geometry = pinhole(640, 480, 60.0)
    x, y = project(geometry, [0.0, 10.0, 0.0], [0.0, 0.0, 10.0])
    assert x[0] == pytest.approx(319.5) and y[0] == pytest.approx(239.5)
    assert x[1] > x[0] and y[1] == pytest.approx(y[0])
    assert y[2] < y[0] and x[2] == pytest.approx(x[0])


def test_known_angle_without_distortion():
    geometry = pinhole(1000, 500, 90.0)
    x, _ = project(geometry, 45.0, 0.0)
    assert x == pytest.approx(999.5)
    assert degrees_across(geometry)[0] == pytest.approx(90.0)


def test_agrees_with_opencv_with_rational_distortion():
    rng = np.random.default_rng(1)
    azimuth, elevation = rng.uniform(-45, 45, 200), rng.uniform(-35, 35, 200)
    a, e = np.radians(azimuth), np.radians(elevation)
    points = np.stack([np.cos(e) * np.sin(a), -np.sin(e), np.cos(e) * np.cos(a)], axis=1)
    want, _ = cv2.projectPoints(
        points, np.zeros(3), np.zeros(3), NEON_LIKE.camera_matrix, NEON_LIKE.distortion
    )
    x, y = project(NEON_LIKE, azimuth, elevation)
    assert np.allclose(np.stack([x, y], axis=1), want[:, 0], atol=1e-6)


def test_there_and_back_within_a_hundredth_of_a_pixel():
    x, y = np.meshgrid(np.linspace(0, 1599, 17), np.linspace(0, 1199, 13))
    back_x, back_y = project(NEON_LIKE, *unproject(NEON_LIKE, x, y))
    assert back_x.shape == x.shape
    assert np.abs(back_x - x).max() < 0.01 and np.abs(back_y - y).max() < 0.01


def test_unknown_gaze_has_no_pixel_and_neither_has_what_lies_behind():
    x, y = project(NEON_LIKE, [np.nan, 120.0, -180.0], [0.0, 0.0, 5.0])
    assert np.isnan(x).all() and np.isnan(y).all()
    azimuth, elevation = unproject(NEON_LIKE, [np.nan, 800.0], [5.0, 600.0])
    assert np.isnan(azimuth[0]) and np.isnan(elevation[0]) and np.isfinite(azimuth[1])


def test_a_lens_that_folds_back_does_not_put_the_far_into_the_frame():
    barrel = SceneGeometry(
        width_px=640,
        height_px=480,
        camera_matrix=np.array([[400.0, 0, 320], [0, 400.0, 240], [0, 0, 1]]),
        distortion=np.array([-0.4, 0.0, 0.0, 0.0, 0.0]),
    )
    x, _ = project(barrel, np.arange(0.0, 89.0), 0.0)
    known = x[np.isfinite(x)]
    assert (np.diff(known) > 0).all() and np.isnan(x[-1])


def test_fractions_do_not_depend_on_resolution():
    small, large = pinhole(320, 240, 70.0), pinhole(1280, 960, 70.0)
    assert np.allclose(in_frame(small, 12.0, -7.0), in_frame(large, 12.0, -7.0))
    azimuth, elevation = from_frame(large, 0.25, 0.75)
    assert np.allclose(in_frame(large, azimuth, elevation), (0.25, 0.75), atol=1e-5)


def test_scalars_stay_scalars():
    x, y = project(NEON_LIKE, 3.0, 4.0)
    assert np.shape(x) == np.shape(y) == ()


def test_an_impossible_field_of_view_is_refused():
    with pytest.raises(ConfigError, match="180"):
        pinhole(640, 480, 180.0)
