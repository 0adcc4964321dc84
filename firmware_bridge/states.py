"""The states of the host's side of the link, and its legal moves as a table."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    CLOSED = "closed"
    GREETING = "greeting"
    """Our Hello is on its way."""
    READY = "ready"
    REFUSED = "refused"
    """The other side has other message definitions; only new firmware helps."""


class Move(StrEnum):
    OPEN = "open"
    SAME_HELLO = "hello"
    OTHER_HELLO = "hello of another version"
    PACKET = "packet"
    SILENCE = "silence"
    CLOSE = "close"


MOVES: dict[tuple[State, Move], State] = {
    (State.CLOSED, Move.OPEN): State.GREETING,
    (State.CLOSED, Move.CLOSE): State.CLOSED,
    (State.GREETING, Move.SAME_HELLO): State.READY,
    (State.GREETING, Move.OTHER_HELLO): State.REFUSED,
    (State.GREETING, Move.PACKET): State.GREETING,  # telemetry of an MCU that has not heard us yet
    (State.GREETING, Move.SILENCE): State.GREETING,
    (State.GREETING, Move.CLOSE): State.CLOSED,
    (State.READY, Move.PACKET): State.READY,
    (State.READY, Move.SAME_HELLO): State.READY,  # the MCU has restarted, or missed us for a while
    (State.READY, Move.OTHER_HELLO): State.REFUSED,
    (State.READY, Move.SILENCE): State.GREETING,
    (State.READY, Move.CLOSE): State.CLOSED,
    (State.REFUSED, Move.PACKET): State.REFUSED,
    (State.REFUSED, Move.OTHER_HELLO): State.REFUSED,
    (State.REFUSED, Move.SAME_HELLO): State.READY,  # flashed while we watched
    (State.REFUSED, Move.SILENCE): State.GREETING,
    (State.REFUSED, Move.CLOSE): State.CLOSED,
}


class IllegalMoveError(Exception):
    """A move the table does not have: a fault of the caller, not of the line."""
