"""Numbers of the other side's packets: what is missing is counted, what came before is told apart."""

from __future__ import annotations

SEQUENCES = 1 << 32
BEHIND = 64
"""So many packets in a row that seem to have come before mean that the count is wrong, not they."""


class PacketOrder:
    """Sequence numbers modulo 2^32, in the order in which the packets came."""

    def __init__(self) -> None:
        self._expected: int | None = None
        self._behind = 0

    def restarted(self) -> None:
        """The other side counts anew."""
        self._expected = None

    def missing_before(self, sequence: int) -> int | None:
        """How many packets did not arrive before this one; None if it came before or is repeated."""
        ahead = 0 if self._expected is None else (sequence - self._expected) % SEQUENCES
        if ahead >= SEQUENCES // 2:
            self._behind += 1
            if self._behind >= BEHIND:  # what we expect came from before a restart, too late
                self._expected = None
            return None
        self._behind = 0
        self._expected = (sequence + 1) % SEQUENCES
        return ahead
