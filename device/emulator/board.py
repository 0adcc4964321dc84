"""The emulated glasses in real time: the C reference as their microcontroller, the virtual wearer behind it.

Two threads beside the microcontroller's: *world* draws eyes and motion when they are due and reads the
meters; *scene* draws what the scene camera sees while its rail is on. `order` asks for a fault or moves a
switch, from any thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path
from typing import Self, cast

import cv2
import numpy as np

from device.emulator.firmware import RAILS, Reading, reading
from device.emulator.microcontroller import Microcontroller
from device.emulator.orders import Orders
from device.emulator.source import EYES, Emulator
from device.emulator.supply import LAMP_MA_US
from device.emulator.switches import LOW_ROWS, BoardSettings
from device.sources.camera import AlwaysOn, skipped
from device.types import EyeFrame, ImuSample, Pixels, SceneFrame
from firmware_bridge import wire_pb2 as wire

METERS_NS, BATTERY_NS = 200_000_000, 1_000_000_000
TOO_LATE_NS = 250_000_000
"""A frame that could not be drawn by then is not drawn: the sensor had no time for it."""
SMALL_READINGS = 32_768
"""Memory in which a good many readings of the other sensors wait."""


class EmulatedBoard(Microcontroller):
    """Use as a context manager: inside it the glasses are on. `port` is what a host opens."""

    def __init__(
        self, wearer: Emulator, settings: BoardSettings | None = None, folder: Path | None = None
    ) -> None:
        """Raises ConfigError as `Microcontroller` does."""
        super().__init__(settings, folder)
        self._wearer = wearer
        self.eye_times_ns: deque[int] = deque(maxlen=10_000)
        """When the last eye frames were exposed, on the machine's monotonic clock."""
        self.ended = threading.Event()
        """Set when the wearer's session is over."""
        self.orders = Orders(self)

    def __enter__(self) -> Self:
        super().__enter__()
        self._start("world", self._world)
        self._start("scene", self._scene)
        return self

    def order(self, text: str) -> str:
        """One order in words (`unplug 2`); the answer is for people. Raises ConfigError."""
        return self.orders(text)

    # --- world --------------------------------------------------------------------------------------

    def _world(self) -> None:
        meters_ns = battery_ns = 0
        for t_ns, stream, make in self._wearer.ticks(("imu", "eyes")):
            value = None
            late = self.now_ns() - t_ns > TOO_LATE_NS
            if stream == "imu" and not late:
                value = make()
            elif stream in EYES and self.cameras[1 + EYES.index(stream)].wants(t_ns):
                self.counts.dropped += late
                value = None if late else make()
            if self._stop.wait(max(0, t_ns - self.now_ns()) / 1e9):
                return
            if isinstance(value, ImuSample):
                self._feel(value)
            elif isinstance(value, EyeFrame):
                self._look(value)
            if t_ns >= meters_ns:
                meters_ns = t_ns + METERS_NS
                self._read_meters()
            if t_ns >= battery_ns:
                battery_ns = t_ns + BATTERY_NS
                self.sense(reading(Reading.BATTERY, *self.supply.battery()))
                self.sense(reading(Reading.AMBIENT, value=round(self.lux * 1000)))
        self.ended.set()

    def _feel(self, sample: ImuSample) -> None:
        gyro = [round(1000 * v) for v in sample.gyro_deg_s]
        force = [round(1000 * v) for v in sample.accel_m_s2]
        if not self.worn:  # it lies on a table, on its temples
            gyro, force = [0, 0, 0], [0, -9810, 0]
        self.counts.imu_samples += self.sense(reading(Reading.IMU, *gyro, *force))

    def _look(self, frame: EyeFrame) -> None:
        number = EYES.index(frame.eye)
        camera, lamp = self.cameras[1 + number], self.lamps_ma_us[number]
        pixels = frame.pixels if self.worn else np.full_like(frame.pixels, 90)
        light = min(1.3, max(0.05, lamp / LAMP_MA_US))
        pixels = cast(Pixels, cv2.convertScaleAbs(pixels, alpha=light))
        side = self.settings.eye_px
        size = (min(camera.width_px or side, side), min(camera.height_px or side, side))
        small = cast(Pixels, cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
        with self._lock:
            self.supply.eye_frame(small.size, lamp)
        message = reading(
            Reading.EYE, *size, frame.exposure_us or 0, which=number, data=small.tobytes()
        )
        # An eye camera hangs at the processor or at the microcontroller, never at both.
        if not self.frames.watched(frame.eye):
            # A board that is behind misses pictures first: two wait at most, and room for all else stays.
            if self.firmware.behind() > 4 * len(message) + SMALL_READINGS:
                self.counts.dropped += 1
            elif self.sense(message):
                self.counts.eye_frames += 1
                self.eye_times_ns.append(time.monotonic_ns())
        else:
            at_ns = time.monotonic_ns()
            self.frames.show(frame.eye, frame.seq, at_ns, frame.exposure_us or 0, pixels)

    def _read_meters(self) -> None:
        with self._lock:
            self.supply.worn = self.worn
            rails_uw, span_ns = self.supply.read_meters(self.now_ns())
        for number, rail in enumerate(RAILS):
            message = reading(
                Reading.POWER, round(span_ns / 1000), which=number, value=rails_uw[rail]
            )
            self.sense(message)
        if (self.supply.charge <= 0) != self.flat:
            self.after(0, self.fall_flat if not self.flat else self.rise)

    # --- scene --------------------------------------------------------------------------------------

    def _scene(self) -> None:
        wearer = Emulator(self._wearer.settings, AlwaysOn())
        _, _, first = next(wearer.ticks(("scene",)))
        first()  # paints the wall, which takes long enough to miss frames when they are wanted
        for t_ns, _, make in wearer.ticks(("scene",)):
            camera = self.cameras[0]
            value = None
            if camera.wants(t_ns):
                late = self.now_ns() - t_ns > TOO_LATE_NS
                self.counts.dropped += late
                value = make() if self.frames.watched("scene") and not late else None
            if self._stop.wait(max(0, t_ns - self.now_ns()) / 1e9):
                return
            # The rail may have gone off while the picture was drawn.
            if isinstance(value, SceneFrame) and self.cameras[0].mode != wire.CAMERA_OFF:
                pixels = value.pixels
                if camera.width_px and camera.height_px:
                    size = (camera.width_px, camera.height_px)
                    pixels = cast(Pixels, cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
                if camera.mode == wire.CAMERA_LOW:
                    pixels = skipped(pixels, LOW_ROWS)
                with self._lock:
                    self.supply.scene_frame(pixels.shape[0] * pixels.shape[1])
                self.counts.scene_frames += 1
                self.frames.show(
                    "scene", value.seq, time.monotonic_ns(), value.exposure_us or 0, pixels
                )
