"""The events stage on gaze whose truth is known because the test made it."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.eye_movements import EyeMovements
from device.gaze_velocity import Sample
from device.saccades import Saccades, SaccadeSettings
from device.stages.events import EventSettings, EventsStage
from device.types import (
    Blink,
    EyeMovement,
    Fixation,
    Gaze,
    Interval,
    Movement,
    Pursuit,
    Saccade,
    Value,
)

RATES_HZ = (30, 60, 120, 250, 500)


def scanpath(rate_hz: float, noise_deg: float, seed: int = 1) -> list[Gaze]:
    """6 s: fixation, 8 deg saccade at 1 s, fixation, pursuit of 10 deg/s from 2.5 to 4.5 s, fixation
    with the eye shut from 5.2 to 5.4 s."""
    random = np.random.default_rng(seed)
    out = []
    for i in range(int(6 * rate_hz)):
        t = i / rate_hz
        x = 8.0 * float(np.clip((t - 1.0) / 0.04, 0, 1)) + 10.0 * float(np.clip(t - 2.5, 0, 2)) - 8
        y = 0.0
        shut = 5.2 <= t < 5.4
        x, y = (float(v + random.normal(0, noise_deg)) for v in (x, y))
        out.append(gaze(round(t * 1e9), math.nan if shut else x, math.nan if shut else y))
    return out


def gaze(t_ns: int, x_deg: float, y_deg: float, confidence: float = 1.0) -> Gaze:
    return Gaze(t_ns=t_ns, azimuth_deg=x_deg, elevation_deg=y_deg, confidence=confidence)


def run(values: list[Gaze]) -> list[Value]:
    stage = EventsStage()
    out = [made for value in values for made in stage.step(value)]
    return out + list(stage.finish(values[-1].t_ns if values else 0))


def samples(out: list[Value]) -> list[EyeMovement]:
    return [v for v in out if isinstance(v, EyeMovement)]


def intervals(out: list[Value], kind: type[Interval]) -> list[Interval]:
    return [v for v in out if isinstance(v, kind)]


def at(out: list[Value], t_s: float) -> EyeMovement:
    return min(samples(out), key=lambda v: abs(v.t_ns - t_s * 1e9))


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("noise_deg", [0.0, 0.02, 0.1])
def test_a_known_scanpath_is_told_apart_at_every_rate(rate_hz: float, noise_deg: float) -> None:
    out = run(scanpath(rate_hz, noise_deg))
    assert at(out, 0.6).movement is Movement.FIXATION
    assert at(out, 2.0).movement is Movement.FIXATION
    assert at(out, 3.5).movement is Movement.PURSUIT
    assert at(out, 3.5).speed_deg_s == pytest.approx(10, rel=0.15)
    assert at(out, 5.3).movement is Movement.BLINK
    saccades = [s for s in intervals(out, Saccade) if abs(s.start_ns / 1e9 - 1.0) < 0.06]
    assert len(saccades) == 1
    assert len(intervals(out, Saccade)) <= 2
    assert len(intervals(out, Blink)) == 1
    assert max(p.duration_ns for p in intervals(out, Pursuit)) > 1.5e9
    assert sum(f.duration_ns for f in intervals(out, Fixation)) > 2.4e9


def test_measures_of_the_intervals_are_those_of_the_gaze() -> None:
    out = run(scanpath(500, 0.02))
    saccade = next(v for v in out if isinstance(v, Saccade))
    assert saccade.amplitude_deg == pytest.approx(8, abs=0.8)
    assert saccade.direction_deg == pytest.approx(0, abs=5)
    assert saccade.peak_speed_deg_s == pytest.approx(200, rel=0.2)
    assert saccade.duration_ns / 1e6 == pytest.approx(40, abs=8)
    fixation = next(v for v in out if isinstance(v, Fixation))
    assert fixation.azimuth_deg == pytest.approx(-8, abs=0.1)
    assert fixation.dispersion_deg < 0.1
    pursuit = max((v for v in out if isinstance(v, Pursuit)), key=lambda p: p.duration_ns)
    # its edges blur into the fixations around it: nothing but the drift separates them
    assert pursuit.mean_speed_deg_s == pytest.approx(10, rel=0.2)
    assert pursuit.end_azimuth_deg - pursuit.start_azimuth_deg == pytest.approx(20, abs=1.5)
    blink = next(v for v in out if isinstance(v, Blink))
    assert blink.start_ns / 1e9 == pytest.approx(5.2, abs=0.01)
    assert blink.end_ns / 1e9 == pytest.approx(5.4, abs=0.01)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_every_sample_comes_out_once_in_order_and_within_the_delay(rate_hz: float) -> None:
    values = scanpath(rate_hz, 0.05)
    stage = EventsStage()
    seen = []
    for value in values:
        for made in stage.step(value):
            if isinstance(made, EyeMovement):
                assert value.t_ns - made.t_ns <= 150_000_000
                assert made.since_ns <= made.t_ns
                assert 0.5 <= made.confidence <= 1
                seen.append(made.t_ns)
    seen += [v.t_ns for v in stage.finish(values[-1].t_ns) if isinstance(v, EyeMovement)]
    assert seen == [v.t_ns for v in values]


def test_the_same_gaze_gives_the_same_movements() -> None:
    first, second = run(scanpath(120, 0.1)), run(scanpath(120, 0.1))
    assert [repr(v) for v in first] == [repr(v) for v in second]


@pytest.mark.parametrize("rate_hz", [60, 500])
def test_a_still_eye_fixates_whatever_the_noise(rate_hz: float) -> None:
    """The thresholds follow the noise: a hundredfold of it makes no saccade."""
    for noise_deg in (0.0, 0.01, 0.1, 1.0):
        random = np.random.default_rng(3)
        xy = random.normal(0, noise_deg, (int(5 * rate_hz), 2))
        out = run([gaze(round(i * 1e9 / rate_hz), *map(float, p)) for i, p in enumerate(xy)])
        counts = Counter(v.movement for v in samples(out))
        assert counts[Movement.FIXATION] >= 0.95 * len(xy), (noise_deg, counts)


def test_lost_at_both_edges_and_in_between() -> None:
    values = scanpath(200, 0.02)
    for i in [*range(30), *range(300, 306), *range(len(values) - 40, len(values))]:
        values[i] = gaze(values[i].t_ns, math.nan, math.nan)
    out = run(values)
    assert len(samples(out)) == len(values)
    assert at(out, 0.05).movement is Movement.BLINK
    assert math.isnan(at(out, 0.05).azimuth_deg)
    assert at(out, 1.51).movement is Movement.UNKNOWN  # 30 ms: too short for a lid
    assert at(out, 2.0).movement is Movement.FIXATION


def test_gaze_without_confidence_is_a_lost_eye() -> None:
    values = [
        gaze(i * 5_000_000, 1.0, 1.0, confidence=0.05 if 200 <= i < 240 else 0.9)
        for i in range(400)
    ]
    blinks = intervals(run(values), Blink)
    assert [(b.start_ns, b.end_ns) for b in blinks] == [(1_000_000_000, 1_200_000_000)]


def test_an_eye_lost_for_long_is_no_blink() -> None:
    values = [gaze(i * 10_000_000, math.nan if 100 <= i < 300 else 0.0, 0.0) for i in range(400)]
    out = run(values)
    assert intervals(out, Blink) == []
    assert at(out, 2.5).movement is Movement.UNKNOWN


def test_a_gap_in_the_stream_ends_what_was_under_way() -> None:
    values = [gaze(i * 10_000_000, 0.0, 0.0) for i in range(300) if not 100 <= i < 200]
    fixations = intervals(run(values), Fixation)
    assert [(f.start_ns, f.end_ns) for f in fixations] == [
        (0, 990_000_000),
        (2_000_000_000, 2_990_000_000),
    ]


def test_duplicate_and_older_samples_are_left_out() -> None:
    values = scanpath(120, 0.02)
    doubled = [v for value in values for v in (value, value)] + [gaze(5, 0.0, 0.0)]
    assert [repr(v) for v in run(doubled)] == [repr(v) for v in run(values)]


def test_nothing_in_nothing_out() -> None:
    assert run([]) == []
    assert len(samples(run([gaze(0, 1.0, 1.0)]))) == 1


def test_memory_does_not_grow() -> None:
    """Ten minutes of fixation without one saccade, and a noisy stretch, hold a bounded number of samples."""
    movements = EyeMovements()
    most = 0
    random = np.random.default_rng(0)
    for i, noise in enumerate(random.normal(0, 0.02, 60_000)):
        movements.push(i * 10_000_000, float(noise), 0.0)
        most = max(most, movements.held)
    assert most <= 16


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(min_value=-2_000_000, max_value=400_000_000),
            st.one_of(st.just(math.nan), st.just(math.inf), st.floats(-1e6, 1e6)),
            st.floats(-60, 60),
            st.floats(0, 1),
        ),
        max_size=200,
    )
)
def test_whatever_comes_it_answers_each_new_sample_once(
    steps: list[tuple[int, float, float, float]],
) -> None:
    t_ns, values = 0, []
    for step_ns, x, y, confidence in steps:
        t_ns = max(0, t_ns + step_ns)
        values.append(gaze(t_ns, x, y, confidence))
    newest, expected = -1, []
    for value in values:
        if value.t_ns > newest:
            newest = value.t_ns
            expected.append(newest)
    out = run(values)
    assert [v.t_ns for v in samples(out)] == expected
    for value in out:
        if isinstance(value, Interval):
            assert value.start_ns <= value.end_ns
    for sample in samples(out):
        assert math.isfinite(sample.speed_deg_s)


def test_the_noise_estimate_is_that_of_the_velocity() -> None:
    """White noise of 0.05 deg at 500 Hz through two boxes of two samples, 6 ms apart: 8.3 deg/s."""
    saccades = Saccades(SaccadeSettings())
    random = np.random.default_rng(0)
    for i, (x, y) in enumerate(random.normal(0, 0.05, (5000, 2))):
        saccades.push(Sample(i * 2_000_000, float(x), float(y)))
    assert saccades.velocity.sigma_deg_s == pytest.approx(0.05 / 0.006, rel=0.2)


def test_a_shorter_delay_is_kept_too() -> None:
    stage = EventsStage(EventSettings(delay_ms=60.0))
    for value in scanpath(200, 0.02):
        for made in stage.step(value):
            if isinstance(made, EyeMovement):
                assert value.t_ns - made.t_ns <= 60_000_000


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="delay_ms"):
        EventSettings(delay_ms=10.0)
    with pytest.raises(ValueError, match="blink"):
        EventSettings(min_blink_ms=900.0)
