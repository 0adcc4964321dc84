"""A camera as a sensor of the live run: eye frames or scene frames, stamped at the sensor.

What differs between cameras is a `Driver`: V4L2 (`device/sources/v4l2.py`) or a feed that behaves like
it (`device/sources/camera_feed.py`). What they share is here: sleeping while nobody wants frames,
opening again when the wanted rate changes, frames the driver lost, stamps on the session's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

from device.live import Clock
from device.types import Eye, EyeFrame, Pixels, SceneFrame, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettings:
    """A camera of the glasses."""

    device: str = ""
    """Where it is: a V4L2 device (`/dev/v4l/by-path/...` survives a replug), `feed:SESSION.mcap` or
    `feed:emulator:SEED` (frames of a recording or the virtual wearer in real time), `board` (an eye
    camera of the microcontroller), `socket:PATH` (the emulated glasses' cameras); empty: there is none."""
    width_px: int = 320
    """Width of the frames asked for."""
    height_px: int = 240
    """Height of the frames asked for."""
    rate_hz: float = 60.0
    """Rate in the posture `normal`."""
    pixel_format: str = ""
    """V4L2 pixel format (`GREY`, `YUYV`, `MJPG`); empty leaves the driver's own."""
    rotate_deg: int = 0
    """Turn the picture clockwise: 0, 90, 180 or 270."""
    mirror: bool = False
    """Swap left and right after turning."""

    def __post_init__(self) -> None:
        if self.rotate_deg not in (0, 90, 180, 270):
            raise ValueError(f"rotate_deg is {self.rotate_deg}; 0, 90, 180 or 270")
        if len(self.pixel_format) not in (0, 4):
            raise ValueError(f"pixel_format is {self.pixel_format!r}; four letters, or empty")
        if not (0 < self.rate_hz <= 500 and self.width_px > 0 and self.height_px > 0):
            raise ValueError("rate_hz must be 0 to 500, width_px and height_px above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One picture as the driver gives it; `monotonic_ns` is the machine's clock at the sensor."""

    monotonic_ns: int
    seq: int
    """Counts every frame of the sensor, those too that did not reach us."""
    pixels: Pixels
    """Grey (H, W) or BGR (H, W, 3)."""
    exposure_us: int | None = None


class Driver(Protocol):
    """An open camera. Its constructor raises LinkError if there is none."""

    def grab(self) -> Shot | None:
        """Wait at most a fraction of a second for a picture. Raises LinkError if the camera is gone."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class CameraCounts:
    """What a camera did, over the whole session."""

    frames: int = 0
    dropped: int = 0
    """Frames that the driver numbered and did not deliver."""
    thinned: int = 0
    """Frames beyond the wanted rate."""
    unsettled: int = 0
    """Frames before the sensor had settled."""


class Wanted(Protocol):
    """Whether a camera is to run, and how fast."""

    def sensor_hz(self) -> float:
        """Rate at which the camera is opened; 0: it is to sleep."""
        ...

    def rate_hz(self) -> float:
        """Of the frames that are used, no more than that."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Until something may have changed."""
        ...

    def settled(self, t_ns: int) -> bool:
        """Whether a frame of that time is to be used."""
        ...

    def every_frame(self) -> bool:
        """Whether each frame of the sensor should come: not at a reduced rate."""
        ...


@dataclass(slots=True)
class CameraSensor:
    """`role` is `left`, `right` (eyes) or `scene`. A `Sensor` of `device/live.py`."""

    role: str
    open_driver: Callable[[float], Driver]
    """Called with the rate; raises LinkError."""
    wanted: Wanted
    clock: Clock
    settings: CameraSettings
    counts: CameraCounts = field(default_factory=CameraCounts)
    _driver: Driver | None = None
    _sensor_hz: float = 0.0
    _every: bool = False
    _seq: int | None = None
    _last_ns: int = 0

    def read(self) -> Sequence[Value]:
        """The next frame, if the camera is wanted and one came in time."""
        sensor_hz = self.wanted.sensor_hz()
        if sensor_hz != self._sensor_hz:
            self.close()
            self._sensor_hz, self._last_ns = sensor_hz, 0
        if sensor_hz <= 0:
            self.wanted.wait(0.2)
            return ()
        if self._driver is None:
            self._driver, self._seq = self.open_driver(sensor_hz), None
        shot = self._driver.grab()
        rate_hz = self.wanted.rate_hz()
        return () if shot is None or rate_hz <= 0 else self._take(shot, rate_hz)

    def close(self) -> None:
        """Let go of the camera; its power may go off."""
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()

    def _take(self, shot: Shot, rate_hz: float) -> Sequence[Value]:
        before, self._every = self._every, self.wanted.every_frame()
        if self._seq is not None and shot.seq > self._seq + 1 and before and self._every:
            self.counts.dropped += shot.seq - self._seq - 1
        self._seq = shot.seq
        t_ns = shot.monotonic_ns - self.clock.start_ns
        if not self.wanted.settled(t_ns):
            self.counts.unsettled += 1
            return ()
        slowed = rate_hz < self.settings.rate_hz
        if slowed and t_ns - self._last_ns < 0.7e9 / rate_hz:
            self.counts.thinned += 1
            return ()
        self._last_ns = t_ns
        self.counts.frames += 1
        return (self._value(t_ns, shot),)

    def _value(self, t_ns: int, shot: Shot) -> Value:
        pixels, seq = turned(shot.pixels, self.settings), self.counts.frames
        if self.role == "scene":
            if pixels.ndim == 2:
                pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
            return SceneFrame(t_ns=t_ns, seq=seq, pixels=pixels, exposure_us=shot.exposure_us)
        if pixels.ndim == 3:
            pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)
        eye: Eye = "right" if self.role == "right" else "left"
        return EyeFrame(t_ns=t_ns, eye=eye, seq=seq, pixels=pixels, exposure_us=shot.exposure_us)


def turned(pixels: Pixels, settings: CameraSettings) -> Pixels:
    """The picture as the settings want it: turned clockwise, then mirrored."""
    if settings.rotate_deg:
        pixels = np.rot90(pixels, -settings.rotate_deg // 90)
    if settings.mirror:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
