"""Saccades and what follows them, found sample by sample in gaze of any rate and noise.

Pure algorithm, plain floats, constant memory. A sample enters at the front of a short buffer and is
marked in place; `settled_ns` says how far the marks are final.

A saccade is where the velocity, less that of the slow phase before it, passes a multiple of its own
noise; it begins and ends at a lower multiple. What still rings after it is post-saccadic oscillation.
What moves fast beside a lost eye is the lid.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from device.gaze_velocity import FAST, LID, LOST, RINGING, SLOW, Sample, Velocity

SETTLE_NS = 30_000_000
"""A saccade found at its rising edge began no longer ago than this."""


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
    """No saccade begins or ends slower than this: half the floor of its peak."""
    first_deg_s: float = 60.0
    """While the noise is not known yet, only what is this fast is a saccade: one of a degree."""
    blur_ms: float = 30.0
    """At one sample in this time, samples beside a saccade look half as fast as it: see `_trim`."""
    noise_tau_ms: float = 1000.0
    """Memory of the noise estimate."""
    min_saccade_ms: float = 6.0
    """A shorter burst is noise."""
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


class Loss:
    """A stretch without gaze."""

    __slots__ = ("end_ns", "start_ns")

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.end_ns = start_ns


class Saccades:
    """Marks the samples of a stream in place. `settled_ns`: marks before it are final."""

    def __init__(self, settings: SaccadeSettings) -> None:
        self.settings = settings
        self.velocity = Velocity(settings.filter_ms, settings.noise_tau_ms)
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
        sure = self.velocity.noise_known
        high = max(s.onset_floor_deg_s if sure else s.first_deg_s, s.onset_sigmas * sigma)
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

    def _trim(self, last: Sample) -> int:
        """Take the samples off a saccade that only look fast; return when it ended.

        The velocity filter reaches over its neighbours, and the slower the sampling, the larger the part
        of a saccade that it sees from outside: up to half of its peak.
        """
        share = min(0.5, 500.0 * self.velocity.step_s / self.settings.blur_ms)
        own = [s for s in self._row if s.t_ns >= self._since_ns]
        limit = share * max(s.speed for s in own)
        while own[0].speed < limit:
            own.pop(0).mark = SLOW
        end_ns = last.t_ns
        while own[-1].speed < limit:
            end_ns = own[-1].t_ns
            own.pop().mark = SLOW
        self._since_ns = own[0].t_ns
        return end_ns

    def _end(self, sample: Sample) -> None:
        end_ns = self._trim(sample)
        if end_ns - self._since_ns < self.settings.min_saccade_ms * 1e6:
            self._abandon(sample)
            return
        loss = self._last_loss
        if loss and self._since_ns - loss.end_ns <= self.settings.lid_reach_ms * 1e6:
            self._lid_opening(loss, end_ns)
        self._state = RINGING
        self._since_ns = self._loud_ns = end_ns

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
