"""The virtual wearer: the same bytes from the same seed, and truth that holds in what it shows."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from device.emulator import Emulator, EmulatorSettings
from device.errors import ConfigError
from device.geometry import in_frame
from device.settings import from_mapping
from device.sources.camera import AlwaysOn, SceneCamera
from device.types import (
    CameraMode,
    CameraRequest,
    DeviceEvent,
    EyeFrame,
    Gaze,
    ImuSample,
    Movement,
    SceneFrame,
    Value,
)

MS = 1_000_000


def emulator(camera: SceneCamera | None = None, **settings: object) -> Emulator:
    return Emulator(EmulatorSettings(**settings), camera)


@pytest.fixture(scope="module")
def demo() -> Emulator:
    return emulator(seed=1, duration_s=240.0)


@pytest.fixture(scope="module")
def day() -> Emulator:
    return emulator(seed=1, duration_s=3600.0, scenario="ordinary_day", eyes=False)


def digest(values: list[Value]) -> str:
    total = hashlib.sha256()
    for value in values:
        total.update(f"{type(value).__name__} {value.t_ns}".encode())
        for name in ("pixels", "gyro_deg_s", "accel_m_s2", "value", "azimuth_deg", "confidence"):
            part = getattr(value, name, None)
            total.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return total.hexdigest()


def test_the_same_seed_gives_the_same_bytes() -> None:
    first = emulator(AlwaysOn(), seed=4, duration_s=1.2)
    second = emulator(AlwaysOn(), seed=4, duration_s=1.2)
    once = digest(list(first))
    assert digest(list(second)) == once
    assert digest(list(first)) == once, "iterating again gives another session"
    assert first.header.session_id == second.header.session_id
    assert digest(list(emulator(AlwaysOn(), seed=5, duration_s=1.2))) != once


def test_values_come_in_order_and_at_their_rates() -> None:
    values = list(emulator(AlwaysOn(), seed=2, duration_s=1.5, eye_px=96, eye_hz=120.0))
    assert all(a.t_ns <= b.t_ns for a, b in pairwise(values))
    kinds = (EyeFrame, SceneFrame, ImuSample, DeviceEvent)
    assert [sum(isinstance(v, k) for v in values) for k in kinds] == [360, 45, 150, 2]
    assert {v.pixels.shape for v in values if isinstance(v, EyeFrame)} == {(96, 96)}
    assert {v.pixels.shape for v in values if isinstance(v, SceneFrame)} == {(480, 640, 3)}


def test_a_scene_frame_exists_only_while_the_camera_is_awake() -> None:
    source = emulator(seed=2, duration_s=3.0, eyes=False)
    frames = []
    for value in source:
        if isinstance(value, SceneFrame):
            frames.append(value.t_ns)
        elif value.t_ns == 1_000 * MS:
            source.camera(CameraRequest(t_ns=value.t_ns, mode=CameraMode.LOW, why="test"))
        elif value.t_ns == 2_000 * MS:
            source.camera(CameraRequest(t_ns=value.t_ns, mode=CameraMode.OFF, why="test"))
    assert frames and min(frames) >= 1_080 * MS and max(frames) < 2_000 * MS
    assert len(frames) == pytest.approx(0.92 * 30, abs=2)


def test_a_frame_does_not_depend_on_those_drawn_before() -> None:
    late = SceneCamera()
    late(CameraRequest(t_ns=900 * MS, mode=CameraMode.FULL, why="test"))
    some = {v.t_ns: v.pixels for v in emulator(late, duration_s=1.5, eyes=False) if _scene(v)}
    every = {
        v.t_ns: v.pixels for v in emulator(AlwaysOn(), duration_s=1.5, eyes=False) if _scene(v)
    }
    assert 10 < len(some) < len(every)
    assert all(np.array_equal(pixels, every[t_ns]) for t_ns, pixels in some.items())


def _scene(value: Value) -> bool:
    return isinstance(value, SceneFrame)


def test_saccades_keep_to_the_main_sequence(demo: Emulator) -> None:
    """Amplitude and duration measured on the gaze in the world, not read from the plan."""
    amplitude, duration_ms = [], []
    truth = demo.truth
    for saccade in truth.saccades:
        if saccade.amplitude_deg < 2 or saccade.end_ns > truth.duration_ns:
            continue
        t_ns = np.arange(saccade.start_ns - 20 * MS, saccade.end_ns + 20 * MS, MS // 2)
        azimuth, elevation = truth.gaze(t_ns)
        head = truth.head.pose(t_ns / 1e9)  # its turn makes the eye in it counter-roll at any time
        azimuth, elevation = azimuth + head.yaw_deg, elevation + head.pitch_deg
        speed = np.hypot(np.gradient(azimuth), np.gradient(elevation)) / 0.0005
        moving = np.flatnonzero(speed > max(30.0, 0.05 * speed.max()))
        if len(moving) < 8:
            continue
        first, last = moving[0], moving[-1]
        amplitude.append(
            np.hypot(azimuth[last] - azimuth[first], elevation[last] - elevation[first])
        )
        duration_ms.append((t_ns[last] - t_ns[first]) / MS)
    assert len(amplitude) > 200
    slope, _ = np.polyfit(amplitude, duration_ms, 1)
    assert 1.5 < slope < 3.0
    assert np.corrcoef(amplitude, duration_ms)[0, 1] > 0.85
    at_ten = np.interp(10.0, *_sorted(amplitude, duration_ms))
    assert 30 < at_ten < 60


def _sorted(x: list[float], y: list[float]) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(x)
    return np.array(x)[order], np.array(y)[order]


def test_blinks_are_as_frequent_and_as_long_as_people_s(demo: Emulator, day: Emulator) -> None:
    for source in (demo, day):
        blinks, minutes = source.truth.blinks, source.settings.duration_s / 60
        assert all(150 * MS <= b.duration_ns <= 300 * MS for b in blinks)
        assert 6 <= len(blinks) / minutes <= 22
        middle = [(b.start_ns * 2 + b.end_ns) // 3 + b.duration_ns // 10 for b in blinks]
        assert source.truth.eyes(middle).openness.max() < 0.05
        assert set(source.truth.movement(middle)) == {Movement.BLINK}
    assert 12 <= len(demo.truth.blinks) / 4 <= 20


def test_fixations_last_as_long_as_people_s(demo: Emulator) -> None:
    ends = [s.start_ns for s in demo.truth.saccades][1:]
    starts = [s.end_ns for s in demo.truth.saccades][:-1]
    median_ms = np.median(np.array(ends) - np.array(starts)) / MS
    assert 180 < median_ms < 330


def test_attended_intervals_last_and_hold_the_gaze(demo: Emulator, day: Emulator) -> None:
    for source in (demo, day):
        truth = source.truth
        assert all(a.end_ns - a.start_ns >= 1_000 * MS for a in truth.attended)
        assert all(a.end_ns <= b.start_ns for a, b in pairwise(truth.attended))
        inside, seen = 0, 0
        for interval in truth.attended:
            for t_ns in range(interval.start_ns, interval.end_ns, 150 * MS):
                box = truth.box(interval.thing, t_ns)
                x, y = in_frame(truth.geometry, *truth.gaze(t_ns))
                inside += bool(box.left < x < box.right and box.top < y < box.bottom)
                seen += 1
                assert truth.attended_at(t_ns) is interval
        assert inside / seen > 0.9  # what is missing are the short glances away
        assert inside < seen
    assert len(demo.truth.attended) >= 10
    assert len({a.name for a in demo.truth.attended}) >= 6
    assert 12 <= len(day.truth.attended) <= 28


def test_a_dwell_does_not_tell_attention_from_staring(day: Emulator) -> None:
    """Single looks longer than most of attention's, without any: a rule on dwell alone must fail."""
    truth = day.truth
    long = [
        (a.end_ns, b.start_ns)
        for a, b in pairwise(truth.saccades)
        if b.start_ns - a.end_ns > 1_200 * MS
    ]
    idle = [s for s in long if truth.attended_at((s[0] + s[1]) // 2) is None]
    assert len(idle) > len(truth.attended)


def test_pursuit_follows_a_moving_thing() -> None:
    source = emulator(seed=3, duration_s=900.0, eyes=False)
    truth = source.truth
    t_ns = np.arange(0, truth.duration_ns, 10 * MS)
    moves = np.array(truth.movement(t_ns)) == Movement.PURSUIT
    assert 0.01 < moves.mean() < 0.5
    balls = [a for a in truth.attended if truth.things[a.thing].moves]
    assert balls
    for interval in balls:
        middle = truth.movement(np.arange(interval.start_ns, interval.end_ns, 5 * MS))
        assert Movement.PURSUIT in middle


def test_the_motion_sensor_feels_the_head_turn() -> None:
    source = emulator(seed=1, duration_s=20.0, eyes=False)
    samples = [v for v in source if isinstance(v, ImuSample)]
    t_s = np.array([s.t_ns for s in samples]) / 1e9
    yaw = source.truth.head.pose(t_s).yaw_deg
    felt = np.array([s.gyro_deg_s for s in samples])
    turned = np.concatenate([[0.0], np.cumsum(felt[:-1, 1]) * 0.01])
    assert np.corrcoef(turned, yaw)[0, 1] > 0.98
    weight = np.linalg.norm([s.accel_m_s2 for s in samples], axis=1)
    assert np.median(weight) == pytest.approx(9.81, abs=0.2)
    assert np.median([s.accel_m_s2[1] for s in samples]) < -9


def test_gaze_without_eye_images_is_the_truth_with_noise() -> None:
    source = emulator(seed=6, duration_s=30.0, eyes=False, gaze_noise_deg=0.35)
    assert source.header.brings_gaze
    seen = [v for v in source if isinstance(v, Gaze)]
    azimuth, elevation = source.truth.gaze([g.t_ns for g in seen])
    error = np.hypot(
        azimuth - [g.azimuth_deg for g in seen], elevation - [g.elevation_deg for g in seen]
    )
    sure = np.array([g.confidence > 0.8 for g in seen])
    assert 0.3 < np.median(error[sure]) < 2.0
    assert sum(~sure) > 5 and np.median(error[~sure]) > np.median(error[sure])


def test_calibration_covers_the_field() -> None:
    source = emulator(seed=2, duration_s=40.0, scenario="calibration")
    t_ns = np.arange(600, 40_000, 1_500) * MS
    azimuth, elevation = source.truth.gaze(t_ns)
    assert np.ptp(azimuth) > 35 and np.ptp(elevation) > 20
    assert not source.truth.attended


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scenario": "holiday"}, "scenario 'holiday' is unknown; known here: demo"),
        ({"duration_s": 0.0}, "duration_s is 0.0, must be above 0"),
        ({"eye_px": 4000}, "eye_px is 4000, must be 64 to 640"),
        ({"speed": 3}, "unknown setting 'speed'"),
    ],
)
def test_wrong_settings_end_in_one_plain_line(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        from_mapping(EmulatorSettings, settings, where="here")
