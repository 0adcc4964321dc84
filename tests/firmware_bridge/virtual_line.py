"""Both sides of the wire in virtual time: the compiled C board and our link, on a line that spoils, loses,
repeats and reorders what passes, with boards that restart, hosts that start anew and cables that come off.

All of it follows from one seed; an hour of line time takes some seconds of CPU.
"""

from __future__ import annotations

import ctypes
import heapq
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from firmware_bridge import wire_pb2 as wire
from firmware_bridge.digest import table_digest
from firmware_bridge.link import Answered, EventsLost, Link, State, Telemetry

MS = 1_000_000
STEP_MS = (5, 30)
"""How often either side gets its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubles:
    """What happens on the line; shares are of frames unless said otherwise."""

    spoilt_bytes: float = 0.0
    lost: float = 0.0
    repeated: float = 0.0
    jitter_ms: float = 0.0
    """Frames are late by up to so much, each by its own: they overtake one another."""
    mutes_per_min: float = 0.0
    """The line carries nothing, either way, for up to four seconds."""
    replugs_per_min: float = 0.0
    reboots_per_min: float = 0.0
    host_starts_per_min: float = 0.0


class VirtualBoard:
    """The C side (`firmware_bridge/c/virtual.c`). Times are the machine's; the board's begin at its start."""

    def __init__(self, library: ctypes.CDLL, boot: int, now_ns: int) -> None:
        self._lib, self.boot, self._since_ns = library, boot, now_ns
        self._self = ctypes.c_void_p(
            library.virtual_start(ctypes.c_uint64(table_digest()), ctypes.c_uint32(boot), _us(0))
        )
        self._bytes = ctypes.create_string_buffer(1 << 17)
        self._numbers = (ctypes.c_uint32 * 4096)()

    def end(self) -> None:
        self._lib.virtual_end(self._self)

    def tick(self, now_ns: int) -> None:
        self._lib.virtual_tick(self._self, self._us(now_ns))

    def hear(self, data: bytes, now_ns: int) -> None:
        self._lib.virtual_hear(self._self, data, ctypes.c_size_t(len(data)), self._us(now_ns))

    def press(self, button: int, now_ns: int) -> None:
        self._lib.virtual_press(self._self, ctypes.c_uint32(button), self._us(now_ns))

    def power(self, power_uw: int, now_ns: int) -> None:
        self._lib.virtual_power(self._self, ctypes.c_uint32(power_uw), self._us(now_ns))

    def said(self) -> bytes:
        length = self._lib.virtual_take_said(self._self, self._bytes)
        return ctypes.string_at(self._bytes, length)

    def pulses(self) -> list[int]:
        return self._numbers[: self._lib.virtual_take_pulses(self._self, self._numbers)]

    def held(self) -> list[int]:
        """Buttons of the presses that the host has not confirmed."""
        return self._numbers[: self._lib.virtual_held(self._self, self._numbers)]

    @property
    def waiting(self) -> int:
        """Events of all kinds that the host has not confirmed."""
        return int(self._lib.virtual_waiting(self._self))

    @property
    def ready(self) -> bool:
        return bool(self._lib.virtual_ready(self._self))

    def _us(self, now_ns: int) -> ctypes.c_uint64:
        return _us(now_ns - self._since_ns)


def _us(ns: int) -> ctypes.c_uint64:
    return ctypes.c_uint64(1000 + ns // 1000)


def load(path: Path) -> ctypes.CDLL:
    """The compiled library."""
    library = ctypes.CDLL(str(path))
    library.virtual_start.restype = ctypes.c_void_p
    for name in ("virtual_take_said", "virtual_take_pulses", "virtual_held"):
        getattr(library, name).restype = ctypes.c_size_t
    library.virtual_ready.restype = ctypes.c_bool
    return library


class OneWay:
    """One direction of the line: whole frames go in, bytes come out in the order of their arrival."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._rest = b""
        self._under_way: list[tuple[int, int, bytes]] = []
        self._number = itertools.count()
        self._last_ns = 0

    def send(self, data: bytes, now_ns: int, troubles: Troubles, *, mute: bool) -> None:
        *frames, self._rest = (self._rest + data).split(b"\x00")
        rng = self._rng
        for frame in frames:
            if mute or rng.random() < troubles.lost:
                continue
            for _ in range(1 + (rng.random() < troubles.repeated)):
                late_ns = round(rng.random() * troubles.jitter_ms * MS)
                # Without jitter nothing overtakes: the line is what a serial line is.
                at_ns = (
                    now_ns + MS + late_ns if troubles.jitter_ms else max(now_ns + MS, self._last_ns)
                )
                self._last_ns = max(self._last_ns, at_ns)
                spoilt = self._spoilt(frame + b"\x00", troubles.spoilt_bytes)
                heapq.heappush(self._under_way, (at_ns, next(self._number), spoilt))

    def arrived(self, now_ns: int) -> bytes:
        found = bytearray()
        while self._under_way and self._under_way[0][0] <= now_ns:
            found += heapq.heappop(self._under_way)[2]
        return bytes(found)

    def cut(self) -> None:
        """The cable is off: what was under way is gone."""
        self._under_way.clear()
        self._rest = b""

    def _spoilt(self, frame: bytes, share: float) -> bytes:
        if share <= 0:
            return frame
        rng = self._rng
        return bytes(rng.randrange(256) if rng.random() < share else byte for byte in frame)


@dataclass(slots=True)
class Story:
    """What was done and what came of it; presses and commands have numbers of their own."""

    pressed: list[int] = field(default_factory=list)
    delivered: list[int] = field(default_factory=list)
    died: set[int] = field(default_factory=set)
    """Presses that a board held, not yet confirmed, when it restarted."""
    events_lost: int = 0
    """As the host was told."""
    carried_out: Counter[int] = field(default_factory=Counter)
    acknowledged: set[int] = field(default_factory=set)
    unanswered: set[int] = field(default_factory=set)
    reboots: int = 0
    host_starts: int = 0
    most_waiting: int = 0
    longest_wait_s: float = 0.0
    """From a press to its delivery, over all that were delivered."""

    @property
    def missing(self) -> set[int]:
        return set(self.pressed) - set(self.delivered)

    @property
    def repeated(self) -> list[int]:
        return [number for number, count in Counter(self.delivered).items() if count > 1]


class VirtualLine:
    """`run` lets time pass; `story` tells what came of it."""

    def __init__(self, library: ctypes.CDLL, seed: int) -> None:
        self.rng = random.Random(seed)
        self.library = library
        self.now_ns = 10**9
        self.story = Story()
        self.to_host, self.to_board = OneWay(self.rng), OneWay(self.rng)
        self.board = VirtualBoard(library, self._boot(), self.now_ns)
        self.link = Link(boot=self._boot())
        self.link.open(self.now_ns)
        self._mute_until_ns = 0
        self._plugged_at_ns = 0
        self._pressed_ns: dict[int, int] = {}
        self._commands: dict[int, int] = {}

    def close(self) -> None:
        self.board.end()

    def run(
        self,
        seconds: float,
        troubles: Troubles,
        *,
        presses_per_s: float = 0.0,
        commands_per_s: float = 0.0,
        most_waiting: int = 16,
    ) -> None:
        """Let so much time pass. No press comes while so many events wait: the board keeps 32,
        and each host that starts anew is told two more."""
        end_ns = self.now_ns + round(seconds * 1e9)
        rng = self.rng
        while self.now_ns < end_ns:
            step_ns = rng.randint(*STEP_MS) * MS
            self.now_ns += step_ns
            passed_s = step_ns / 1e9
            self._trouble(troubles, passed_s)
            if rng.random() < presses_per_s * passed_s and self.board.waiting < most_waiting:
                self.press()
            if rng.random() < commands_per_s * passed_s and self.link.state is State.READY:
                self._command()
            self._exchange(troubles)

    def settle(self, seconds: float = 10.0) -> None:
        """A quiet line, until everything has been delivered or so much time has passed."""
        quiet, until_ns = Troubles(), self.now_ns + round(seconds * 1e9)
        while self.now_ns < until_ns and not self.settled():
            self.run(0.05, quiet)

    def press(self) -> None:
        number = len(self.story.pressed) + 1
        self.story.pressed.append(number)
        self._pressed_ns[number] = self.now_ns
        self.board.press(number, self.now_ns)

    def reboot(self) -> None:
        """The board loses power; what it held dies with it. What is on the line stays there."""
        self.story.reboots += 1
        self.story.died |= set(self.board.held()) - set(self.story.delivered)
        self._see_pulses()
        self.board.end()
        self.board = VirtualBoard(self.library, self._boot(), self.now_ns)

    def start_host_anew(self) -> None:
        """Another program opens the port, which throws away what had come in."""
        self.story.host_starts += 1
        self._abandon_commands()
        self.to_host.cut()
        self.link = Link(boot=self._boot())
        self.link.open(self.now_ns)

    def unplug(self, seconds: float) -> None:
        """The cable comes off, and on again after so long; the program opens the port anew."""
        if self._plugged_at_ns:
            return
        self._plugged_at_ns = self.now_ns + round(seconds * 1e9)
        self._take(self.link.close())
        self.to_host.cut()
        self.to_board.cut()

    def _trouble(self, troubles: Troubles, passed_s: float) -> None:
        rng = self.rng
        if self._plugged_at_ns and self.now_ns >= self._plugged_at_ns:
            self._plugged_at_ns = 0
            self._take(self.link.open(self.now_ns))
        if rng.random() < troubles.mutes_per_min / 60 * passed_s:
            self._mute_until_ns = self.now_ns + round(rng.uniform(0.1, 4.0) * 1e9)
        if rng.random() < troubles.replugs_per_min / 60 * passed_s:
            self.unplug(rng.uniform(0.1, 4.0))
        if rng.random() < troubles.reboots_per_min / 60 * passed_s:
            self.reboot()
        if rng.random() < troubles.host_starts_per_min / 60 * passed_s and not self._plugged_at_ns:
            self.start_host_anew()

    def _exchange(self, troubles: Troubles) -> None:
        now_ns, mute = self.now_ns, self.now_ns < self._mute_until_ns
        self.board.tick(now_ns)
        said = self.board.said()
        if not self._plugged_at_ns:
            self.to_host.send(said, now_ns, troubles, mute=mute)
            self._take(self.link.receive(self.to_host.arrived(now_ns), now_ns))
            self._take(self.link.tick(now_ns))
            self.to_board.send(self.link.outgoing(), now_ns, troubles, mute=mute)
            self.board.hear(self.to_board.arrived(now_ns), now_ns)
        self._see_pulses()
        self.story.most_waiting = max(self.story.most_waiting, self.board.waiting)

    def _command(self) -> None:
        number = len(self.story.acknowledged) + len(self.story.unanswered) + len(self._commands) + 1
        sequence = self.link.command(self.now_ns, haptic=wire.Haptic(duration_ms=number))
        self._commands[sequence] = number

    def _abandon_commands(self) -> None:
        self.story.unanswered |= set(self._commands.values())
        self._commands.clear()

    def _see_pulses(self) -> None:
        self.story.carried_out.update(self.board.pulses())

    def _take(self, events: list[object]) -> None:
        for event in events:
            if isinstance(event, Telemetry) and event.packet.HasField("button"):
                number = event.packet.button.button
                self.story.delivered.append(number)
                wait_s = (self.now_ns - self._pressed_ns[number]) / 1e9
                self.story.longest_wait_s = max(self.story.longest_wait_s, wait_s)
            elif isinstance(event, EventsLost):
                self.story.events_lost += event.count
            elif isinstance(event, Answered):
                number = self._commands.pop(event.sequence)
                ok = event.result == wire.RESULT_OK
                (self.story.acknowledged if ok else self.story.unanswered).add(number)

    def settled(self) -> bool:
        """Both sides are ready, and nothing waits."""
        return (
            self.link.state is State.READY
            and self.board.ready
            and not self._commands
            and not self.board.waiting
            and not self._plugged_at_ns
        )

    def _boot(self) -> int:
        return self.rng.randrange(1, 1 << 32)
