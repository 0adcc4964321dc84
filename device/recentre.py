"""Drift taken out of gaze: where the wearer usually looks against where they seem to look now.

Glasses slip, and everything that the eyes are seen to look at moves by one offset. Nothing in an eye
image tells that offset from a wearer who looks elsewhere; how often each happens does. Drift has a
standard deviation of half a degree (`DRIFT_DEG`); looks in natural viewing spread about a middle (`Habit`)
that was seen in calibration. The offset that is taken out is the mean of its posterior: nearly nothing
after a second, more the longer all looks lie to one side, and less the wider the wearer looks about and the
shorter the calibration was.
It is never more than `DRIFT_DEG` along an axis, which is also the most it can do wrong to a wearer who
looks elsewhere for minutes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DRIFT_DEG = 0.5
"""Standard deviation of an offset that stays the same while the wearer calibrates, so that it does not show
in what is left out, but comes with the next minutes: as it was between two parts of a Neon recording."""
LOOK_MS = 250.0
"""Moments closer than a fixation are one look, as in the fit of a calibration."""
FARTHEST = 3.0
"""Standard deviations beyond which a look counts no further."""
LEAST_SPREAD_DEG = 1.0
"""Nobody holds their eyes stiller than this for minutes, whatever a short calibration says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """Where the wearer looked while calibrating by natural viewing; degrees."""

    azimuth_deg: float
    elevation_deg: float
    spread_azimuth_deg: float
    """Standard deviation."""
    spread_elevation_deg: float
    looks: float
    """How many independent looks the middle is a mean of."""


class Recentre:
    """Online, constant memory. Give it every usable gaze in the order of time."""

    def __init__(self, habit: Habit, memory_s: float) -> None:
        """`memory_s`: after this time a look counts a third."""
        self._middle = habit.azimuth_deg, habit.elevation_deg
        self._spread = tuple(
            max(spread, LEAST_SPREAD_DEG)
            for spread in (habit.spread_azimuth_deg, habit.spread_elevation_deg)
        )
        self._known = max(habit.looks, 1.0)
        self._memory_s = memory_s
        self._looks = 0.0
        self._sums = [0.0, 0.0]
        self._last_ns: int | None = None

    def see(self, t_ns: int, azimuth_deg: float, elevation_deg: float) -> None:
        """A gaze as it was found, with its drift."""
        elapsed_s = 0.0 if self._last_ns is None else max(0.0, (t_ns - self._last_ns) / 1e9)
        self._last_ns = t_ns
        keep = math.exp(-elapsed_s / self._memory_s)
        share = min(elapsed_s * 1e3 / LOOK_MS, 1.0)  # a pause is no look
        self._looks = keep * self._looks + share
        for axis, angle in enumerate((azimuth_deg, elevation_deg)):
            most = FARTHEST * self._spread[axis]
            off = min(max(angle - self._middle[axis], -most), most)
            self._sums[axis] = keep * self._sums[axis] + share * off

    def drift_deg(self) -> tuple[float, float]:
        """Azimuth and elevation to take away now."""
        # Variance of the mean of the looks now, and of the middle they are compared with.
        doubt = 1.0 + self._looks / self._known
        azimuth_deg, elevation_deg = (
            DRIFT_DEG**2 * total / (self._looks * DRIFT_DEG**2 + doubt * spread**2)
            for total, spread in zip(self._sums, self._spread, strict=True)
        )
        return _within(azimuth_deg), _within(elevation_deg)


def _within(drift_deg: float) -> float:
    return min(max(drift_deg, -DRIFT_DEG), DRIFT_DEG)
