"""Conversations with the C reference for `beheld bench bridge`: on a noisy line, and for a long time."""

from __future__ import annotations

import contextlib
import os
import select
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from device.emulator.firmware import Deed, Firmware, Reading, build, deed, reading
from device.emulator.line import Line
from firmware_bridge import wire_pb2 as wire
from firmware_bridge.link import Answered, EventsLost, Link, State, Telemetry
from tools.output import progress

NOISE_S = 10.0
SIDE_PX = 64
DRIFT_PPM = 50.0
"""How much too fast the board's clock runs in the long run."""
LOAD = 0.9
"""Share of the line's rate that the eye images of the long run fill."""
FRAME_OVERHEAD = 1.05
"""Bytes on the line for each pixel: message, CRC, COBS."""


class Conversation:
    """The C board on a terminal, our link on the other end; `step` lets the line work for a moment."""

    def __init__(
        self,
        program: Path,
        folder: Path,
        *,
        baud: int | None = None,
        seed: int = 1,
        drift_ppm: float = 0.0,
    ) -> None:
        self.firmware = Firmware(program, drift_ppm=drift_ppm)
        self.line = Line(folder / "port", baud=baud, seed=seed)
        self._port = os.open(self.line.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.link = Link()
        self.telemetry: Callable[[wire.Packet], None] = lambda packet: None
        self.answers: list[Answered] = []
        self.events_lost = 0
        self.last_sequence = 0
        self.haptics = 0
        self.cpu_s = 0.0
        self._stop = threading.Event()
        self._wires = threading.Thread(target=self._carry, daemon=True)
        self._wires.start()
        self.link.open(time.monotonic_ns())
        self.until(lambda: self.link.state is State.READY)

    def close(self) -> None:
        self._stop.set()
        self._wires.join(5)
        os.close(self._port)
        self.line.unplug()
        self.firmware.close()

    def step(self, wait_s: float = 0.002) -> None:
        """Read and write the port once, as a host does; its CPU time is counted."""
        select.select([self._port], [], [], wait_s)
        cpu_s = time.thread_time()
        now_ns = time.monotonic_ns()
        events = self.link.tick(now_ns)
        with contextlib.suppress(BlockingIOError):
            events += self.link.receive(os.read(self._port, 4096), time.monotonic_ns())
        if out := self.link.outgoing():
            os.write(self._port, out)
        for event in events:
            if isinstance(event, Telemetry):
                self.last_sequence = event.packet.sequence
                self.telemetry(event.packet)
            elif isinstance(event, Answered):
                self.answers.append(event)
            elif isinstance(event, EventsLost):
                self.events_lost += event.count
        self.cpu_s += time.thread_time() - cpu_s

    def until(self, done: Callable[[], bool], patience_s: float = 30.0) -> bool:
        """Step until that is so; False if it does not happen."""
        end = time.monotonic() + patience_s
        while not done() and time.monotonic() < end:
            self.step()
        return done()

    def _carry(self) -> None:
        """Between the board and the terminal, as the emulator's *wires* do."""
        waits = False
        while not self._stop.is_set():
            sources: list[Any] = [self.line.fileno(), self.firmware.hardware]
            if self.line.wants():
                sources.append(self.firmware.line)
            ready, _, _ = select.select(sources, [], [], 0.001 if waits else 0.02)
            if self.firmware.line in ready:
                self.line.send(self.firmware.line.recv(65536))
            if heard := self.line.receive():
                self.firmware.line.send(heard)
            if self.firmware.hardware in ready:
                self.haptics += deed(self.firmware.hardware.recv(4096)).deed is Deed.HAPTIC
            waits = self.line.pump(time.monotonic_ns())


def noisy(share: float, seconds: float, seed: int) -> dict[str, Any]:
    """Telemetry, commands and events for so long with that share of bytes spoilt, both ways."""
    with tempfile.TemporaryDirectory() as folder:
        talk = Conversation(build(), Path(folder), seed=seed)
        try:
            return _noisy(talk, share, seconds)
        finally:
            talk.close()


EVENTS_WAITING = 8
"""Presses under way at most: the board keeps 32 events until the host has them (c/link.h), and nobody
presses a hundred buttons a second."""


def _noisy(talk: Conversation, share: float, seconds: float) -> dict[str, Any]:
    got: list[int] = []
    buttons: list[int] = []
    wrong = 0

    def take(packet: wire.Packet) -> None:
        nonlocal wrong
        if packet.HasField("power"):
            power = packet.power
            got.append(power.power_uw)
            wrong += (power.rail, power.span_us) != ("eye_light", power.power_uw % 997)
        elif packet.HasField("button"):
            buttons.append(packet.button.button)

    talk.telemetry = take
    talk.line.noise = share
    sent = commands = pressed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(5):
            sent += talk.firmware.sense(
                reading(Reading.POWER, (sent + 1) % 997, which=1, value=sent + 1)
            )
        if commands < sent // 100 and talk.link.state is State.READY:
            commands += 1
            talk.link.command(time.monotonic_ns(), haptic=wire.Haptic(duration_ms=10))
            if pressed - len(buttons) < EVENTS_WAITING:
                pressed += 1
                talk.firmware.sense(reading(Reading.BUTTON, which=pressed % 200, value=1))
        talk.step(0.005)
    settled = talk.until(lambda: len(talk.answers) == commands and len(buttons) == pressed)
    talk.line.noise = 0.0
    before = talk.last_sequence
    talk.firmware.sense(reading(Reading.AMBIENT, value=1))
    talk.until(lambda: talk.last_sequence != before)
    counts = talk.link.counts
    return {
        "noise": share,
        "seconds": seconds,
        "telemetry_sent": sent,
        "telemetry_delivered": len(got),
        "packets_lost": counts.lost,
        "losses_uncounted": talk.last_sequence + 1 - counts.received - counts.lost,
        "damaged": talk.link.damaged,
        "wrong": wrong + (got != sorted(set(got))) + sum(k > sent for k in got),
        "commands": commands,
        "commands_acknowledged": sum(a.result == wire.RESULT_OK for a in talk.answers),
        "commands_carried_out": talk.haptics,
        "events": pressed,
        "events_delivered": len(buttons),
        "events_in_order": buttons == [(k + 1) % 200 for k in range(pressed)],
        "events_lost": talk.events_lost,
        "settled": settled,
    }


def soak(seconds: float, baud: int) -> dict[str, Any]:
    """Eye images from the C board at nearly the rate of the line, for a long time."""
    with tempfile.TemporaryDirectory() as folder:
        talk = Conversation(build(), Path(folder), baud=baud, drift_ppm=DRIFT_PPM)
        try:
            return _soak(talk, seconds, baud)
        finally:
            talk.close()


def _picture(number: int) -> bytes:
    return np.roll(np.arange(SIDE_PX * SIDE_PX, dtype=np.uint8), number).tobytes()


def _soak(talk: Conversation, seconds: float, baud: int) -> dict[str, Any]:
    on = wire.SetCamera(camera=wire.CAMERA_EYE_LEFT, mode=wire.CAMERA_FULL)
    talk.link.command(time.monotonic_ns(), set_camera=on)
    talk.until(lambda: bool(talk.answers))
    chunks = wrong = 0

    def take(packet: wire.Packet) -> None:
        nonlocal chunks, wrong
        if packet.HasField("eye_chunk"):
            chunk, chunks = packet.eye_chunk, chunks + 1
            part = _picture(chunk.frame)[chunk.offset : chunk.offset + len(chunk.pixels)]
            wrong += part != chunk.pixels

    talk.telemetry = take
    rate_hz = LOAD * baud / 10 / (SIDE_PX * SIDE_PX * FRAME_OVERHEAD)
    sent, begin = 0, time.monotonic()
    with progress("soak", seconds) as bar:
        while (passed := time.monotonic() - begin) < seconds:
            if sent < passed * rate_hz:
                image = reading(Reading.EYE, SIDE_PX, SIDE_PX, 900, data=_picture(sent))
                sent += talk.firmware.sense(image)
            talk.step(0.005)
            bar(passed)
    per_frame = -(-SIDE_PX * SIDE_PX // 768)
    talk.until(lambda: chunks == sent * per_frame, patience_s=300.0)
    fit = talk.link.clock.fit
    return {
        "seconds": seconds,
        "baud": baud,
        "frames": sent,
        "line_share": sent * SIDE_PX * SIDE_PX * FRAME_OVERHEAD * 10 / baud / seconds,
        "lost": talk.link.counts.lost + sent * per_frame - chunks,
        "damaged": talk.link.damaged,
        "wrong": wrong,
        "host_cpu_share": talk.cpu_s / seconds,
        "drift_true_ppm": DRIFT_PPM,
        "drift_found_ppm": fit.drift_ppm if fit else None,
        "residual_us": fit.residual_us if fit else None,
    }
