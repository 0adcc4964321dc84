"""The microcontroller of the emulated glasses: the C reference as a process, its line, what it switches, and
what can happen to it.

One thread, *wires*, carries bytes between the board and the line, and sees what the board does. What others
want of it waits in `after` for that thread.
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
from typing import Any, Self, cast

from device.emulator.firmware import Deed, Done, Firmware, Reading, build, deed, reading
from device.emulator.frames import FrameServer
from device.emulator.line import Line
from device.emulator.supply import WORN_C, Supply
from device.emulator.switches import BoardSettings, CameraSwitch, Counts
from device.energy_table import EnergyTable
from device.errors import ConfigError
from firmware_bridge import wire_pb2 as wire

WATCHDOG_S = 2.0
"""A microcontroller that hangs longer is restarted by its watchdog."""


class Microcontroller:
    """Use as a context manager: inside it the board is on. `port` is what a host opens."""

    def __init__(self, settings: BoardSettings | None = None, folder: Path | None = None) -> None:
        """Compiles the C reference first, and makes the folder. Raises ConfigError if that cannot be done."""
        self.settings = s = settings or BoardSettings()
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
        self.counts = Counts()
        self.frozen = self.flat = False
        self.worn, self.private, self.lux = True, False, 300.0
        self._lock = threading.Lock()
        self._later: list[tuple[int, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._insisted: deque[bytes] = deque()  # what the board had no time for and must have
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> Path:
        return self.folder / "board"

    @property
    def camera(self) -> Path:
        return self.folder / "cameras"

    def __enter__(self) -> Self:
        s = self.settings
        self.line = Line(self.port, baud=s.baud, noise=s.noise, seed=s.seed)
        self.frames = FrameServer(self.camera)
        self.firmware = Firmware(self._program, drift_ppm=s.drift_ppm)
        self.start_ns = time.monotonic_ns()
        self._tell_levels()
        self._start("wires", self._wires)
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

    def _start(self, name: str, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work, name=name, daemon=True))
        self._threads[-1].start()

    def now_ns(self) -> int:
        """Of the wearer's session."""
        return time.monotonic_ns() - self.start_ns

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

    def fall_flat(self) -> None:
        """The battery is empty: the board is off until it is charged."""
        self.flat = self.frozen = True
        self._signal(signal.SIGSTOP)

    def rise(self) -> None:
        self.flat = False
        self._thaw(cause=wire.FAULT_BROWN_OUT)

    def restart(self, cause: int) -> None:
        """Reset pin, brown-out or watchdog: the program starts anew, its clock too."""
        self.mark("restarting")
        self._insist(reading(Reading.RESET, which=cause))
        self._tell_levels()

    def sense(self, message: bytes) -> bool:
        """One reading, unless the board hangs; False if it was not taken."""
        taken = not self.frozen and self.firmware.sense(message)
        self.counts.dropped += not taken
        return taken

    def set_level(self, kind: Reading, on: bool) -> None:
        """Worn or the switch has moved. Unlike a press it stays there: a board with no time for it now reads
        it as soon as it has, and one that hangs when it has thawed."""
        if not self.frozen:
            self._insist(reading(kind, value=int(on)))

    def _tell_levels(self) -> None:
        """A board that starts reads where worn and the switch stand."""
        self._insist(reading(Reading.WORN, value=int(self.worn)))
        self._insist(reading(Reading.PRIVACY, value=int(self.private)))

    def _insist(self, message: bytes) -> None:
        """A message that must arrive, after those before it."""
        self._insisted.append(message)
        self._send_insisted()

    def _send_insisted(self) -> None:
        while self._insisted and self.firmware.sense(self._insisted[0]):
            self._insisted.popleft()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.firmware.process.pid, number)

    # --- wires --------------------------------------------------------------------------------------

    def _wires(self) -> None:
        waits = False
        while not self._stop.is_set():
            self._do_what_is_due()
            self._send_insisted()
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
