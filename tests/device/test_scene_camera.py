"""The camera's low mode: fewer pixels less often, the same attention, and a pre-roll that costs nothing
until a moment opens."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from device.attention_inputs import SceneMotion, crops
from device.pipeline import Report, StageProfile, cascade
from device.sources.camera import AlwaysOn, CameraSettings, SceneCamera
from device.stages.encode import BYTES_PER_PX, EncodeSettings, EncodeStage, buffered_px
from device.types import (
    CameraMode,
    CameraRequest,
    DeviceEvent,
    EncodeBurst,
    MomentEnd,
    MomentStart,
    Pixels,
    SceneFrame,
    SceneGeometry,
    ScenePacket,
    Value,
)
from device.video import H264Decoder

MS = 1_000_000


def frame(t_ms: float, height: int = 480, width: int = 640) -> SceneFrame:
    rng = np.random.default_rng(round(t_ms))
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return SceneFrame(t_ns=round(t_ms * MS), seq=round(t_ms), pixels=pixels)


def request(t_ms: float, mode: CameraMode) -> CameraRequest:
    return CameraRequest(t_ns=round(t_ms * MS), mode=mode, why="test")


def camera_at(mode: CameraMode, **settings: float) -> SceneCamera:
    camera = SceneCamera(settings=CameraSettings(**settings))  # type: ignore[arg-type]
    camera(request(0, mode))
    return camera


@pytest.mark.parametrize(
    ("height", "rows"), [(480, 240), (1200, 300), (720, 360), (1080, 270), (479, 479), (200, 200)]
)
def test_low_skips_whole_rows_down_to_what_attention_needs(height: int, rows: int) -> None:
    taken = camera_at(CameraMode.LOW).take(frame(100, height, height * 4 // 3))
    assert taken is not None and taken.pixels.shape[0] == rows
    assert taken.pixels.flags.c_contiguous


@pytest.mark.parametrize(("rate_hz", "taken"), [(30.0, 10), (24.0, 9), (10.0, 10), (5.0, 5)])
def test_low_takes_ten_frames_a_second_and_full_takes_all(rate_hz: float, taken: int) -> None:
    times = [1000 * k / rate_hz for k in range(round(rate_hz))]
    low, full = camera_at(CameraMode.LOW), camera_at(CameraMode.FULL)
    assert sum(low.take(frame(t, 48, 64)) is not None for t in times) == pytest.approx(taken, abs=1)
    assert all(full.take(frame(t, 48, 64)) is not None for t in times)


def test_what_is_not_due_is_not_taken() -> None:
    """A source that asks `due` first makes exactly the frames that `take` takes."""
    camera = camera_at(CameraMode.LOW)
    for k in range(60):
        due = camera.due(round(k * 1e9 / 30))
        assert (camera.take(frame(k * 1000 / 30, 48, 64)) is not None) == due


def test_a_camera_that_is_always_on_is_never_low() -> None:
    camera = AlwaysOn()
    camera(request(0, CameraMode.LOW))
    given = frame(1)
    assert camera.take(given) is given and camera.take(frame(2)) is not None


@pytest.mark.parametrize("size", [(480, 640), (1200, 1600), (1080, 1920), (720, 1280)])
def test_attention_sees_the_same_in_a_low_frame(size: tuple[int, int]) -> None:
    """Every view and feature of the network, bit for bit: skipped rows are rows it would have skipped."""
    low_camera, place = camera_at(CameraMode.LOW), (0.43, 0.61)
    motions = [SceneMotion((65.0, 50.0), 2.0) for _ in range(2)]
    for t_ms in (100, 200, 300):
        full = frame(t_ms, *size)
        low = low_camera.take(full)
        assert low is not None and low.pixels.shape[0] < size[0]
        seen = []
        for motion, pixels in zip(motions, (full.pixels, low.pixels), strict=True):
            features = motion.features(full.t_ns, pixels, place)
            views = crops(pixels, motion.motion, place)
            seen.append((features, views.crop, views.coarse, views.crop_motion))
        for one, other in zip(*seen, strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "wrong", [{"low_height_px": 0}, {"low_height_px": 10_000}, {"low_rate_hz": 0.0}]
)
def test_a_size_or_rate_the_camera_cannot_have_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"camera.{next(iter(wrong))}"):
        CameraSettings(**wrong)  # type: ignore[arg-type]


NATIVE = SceneGeometry(width_px=64, height_px=48, camera_matrix=np.eye(3))


def small(t_ms: int) -> SceneFrame:
    pixels: Pixels = np.full((24, 32, 3), t_ms % 251, np.uint8)
    return SceneFrame(t_ns=t_ms * MS, seq=t_ms, pixels=pixels)


def through(values: list[Value], **settings: float) -> list[ScenePacket]:
    """Encoded as they come, as far as they are encoded."""
    stage = EncodeStage(EncodeSettings(buffer_mb=0), NATIVE, **settings)
    made = [packet for value in values for packet in stage.step(value)]
    return [packet for packet in made if isinstance(packet, ScenePacket)]


def test_a_check_in_vain_is_never_encoded() -> None:
    checks = [request(0, CameraMode.LOW), *(small(t) for t in range(0, 900, 100))]
    assert through([*checks, request(900, CameraMode.OFF)]) == []


def test_low_frames_become_the_pre_roll_at_the_size_of_the_video() -> None:
    checks: list[Value] = [request(0, CameraMode.LOW), *(small(t) for t in range(0, 900, 100))]
    full = [frame(1000 + 33 * k, 48, 64) for k in range(6)]
    packets = through([*checks, request(850, CameraMode.FULL), *full])
    assert [p.t_ns for p in packets] == [
        *(t * MS for t in range(0, 900, 100)),
        *(f.t_ns for f in full),
    ]
    assert packets[0].keyframe and {(p.width_px, p.height_px) for p in packets} == {(64, 48)}
    decoder = H264Decoder()
    assert all(decoder.decode(p) is not None for p in packets)


def test_a_session_that_is_recorded_has_its_checks_when_they_were() -> None:
    stage = EncodeStage(EncodeSettings(hold_low=False), NATIVE)
    stage.step(request(0, CameraMode.LOW))
    for t_ms in range(0, 900, 100):
        (packet,) = stage.step(small(t_ms))
        assert isinstance(packet, ScenePacket) and packet.t_ns == t_ms * MS
        assert (packet.width_px, packet.height_px) == (64, 48)


FRAMES = 40
BUFFER = EncodeSettings(buffer_mb=FRAMES * 64 * 48 * BYTES_PER_PX / 1e6)
"""Holds so many full frames."""


def in_bursts(values: list[Value]) -> list[Value]:
    """What the stage makes of values in the loop, in the loop's order."""
    stage = EncodeStage(BUFFER, NATIVE)
    return [v for value in values for v in cascade([stage], value, profiled(stage))]


def profiled(stage: EncodeStage) -> Report:
    return Report(stages={stage.name: StageProfile()})


def opened(t_ms: int) -> list[Value]:
    return [
        request(t_ms, CameraMode.FULL),
        MomentStart(t_ns=t_ms * MS, reason="attention"),
    ]


def test_a_moment_is_encoded_in_bursts_and_its_last_packets_come_before_its_end() -> None:
    full = [frame(1000 + 33 * k, 48, 64) for k in range(100)]
    end = MomentEnd(t_ns=full[-1].t_ns, reason="")
    made = in_bursts([small(900), *opened(1000), *full, end])
    bursts = [v for v in made if isinstance(v, EncodeBurst)]
    packets = [v for v in made if isinstance(v, ScenePacket)]
    assert [p.t_ns for p in packets] == [900 * MS, *(f.t_ns for f in full)]
    assert {(p.width_px, p.height_px) for p in packets} == {(64, 48)}
    # The small frame takes a quarter of a full one's place, and is as large in the video.
    assert [b.frames for b in bursts] == [FRAMES + 1, FRAMES, 100 - 2 * FRAMES]
    assert sum(b.pixels for b in bursts) == len(packets) * 64 * 48
    assert made[-1] is end and isinstance(made[-2], ScenePacket)
    for before, after in pairwise(made):
        if isinstance(after, ScenePacket):  # never but in a burst
            assert isinstance(before, ScenePacket | EncodeBurst)
    decoder = H264Decoder()
    assert packets[0].keyframe and all(decoder.decode(p) is not None for p in packets)


def test_a_moment_that_is_taken_back_wakes_nobody_and_stays_before_the_next_one() -> None:
    first = [frame(1000 + 33 * k, 48, 64) for k in range(20)]
    taken_back = MomentEnd(t_ns=first[-1].t_ns, reason="", kept=False)
    made = in_bursts([*opened(1000), *first, taken_back])
    assert not any(isinstance(v, ScenePacket | EncodeBurst) for v in made)
    again = [frame(2000 + 33 * k, 48, 64) for k in range(10)]
    end = MomentEnd(t_ns=again[-1].t_ns, reason="")
    made = in_bursts([*opened(1000), *first, taken_back, *opened(2000), *again, end])
    assert sum(isinstance(v, ScenePacket) for v in made) == 30


def test_outside_a_moment_the_buffer_forgets_the_oldest_and_a_closed_switch_everything() -> None:
    always = [frame(33 * k, 48, 64) for k in range(3 * FRAMES)]
    end = MomentEnd(t_ns=5000 * MS, reason="")
    packets = [v for v in in_bursts([*always, *opened(4000), end]) if isinstance(v, ScenePacket)]
    assert [p.t_ns for p in packets] == [f.t_ns for f in always[-FRAMES:]]
    shut = DeviceEvent(t_ns=4500 * MS, name="privacy", value=True)
    made = in_bursts([*always, *opened(4000), shut, end])
    assert not any(isinstance(v, ScenePacket | EncodeBurst) for v in made)


@pytest.mark.parametrize("mb", [0.0, BUFFER.buffer_mb / FRAMES * 29])
def test_without_a_buffer_for_a_second_frames_are_encoded_as_they_come(mb: float) -> None:
    stage = EncodeStage(EncodeSettings(buffer_mb=mb), NATIVE)
    assert buffered_px(EncodeSettings(buffer_mb=mb), NATIVE) == 0
    for value in opened(0):
        list(stage.step(value))
    assert [type(v) for v in stage.step(frame(10, 48, 64))] == [ScenePacket]


def test_only_the_pre_roll_is_held() -> None:
    checks = [request(0, CameraMode.LOW), *(small(t) for t in range(0, 9000, 100))]
    packets = through([*checks, request(9000, CameraMode.FULL)], hold_s=2.0)
    assert packets[0].t_ns == 6900 * MS and packets[0].keyframe


def test_the_privacy_switch_empties_what_is_held() -> None:
    checks: list[Value] = [request(0, CameraMode.LOW), *(small(t) for t in range(0, 900, 100))]
    shut = DeviceEvent(t_ns=900 * MS, name="privacy", value=True)
    assert through([*checks, shut, request(950, CameraMode.FULL)]) == []


def test_a_low_frame_that_comes_late_does_not_change_the_size_of_the_video() -> None:
    packets = through(
        [request(0, CameraMode.FULL), frame(10, 48, 64), small(40), frame(70, 48, 64)]
    )
    assert {(p.width_px, p.height_px) for p in packets} == {(64, 48)} and len(packets) == 3
