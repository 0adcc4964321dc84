"""What the host's side of the link tells its caller."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge import wire_pb2 as wire
from firmware_bridge.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """A packet from the MCU; `t_ns` is its stamp in host time, or of its arrival while unfitted."""

    t_ns: int
    packet: wire.Packet
    stamped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The end of a command. `result` is None if no answer came in all tries."""

    sequence: int
    result: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The link moved; `why` is for people."""

    before: State
    after: State
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """`count` packets of the MCU did not arrive."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsLost:
    """The MCU had to give up its `count` oldest events, because the line was away too long."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """The MCU has started anew: its clock, its numbers and its settings are those of a fresh start."""

    name: str


Event = Telemetry | Answered | Changed | Lost | EventsLost | Restarted
