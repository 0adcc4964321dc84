"""The switch of the scene camera, shared by the sink that decides and the source that obeys."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from device.types import CameraMode, CameraRequest, Pixels, SceneFrame, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettings:
    """What the scene camera does at low cost, while a look is being checked."""

    low_height_px: int = 240
    """Rows it reads at least: whole rows and columns are skipped by powers of two down to this. The
    attention network's views need no more, and see the same pixels as in a full frame."""
    low_rate_hz: float = 10.0
    """Frames a second: the cadence of the attention network."""

    def __post_init__(self) -> None:
        if not 96 <= self.low_height_px <= 4320:
            raise ValueError(f"camera.low_height_px is {self.low_height_px}, must be 96 to 4320")
        if not 0 < self.low_rate_hz <= 1000:
            raise ValueError(f"camera.low_rate_hz is {self.low_rate_hz}, must be above 0, to 1000")


class SceneCamera:
    """What the scene camera was told last. A source asks `awake(t_ns)` before it makes a frame.

    In mode LOW it reads fewer rows and columns, less often: the loop passes every frame through `take`,
    so a recorded full frame becomes what the camera would have delivered, and a driver that cannot set
    the mode in the sensor need not. A frame no larger than the low mode's is taken as it is.

    Going from off to on takes `start_ns`: a rolling-shutter sensor needs a few frames before its
    exposure has settled.
    """

    def __init__(
        self,
        *,
        start_ns: int = 80_000_000,
        mode: CameraMode = CameraMode.OFF,
        settings: CameraSettings | None = None,
    ) -> None:
        self.mode = mode
        self.settings = settings or CameraSettings()
        self._start_ns = start_ns
        self._ready_ns = 0 if mode is not CameraMode.OFF else None
        self._due_ns: int | None = None  # of the low mode's cadence, which runs in every mode
        self.asked = 0
        """Frames the source had, taken or not: it asks once for each."""

    def awake(self, t_ns: int) -> bool:
        """Whether the camera is powered and settled at `t_ns`."""
        self.asked += 1
        return self._ready_ns is not None and t_ns >= self._ready_ns

    def ready(self, awake: bool) -> None:
        """Switch it at once, for a source that is told from outside the loop."""
        self.mode = CameraMode.FULL if awake else CameraMode.OFF
        self._ready_ns = 0 if awake else None

    def due(self, t_ns: int) -> bool:
        """Whether a frame at `t_ns` would be taken: in mode LOW only those of its cadence are."""
        return self.mode is not CameraMode.LOW or self._on_beat(t_ns)

    def take(self, frame: SceneFrame) -> SceneFrame | None:
        """What the camera delivers of this full frame in its present mode; None between two frames."""
        if not self.due(frame.t_ns):
            return None
        if self._on_beat(frame.t_ns):
            due_ns = frame.t_ns if self._due_ns is None else self._due_ns
            self._due_ns = max(due_ns + self._period_ns, frame.t_ns)
        if self.mode is not CameraMode.LOW:
            return frame
        pixels = skipped(frame.pixels, self.settings.low_height_px)
        return frame if pixels is frame.pixels else dataclasses.replace(frame, pixels=pixels)

    def __call__(self, value: Value) -> None:
        """As a sink: follow the `CameraRequest`s that pass."""
        if not isinstance(value, CameraRequest):
            return
        if value.mode is CameraMode.OFF:
            self._ready_ns = None
        elif self.mode is CameraMode.OFF:
            self._ready_ns = value.t_ns + self._start_ns
            self._due_ns = None
        self.mode = value.mode

    def _on_beat(self, t_ns: int) -> bool:
        """As in the attention stage: a frame a fifth of the period early still counts."""
        return self._due_ns is None or t_ns >= self._due_ns - self._period_ns // 5

    @property
    def _period_ns(self) -> int:
        return round(1e9 / self.settings.low_rate_hz)


def skipped(pixels: Pixels, least_rows: int) -> Pixels:
    """Every second, fourth, ... row and column of (H, W, 3) uint8; so many rows are left at least."""
    step = 1
    while pixels.shape[0] // (2 * step) >= least_rows:
        step *= 2
    return pixels if step == 1 else np.ascontiguousarray(pixels[::step, ::step])


class AlwaysOn(SceneCamera):
    """A camera nobody can switch off: the always-on variant, and recordings being converted."""

    def __init__(self) -> None:
        super().__init__(mode=CameraMode.FULL)

    def __call__(self, value: Value) -> None:
        return
