"""Commands that wait for their answers: sent again until it comes, and no more at a time than the
microcontroller remembers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

WINDOW = 4
"""No command is sent so many after one still unanswered. While one waits for its answer, at most six
others can then be carried out after it, and the MCU remembers eight: it knows each that comes again."""


@dataclass(slots=True)
class Pending:
    """One command, framed for the line."""

    packet: bytes
    number: int
    """Of the command, counted from 0."""
    due_ns: int = 0
    tries: int = 0


@dataclass(slots=True)
class CommandWindow:
    """Commands by their sequence numbers, in the order in which they were given."""

    retry_after_ns: int
    tries: int
    _pending: dict[int, Pending] = field(default_factory=dict)
    _count: int = 0

    def add(self, sequence: int, packet: bytes) -> None:
        self._pending[sequence] = Pending(packet=packet, number=self._count)
        self._count += 1

    def answered(self, sequence: int) -> bool:
        """False for the answer to an earlier try, or to nothing of ours."""
        return self._pending.pop(sequence, None) is not None

    def abandon(self) -> list[int]:
        """All of them, which nothing will answer any more."""
        lost = list(self._pending)
        self._pending.clear()
        return lost

    def spent(self, now_ns: int) -> list[int]:
        """Those that had all their tries; they are forgotten."""
        spent = [
            sequence
            for sequence, pending in self._pending.items()
            if pending.tries >= self.tries and now_ns >= pending.due_ns
        ]
        for sequence in spent:
            del self._pending[sequence]
        return spent

    def due(self, now_ns: int) -> Iterator[Pending]:
        """Those to be sent now, for the first time or again."""
        oldest = min((p.number for p in self._pending.values()), default=0)
        for pending in self._pending.values():
            open_ = pending.number - oldest < WINDOW and pending.tries < self.tries
            if open_ and now_ns >= pending.due_ns:
                pending.tries += 1
                pending.due_ns = now_ns + self.retry_after_ns
                yield pending
