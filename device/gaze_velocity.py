"""Velocity of the gaze at one sample, and the noise of that velocity; any rate, constant memory.

Velocity is the difference of two neighbouring box means (Engbert & Kliegl 2003), whose boxes last about
4 ms, but hold one sample at least: one filter from 30 to 500 Hz. The noise of that velocity is tracked
as a running quantile of its change over one filter length, so that neither pursuit nor saccades count
as noise.
"""

from __future__ import annotations

import math
from collections import deque

NS = 1_000_000_000
SLOW, FAST, RINGING, LOST, LID = range(5)
"""What a sample is marked: slow phase, saccade, post-saccadic oscillation, no gaze, lid in the way."""

QUANTILE = 0.25
"""The noise is read off this quantile: at 30 Hz more than half of the changes touch a saccade."""


class Sample:
    """One gaze sample on its way through; degrees, deg/s."""

    __slots__ = ("mark", "part", "speed", "t_ns", "vx", "vy", "x", "y")

    def __init__(self, t_ns: int, x: float, y: float) -> None:
        self.t_ns = t_ns
        self.x = x
        self.y = y
        self.vx = 0.0
        self.vy = 0.0
        self.speed = 0.0
        self.mark = SLOW
        self.part: object | None = None
        """The bin of a slow phase, or the loss of the eye, that it belongs to."""


class Velocity:
    """Velocity of the sample in the middle of two boxes of `half` samples, and its noise."""

    def __init__(self, filter_ms: float, noise_tau_ms: float) -> None:
        self._filter_s = filter_ms / 1e3
        self._tau_s = noise_tau_ms / 1e3
        self.step_s = 0.0
        """Running estimate of the sampling interval; 0 before the second sample."""
        self.half = 1
        self.recent: deque[Sample] = deque(maxlen=128)
        """Samples with gaze, newest last, up to the last break."""
        self._changes: list[float] = []
        self._low = 0.0

    @property
    def sigma_deg_s(self) -> float:
        """Standard deviation of the noise on one axis of the velocity."""
        # the change of a 2-D velocity is Rayleigh distributed, with a scale of sqrt(2) sigma
        return self._low / (math.sqrt(-2.0 * math.log(1.0 - QUANTILE)) * math.sqrt(2.0))

    @property
    def noise_known(self) -> bool:
        """Whether enough was seen to tell noise from movement."""
        return len(self._changes) >= 12

    def restart(self) -> None:
        """What follows does not continue what came before."""
        self.recent.clear()

    def push(self, sample: Sample) -> Sample | None:
        """Take the newest sample; return the one whose velocity is now known, if any."""
        recent = self.recent
        if recent:
            self._pace((sample.t_ns - recent[-1].t_ns) / NS)
        recent.append(sample)
        half = self.half
        size = len(recent)
        if size < 2 * half + 1:
            return None
        if half == 2:
            a, b, c, d = recent[-1], recent[-2], recent[-4], recent[-5]
            span_s = (a.t_ns + b.t_ns - c.t_ns - d.t_ns) / NS
            vx = (a.x + b.x - c.x - d.x) / span_s
            vy = (a.y + b.y - c.y - d.y) / span_s
        else:
            vx, vy = self._general(half)
        middle = recent[-1 - half]
        middle.vx = vx
        middle.vy = vy
        if size >= 4 * half + 2:
            before = recent[-2 - 3 * half]
            self._noise(math.hypot(vx - before.vx, vy - before.vy))
        return middle

    def _general(self, half: int) -> tuple[float, float]:
        recent = self.recent
        span_ns = 0
        vx = vy = 0.0
        for i in range(1, half + 1):
            late, early = recent[-i], recent[-1 - half - i]
            span_ns += late.t_ns - early.t_ns
            vx += late.x - early.x
            vy += late.y - early.y
        span_s = span_ns / NS
        return vx / span_s, vy / span_s

    def _pace(self, step_s: float) -> None:
        if self.step_s == 0.0:
            self.step_s = step_s
        else:
            self.step_s += 0.02 * (step_s - self.step_s)
        self.half = max(1, min(10, round(self._filter_s / self.step_s)))

    def _noise(self, change: float) -> None:
        first = self._changes
        if len(first) < 32:
            first.append(change)
            self._low = sorted(first)[int(len(first) * QUANTILE)]
            return
        rate = 2.0 * self.step_s / self._tau_s
        self._low *= 1.0 + rate * QUANTILE if change > self._low else 1.0 - rate * (1.0 - QUANTILE)
        self._low = max(self._low, 1e-3)
