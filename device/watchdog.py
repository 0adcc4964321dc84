"""Whether a sensor still lives, and how often it may be started again.

A sensor is silent for too long, hangs in its driver or says that it is gone: all three end its thread
and start a new one, after a pause and as long as its budget lasts. A spent budget refills slowly, so a
loose plug does not keep the processor busy, and a plug put back after an hour is still found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogSettings:
    """When a source counts as lost, and how it is started again."""

    silent_s: float = 1.0
    """A source that should deliver and does not for so long is started again."""
    opening_s: float = 5.0
    """How long a source may take from its start to its first value."""
    retry_s: float = 0.5
    """Pause before a lost source is opened again."""
    restarts: int = 8
    """Restarts a source may use up at once."""
    refill_s: float = 20.0
    """After so long a source earns one restart back."""

    def __post_init__(self) -> None:
        for name in ("silent_s", "opening_s", "retry_s", "refill_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"watchdog.{name} must be above 0")
        if self.restarts < 1:
            raise ValueError("watchdog.restarts must be 1 or more")


class Life(StrEnum):
    """How a source stands."""

    OPENING = "opening"
    LIVE = "live"
    LOST = "lost"
    SPENT = "spent"
    """Lost, and its budget of restarts is used up for now."""
    ENDED = "ended"
    """A finite source has delivered all it had."""


class Budget:
    """A bucket of restarts that refills by one every `refill_ns`."""

    def __init__(self, restarts: int, refill_ns: int) -> None:
        self._most, self._refill_ns = restarts, refill_ns
        self._left = restarts
        self._since_ns = 0
        self.used = 0
        """Restarts over the whole session."""

    def take(self, now_ns: int) -> bool:
        """Use one up; False if none is left."""
        if self._left == self._most:
            self._since_ns = now_ns  # a full bucket does not fill further
        earned = (now_ns - self._since_ns) // self._refill_ns
        self._left = min(self._most, self._left + earned)
        self._since_ns += earned * self._refill_ns
        if self._left == 0:
            return False
        self._left -= 1
        self.used += 1
        return True


@dataclass(slots=True)
class Vital:
    """What the watchdog knows of one source. Times in session nanoseconds."""

    settings: WatchdogSettings
    life: Life = Life.OPENING
    budget: Budget = field(init=False)
    why: str = ""
    """What was wrong last; empty if nothing ever was."""
    started_ns: int = 0
    last_ns: int | None = None
    """When the last value came."""
    expected_ns: int | None = None
    """Since when values are expected; None while the source is silent by right."""
    retry_ns: int = 0
    told: bool = False
    """The loss was told; once until the source delivers again."""
    complained: bool = False
    """The used-up budget was told as well."""

    def __post_init__(self) -> None:
        self.budget = Budget(self.settings.restarts, _ns(self.settings.refill_s))

    def start(self, now_ns: int) -> None:
        """A thread of the source begins."""
        self.life, self.started_ns, self.expected_ns = Life.OPENING, now_ns, None

    def see(self, now_ns: int) -> bool:
        """A value came; True if the source was lost until now."""
        recovered, self.life, self.last_ns = self.told, Life.LIVE, now_ns
        self.told = self.complained = False
        return recovered

    def lose(self, why: str, now_ns: int) -> bool:
        """The source is gone; True if that is news."""
        news, self.told = not self.told, True
        self.life, self.why = Life.LOST, why
        self.retry_ns = now_ns + _ns(self.settings.retry_s)
        return news

    def silence(self, now_ns: int, expected: bool) -> str | None:
        """Why the source counts as frozen now, or None."""
        if self.life not in (Life.OPENING, Life.LIVE) or not expected:
            self.expected_ns = None
            return None
        if self.expected_ns is None:
            self.expected_ns = now_ns
        opening = self.last_ns is None or self.last_ns < max(self.expected_ns, self.started_ns)
        since_ns = max(self.expected_ns, self.started_ns) if opening else self.last_ns or 0
        limit_s = self.settings.opening_s if opening else self.settings.silent_s
        age_s = (now_ns - since_ns) / 1e9
        if age_s <= limit_s:
            return None
        return f"nothing came for {age_s:.1f} s"

    def may_start(self, now_ns: int) -> bool:
        """Whether a lost source is to be opened now; uses the budget up."""
        if self.life not in (Life.LOST, Life.SPENT) or now_ns < self.retry_ns:
            return False
        if self.budget.take(now_ns):
            return True
        self.life = Life.SPENT
        return False


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
