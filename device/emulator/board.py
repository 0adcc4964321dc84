"""The emulated glasses in real time: the C reference as their microcontroller, the virtual wearer behind it.

Three threads. *wires* carries bytes between the board and the line, and sees what the board does; *world*
draws eyes and motion when they are due and reads the meters; *scene* draws what the scene camera sees
while its rail is on. `order` asks for a fault or moves a switch, from any thread.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from device.emulator.firmware import RAILS, Deed, Done, Firmware, Reading, build, deed, reading
from device.emulator.frames import FrameServer
from device.emulator.line import Line
from device.emulator.orders import Orders
from device.emulator.source import EYES, Emulator
from device.emulator.supply import LAMP_MA_US, WORN_C, Supply
from device.emulator.switches import LOW_ROWS, BoardSettings, CameraSwitch, Counts
from device.energy_table import EnergyTable
from device.errors import ConfigError
from device.sources.camera import AlwaysOn, skipped
from device.types import EyeFrame, ImuSample, Pixels, SceneFrame
from firmware_bridge import wire_pb2 as wire

METERS_NS, BATTERY_NS = 200_000_000, 1_000_000_000
TOO_LATE_NS = 250_000_000
"""A frame that could not be drawn by then is not drawn: the sensor had no time for it."""
SMALL_READINGS = 32_768
"""Memory in which a good many readings of the other sensors wait."""
WATCHDOG_S = 2.0
"""A microcontroller that hangs longer is restarted by its watchdog."""


class EmulatedBoard:
    """Use as a context manager: inside it the glasses are on. `port` is what a host opens."""

    def __init__(
        self, wearer: Emulator, settings: BoardSettings | None = None, folder: Path | None = None
    ) -> None:
        """Compiles the C reference first, and makes the folder. Raises ConfigError if that cannot be done."""
        self.settings = s = settings or BoardSettings()
        self._wearer = wearer
        self._program = build()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"{folder}: cannot be made ({error.strerror})") from error
        self._made = None if folder else tempfile.TemporaryDirectory(prefix="beheld-glasses-")
        self.folder = folder or Path(cast(Any, self._made).name)
        table = EnergyTable.shipped()
        self.supply = Supply(
            table=table,
            charge=s.charge,
            capacity_mwh=s.battery_mwh or table.assumed.battery_mwh,
            temperature_c=WORN_C,
        )
        self.cameras = [CameraSwitch() for _ in range(3)]
        self.lamps_ma_us = [0, 0]
        self.indicator = wire.INDICATOR_OFF
        self.deeds: list[tuple[int, Done]] = []
        """What the board did, with the machine's monotonic ns; the last thousand."""
        self.presses: list[tuple[int, bool]] = []
        """The button down (True) and up again, with the machine's monotonic ns, as the board took it."""
        self.marks: list[tuple[int, str]] = []
        """When a fault began or ended, with the machine's monotonic ns."""
        self.eye_times_ns: deque[int] = deque(maxlen=10_000)
        """When the last eye frames were exposed, on the same clock."""
        self.counts = Counts()
        self.frozen = self.flat = False
        self.worn, self.private, self.lux = True, False, 300.0
        self._lock = threading.Lock()
        self._later: list[tuple[int, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._stop = threading.Event()
        self.ended = threading.Event()
        """Set when the wearer's session is over."""
        self.orders = Orders(self)

    @property
    def port(self) -> Path:
        return self.folder / "board"

    @property
    def camera(self) -> Path:
        return self.folder / "cameras"

    def __enter__(self) -> EmulatedBoard:
        s = self.settings
        self.line = Line(self.port, baud=s.baud, noise=s.noise, seed=s.seed)
        self.frames = FrameServer(self.camera)
        self.firmware = Firmware(self._program, drift_ppm=s.drift_ppm)
        self.start_ns = time.monotonic_ns()
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (
                ("wires", self._wires),
                ("world", self._world),
                ("scene", self._scene),
            )
        ]
        self._tell_levels()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5)
        if self.frozen:
            self._signal(signal.SIGCONT)
        self.frames.close()
        self.line.unplug()
        self.firmware.close()
        if self._made is not None:
            self._made.cleanup()

    def now_ns(self) -> int:
        """Of the wearer's session."""
        return time.monotonic_ns() - self.start_ns

    def order(self, text: str) -> str:
        """One order in words (`unplug 2`); the answer is for people. Raises ConfigError."""
        return self.orders(text)

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Have *wires* do it then; 0 means at once."""
        with self._lock:
            due_ns = time.monotonic_ns() + round(seconds * 1e9)
            heapq.heappush(self._later, (due_ns, next(self._number), act))

    def mark(self, what: str) -> None:
        """Note that a fault begins or ends now."""
        self.marks.append((time.monotonic_ns(), what))

    # --- what can happen to a board; all of these run in *wires* ------------------------------------

    def freeze(self, seconds: float) -> None:
        """The processor hangs. Its watchdog ends that after two seconds at the latest."""
        if self.frozen:
            return
        self.frozen = True
        self.mark("frozen")
        self._signal(signal.SIGSTOP)
        cause = wire.FAULT_WATCHDOG if seconds > WATCHDOG_S else None
        self.after(min(seconds, WATCHDOG_S), lambda: self._thaw(cause))

    def _thaw(self, cause: int | None) -> None:
        if self.flat:
            return
        if cause is not None:  # what came in while it hung dies with it
            self.restart(cause)
        self._signal(signal.SIGCONT)
        self.frozen = False
        self.mark("thawed")
        self._tell_levels()

    def _fall_flat(self) -> None:
        """The battery is empty: the board is off until it is charged."""
        self.flat = self.frozen = True
        self._signal(signal.SIGSTOP)

    def _rise(self) -> None:
        self.flat = False
        self._thaw(cause=wire.FAULT_BROWN_OUT)

    def restart(self, cause: int) -> None:
        """Reset pin, brown-out or watchdog: the program starts anew, its clock too."""
        self.mark("restarting")
        self.firmware.sense(reading(Reading.RESET, which=cause))
        self._tell_levels()

    def sense(self, message: bytes) -> bool:
        """One reading, unless the board hangs; False if it was not taken."""
        taken = not self.frozen and self.firmware.sense(message)
        self.counts.dropped += not taken
        return taken

    def _tell_levels(self) -> None:
        """Worn and the switch are levels: a board that starts reads where they stand."""
        self.firmware.sense(reading(Reading.WORN, value=int(self.worn)))
        self.firmware.sense(reading(Reading.PRIVACY, value=int(self.private)))

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.firmware.process.pid, number)

    # --- wires --------------------------------------------------------------------------------------

    def _wires(self) -> None:
        waits = False
        while not self._stop.is_set():
            self._do_what_is_due()
            ready = select.poll()  # anew each time: the terminal comes and goes
            ready.register(self.firmware.hardware, select.POLLIN)
            if self.line.plugged:
                ready.register(self.line.fileno(), select.POLLIN)
            if self.line.wants():
                ready.register(self.firmware.line, select.POLLIN)
            ready.poll(1 if waits else 10)
            self._carry()
            waits = self.line.pump(time.monotonic_ns())

    def _carry(self) -> None:
        if self.line.wants():
            with contextlib.suppress(OSError):
                self.line.send(self.firmware.line.recv(65536))
        heard = self.line.receive()
        if heard and not self.frozen:  # a processor that hangs does not hear; its line runs over
            with contextlib.suppress(OSError):
                self.firmware.line.send(heard)
        with contextlib.suppress(OSError):
            while message := self.firmware.hardware.recv(4096):
                self._did(deed(message))

    def _do_what_is_due(self) -> None:
        while True:
            with self._lock:
                if not self._later or self._later[0][0] > time.monotonic_ns():
                    return
                act = heapq.heappop(self._later)[2]
            act()

    def _did(self, done: Done) -> None:
        with self._lock:
            self.supply.pass_to(self.now_ns())
            if done.deed is Deed.CAMERA and done.which < len(self.cameras):
                mode, rate_hz, width_px, height_px = done.numbers
                self.cameras[done.which] = CameraSwitch(mode, rate_hz, width_px, height_px)
                self.supply.scene_mode = self.cameras[0].camera_mode
                self.supply.eyes_on = sum(c.mode != wire.CAMERA_OFF for c in self.cameras[1:])
            elif done.deed is Deed.LEDS and done.which < 2:
                self.lamps_ma_us[done.which] = done.numbers[0] * done.numbers[1]
            elif done.deed is Deed.INDICATOR:
                self.indicator = cast(Any, done.value)
            elif done.deed is Deed.HAPTIC:
                self.counts.haptics += 1
            elif done.deed is Deed.STARTED:
                self.counts.restarts = done.value
                self.mark("started")
            elif done.deed is Deed.ENDING:
                self.counts.died += done.value
                self.counts.died_presses += done.numbers[0]
            self.deeds = [*self.deeds[-999:], (time.monotonic_ns(), done)]

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
            self.after(0, self._fall_flat if not self.flat else self._rise)

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
