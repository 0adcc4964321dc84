"""Pupils carried between runs of the eye network: where they are, and when the network has to run."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.model import load
from device.pupil import PupilEstimator, PupilGate
from device.pupil_track import PupilTracker, TrackSettings
from device.types import EyeFrame, Pixels, Pupil
from tests.device.gaze_wearer import pupil_at

SIDE = 192
STEP_NS = 16_666_667


def eye(x: float, y: float, radius: float = 20.0, lid: float = 0.0, seed: int = 0) -> Pixels:
    """A dark disc on grey with sensor noise; `lid` is how much of the picture is skin, from above."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    away = np.hypot(columns - x, rows - y) - radius
    picture = 40 + 90 / (1 + np.exp(-away))
    picture[: round(lid * SIDE)] = 150
    noisy = picture + np.random.default_rng(seed).normal(0, 3, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8)


class Network:
    """Knows where the disc is, and counts how often it is asked."""

    model = load("eye")

    def __init__(self, *places: tuple[float, float], confidence: float = 0.9) -> None:
        self.places, self.confidence = places, confidence
        self.asked: list[int] = []

    def estimate(self, frame: EyeFrame) -> Pupil:
        self.asked.append(frame.seq)
        x, y = self.places[frame.seq]
        pupil = pupil_at(frame, x, y, self.confidence, openness=0.95)
        return replace(pupil, major_px=40.0, minor_px=40.0)


def follow(tracker: PupilTracker, pictures: list[Pixels]) -> list[Pupil]:
    return [
        tracker.estimate(EyeFrame(t_ns=n * STEP_NS, seq=n, eye="left", camera=0, pixels=pixels))
        for n, pixels in enumerate(pictures)
    ]


def test_a_resting_eye_is_looked_at_ten_times_a_second_and_keeps_its_place() -> None:
    places = [(96.0, 100.0)] * 60
    network = Network(*places)
    found = follow(PupilTracker(network), [eye(*p, seed=n) for n, p in enumerate(places)])
    assert 9 <= len(network.asked) <= 11
    assert max(math.hypot(p.x_px - 96, p.y_px - 100) for p in found) < 0.3
    assert [p.t_ns for p in found] == [n * STEP_NS for n in range(60)]


def test_a_slow_eye_is_followed_between_the_runs() -> None:
    places = [(80.0 + 0.5 * n, 100.0 - 0.25 * n) for n in range(60)]
    network = Network(*places)
    found = follow(PupilTracker(network), [eye(*p, seed=n) for n, p in enumerate(places)])
    off = [math.hypot(p.x_px - x, p.y_px - y) for p, (x, y) in zip(found, places, strict=True)]
    assert len(network.asked) < 20 and max(off) < 0.6


def test_a_saccade_a_lid_and_a_wider_pupil_are_for_the_network() -> None:
    places = [(96.0, 100.0)] * 4
    for after in (eye(110.0, 100.0), eye(96.0, 100.0, lid=0.5), eye(96.0, 100.0, radius=22.0)):
        network = Network(*places)
        follow(PupilTracker(network), [eye(96.0, 100.0)] * 2 + [after])
        assert network.asked == [0, 2]


@pytest.mark.parametrize("case", ["doubt", "edge", "flat", "every frame"])
def test_nothing_is_carried_that_cannot_be_trusted(case: str) -> None:
    place = (15.0, 100.0) if case == "edge" else (96.0, 100.0)
    pictures = [eye(*place)] * 5
    if case == "flat":
        pictures = [np.full((SIDE, SIDE), 90, np.uint8)] * 5
    network = Network(*[place] * 5, confidence=0.3 if case == "doubt" else 0.9)
    settings = TrackSettings(network_every_ms=0.0 if case == "every frame" else 100.0)
    follow(PupilTracker(network, settings), pictures)
    assert network.asked == [0, 1, 2, 3, 4]


def test_the_two_eyes_are_kept_apart_and_another_size_is_another_picture() -> None:
    network = Network(*[(96.0, 100.0)] * 4)
    tracker = PupilTracker(network)
    for seq, (which, pixels) in enumerate(
        [
            ("left", eye(96, 100)),
            ("right", eye(96, 100)),
            ("left", eye(96, 100)),
            ("left", np.pad(eye(96, 100), 4)),
        ]
    ):
        frame = EyeFrame(t_ns=seq * STEP_NS, seq=seq, eye=which, camera=0, pixels=pixels)  # type: ignore[arg-type]
        tracker.estimate(frame)
    assert network.asked == [0, 1, 3]


def test_on_the_virtual_wearers_eyes_it_stays_with_the_network() -> None:
    source = Emulator(EmulatorSettings(seed=21, duration_s=4.0, scenario="ordinary_day"))
    frames = [f for f in source if isinstance(f, EyeFrame) and f.eye == "left"]
    estimator, gate = PupilEstimator(load("eye")), PupilGate()
    tracker = PupilTracker(estimator)
    off = []
    for frame in frames:
        known, carried = estimator.estimate(frame), tracker.estimate(frame)
        assert gate.closed(known) == gate.closed(carried)
        if gate.reports(known):
            away = math.hypot(known.x_px - carried.x_px, known.y_px - carried.y_px)
            off.append(away / known.major_px)
    assert np.quantile(off, 0.95) < 0.04
    assert tracker.runs < 0.6 * tracker.frames == 0.6 * len(frames)


@pytest.mark.parametrize(
    "wrong", [{"network_every_ms": -1.0}, {"farthest": 0.0}, {"most_changed": math.nan}]
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|above"):
        TrackSettings(**wrong)
