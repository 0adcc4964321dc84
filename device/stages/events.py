"""Gaze -> what the eyes do: per sample while it lasts, and once more when it is over.

An `EyeMovement` concerns the light of its own `t_ns`, and leaves up to `EventSettings.delay_ms` after
it: only then is it certain what the sample belonged to. An interval follows with the first sample that
no longer belongs to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from device.early_movements import movement_of
from device.eye_movements import EventSettings, EyeMovements, Labelled
from device.types import (
    Blink,
    Fixation,
    Gaze,
    Movement,
    Pursuit,
    Saccade,
    Value,
)

__all__ = ["EventSettings", "EventsStage"]


class EventsStage:
    """One stream of gaze in, eye movements out. Constant memory."""

    name = "events"
    wants: tuple[type, ...] = (Gaze,)

    def __init__(self, settings: EventSettings | None = None) -> None:
        settings = settings or EventSettings()
        self._max_blink_ns = settings.max_blink_ms * 1e6
        self._movements = EyeMovements(settings)
        self._open = Run()

    def step(self, value: Gaze) -> Iterable[Value]:
        """Take one gaze sample; yield what is now certain, oldest first."""
        return self._report(
            self._movements.push(
                value.t_ns,
                value.azimuth_deg,
                value.elevation_deg,
                value.confidence,
            )
        )

    def finish(self, end_ns: int) -> Iterable[Value]:
        """Label what is held and close what is open."""
        out = self._report(self._movements.flush())
        closed = self._open.close(self._open.last_ns, self._max_blink_ns)
        self._open = Run()
        return out if closed is None else [*out, closed]

    def _report(self, samples: list[Labelled]) -> list[Value]:
        out: list[Value] = []
        for s in samples:
            run = self._open
            if s.since_ns != run.start_ns or s.movement is not run.movement:
                closed = run.close(s.t_ns if s.joined else run.last_ns, self._max_blink_ns)
                if closed is not None:
                    out.append(closed)
                run = self._open = Run(s)
            run.add(s)
            out.append(movement_of(s))
        return out


class Run:
    """One movement under way, and the sums its measures are made of."""

    __slots__ = (
        "_confidence", "_n", "_peak_deg_s", "_speed", "_sx", "_sxx", "_sy", "_syy",
        "_x0", "_x1", "_y0", "_y1", "last_ns", "movement", "start_ns",
    )  # fmt: skip

    def __init__(self, first: Labelled | None = None) -> None:
        self.movement = first.movement if first else Movement.UNKNOWN
        self.start_ns = self.last_ns = first.since_ns if first else -1
        self._x0 = self._x1 = first.x_deg if first else 0.0
        self._y0 = self._y1 = first.y_deg if first else 0.0
        self._n = 0
        # sums count from the first sample, so that small numbers are squared
        self._sx = self._sy = self._sxx = self._syy = 0.0
        self._speed = self._peak_deg_s = self._confidence = 0.0

    def add(self, s: Labelled) -> None:
        """Take the next sample of this movement."""
        x, y = s.x_deg - self._x0, s.y_deg - self._y0
        self._n += 1
        self._sx += x
        self._sy += y
        self._sxx += x * x
        self._syy += y * y
        self._speed += s.speed_deg_s
        self._confidence += s.confidence
        if s.speed_deg_s > self._peak_deg_s:
            self._peak_deg_s = s.speed_deg_s
        self._x1, self._y1 = s.x_deg, s.y_deg
        self.last_ns = s.t_ns

    def close(self, end_ns: int, max_blink_ns: float) -> Value | None:
        """The movement as an interval; None if it is of no kind that is reported."""
        n, start_ns = self._n, self.start_ns
        if n == 0:
            return None
        if self.movement is Movement.FIXATION:
            mx, my = self._sx / n, self._sy / n
            spread = self._sxx / n - mx * mx + self._syy / n - my * my
            return Fixation(
                start_ns=start_ns,
                end_ns=end_ns,
                azimuth_deg=self._x0 + mx,
                elevation_deg=self._y0 + my,
                dispersion_deg=math.sqrt(max(0.0, spread)),
            )
        if self.movement is Movement.PURSUIT:
            return Pursuit(
                start_ns=start_ns,
                end_ns=end_ns,
                start_azimuth_deg=self._x0,
                start_elevation_deg=self._y0,
                end_azimuth_deg=self._x1,
                end_elevation_deg=self._y1,
                mean_speed_deg_s=self._speed / n,
            )
        if self.movement is Movement.SACCADE:
            dx, dy = self._x1 - self._x0, self._y1 - self._y0
            return Saccade(
                start_ns=start_ns,
                end_ns=end_ns,
                amplitude_deg=math.hypot(dx, dy),
                direction_deg=math.degrees(math.atan2(dy, dx)),
                peak_speed_deg_s=self._peak_deg_s,
            )
        if self.movement is Movement.BLINK and end_ns - start_ns <= max_blink_ns:
            return Blink(start_ns=start_ns, end_ns=end_ns, confidence=self._confidence / n)
        return None
