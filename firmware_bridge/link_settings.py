"""Settings of the host's side of the link, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    name: str = "host"
    hello_every_ms: float = 100.0
    """On a line with 3 % of its bytes spoilt one exchange of greetings in twenty arrives."""
    heartbeat_every_ms: float = 1000.0
    time_every_ms: float = 1000.0
    retry_after_ms: float = 100.0
    tries: int = 20
    """With 1 % of bytes damaged four commands in ten need another try (25 bytes there, 25 back)."""
    silence_ms: float = 3000.0


@dataclass(slots=True)
class LinkCounts:
    """What the line did, over the whole session."""

    received: int = 0
    lost: int = 0
    repeated: int = 0
    undecodable: int = 0
    retried: int = 0
    restarts: int = 0
    events_lost: int = 0
