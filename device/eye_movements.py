"""Fixation, pursuit, saccade, oscillation and blink from a stream of gaze, online, any rate.

Pure algorithm, plain floats, constant memory: a sample goes in, samples come out with their final
label, none later than `delay_ms` after they went in (as long as samples keep coming). Fast movements
are found by `device.saccades`; what lies between them is fixation or pursuit by how steadily it drifts.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from device.gaze_velocity import FAST, NS, RINGING, SLOW, Sample
from device.saccades import Loss, Saccades, SaccadeSettings
from device.slow_phases import Bin, SlowPhases, SlowSettings
from device.types import Movement


@dataclass(frozen=True, slots=True)
class EventSettings:
    """Where the numbers come from is in docs/eye-movements.md."""

    delay_ms: float = 150.0
    """A sample's label is final this long after the sample, at most."""
    min_confidence: float = 0.3
    """Gaze below it counts as a lost eye."""
    min_blink_ms: float = 50.0
    """Lost for less than this, the eye is bridged over."""
    max_blink_ms: float = 800.0
    """A lost eye is a blink between these; longer, and it is simply lost."""
    slow: SlowSettings = field(default_factory=SlowSettings)
    saccades: SaccadeSettings = field(default_factory=SaccadeSettings)

    def __post_init__(self) -> None:
        if not self.delay_ms >= 40:
            raise ValueError(f"delay_ms is {self.delay_ms}, must be at least 40 to see a saccade")
        if not 0 < self.min_blink_ms < self.max_blink_ms:
            raise ValueError("min_blink_ms must be above 0 and below max_blink_ms")


class Labelled(NamedTuple):
    """One sample with its final label."""

    t_ns: int
    movement: Movement
    since_ns: int
    x_deg: float
    y_deg: float
    speed_deg_s: float
    confidence: float
    joined: bool
    """False where samples are missing just before it."""


class EyeMovements:
    """Labels a stream of gaze, sample by sample."""

    def __init__(self, settings: EventSettings | None = None) -> None:
        self._settings = settings or EventSettings()
        self._saccades = Saccades(self._settings.saccades)
        self._slow = SlowPhases(self._settings.slow)
        self._delay_ns = round(self._settings.delay_ms * 1e6)
        self._max_gap_ns = round(self._settings.saccades.max_gap_ms * 1e6)
        self._held: deque[Sample] = deque()
        self._fresh: deque[Sample] = deque()
        """Held samples whose mark is not final yet."""
        self._newest_ns = -1
        self._movement = Movement.UNKNOWN
        self._since_ns = 0
        self._joined = False

    def push(
        self, t_ns: int, x_deg: float, y_deg: float, confidence: float = 1.0
    ) -> list[Labelled]:
        """Take one sample; return those whose label is now final, oldest first.

        A sample not later than the one before is left out.
        """
        if t_ns <= self._newest_ns:
            return []
        gap_ns = t_ns - self._newest_ns
        step_ns = round(self._saccades.velocity.step_s * NS)
        if gap_ns > max(self._max_gap_ns, 3 * step_ns) and self._newest_ns >= 0:
            out = self.flush()
            self._joined = False
        else:
            out = []
        self._newest_ns = t_ns
        sample = Sample(t_ns, x_deg, y_deg)
        self._held.append(sample)
        self._fresh.append(sample)
        if confidence >= self._settings.min_confidence and math.isfinite(x_deg + y_deg):
            self._saccades.push(sample)
        else:
            self._saccades.lost(sample)
            self._slow.lose()
        self._settle(self._saccades.settled_ns)
        # what the next sample would find too late is due now; the next may come a little late itself
        due_ns = t_ns + step_ns + step_ns // 3 - self._delay_ns
        held = self._held
        while held and held[0].t_ns <= due_ns:
            out.append(self._label(held.popleft()))
        return out

    @property
    def held(self) -> int:
        """Samples whose label is not final yet."""
        return len(self._held)

    def flush(self) -> list[Labelled]:
        """Label what is held: the stream is over or interrupted."""
        self._settle(self._newest_ns)
        out = [self._label(sample) for sample in self._held]
        self._held.clear()
        self._saccades.interrupt()
        self._slow.end()
        return out

    def _settle(self, until_ns: int) -> None:
        fresh = self._fresh
        while fresh and fresh[0].t_ns <= until_ns:
            sample = fresh.popleft()
            if sample.mark == SLOW:
                self._slow.push(sample)
            else:
                self._slow.end()

    def _label(self, sample: Sample) -> Labelled:
        if self._fresh and self._fresh[0] is sample:
            self._settle(sample.t_ns)
        part = sample.part
        x, y, speed, confidence = sample.x, sample.y, sample.speed, 1.0
        if isinstance(part, Bin):
            if not part.judged:
                self._slow.judge(part)
            movement = Movement.PURSUIT if part.pursuit > 0.5 else Movement.FIXATION
            confidence = max(part.pursuit, 1.0 - part.pursuit)
            speed = part.speed
            x, y = part.at(sample.t_ns)
        elif isinstance(part, Loss):
            movement = self._lost(part, sample.t_ns)
            x = y = math.nan
        else:
            movement = _MARKS[sample.mark]
        joined = self._joined
        if movement is not self._movement or not joined:
            self._movement = movement
            self._since_ns = sample.t_ns
            self._joined = True
        return Labelled(sample.t_ns, movement, self._since_ns, x, y, speed, confidence, joined)

    def _lost(self, loss: Loss, t_ns: int) -> Movement:
        s = self._settings
        blink = loss.end_ns - loss.start_ns >= s.min_blink_ms * 1e6
        if blink and t_ns - loss.start_ns <= s.max_blink_ms * 1e6:
            return Movement.BLINK
        return Movement.UNKNOWN


_MARKS = {FAST: Movement.SACCADE, RINGING: Movement.PSO, SLOW: Movement.UNKNOWN}
