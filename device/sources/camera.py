"""The switch of the scene camera, shared by the sink that decides and the source that obeys."""

from __future__ import annotations

from device.types import CameraMode, CameraRequest, Value


class SceneCamera:
    """What the scene camera was told last. A source asks `awake(t_ns)` before it makes a frame.

    Going from off to on takes `start_ns`: a rolling-shutter sensor needs a few frames before its
    exposure has settled.
    """

    def __init__(self, *, start_ns: int = 80_000_000, mode: CameraMode = CameraMode.OFF) -> None:
        self.mode = mode
        self._start_ns = start_ns
        self._ready_ns = 0 if mode is not CameraMode.OFF else None
        self.asked = 0
        """Frames the source had, taken or not: it asks once for each."""

    def awake(self, t_ns: int) -> bool:
        """Whether a frame taken at `t_ns` exists."""
        self.asked += 1
        return self._ready_ns is not None and t_ns >= self._ready_ns

    def ready(self, awake: bool) -> None:
        """Switch it at once, for a source that is told from outside the loop."""
        self.mode = CameraMode.FULL if awake else CameraMode.OFF
        self._ready_ns = 0 if awake else None

    def __call__(self, value: Value) -> None:
        """As a sink: follow the `CameraRequest`s that pass."""
        if not isinstance(value, CameraRequest):
            return
        if value.mode is CameraMode.OFF:
            self._ready_ns = None
        elif self.mode is CameraMode.OFF:
            self._ready_ns = value.t_ns + self._start_ns
        self.mode = value.mode


class AlwaysOn(SceneCamera):
    """A camera nobody can switch off: the always-on variant, and recordings being converted."""

    def __init__(self) -> None:
        super().__init__(mode=CameraMode.FULL)

    def __call__(self, value: Value) -> None:
        return
