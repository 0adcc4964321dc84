"""The loop: order, lateness, gaps, and that every interval is accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.pipeline import run
from device.sources.camera import AlwaysOn, SceneCamera
from device.types import (
    CameraMode,
    CameraRequest,
    EyeFrame,
    Fixation,
    Gap,
    Gaze,
    SessionHeader,
    Value,
)

MS = 1_000_000


def header(**more: object) -> SessionHeader:
    fields = {"session_id": "s", "source": "test", "start_utc": "unknown", "zone": "UTC", **more}
    return SessionHeader(**fields)  # type: ignore[arg-type]


class Listed:
    """A source made of a list."""

    def __init__(self, values: Iterable[Value], **more: object) -> None:
        self.header = header(**more)
        self.camera = AlwaysOn()
        self._values = list(values)

    def __iter__(self) -> Iterator[Value]:
        return iter(self._values)


def gaze(t_ms: float) -> Gaze:
    return Gaze(t_ns=round(t_ms * MS), azimuth_deg=0.0, elevation_deg=0.0, confidence=1.0)


def eye(t_ms: float, side: str = "left") -> EyeFrame:
    pixels = np.zeros((2, 2), np.uint8)
    return EyeFrame(t_ns=round(t_ms * MS), eye=side, seq=0, pixels=pixels)  # type: ignore[arg-type]


class Pairs:
    """Yields a fixation for every second gaze value, and one at the end."""

    name = "pairs"
    wants = (Gaze,)

    def __init__(self) -> None:
        self.seen: list[Gaze] = []

    def step(self, value: Gaze) -> Iterable[Value]:
        self.seen.append(value)
        if len(self.seen) % 2 == 0:
            yield self.fixation(self.seen[-2].t_ns, value.t_ns)

    def finish(self, end_ns: int) -> Iterable[Value]:
        yield self.fixation(end_ns, end_ns)

    @staticmethod
    def fixation(start_ns: int, end_ns: int) -> Fixation:
        return Fixation(
            start_ns=start_ns, end_ns=end_ns, azimuth_deg=0, elevation_deg=0, dispersion_deg=0
        )


class Counter:
    """Wants what `Pairs` makes: proves that a later stage sees it in the same fall."""

    name = "counter"
    wants = (Fixation,)

    def __init__(self) -> None:
        self.seen: list[Fixation] = []

    def step(self, value: Fixation) -> Iterable[Value]:
        self.seen.append(value)
        return ()

    def finish(self, end_ns: int) -> Iterable[Value]:
        return ()


def test_a_value_falls_once_through_the_stages_in_order_and_everything_reaches_the_sinks() -> None:
    pairs, counter, got = Pairs(), Counter(), []
    report = run(Listed([gaze(t) for t in range(5)]), [pairs, counter], [got.append])
    kinds = ["Gaze", "Gaze", "Fixation", "Gaze", "Gaze", "Fixation", "Gaze", "Fixation", "Gap"]
    assert [type(v).__name__ for v in got] == kinds  # the gap: there was not one eye frame
    assert len(counter.seen) == 3
    assert report.stages["pairs"].calls == 5
    assert report.counts == {"Gaze": 5, "Fixation": 3}


def test_late_and_negative_values_are_counted_and_dropped_and_the_loop_goes_on() -> None:
    pairs = Pairs()
    times = [0, 10, 5, 20, -3, 20, 30]
    report = run(Listed([gaze(t) for t in times], brings_gaze=True), [pairs], [])
    assert [v.t_ns // MS for v in pairs.seen] == [0, 10, 20, 20, 30]
    assert report.late == {"Gaze": 2}


def test_the_two_eyes_are_separate_streams() -> None:
    report = run(Listed([eye(10), eye(8, "right"), eye(20)]), [], [])
    assert not report.late


@given(st.lists(st.integers(0, 5_000), min_size=0, max_size=40), st.integers(0, 6_000))
def test_seen_and_gaps_are_exactly_the_session(times: list[int], length: int) -> None:
    gaps: list[Value] = []
    source = Listed([gaze(t) for t in sorted(times)], brings_gaze=True, duration_ns=length * MS)
    report = run(source, [], [lambda v: gaps.append(v) if isinstance(v, Gap) else None])
    assert report.session_ns == max([length, *times]) * MS
    assert report.seen_ns + report.gap_ns == report.session_ns
    assert report.gap_ns == sum(g.duration_ns for g in report.gaps)
    assert [(g.start_ns, g.end_ns) for g in gaps] == [(g.start_ns, g.end_ns) for g in report.gaps]
    ends = [0, *(g.end_ns for g in report.gaps)]
    assert all(g.start_ns >= end for g, end in zip(report.gaps, ends, strict=False))


def test_a_silence_is_a_gap_with_its_cause() -> None:
    report = run(Listed([gaze(t) for t in (0, 100, 1100, 1200)], brings_gaze=True), [], [])
    assert [(g.start_ns // MS, g.end_ns // MS, g.stream) for g in report.gaps] == [
        (100, 1100, "gaze")
    ]
    assert report.gaps[0].cause == "nothing was recorded"


@pytest.mark.parametrize("late_ms", [0, 79])
def test_the_scene_camera_needs_its_time_to_start(late_ms: int) -> None:
    camera = SceneCamera(start_ns=80 * MS)
    assert not camera.awake(0)
    camera(CameraRequest(t_ns=1000 * MS, mode=CameraMode.LOW, why="dwell"))
    assert not camera.awake((1000 + late_ms) * MS)
    assert camera.awake(1080 * MS)
    camera(CameraRequest(t_ns=1090 * MS, mode=CameraMode.FULL, why="attention"))
    assert camera.awake(1090 * MS)
    camera(CameraRequest(t_ns=1200 * MS, mode=CameraMode.OFF, why="over"))
    assert not camera.awake(1300 * MS)
