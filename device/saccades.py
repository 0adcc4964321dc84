"""Saccades and what follows them, found sample by sample in gaze of any rate and noise.

Pure algorithm, plain floats, constant memory. A sample enters at the front of a short buffer and is
marked in place; `settled` says how far the marks are final.

* Velocity is the difference of two neighbouring box means (Engbert & Kliegl 2003), whose boxes last
  about 4 ms, but hold one sample at least: one filter from 30 to 500 Hz.
* The noise of that velocity is tracked as the running median of its change over one filter length,
  so neither pursuit nor saccades count as noise.
* A saccade is where the velocity, less that of the slow phase before it, passes a multiple of the
  noise; it begins and ends at a lower multiple. What still rings after it is post-saccadic oscillation.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

NS = 1_000_000_000
SETTLE_NS = 30_000_000
"""A saccade found at its rising edge began no longer ago than this."""

SLOW, FAST, RINGING, LOST, LID = range(5)
"""What a sample is marked: slow phase, saccade, post-saccadic oscillation, no gaze, lid in the way."""


@dataclass(frozen=True, slots=True)
class SaccadeSettings:
    """Where the numbers come from is in docs/eye-movements.md."""

    filter_ms: float = 4.0
    """Length of each of the two boxes of the velocity filter."""
    onset_sigmas: float = 8.0
    """A saccade must pass this many standard deviations of the velocity's noise at its peak."""
    edge_sigmas: float = 5.0
    """It begins and ends at this many."""
    onset_floor_deg_s: float = 12.0
    """No saccade is slower at its peak: that of 0.25 degrees on the main sequence."""
    edge_floor_deg_s: float = 6.0
    noise_tau_ms: float = 1000.0
    """Memory of the noise estimate."""
    min_saccade_ms: float = 6.0
    max_saccade_ms: float = 120.0
    """A 50 degree saccade lasts that long."""
    max_ringing_ms: float = 40.0
    """Oscillation is over by then."""
    quiet_ms: float = 10.0
    """It is over when the eye has been below the edge velocity for that long."""
    max_gap_ms: float = 50.0
    """Samples further apart are not one movement."""
    lid_reach_ms: float = 40.0
    """Fast movement this close to a lost eye is the lid, not a saccade."""


class Sample:
    """One gaze sample on its way through; degrees, deg/s."""

    __slots__ = ("mark", "part", "pupil", "speed", "t_ns", "vx", "vy", "x", "y")

    def __init__(self, t_ns: int, x: float, y: float, pupil: float) -> None:
        self.t_ns = t_ns
        self.x = x
        self.y = y
        self.pupil = pupil
        self.vx = 0.0
        self.vy = 0.0
        self.speed = 0.0
        self.mark = SLOW
        self.part: object | None = None
        """The bin of a slow phase, or the loss of the eye, that it belongs to."""


class Loss:
    """A stretch without gaze."""

    __slots__ = ("end_ns", "start_ns")

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.end_ns = start_ns


class Velocity:
    """Velocity of the sample in the middle of two boxes of `half` samples, and its noise."""

    def __init__(self, settings: SaccadeSettings) -> None:
        self._filter_s = settings.filter_ms / 1e3
        self._tau_s = settings.noise_tau_ms / 1e3
        self.step_s = 0.0
        """Running estimate of the sampling interval; 0 before the second sample."""
        self.half = 1
        self.recent: deque[Sample] = deque(maxlen=128)
        """Samples with gaze, newest last, up to the last break."""
        self._changes: list[float] = []
        self._median = 0.0

    @property
    def sigma_deg_s(self) -> float:
        """Standard deviation of the noise on one axis of the velocity."""
        # the change of a 2-D velocity is Rayleigh with sqrt(2) sigma; its median is 1.1774 of that
        return self._median / (1.1774 * math.sqrt(2))

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
        if self._changes is not None and len(self._changes) < 32:
            self._changes.append(change)
            self._median = sorted(self._changes)[len(self._changes) // 2]
            return
        rate = 2.0 * self.step_s / self._tau_s
        self._median *= 1.0 + rate if change > self._median else 1.0 - rate
        self._median = max(self._median, 1e-3)


class Saccades:
    """Marks the samples of a stream in place. `settled_ns`: marks before it are final."""

    def __init__(self, settings: SaccadeSettings) -> None:
        self.settings = settings
        self.velocity = Velocity(settings)
        self._row: deque[Sample] = deque(maxlen=256)
        """Samples with a velocity, newest last, up to the last break."""
        self._base = (0.0, 0.0)
        self._state = SLOW
        self._since_ns = 0
        self._loud_ns = 0
        self._loss: Loss | None = None
        self._last_loss: Loss | None = None
        self.settled_ns = 0

    def push(self, sample: Sample) -> None:
        """Take the newest sample with gaze."""
        self._loss = None
        known = self.velocity.push(sample)
        if known is None:
            return
        sigma = self.velocity.sigma_deg_s
        s = self.settings
        high = max(s.onset_floor_deg_s, s.onset_sigmas * sigma)
        low = max(s.edge_floor_deg_s, s.edge_sigmas * sigma)
        bx, by = self._base
        speed = math.hypot(known.vx - bx, known.vy - by)
        known.speed = speed
        self._row.append(known)
        if self._state == SLOW:
            if speed > high:
                self._begin(low)
            elif speed < low:
                w = min(1.0, self.velocity.step_s / 0.05)
                self._base = (bx + w * (known.vx - bx), by + w * (known.vy - by))
            self.settled_ns = known.t_ns - SETTLE_NS
        elif self._state == FAST:
            if speed < low:
                self._end(known)
            elif known.t_ns - self._since_ns > s.max_saccade_ms * 1e6:
                self._abandon(known)
            else:
                known.mark = FAST
        else:
            self._ring(known, speed, low, high)

    def lost(self, sample: Sample) -> None:
        """Take a sample without gaze."""
        if self._loss is None:
            self._loss = self._last_loss = Loss(sample.t_ns)
            self._lid_closing(self._loss)
        sample.mark = LOST
        sample.part = self._loss
        self._loss.end_ns = sample.t_ns
        self.interrupt()
        self.settled_ns = sample.t_ns

    def _lid_closing(self, loss: Loss) -> None:
        """What moved fast just before the eye was lost was the lid."""
        near_ns = loss.start_ns - self.settings.lid_reach_ms * 1e6
        tail = [s for s in self.velocity.recent if s.t_ns >= near_ns]
        fast = next((i for i, s in enumerate(tail) if s.mark == FAST), len(tail))
        for sample in tail[fast:]:
            sample.mark = LID
            sample.part = loss
        if fast < len(tail):
            loss.start_ns = tail[fast].t_ns

    def _lid_opening(self, loss: Loss, until_ns: int) -> None:
        """What moved fast just after the eye was found again was the lid."""
        for sample in self.velocity.recent:
            if loss.end_ns < sample.t_ns < until_ns:
                sample.mark = LID
                sample.part = loss
        loss.end_ns = until_ns

    def interrupt(self) -> None:
        """What follows does not continue what came before: a gap, a lost eye."""
        self.velocity.restart()
        self._row.clear()
        self._base = (0.0, 0.0)
        self._state = SLOW

    def _begin(self, low: float) -> None:
        row = self._row
        first = len(row) - 1
        while first > 0 and row[first - 1].speed > low and row[first - 1].t_ns > self.settled_ns:
            first -= 1
        for i in range(first, len(row)):
            row[i].mark = FAST
        self._since_ns = row[first].t_ns
        self._state = FAST

    def _end(self, sample: Sample) -> None:
        if sample.t_ns - self._since_ns < self.settings.min_saccade_ms * 1e6:
            self._abandon(sample)
            return
        loss = self._last_loss
        if loss and self._since_ns - loss.end_ns <= self.settings.lid_reach_ms * 1e6:
            self._lid_opening(loss, sample.t_ns)
        self._state = RINGING
        self._since_ns = self._loud_ns = sample.t_ns

    def _abandon(self, sample: Sample) -> None:
        for other in reversed(self._row):
            if other.t_ns < self._since_ns:
                break
            other.mark = SLOW
        self._state = SLOW
        self._base = (sample.vx, sample.vy)

    def _ring(self, sample: Sample, speed: float, low: float, high: float) -> None:
        s = self.settings
        age_ns = sample.t_ns - self._since_ns
        if speed > low:
            self._loud_ns = sample.t_ns
        quiet = sample.t_ns - self._loud_ns >= s.quiet_ms * 1e6
        if not quiet and age_ns <= s.max_ringing_ms * 1e6:
            return
        for other in reversed(self._row):
            if other.t_ns < self._since_ns:
                break
            if self._loud_ns > self._since_ns and other.t_ns <= self._loud_ns:
                other.mark = RINGING
        self._state = SLOW
        self._base = (sample.vx, sample.vy)
