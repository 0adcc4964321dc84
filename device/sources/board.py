"""The microcontroller as a sensor, and the commands to it, over a serial line.

`Board` outlives the line: it remembers what was wanted of the microcontroller (camera modes, LEDs,
indicator) and asks for it again whenever the link is ready anew, after a replug or a reboot. The line
itself is a `BoardSensor`, driven by one thread; commands from others wait for it in a queue.

Stamps are the microcontroller's, mapped by the link's clock fit; while there is none, times of arrival.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import serial

from device.errors import LinkError
from device.live import Clock
from device.sources.board_values import BoardValues
from device.types import DeviceEvent, Eye, Value
from firmware_bridge import wire_pb2 as wire
from firmware_bridge.link import Answered, Changed, Event, EventsLost, Link, Lost, State, Telemetry

log = logging.getLogger(__name__)

MORE_READS = 8
"""A host that lags catches up by so many helpings in one turn."""
ASK_AGAIN_NS = 2_000_000_000
"""A state that the microcontroller refused (too hot, asleep) is asked for again so much later."""
READ_S = 0.02
"""Longest wait for bytes: a command waits no longer for its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardSettings:
    """The microcontroller on its serial line."""

    port: str = ""
    """Serial port (`/dev/serial/by-id/...` survives a replug); empty: there is no microcontroller."""
    baud: int = 921600
    """Bits a second on the line; a USB port ignores it."""
    answer_s: float = 5.0
    """How long it may take to answer the greeting."""
    led_current_ma: int = 20
    """Current of the infrared LEDs at each eye camera while it runs."""
    led_strobe_us: int = 1000
    """How long the LEDs flash for a frame."""

    def __post_init__(self) -> None:
        if self.baud <= 0 or not self.answer_s > 0:
            raise ValueError("board.baud and board.answer_s must be above 0")


@dataclass(slots=True)
class BoardCounts:
    """What the line did, over the whole session, replugs included."""

    lost: int = 0
    """Packets that did not arrive over an open line."""
    unheard: int = 0
    """Packets that the board sent while the line was not open: unplugged, or between run and goodbye."""
    damaged: int = 0
    torn_frames: int = 0
    """Eye frames of which a piece was missing."""
    refused: int = 0
    """Commands that were refused or never answered."""
    reboots: int = 0
    clock_residual_us: float = 0.0
    clock_drift_ppm: float = 0.0


@dataclass(slots=True)
class Board:
    """`on_privacy` is called in the line's thread, before the event reaches the loop."""

    settings: BoardSettings
    clock: Clock
    on_privacy: Callable[[bool], None] = lambda on: None
    eyes: frozenset[Eye] = frozenset({"left", "right"})
    """Eyes whose pictures come over the line; those of others are not taken, they would come twice."""
    counts: BoardCounts = field(default_factory=BoardCounts)
    link: Link = field(default_factory=Link)
    """Outlives the line: after a replug it knows which events it has had."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _wanted: dict[str, tuple[str, object]] = field(default_factory=dict)
    _queue: list[tuple[str | None, str, object]] = field(default_factory=list)

    def want(self, key: str, kind: str, message: object) -> None:
        """A state that must hold from now on, across reboots; `key` names it."""
        with self._lock:
            if self._wanted.get(key) == (kind, message):
                return
            self._wanted[key] = (kind, message)
            self._queue.append((key, kind, message))

    def once(self, kind: str, message: object) -> None:
        """A command of the moment: lost if the line is down."""
        with self._lock:
            self._queue.append((None, kind, message))

    def open(self, *, takes_events: bool = True) -> BoardSensor:
        """Open the line and greet. Raises LinkError.

        Who does nothing with events (worn, button, privacy switch, fault) must not take them: what is taken
        is confirmed, and the microcontroller then forgets it.
        """
        self.link.takes_events = takes_events
        return BoardSensor(self)

    # --- for the line -----------------------------------------------------------------------------

    def all_wanted(self) -> None:
        """Ask for everything again: the other side has forgotten."""
        with self._lock:
            waiting = [item for item in self._queue if item[0] is None]
            self._queue = [(k, kind, m) for k, (kind, m) in self._wanted.items()] + waiting

    def again(self, key: str) -> None:
        """A wanted state was not acknowledged, or was refused a while ago."""
        with self._lock:
            if key in self._wanted:
                self._queue.append((key, *self._wanted[key]))

    def waiting(self) -> int:
        """Commands not yet sent."""
        with self._lock:
            return len(self._queue)

    def drain(self) -> list[tuple[str | None, str, object]]:
        """What is to be sent now."""
        with self._lock:
            queue, self._queue = self._queue, []
        return queue

    def forget_moments(self) -> None:
        """The line is down: commands of the moment are no longer of use."""
        with self._lock:
            self._queue = [item for item in self._queue if item[0] is not None]


class BoardSensor:
    """The open line. A `Sensor` of `device/live.py`."""

    def __init__(self, board: Board) -> None:
        self._board, settings = board, board.settings
        try:
            self._port = serial.Serial(
                settings.port, settings.baud, timeout=READ_S, write_timeout=1.0, exclusive=True
            )
        except (serial.SerialException, OSError, ValueError) as error:
            raise LinkError(f"{settings.port}: cannot be opened ({_reason(error)})") from error
        self._link = board.link
        self._link.open(time.monotonic_ns())
        self._opened_ns = time.monotonic_ns()
        self._counted = (self._link.damaged, self._link.counts.restarts)
        self._answered_once = False
        self._sent: dict[int, str | None] = {}
        self._refused_ns: dict[str, int] = {}
        self._said: set[tuple[str, str]] = set()
        self._failed: LinkError | None = None
        self._values = BoardValues(board.clock, board.eyes)

    def read(self) -> Sequence[Value]:
        """What came within `READ_S`. Raises LinkError for a line that broke, fell silent, or a refusal.

        What had come before it broke is given first, and the error with the next call: an event that was
        confirmed to the microcontroller must not be lost here.
        """
        if self._failed is not None:
            raise self._failed
        values: list[Value] = []
        try:
            for event in self._listen():
                values += self._take(event)
            self._send()
            self._check()
        except (serial.SerialException, OSError) as error:
            self._failed = LinkError(f"{self._board.settings.port}: {_reason(error)}")
        except LinkError as error:
            self._failed = error
        if self._failed is not None and not values:
            raise self._failed
        return values

    def _listen(self) -> list[Event]:
        try:
            chunk = self._port.read(max(1, self._port.in_waiting))
            for _ in range(
                MORE_READS
            ):  # a port gives some kilobytes at a time, and more may wait behind
                if not (waiting := self._port.in_waiting):
                    break
                chunk += self._port.read(waiting)
        except TypeError as error:  # how pyserial says that the port was closed meanwhile
            raise OSError("closed") from error
        events = self._link.receive(chunk, time.monotonic_ns()) if chunk else []
        return events + self._link.tick(time.monotonic_ns())

    def settled(self) -> bool:
        """Whether every command was sent and answered."""
        return self._link.state is State.READY and not self._sent and not self._board.waiting()

    def close(self) -> None:
        """Let go of the line."""
        self._count()
        self._link.close()
        self._board.forget_moments()
        try:
            self._port.close()
        except OSError:
            return

    def _send(self) -> None:
        if self._link.state is State.READY:
            self._ask_again(time.monotonic_ns())
            for key, kind, message in self._board.drain():
                number = self._link.command(time.monotonic_ns(), **{kind: message})
                self._sent[number] = key
        out = self._link.outgoing()
        if out:
            self._port.write(out)

    def _ask_again(self, now_ns: int) -> None:
        due = [key for key, at_ns in self._refused_ns.items() if now_ns >= at_ns + ASK_AGAIN_NS]
        for key in due:
            del self._refused_ns[key]
            self._board.again(key)

    def _check(self) -> None:
        """The greeting must be answered in time."""
        if self._link.state is State.READY:
            return
        waited_s = (time.monotonic_ns() - self._opened_ns) / 1e9
        if waited_s > self._board.settings.answer_s:
            raise LinkError(
                f"{self._board.settings.port}: the microcontroller does not answer; "
                "check that it is powered and that board.baud is right"
            )

    # --- what the link tells ----------------------------------------------------------------------

    def _take(self, event: Event) -> Iterator[Value]:
        match event:
            case Telemetry():
                self._mind(event.packet)
                yield from self._values.of(event.packet, event.t_ns)
            case Changed(after=State.READY):
                self._answered_once = True
                self._board.all_wanted()
                yield self._event("board", event.why)
            case Changed(after=State.REFUSED | State.GREETING):  # told after what came with it
                self._failed = LinkError(f"{self._board.settings.port}: {event.why}")
            case Answered():
                self._answered(event)
            case Lost() if self._answered_once:
                self._board.counts.lost += event.count
            case Lost():  # its first greeting on this line tells how much was said before
                self._board.counts.unheard += event.count
            case EventsLost():
                yield self._event("fault", f"microcontroller: {event.count} events lost")
        if self._link.counts.restarts > self._counted[1]:
            self._count()
            self._board.all_wanted()
            yield self._event("fault", "microcontroller: it restarted")

    def _mind(self, packet: wire.Packet) -> None:
        """What must not wait for the loop."""
        if packet.HasField("privacy_switch"):
            self._board.on_privacy(packet.privacy_switch.on)
        elif packet.HasField("battery"):
            self._count()  # a slow beat to refresh the counts by
        elif packet.HasField("fault") and packet.fault.kind == wire.FAULT_OVERHEATED:
            self._board.all_wanted()  # it has switched all off by itself; refused until it has cooled

    def _event(self, name: str, value: str) -> DeviceEvent:
        """One of our own, of now."""
        return self._values.event(time.monotonic_ns(), name, value)

    def _answered(self, event: Answered) -> None:
        key = self._sent.pop(event.sequence, None)
        if event.result == wire.RESULT_OK:
            return
        self._board.counts.refused += 1
        said = (key or "once", event.text or "refused")
        level = logging.DEBUG if said in self._said else logging.WARNING
        self._said.add(said)  # asked for again and again, it is told once
        log.log(level, "command not carried out", extra={"command": said[0], "why": said[1]})
        if key is not None and event.result is None:
            self._board.again(key)
        elif key is not None:
            self._refused_ns[key] = time.monotonic_ns()

    def _count(self) -> None:
        counts, link = self._board.counts, self._link
        counts.damaged += link.damaged - self._counted[0]
        counts.reboots += link.counts.restarts - self._counted[1]
        self._counted = (link.damaged, link.counts.restarts)
        counts.torn_frames += self._values.torn_frames
        self._values.torn_frames = 0
        if link.clock.fit is not None:
            counts.clock_residual_us = link.clock.fit.residual_us
            counts.clock_drift_ppm = link.clock.fit.drift_ppm


def _reason(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror or error).splitlines()[0]
