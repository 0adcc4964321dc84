"""The microcontroller's clock in the host's time: offset and drift from pairs of time stamps.

Each exchange gives four stamps (host sends, MCU receives, MCU replies, host receives). Assuming the
line delays both ways alike, the middle of the host's interval is the middle of the MCU's; the error of
that assumption is at most half the round trip without the MCU's own pause. So only the exchanges with
the shortest round trips are used, and a straight line through them gives offset and drift.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW = 64
"""Exchanges remembered; at one a second, a minute."""
MOST_DRIFT_PPM = 500.0
"""No crystal is further off; more than that is the jitter of a busy line."""
SLOW, SLACK_NS = 3, 1_000_000
"""Exchanges that took so many times the shortest, and a millisecond, are left out: while there are few,
one that waited behind seconds of pictures would spoil the mean of all."""
BEST = 16
"""Exchanges with the shortest round trips that the line goes through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One question and answer: middle of both clocks, and how long the line took."""

    mcu_us: float
    host_ns: float
    round_trip_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """host_ns = origin_host_ns + (mcu_us - origin_mcu_us) * 1000 * (1 - drift_ppm / 1e6)."""

    origin_mcu_us: float
    origin_host_ns: float
    drift_ppm: float
    """How much faster than the host's the MCU's clock runs."""
    residual_us: float
    """Root mean square distance of the exchanges from the line."""
    exchanges: int

    def host_ns(self, mcu_us: int) -> int:
        """A stamp of the MCU in host nanoseconds."""
        rate = 1000.0 * (1.0 - self.drift_ppm / 1e6)
        return round(self.origin_host_ns + (mcu_us - self.origin_mcu_us) * rate)


class ClockFit:
    """Collects exchanges; `fit` is None until the first one."""

    def __init__(self) -> None:
        self._exchanges: deque[Exchange] = deque(maxlen=WINDOW)
        self.fit: Fit | None = None

    def reset(self) -> None:
        """Forget all: the MCU has restarted and its clock begins anew."""
        self._exchanges.clear()
        self.fit = None

    def add(self, *, sent_ns: int, received_us: int, replied_us: int, returned_ns: int) -> Fit:
        """One exchange. Raises ValueError if it ended before it began, on either clock."""
        pause_us = replied_us - received_us
        if returned_ns < sent_ns or pause_us < 0:
            raise ValueError("time reply runs backwards")
        self._exchanges.append(
            Exchange(
                mcu_us=(received_us + replied_us) / 2,
                host_ns=(sent_ns + returned_ns) / 2,
                round_trip_ns=max(0, returned_ns - sent_ns - pause_us * 1000),
            )
        )
        best = sorted(self._exchanges, key=lambda e: e.round_trip_ns)[:BEST]
        bound_ns = SLOW * best[0].round_trip_ns + SLACK_NS
        self.fit = _line([exchange for exchange in best if exchange.round_trip_ns <= bound_ns])
        return self.fit


def _line(exchanges: list[Exchange]) -> Fit:
    """Least squares through the exchanges; a slope only when they span more than ten seconds.

    Over a shorter time the jitter of the line would pass for hundreds of ppm of drift.
    """
    count = len(exchanges)
    mcu_us = sum(e.mcu_us for e in exchanges) / count
    host_ns = sum(e.host_ns for e in exchanges) / count
    dx = [(e.mcu_us - mcu_us) * 1000 for e in exchanges]
    dy = [e.host_ns - host_ns for e in exchanges]
    spread = sum(x * x for x in dx)
    long_enough = max(dx) - min(dx) > 10e9
    slope = sum(x * y for x, y in zip(dx, dy, strict=True)) / spread if long_enough else 1.0
    slope = min(max(slope, 1 - MOST_DRIFT_PPM / 1e6), 1 + MOST_DRIFT_PPM / 1e6)
    square = sum((y - slope * x) ** 2 for x, y in zip(dx, dy, strict=True)) / count
    return Fit(
        origin_mcu_us=mcu_us,
        origin_host_ns=host_ns,
        drift_ppm=(1.0 - slope) * 1e6,
        residual_us=square**0.5 / 1000,
        exchanges=count,
    )
