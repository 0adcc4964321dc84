"""Lines follow their prior where data are silent; bumps die out; nothing explodes."""

from __future__ import annotations

import numpy as np

from device.gaze_map import fit_bumps, fit_line, fit_turn

RNG = np.random.default_rng(1)
SLOPE = np.array([[-1.1, 0.3], [-0.3, -1.1]])


def test_a_line_is_found_among_outliers() -> None:
    x = RNG.normal(0, 5, (300, 2))
    y = x @ SLOPE + [3.0, -20.0] + RNG.normal(0, 0.2, (300, 2))
    y[::5] += [25.0, -10.0]
    line = fit_line(x, y, np.ones(300), stiffness=0.0)
    assert np.allclose(line.slope, SLOPE, atol=0.05)
    assert np.allclose(line(np.zeros((1, 2)))[0], [3.0, -20.0], atol=0.2)


def test_where_data_are_silent_the_prior_speaks() -> None:
    x = np.column_stack([RNG.normal(0, 5, 200), RNG.normal(0, 0.01, 200)])
    y = x @ SLOPE + RNG.normal(0, 0.3, (200, 2))
    free = fit_line(x, y, np.ones(200), stiffness=1e-9)
    held = fit_line(x, y, np.ones(200), stiffness=0.5, prior=SLOPE)
    assert np.abs(free.slope[1] - SLOPE[1]).max() > 0.5
    assert np.abs(held.slope - SLOPE).max() < 0.05


def test_a_displacement_that_must_not_matter_does_not() -> None:
    x = RNG.normal(0, 1, (200, 3))
    x[:, 2] = x[:, 0] + RNG.normal(0, 0.05, 200)  # the third tells as much as the first
    y = np.column_stack([2 * x[:, 0], 2 * x[:, 1]])
    still = np.array([[1.0, 0.0, 0.0]]) * 5
    line = fit_line(x, y, np.ones(200), stiffness=1e-3, still=still)
    assert np.abs(line.slope[0]).max() < 0.1
    assert np.median(np.abs(line(x) - y)) < 0.2


def test_a_turn_is_found_whichever_way_the_camera_mirrors() -> None:
    x = RNG.normal(0, 4, (150, 2))
    for mirror in (1.0, -1.0):
        slope = np.diag([1.0, mirror]) @ SLOPE
        assert np.allclose(fit_turn(x, x @ slope + [1.0, 2.0], np.ones(150)), slope, atol=1e-6)


def test_bumps_bend_inside_and_vanish_outside() -> None:
    x = RNG.uniform(-5, 5, (400, 2))
    left = np.column_stack([np.sin(x[:, 0]), np.zeros(400)])
    bumps = fit_bumps(x, left, np.ones(400), length=1.5, ease=0.1)
    assert np.abs(bumps(x) - left).mean() < 0.15
    assert np.abs(bumps(np.array([[50.0, 50.0], [-40.0, 0.0]]))).max() < 1e-6
