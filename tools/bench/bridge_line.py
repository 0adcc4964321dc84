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
from firmware_bridge.link import Answered, Changed, Event, EventsLost, Link, Lost, State, Telemetry
from tools.output import progress

NOISE_S = 10.0
SIDE_PX = 64
DRIFT_PPM = 50.0
"""How much too fast the board's clock runs in the long run."""
LOAD = 0.9
"""Share of the line's rate that the eye images of the long run fill."""
FRAME_OVERHEAD = 1.05
"""Bytes on the line for each pixel: message, CRC, COBS."""


STARVED_S = 1.0
"""A thread of the bench that the machine does not let run for longer has starved: not the wire's fault."""
AFTERMATH_S = 5.0
"""A loss shows when the next packet comes, which may be after the link has found itself again."""


class StoodStill:
    """How long the bench's own threads did not run. Each reports whenever it does."""

    def __init__(self) -> None:
        self.longest_s: dict[str, float] = {}
        self._ran_s: dict[str, float] = {}
        self._last_s = -AFTERMATH_S
        self.count = 0

    def runs(self, thread: str) -> None:
        now_s = time.monotonic()
        pause_s = now_s - self._ran_s.get(thread, now_s)
        self._ran_s[thread] = now_s
        self.longest_s[thread] = max(self.longest_s.get(thread, 0.0), pause_s)
        if pause_s > STARVED_S:
            self._last_s, self.count = now_s, self.count + 1

    def lately(self) -> bool:
        """Whether what goes wrong now may come of it."""
        return time.monotonic() - self._last_s < AFTERMATH_S


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
        self.fell_silent = 0
        self.lost_starved = 0
        self.stood_still = StoodStill()
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
        self.stood_still.runs("reader")
        events: list[Event] = []
        with contextlib.suppress(BlockingIOError):
            events += self.link.receive(os.read(self._port, 4096), now_ns)
        events += self.link.tick(now_ns)
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
            elif isinstance(event, Changed):
                self.fell_silent += event.after is State.GREETING and event.before is State.READY
            elif isinstance(event, Lost) and self.stood_still.lately():
                self.lost_starved += event.count
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
            self.stood_still.runs("wires")
            sources: list[Any] = [self.line.fileno(), self.firmware.hardware]
            if self.line.wants():
                sources.append(self.firmware.line)
            ready, _, _ = select.select(sources, [], [], 0.001 if waits else 0.02)
            if self.firmware.line in ready:
                self.line.send(self.firmware.line.recv(65536))
            if heard := self.line.receive():
                with contextlib.suppress(
                    BlockingIOError
                ):  # the board does not listen: as on a line
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


TELEMETRY_HZ, COMMANDS_HZ = 2000, 10
"""Pace of the noisy line: ten times the glasses' own. With every command comes a press of the button. Four
commands at a time, at two tries each and a tenth of a second between, make some 25 a second the most."""
EVENTS_WAITING = 8
"""Presses under way at most: the board keeps 32 events until the host has confirmed them (c/link.h), and
twice as many as this may be under way when a thread of the bench stands still. The wire itself, in virtual
time at this noise, seldom lets more than five wait (tests/firmware_bridge/test_line.py)."""


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
    begin = time.monotonic()
    while (passed_s := time.monotonic() - begin) < seconds:
        for _ in range(min(20, round(passed_s * TELEMETRY_HZ) - sent)):
            sent += talk.firmware.sense(
                reading(Reading.POWER, (sent + 1) % 997, which=1, value=sent + 1)
            )
        if commands < passed_s * COMMANDS_HZ and talk.link.state is State.READY:
            commands += 1
            talk.link.command(time.monotonic_ns(), haptic=wire.Haptic(duration_ms=10))
            if pressed - len(buttons) < EVENTS_WAITING:
                press = reading(Reading.BUTTON, which=(pressed + 1) % 200, value=1)
                pressed += talk.firmware.sense(press)  # a board without time for it takes none
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


def losses(talk: Conversation, missing: int) -> dict[str, Any]:
    """What did not arrive, and what the machine had to do with it.

    `lost`: what did not come, whatever the cause: pieces of images that the board took, or gaps in the
    packets' numbers (`lost_on_line`) if those are more. `lost_starved` are the gaps that showed within five
    seconds after a thread of this bench had not run for a second or more. `overrun_bytes` did the emulated
    line throw away because nobody read them.
    """
    return {
        "lost": max(missing, talk.link.counts.lost),
        "lost_on_line": talk.link.counts.lost,
        "lost_starved": talk.lost_starved,
        "overrun_bytes": talk.line.overrun_bytes,
        "fell_silent": talk.fell_silent,
        "stood_still": talk.stood_still.count,
        "stood_still_longest_s": talk.stood_still.longest_s,
    }


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
        **losses(talk, sent * per_frame - chunks),
        "damaged": talk.link.damaged,
        "wrong": wrong,
        "host_cpu_share": talk.cpu_s / seconds,
        "drift_true_ppm": DRIFT_PPM,
        "drift_found_ppm": fit.drift_ppm if fit else None,
        "residual_us": fit.residual_us if fit else None,
    }
