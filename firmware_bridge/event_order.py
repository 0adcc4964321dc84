"""Events of the microcontroller in the order of their numbers, each once, over its restarts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from firmware_bridge import wire_pb2 as wire

BOOTS = 4
"""Starts of the microcontroller whose events are remembered: a greeting that comes too late, from before a
restart, must not make those after it come twice."""
EARLY = 256
"""Events that may wait for an earlier one; the MCU keeps fewer."""


@dataclass(slots=True)
class EventOrder:
    """`next` is the number of the next event to deliver, by the boot number of who counts it."""

    next: dict[int, int] = field(default_factory=dict)
    _early: dict[int, wire.Packet] = field(default_factory=dict)

    def restarted(self, boot: int) -> None:
        """Another start of the microcontroller speaks from now on; it counts from 1."""
        self._early.clear()
        self.next.setdefault(boot, 1)
        while len(self.next) > BOOTS:
            del self.next[next(iter(self.next))]

    def take(self, packet: wire.Packet) -> tuple[Iterable[wire.Packet], int]:
        """What is to be delivered now, and how many events the microcontroller had to give up before.

        One that comes too early waits for those before it. Of a microcontroller met for the first time the
        oldest event that it still holds is the first.
        """
        oldest = max(1, packet.oldest_event)
        upto = self.next.get(packet.event_boot, oldest)
        if upto <= packet.event < oldest + EARLY:
            self._early[packet.event] = packet
        delivered: list[wire.Packet] = []
        given_up = 0
        while True:
            known = self._early.pop(upto, None)
            if known is not None:
                delivered.append(known)
                upto += 1
            elif upto < oldest:
                known_from = min([oldest, *self._early])
                given_up += known_from - upto
                upto = known_from
            else:
                break
        self.next[packet.event_boot] = upto
        return delivered, given_up
