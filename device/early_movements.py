"""Eye movements sooner than the events stage tells them, and less surely: for what can be taken back.

A label is the better the more of what follows it has seen (docs/eye-movements.md has what the delay is
worth). To wake the camera for a look, and to ask the attention network, time is worth more: both may be wrong
for a moment. So they classify the gaze for themselves, at a shorter delay.
"""

from __future__ import annotations

from device.eye_movements import EventSettings, EyeMovements, Labelled
from device.types import EyeMovement, Gaze


class EarlyMovements:
    """The eye movements a stage goes by: classified here, `delay_ms` after their light at the latest.

    With a delay of 0 those of the events stage, as late as they come.
    """

    def __init__(self, delay_ms: float) -> None:
        self._own = EyeMovements(EventSettings(delay_ms=delay_ms)) if delay_ms else None

    def take(self, value: Gaze | EyeMovement) -> list[EyeMovement]:
        """A gaze sample, or what the events stage says; what is now due, oldest first."""
        if isinstance(value, EyeMovement):
            return [value] if self._own is None else []
        if self._own is None:
            return []
        samples = self._own.push(
            value.t_ns, value.azimuth_deg, value.elevation_deg, value.confidence
        )
        return [movement_of(sample) for sample in samples]


def movement_of(sample: Labelled) -> EyeMovement:
    """The sample as a value of the loop."""
    return EyeMovement(
        t_ns=sample.t_ns,
        movement=sample.movement,
        since_ns=sample.since_ns,
        azimuth_deg=sample.x_deg,
        elevation_deg=sample.y_deg,
        speed_deg_s=sample.speed_deg_s,
        confidence=sample.confidence,
    )
