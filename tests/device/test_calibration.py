"""A calibration must be right where it was fitted, sane beyond, honest about itself, and refused when old."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from gaze_wearer import SIZE_PX, Wearer

from device.calibrating import fit, looks, pair
from device.calibration import Calibration, to_text
from device.errors import ConfigError, InputError, StorageError
from device.eye_view import Camera, Instant, Observation
from device.types import Gaze


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    wearer = Wearer()
    return fit(*wearer.look(wearer.gaze_at(300)), eye_model_sha256="a" * 64)


def misses(
    calibration: Calibration, observations: list[Observation], gaze: np.ndarray
) -> np.ndarray:
    found = [calibration.estimate(i) for i in pair(observations)]
    assert all(f is not None for f in found)
    return np.hypot(*(np.array([f[:2] for f in found if f]) - gaze).T)


def with_pupil(observation: Observation, **change: float) -> Observation:
    pupil = dataclasses.replace(observation.pupil, **change)
    centre_px = (pupil.x_px, pupil.y_px) if "x_px" in change else observation.centre_px
    return dataclasses.replace(observation, pupil=pupil, centre_px=centre_px)


def test_new_looks_are_found_to_a_fraction_of_a_degree(fitted: Calibration) -> None:
    wearer = Wearer(seed=2)
    gaze = wearer.gaze_at(150)
    off = misses(fitted, wearer.look(gaze)[0], gaze)
    assert np.median(off) < 0.5
    assert np.quantile(off, 0.95) < 1.2


def test_the_accuracy_in_the_file_is_what_new_looks_show(fitted: Calibration) -> None:
    wearer = Wearer(seed=3)
    gaze = wearer.gaze_at(300)
    off = misses(fitted, wearer.look(gaze)[0], gaze)
    assert fitted.accuracy.median_deg == pytest.approx(np.median(off), rel=0.6)
    assert fitted.accuracy.usable > 0.95
    assert 0 < fitted.accuracy.precision_deg < 1.0


def test_a_look_ends_where_the_gaze_leaves_its_place() -> None:
    still = np.zeros((20, 2))
    assert looks(still + np.random.default_rng(0).normal(0, 0.2, still.shape)) == 1
    assert looks(np.concatenate([still, still + 3.0, still])) == 3
    assert looks(np.zeros((0, 2))) == 0


@pytest.mark.parametrize("looked", [3, 8])
def test_a_short_calibration_does_not_claim_less_error_than_its_few_looks_allow(
    looked: int,
) -> None:
    wearer = Wearer(seed=18, noise_px=0.05)
    short = fit(*wearer.look(wearer.gaze_at(15 * looked)))
    assert short.sigma_scale >= np.sqrt(1 + 3 / looked) - 1e-6


def test_a_fifth_of_wrong_pupils_and_of_wrong_reference_does_not_turn_the_map() -> None:
    wearer = Wearer(seed=4)
    gaze = wearer.gaze_at(450)
    observations, reference = wearer.look(gaze)
    rng = np.random.default_rng(0)
    spoiled = [
        with_pupil(o, x_px=float(rng.uniform(0, SIZE_PX)), y_px=float(rng.uniform(0, SIZE_PX)))
        if rng.random() < 0.2
        else o
        for o in observations
    ]
    wrong = [
        dataclasses.replace(g, azimuth_deg=g.azimuth_deg + 15.0) if n % 45 < 9 else g
        for n, g in enumerate(reference)
    ]
    calibration = fit(spoiled, wrong)
    fresh = Wearer(seed=5)
    new = fresh.gaze_at(150)
    assert np.median(misses(calibration, fresh.look(new)[0], new)) < 1.0


def test_beyond_the_calibrated_range_it_goes_on_straight() -> None:
    narrow = Wearer(seed=6, range_deg=4.0)
    calibration = fit(*narrow.look(narrow.gaze_at(300)))
    gaze = np.array([[14.0, 0.0], [0.0, -14.0], [12.0, 12.0], [-20.0, 5.0]])
    observations, _ = narrow.look(gaze)
    found = [calibration.estimate(i) for i in pair(observations)]
    for want, got in zip(gaze, found, strict=True):
        assert got is not None
        assert np.hypot(got.azimuth_deg - want[0], got.elevation_deg - want[1]) < 6.0
    inside = calibration.estimate(pair(narrow.look(np.zeros((1, 2)))[0])[0])
    assert inside is not None
    assert all(g is not None and g.confidence < inside.confidence for g in found)


def test_a_lost_eye_leaves_the_other(fitted: Calibration) -> None:
    wearer = Wearer(seed=7)
    gaze = wearer.gaze_at(90)
    right = [o for o in wearer.look(gaze)[0] if o.pupil.eye == "right"]
    off = [fitted.estimate(Instant(t_ns=o.t_ns, seen={o.camera: o})) for o in right]
    found = np.array([e[:2] for e in off if e])
    assert len(found) == 90
    assert np.median(np.hypot(*(found - gaze).T)) < 0.8


def test_a_lost_pupil_leaves_the_view(fitted: Calibration) -> None:
    wearer = Wearer(seed=8)
    gaze = wearer.gaze_at(90)
    nan = float("nan")
    blind = [with_pupil(o, x_px=nan, y_px=nan, confidence=0.0) for o in wearer.look(gaze)[0]]
    assert np.median(misses(fitted, blind, gaze)) < 1.5


def test_a_closed_eye_is_said_to_be_lost(fitted: Calibration) -> None:
    wearer = Wearer(seed=9)
    observations = wearer.look(wearer.gaze_at(15))[0]
    closed = [with_pupil(o, openness=0.02, confidence=0.02) for o in observations]
    found = [fitted.estimate(i) for i in pair(closed)]
    assert all(e is not None and e.confidence < 0.3 for e in found)


def test_four_cameras_are_as_good_as_two() -> None:
    wearer = Wearer(seed=10, cameras=2)
    calibration = fit(*wearer.look(wearer.gaze_at(300)))
    assert {c.camera for c in calibration.cameras} == {
        Camera(eye, n) for eye in ("left", "right") for n in (0, 1)
    }
    gaze = wearer.gaze_at(90)
    assert np.median(misses(calibration, wearer.look(gaze)[0], gaze)) < 0.5


def test_an_unknown_camera_has_no_gaze(fitted: Calibration) -> None:
    other = Wearer(seed=11, cameras=2).look(np.zeros((1, 2)))[0][-1]
    assert fitted.estimate(Instant(t_ns=0, seen={other.camera: other})) is None


def test_the_file_gives_the_same_gaze_back(fitted: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    fitted.save(path)
    again = Calibration.load(path)
    assert to_text(again) == to_text(fitted)
    instant = pair(Wearer(seed=12).look(np.array([[3.0, -4.0]]))[0])[0]
    assert again.estimate(instant) == fitted.estimate(instant)
    assert path.stat().st_size < 300_000


def test_the_same_data_give_the_same_file() -> None:
    texts = []
    for _ in range(2):
        wearer = Wearer(seed=13)
        texts.append(to_text(fit(*wearer.look(wearer.gaze_at(150)))))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda raw: {**raw, "version": 0}, "version 0, this program reads 1"),
        (lambda raw: {**raw, "sigma_scale": 0.1}, "changed or damaged"),
        (lambda raw: {"kind": "something else"}, "is not a calibration file"),
        (lambda raw: [1, 2], "is not a calibration file"),
    ],
)
def test_a_wrong_or_old_file_is_refused_with_the_reason(
    fitted: Calibration, tmp_path: Path, spoil: object, reason: str
) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(spoil(json.loads(to_text(fitted)))))  # type: ignore[operator]
    with pytest.raises(ConfigError, match=reason) as caught:
        Calibration.load(path)
    assert str(path) in str(caught.value)
    assert "beheld calibrate" in str(caught.value)


def test_a_cut_or_absent_file_is_refused(fitted: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(to_text(fitted)[:500])
    with pytest.raises(ConfigError, match="is not a calibration file"):
        Calibration.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Calibration.load(tmp_path / "absent.json")
    with pytest.raises(StorageError, match="cannot be written"):
        fitted.save(tmp_path / "no folder" / "calibration.json")


def test_another_network_or_image_size_is_refused(fitted: Calibration) -> None:
    fitted.check_model("a" * 64)
    with pytest.raises(ConfigError, match="fitted with eye network aaaaaaaaaaaa"):
        fitted.check_model("b" * 64)
    seen = Wearer(seed=14).look(np.zeros((1, 2)))[0][0]
    larger = dataclasses.replace(seen, width_px=192, height_px=192)
    with pytest.raises(ConfigError, match="images are 192x192, calibrated at 96x96"):
        fitted.estimate(Instant(t_ns=0, seen={larger.camera: larger}))


def test_no_reference_too_little_and_nonsense_are_refused() -> None:
    wearer = Wearer(seed=15)
    observations, gazes = wearer.look(wearer.gaze_at(150))
    nan = [dataclasses.replace(g, azimuth_deg=float("nan")) for g in gazes]
    with pytest.raises(InputError, match="no reference gaze"):
        fit(observations, [])
    with pytest.raises(InputError, match="none valid"):
        fit(observations, nan)
    with pytest.raises(InputError, match="at least 30 are needed"):
        fit(observations, gazes[:10])
    far = [dataclasses.replace(g, t_ns=g.t_ns + 10**12) for g in gazes]
    with pytest.raises(InputError, match="only 0 of"):
        fit(observations, far)


def test_eyes_that_have_nothing_to_do_with_the_reference_say_so() -> None:
    wearer = Wearer(seed=16, range_deg=20.0)
    observations, gazes = wearer.look(wearer.gaze_at(300))
    other = Wearer(seed=17, range_deg=20.0).gaze_at(300)
    unrelated = [
        Gaze(t_ns=g.t_ns, azimuth_deg=a, elevation_deg=e, confidence=1.0)
        for g, (a, e) in zip(gazes, other, strict=True)
    ]
    try:
        accuracy = fit(observations, unrelated).accuracy
    except InputError as error:
        assert "tell nothing" in str(error)
    else:
        assert accuracy.usable < 0.2
