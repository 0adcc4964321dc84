"""A look: the eyes stay in one place, through small refixations, glances away and blinks.

An eye movement classifier splits what a person would call one look at every refixation. Here the
pieces are joined again, online: a fixation or pursuit that starts near where the last one was, soon
enough, continues the look. A pursuit carries the place along.
"""

from __future__ import annotations

import math

from device.types import EyeMovement, Movement

FOLLOW_S = 0.08
"""Time constant with which the place of a look follows the eye."""

STEADY = (Movement.FIXATION, Movement.PURSUIT)


class Look:
    """Follows the eyes sample by sample; constant memory."""

    def __init__(self, *, same_place_deg: float, glance_ns: int) -> None:
        self._same_place_deg = same_place_deg
        self._glance_ns = glance_ns
        self._place: tuple[float, float] | None = None
        self._held_ns = 0
        self.start_ns = 0
        """When the present look began."""

    def push(self, value: EyeMovement) -> None:
        """Take one sample. One without a steady eye leaves the look to its patience."""
        if value.movement not in STEADY or not math.isfinite(value.azimuth_deg):
            return
        here = (value.azimuth_deg, value.elevation_deg)
        gone_ns = value.t_ns - self._held_ns
        if self._place is None or gone_ns > self._glance_ns:
            self._begin(value, here)
        elif math.dist(here, self._place) > self._same_place_deg:
            # Elsewhere: a glance, until it has lasted longer than one.
            return
        self._follow(here, (value.t_ns - self._held_ns) / 1e9)
        self._held_ns = value.t_ns

    def dwell_ms(self, t_ns: int) -> float:
        """How long the present look has lasted; 0 when the eyes have been away for too long."""
        if self._place is None or t_ns - self._held_ns > self._glance_ns:
            return 0.0
        return (self._held_ns - self.start_ns) / 1e6

    def _begin(self, value: EyeMovement, here: tuple[float, float]) -> None:
        # The movement under way may have begun before the classifier was sure of it.
        self.start_ns = max(value.since_ns, self._held_ns if self._place else 0)
        self._place = here

    def _follow(self, here: tuple[float, float], took_s: float) -> None:
        """The place moves with the eye slowly enough for a refixation, fast enough for a pursuit."""
        old_x, old_y = self._place or here
        share = min(1.0, took_s / FOLLOW_S)
        self._place = (old_x + share * (here[0] - old_x), old_y + share * (here[1] - old_y))
