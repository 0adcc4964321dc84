"""Cameras: stamps and losses as the driver tells them, rates, turning, sleep; a feed behaves like V4L2."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import LinkError
from device.glasses.controls import Controls, SceneWanted
from device.glasses.settings import LiveSettings
from device.live import Clock
from device.posture import Posture
from device.sources.camera_feed import SLOTS, CameraFeed
from device.sources.v4l2 import V4l2Camera, refusal
from device.sources.video_camera import CameraCounts, CameraSensor, CameraSettings, Shot, turned
from device.types import CameraMode, CameraRequest, EyeFrame, SceneFrame

pytestmark = pytest.mark.timeout(400)
LOOPBACK = Path("/sys/module/v4l2loopback")


class Wishes:
    """What a camera is to do, set by the test."""

    def __init__(self, rate_hz: float = 30.0, every: bool = True) -> None:
        self.rate, self.every, self.ok = rate_hz, every, True
        self.sensor: float | None = None

    def sensor_hz(self) -> float:
        return self.rate if self.sensor is None else self.sensor

    def rate_hz(self) -> float:
        return self.rate

    def wait(self, timeout_s: float) -> None:
        return

    def settled(self, t_ns: int) -> bool:
        return self.ok

    def every_frame(self) -> bool:
        return self.every


class Reel:
    """A driver that gives shots of these numbers, a thirtieth of a second apart."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers, self.closed = numbers, 0

    def grab(self) -> Shot | None:
        seq = self.numbers.pop(0)
        t_ns = 10**9 + round(seq * 1e9 / 30)
        return Shot(monotonic_ns=t_ns, seq=seq, pixels=np.zeros((4, 6, 3), np.uint8))

    def close(self) -> None:
        self.closed += 1


def sensor(reel: Reel, wishes: Wishes, role: str = "scene") -> CameraSensor:
    settings = CameraSettings(device="x", rate_hz=30)
    clock = Clock(start_ns=10**9)
    return CameraSensor(role, lambda rate: reel, wishes, clock, settings, CameraCounts())


def test_frames_carry_the_time_at_the_sensor_and_lost_ones_are_counted() -> None:
    camera = sensor(Reel([1, 2, 5, 6]), Wishes())
    values = [v for _ in range(4) for v in camera.read()]
    assert [v.t_ns for v in values] == [round(n * 1e9 / 30) for n in (1, 2, 5, 6)]
    assert all(isinstance(v, SceneFrame) for v in values)
    assert (camera.counts.frames, camera.counts.dropped) == (4, 2)


def test_a_reduced_rate_thins_and_is_no_loss() -> None:
    wishes = Wishes(rate_hz=15.0, every=False)
    camera = sensor(Reel(list(range(1, 9))), wishes)
    values = [v for _ in range(8) for v in camera.read()]
    assert len(values) == 4 and camera.counts.thinned == 4 and camera.counts.dropped == 0


def test_the_low_mode_s_cadence_does_not_open_the_camera_anew() -> None:
    reel, wishes = Reel(list(range(1, 19))), Wishes()
    camera = sensor(reel, wishes)
    wishes.sensor, wishes.rate, wishes.every = 30.0, 10.0, False
    assert sum(len(camera.read()) for _ in range(9)) == 3
    wishes.rate, wishes.every = 30.0, True
    assert sum(len(camera.read()) for _ in range(9)) == 9
    assert reel.closed == 0 and camera.counts.dropped == 0


def test_the_scene_camera_s_low_mode_has_its_own_rate() -> None:
    controls = Controls(LiveSettings())
    for mode, rate_hz, sensor_hz in (
        (CameraMode.OFF, 0.0, 0.0),
        (CameraMode.LOW, 10.0, 30.0),
        (CameraMode.FULL, 30.0, 30.0),
    ):
        controls.scene(CameraRequest(t_ns=1, mode=mode, why="test"))
        wanted = SceneWanted(controls)
        assert (wanted.rate_hz(), wanted.sensor_hz()) == (rate_hz, sensor_hz)
    controls.scene(CameraRequest(t_ns=2, mode=CameraMode.LOW, why="test"))
    controls.set_posture(Posture.RESERVE)
    assert 0 < controls.scene_rate_hz() <= min(10.0, controls.scene_sensor_hz())


def test_a_camera_nobody_wants_is_let_go_and_opened_again_for_another_rate() -> None:
    reel, wishes = Reel(list(range(1, 9))), Wishes()
    camera = sensor(reel, wishes, "left")
    assert isinstance(camera.read()[0], EyeFrame)
    wishes.rate = 0.0
    assert camera.read() == () and reel.closed == 1
    wishes.rate = 15.0
    assert len(camera.read()) == 1
    wishes.ok = False
    assert camera.read() == () and camera.counts.unsettled == 1


def test_eye_frames_are_grey_and_turned_as_the_camera_is_built_in() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    quarter = CameraSettings(rotate_deg=90)
    assert turned(pixels, quarter).tolist() == [[3, 0], [4, 1], [5, 2]]
    assert turned(pixels, CameraSettings(mirror=True)).tolist() == [[2, 1, 0], [5, 4, 3]]
    (frame,) = sensor(Reel([1]), Wishes(), "right").read()
    assert isinstance(frame, EyeFrame) and frame.eye == "right" and frame.pixels.shape == (4, 6)


def test_a_feed_runs_in_real_time_and_loses_what_is_not_taken(wearer_mcap: Path) -> None:
    feed = CameraFeed(str(wearer_mcap))
    try:
        camera = feed.open("left")
        first = next(shot for shot in iter(camera.grab, 0) if shot is not None)
        assert first.pixels.shape == (96, 96) and first.pixels.std() > 5
        assert 0 <= time.monotonic_ns() - first.monotonic_ns < 20 * 10**9
        time.sleep(1.0)  # some thirty frames, of which the ring keeps the last
        seen = []
        while len(seen) < 3:
            shot = camera.grab()
            if shot is not None:
                seen.append(shot)
        assert seen[0].seq > first.seq + 10 - SLOTS
        assert [s.monotonic_ns for s in seen] == sorted(s.monotonic_ns for s in seen)
        feed.faults["left"] = "unplugged"
        with pytest.raises(LinkError, match="unplugged"):
            camera.grab()
        with pytest.raises(LinkError, match="no such camera"):
            feed.open("left")
        feed.faults["left"] = "frozen"
        assert camera.grab() is None
    finally:
        feed.close()


def test_a_feed_that_ends_is_a_lost_camera_and_starts_again(wearer_mcap: Path) -> None:
    feed = CameraFeed(str(wearer_mcap))
    try:
        camera = feed.open("scene")
        assert feed._process is not None
        feed._process.kill()
        with pytest.raises(LinkError):
            for _ in range(200):
                camera.grab()
        again = feed.open("scene")
        assert any(again.grab() is not None for _ in range(200))
    finally:
        feed.close()


def test_a_v4l2_camera_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    assert "check the cable" in str(refusal("/dev/video97"))
    with pytest.raises(LinkError, match="no such camera"):
        V4l2Camera(CameraSettings(device="/dev/video97"), 30)
    (tmp_path / "video").write_bytes(b"")
    with pytest.raises(LinkError, match="cannot be opened"):
        V4l2Camera(CameraSettings(device=str(tmp_path / "video")), 30)


class Refusing:
    """A driver that knows one size alone, whatever it is asked for."""

    def __init__(self, path: str, api: int) -> None:
        self.released = False
        Refusing.last = self

    def isOpened(self) -> bool:
        return True

    def set(self, what: int, value: float) -> bool:
        return False

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0}.get(what, 0.0)

    def release(self) -> None:
        self.released = True

    last: Refusing


def test_a_size_that_the_camera_refuses_is_told_with_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Refusing)
    device = tmp_path / "video"
    device.write_bytes(b"")
    asked = CameraSettings(device=str(device), width_px=1280, height_px=720)
    wanted, clock = Wishes(), Clock(start_ns=0)
    sensor = CameraSensor("scene", lambda hz: V4l2Camera(asked, hz), wanted, clock, asked)
    for _ in range(2):  # told each time, and let go of each time: another program may have it
        with pytest.raises(LinkError, match=r"gives 640x480 px, asked for 1280x720; set width_px"):
            sensor.read()
        assert Refusing.last.released
    assert sensor.counts.frames == 0
    has = CameraSettings(device=str(device), width_px=640, height_px=480)
    V4l2Camera(has, 30).close()  # what the message says to do, done


def test_v4l2_through_the_kernel_s_loopback() -> None:
    """A real V4L2 device: the kernel's loopback, fed by ffmpeg's test picture."""
    devices = sorted(Path("/dev").glob("video*"))
    if not LOOPBACK.exists() or not devices:
        pytest.skip("needs the kernel module v4l2loopback: modprobe v4l2loopback")
    device = str(devices[-1])
    source = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=30", "-pix_fmt", "yuyv422"]
    try:
        feeding = subprocess.Popen(
            ["ffmpeg", "-loglevel", "error", "-re", *source, "-f", "v4l2", device]
        )
    except FileNotFoundError:
        pytest.skip("needs ffmpeg to feed v4l2loopback")
    try:
        time.sleep(2)
        camera = V4l2Camera(CameraSettings(device=device, width_px=320, height_px=240), 30)
        shots = [shot for shot in (camera.grab() for _ in range(30)) if shot is not None]
        camera.close()
    finally:
        feeding.kill()
        feeding.wait()
    assert len(shots) >= 25 and shots[0].pixels.shape == (240, 320, 3)
    ages_s = (time.monotonic_ns() - np.array([s.monotonic_ns for s in shots])) / 1e9
    assert (ages_s > 0).all() and (np.diff(ages_s) < 0).all()
    assert cv2.__version__
