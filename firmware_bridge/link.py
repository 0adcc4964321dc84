"""The host's side of the conversation with the microcontroller, without I/O.

Bytes from the port go into `receive`, time passes in `tick`, bytes for the port come out of
`outgoing`. What happened comes back as events. Legal moves of the link are the table `MOVES`; a
missing entry is an error of the other side and closes the link, which then greets again.

Commands are acknowledged: sent again with the same sequence number until the answer comes or the
tries are used up, and the MCU carries out a repeated number once. Telemetry is never acknowledged;
what is missing shows as a gap in the sequence numbers and is counted. Events (worn, button, privacy
switch, fault) have numbers of their own: they are delivered once, in order, and confirmed, and the
MCU keeps them until they are. What confirms, names the start of the board it is meant for: bytes that
were still under way when a board restarted confirm nothing of the new one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from firmware_bridge import wire_pb2 as wire
from firmware_bridge.clock import ClockFit
from firmware_bridge.command_window import CommandWindow
from firmware_bridge.digest import table_digest
from firmware_bridge.event_order import EventOrder
from firmware_bridge.framing import Decoder, encode
from firmware_bridge.link_events import (
    Answered,
    Changed,
    Event,
    EventsLost,
    Lost,
    Restarted,
    Telemetry,
)
from firmware_bridge.link_settings import LinkCounts, LinkSettings
from firmware_bridge.packet_order import SEQUENCES, PacketOrder
from firmware_bridge.states import MOVES, IllegalMoveError, Move, State

__all__ = [
    "COMMANDS",
    "MOVES",
    "Answered",
    "Changed",
    "Event",
    "EventsLost",
    "IllegalMoveError",
    "Link",
    "LinkCounts",
    "LinkSettings",
    "Lost",
    "Move",
    "Restarted",
    "State",
    "Telemetry",
]

COMMANDS = ("set_camera", "set_leds", "set_indicator", "haptic", "sleep", "reboot", "get_info")
"""Bodies the MCU answers with an Ack."""
AWAKE_NS = 500_000_000
"""Who is not called for longer had no time to listen."""


@dataclass(slots=True)
class Link:
    """One conversation. Times are the caller's monotonic nanoseconds and must not run backwards."""

    settings: LinkSettings = field(default_factory=LinkSettings)
    digest: int = field(default_factory=table_digest)
    boot: int = field(default_factory=lambda: secrets.randbits(32) or 1)
    """Tells the MCU this conversation from that of an earlier program."""
    takes_events: bool = True
    """False: events are neither delivered nor confirmed; the MCU keeps them for who comes next."""
    state: State = State.CLOSED
    clock: ClockFit = field(default_factory=ClockFit)
    counts: LinkCounts = field(default_factory=LinkCounts)
    _decoder: Decoder = field(default_factory=Decoder)
    _out: bytearray = field(default_factory=bytearray)
    _sequence: int = 0
    _packets: PacketOrder = field(default_factory=PacketOrder)
    _their_boot: int | None = None
    _events: EventOrder = field(default_factory=EventOrder)
    _confirm: bool = False
    _window: CommandWindow = field(init=False)
    _heard_ns: int = 0
    _ticked_ns: int = 0
    _hello_ns: int | None = None
    _beat_ns: int = 0
    _time_ns: int = 0

    def __post_init__(self) -> None:
        retry_after_ns = round(self.settings.retry_after_ms * 1e6)
        self._window = CommandWindow(retry_after_ns, self.settings.tries)

    @property
    def damaged(self) -> int:
        """Frames that were not whole, right frames."""
        return self._decoder.damaged

    def open(self, now_ns: int) -> list[Event]:
        """Begin to greet, on a line just opened. A link may be closed and opened again: it then still
        knows what it has had of the same microcontroller."""
        self._heard_ns = self._ticked_ns = now_ns
        self._decoder.restart()
        self._out.clear()
        events = self._move(Move.OPEN, "opened")
        self._greet(now_ns, reply=False)
        return events

    def close(self) -> list[Event]:
        """Give up the conversation; commands without an answer end as unanswered."""
        return self._move(Move.CLOSE, "closed by the host") + self._abandon("the link was closed")

    def outgoing(self) -> bytes:
        """What the port should send now."""
        out, self._out = bytes(self._out), bytearray()
        return out

    def command(self, now_ns: int, **body: object) -> int:
        """Send one command (`haptic=wire.Haptic(...)`); its sequence number comes back in `Answered`.

        It waits its turn while `WINDOW` later ones than the oldest unanswered have been sent. Raises
        IllegalMoveError if the link is not ready or the body is not a command.
        """
        ((kind, message),) = body.items()
        if kind not in COMMANDS or self.state is not State.READY:
            raise IllegalMoveError(f"{kind} while {self.state}")
        sequence = self._sequence
        self._window.add(sequence, self._framed(now_ns, **{kind: message}))
        self._send_due(now_ns)
        return sequence

    def receive(self, chunk: bytes, now_ns: int) -> list[Event]:
        """Bytes from the port, however they are cut."""
        events: list[Event] = []
        for payload in self._decoder.feed(chunk):
            packet = wire.Packet()
            try:
                packet.ParseFromString(payload)
            except DecodeError:
                self.counts.undecodable += 1
                continue
            events += self._take(packet, now_ns)
        boot = self._their_boot or 0
        if self._confirm and boot in self._events.next:
            received = wire.EventsReceived(upto=self._events.next[boot] - 1, boot=boot)
            self._send(now_ns, events_received=received)
        self._confirm = False
        return events

    def tick(self, now_ns: int) -> list[Event]:
        """Time has passed: greet, beat, ask for the time, send again, notice silence."""
        if self.state is State.CLOSED:
            return []
        events: list[Event] = []
        asleep_ns = now_ns - self._ticked_ns - AWAKE_NS
        self._ticked_ns = now_ns
        if asleep_ns > 0:  # what came meanwhile waits in the port: that is no silence of theirs
            self._heard_ns = min(now_ns, self._heard_ns + asleep_ns)
        if now_ns - self._heard_ns > self.settings.silence_ms * 1e6:
            self._heard_ns = now_ns
            if self.state is not State.GREETING:
                events += self._move(Move.SILENCE, "nothing was heard from the microcontroller")
                events += self._abandon("the link fell silent")
        if self.state is State.GREETING:
            self._greet_now_and_then(now_ns)
        if self.state is State.READY:
            self._beat(now_ns)
            events += self._give_up(now_ns)
            self._send_due(now_ns)
        return events

    def _take(self, packet: wire.Packet, now_ns: int) -> list[Event]:
        kind = packet.WhichOneof("body")
        if kind is None:
            self.counts.undecodable += 1
            return []
        self._heard_ns = now_ns
        if kind == "hello":
            return self._hello(packet, now_ns)
        if self.state is not State.READY:
            return self._move(Move.PACKET, kind)
        boot = packet.heartbeat.boot if kind == "heartbeat" else packet.event_boot
        if (packet.event or kind == "heartbeat") and boot != self._their_boot:
            # It has started anew and we have missed its greeting; what it says now it will say again.
            self._greet_now_and_then(now_ns)
            return []
        events = self._in_sequence(packet.sequence)
        if events is None:
            return []
        if kind == "ack":
            return events + self._acknowledged(packet.ack)
        if kind == "time_reply":
            self._timed(packet, now_ns)
            return events
        if kind == "heartbeat":
            return events
        if packet.event:
            return events + (self._event(packet, now_ns) if self.takes_events else [])
        return [*events, self._telemetry(packet, now_ns)]

    def _telemetry(self, packet: wire.Packet, now_ns: int) -> Telemetry:
        fit = self.clock.fit
        stamp_ns = now_ns if fit is None else min(now_ns, fit.host_ns(packet.t_us))
        return Telemetry(t_ns=stamp_ns, packet=packet, stamped=fit is not None)

    def _hello(self, packet: wire.Packet, now_ns: int) -> list[Event]:
        hello = packet.hello
        if hello.digest != self.digest:
            why = (
                f"microcontroller '{hello.name}' speaks {hello.digest:016x}, "
                f"this program {self.digest:016x}; install matching firmware"
            )
            return self._move(Move.OTHER_HELLO, why)
        events: list[Event] = []
        if self._their_boot is not None and self._their_boot != hello.boot:
            self.counts.restarts += 1
            self.clock.reset()
            self._time_ns = 0  # ask at once
            self._packets.restarted()
            self._events.restarted(hello.boot)
            events += self._abandon("the microcontroller restarted")
            events.append(Restarted(name=hello.name))
        known = hello.to_boot == self.boot
        self._their_boot = hello.boot
        lost = self._in_sequence(packet.sequence)
        if lost is None:
            return []
        events += lost
        if known:
            events += self._move(Move.SAME_HELLO, f"microcontroller '{hello.name}' answers")
        else:  # it does not know us yet, or means whoever was here before us
            events += self._move(Move.PACKET, "a greeting to somebody else")
        if not hello.reply or not known:
            self._greet(now_ns, reply=known)
        return events

    def _greet_now_and_then(self, now_ns: int) -> None:
        if self._hello_ns is None or now_ns - self._hello_ns >= self.settings.hello_every_ms * 1e6:
            self._greet(now_ns, reply=False)

    def _in_sequence(self, sequence: int) -> list[Event] | None:
        """Count what is missing before this packet; None for one that came before or is repeated."""
        missing = self._packets.missing_before(sequence)
        if missing is None:
            self.counts.repeated += 1
            return None
        self.counts.received += 1
        self.counts.lost += missing
        return [Lost(count=missing)] if missing else []

    def _event(self, packet: wire.Packet, now_ns: int) -> list[Event]:
        """Events in the order of their numbers, each once; one that comes too early waits for the rest."""
        self._confirm = True
        delivered, given_up = self._events.take(packet)
        events: list[Event] = [self._telemetry(each, now_ns) for each in delivered]
        if given_up:
            self.counts.events_lost += given_up
            events.insert(0, EventsLost(count=given_up))
        return events

    def _acknowledged(self, ack: wire.Ack) -> list[Event]:
        if not self._window.answered(ack.of_sequence):
            return []  # the answer to an earlier try came after all
        return [Answered(sequence=ack.of_sequence, result=ack.result, text=ack.text)]

    def _timed(self, packet: wire.Packet, now_ns: int) -> None:
        reply = packet.time_reply
        try:
            self.clock.add(
                sent_ns=reply.host_us * 1000,
                received_us=reply.received_us,
                replied_us=packet.t_us,
                returned_ns=now_ns,
            )
        except ValueError:
            self.counts.undecodable += 1

    def _beat(self, now_ns: int) -> None:
        if now_ns - self._beat_ns >= self.settings.heartbeat_every_ms * 1e6:
            self._beat_ns = now_ns
            received = self.counts.received % SEQUENCES
            damaged = self.damaged % SEQUENCES
            beat = wire.Heartbeat(received=received, damaged=damaged, boot=self.boot)
            self._send(now_ns, heartbeat=beat)
        if now_ns - self._time_ns >= self.settings.time_every_ms * 1e6:
            self._time_ns = now_ns
            self._send(now_ns, time_request=wire.TimeRequest(host_us=now_ns // 1000))

    def _give_up(self, now_ns: int) -> list[Event]:
        """End the commands that had all their tries."""
        return [
            Answered(sequence=n, result=None, text=f"no answer to {self.settings.tries} tries")
            for n in self._window.spent(now_ns)
        ]

    def _send_due(self, now_ns: int) -> None:
        """Send the commands that are due for the first time or again."""
        for pending in self._window.due(now_ns):
            self.counts.retried += pending.tries > 1
            self._out += pending.packet

    def _abandon(self, why: str) -> list[Event]:
        return [Answered(sequence=n, result=None, text=why) for n in self._window.abandon()]

    def _greet(self, now_ns: int, *, reply: bool) -> None:
        self._hello_ns = now_ns
        hello = wire.Hello(digest=self.digest, name=self.settings.name, reply=reply)
        hello.boot, hello.to_boot = self.boot, self._their_boot or 0
        self._send(now_ns, hello=hello)

    def _send(self, now_ns: int, **body: object) -> None:
        self._out += self._framed(now_ns, **body)

    def _framed(self, now_ns: int, **body: object) -> bytes:
        """A packet with the next sequence number, ready for the line."""
        packet = wire.Packet(sequence=self._sequence, t_us=now_ns // 1000, **body)  # type: ignore[arg-type]
        self._sequence = (self._sequence + 1) % SEQUENCES
        return encode(packet.SerializeToString())

    def _move(self, move: Move, why: str) -> list[Event]:
        before = self.state
        after = MOVES.get((before, move))
        if after is None:
            raise IllegalMoveError(f"{move} while {before}")
        self.state = after
        return [] if after is before else [Changed(before=before, after=after, why=why)]
