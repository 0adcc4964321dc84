"""What the cameras are to do now: asked by their threads, changed by the loop and the privacy switch."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from device.glasses.settings import LiveSettings
from device.posture import Posture
from device.sources.camera import SceneCamera
from device.types import CameraMode, EyeFrame, SceneFrame, Value


class Controls:
    """Shared by threads. While `private` no camera runs, whatever else is wanted."""

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self.scene = LiveSceneCamera(self, settings.scene.settle_ms)
        self.private = False
        self._open_since_ns = 0
        self.posture = Posture.NORMAL

    def set_private(self, on: bool, now_ns: int) -> None:
        """Close or open the shutter of all cameras, at that time of the session; their threads notice within
        a frame."""
        if self.private and not on:
            self._open_since_ns = now_ns
        self.private = on
        if on:
            self.scene.ready(False)
        self.changed()

    def admits(self, value: Value) -> bool:
        """Whether the loop may have it. Frames may still be on their way when the switch is closed, and even
        when it is opened again; the switch's own stamp may lie before theirs."""
        if not isinstance(value, EyeFrame | SceneFrame):
            return True
        return not self.private and value.t_ns >= self._open_since_ns

    def set_posture(self, posture: Posture) -> None:
        """Other rates from the next frame on."""
        self.posture = posture
        self.changed()

    def changed(self) -> None:
        """Wake the threads that wait for work."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Until something may have changed."""
        with self._changed:
            self._changed.wait(timeout_s)

    def eye_rate_hz(self, rate_hz: float) -> float:
        """Rate of an eye camera whose normal rate is given; 0 while it must not run."""
        return 0.0 if self.private else rate_hz * self._settings.posture.eye_rate(self.posture)

    def scene_sensor_hz(self) -> float:
        """Rate at which the scene camera runs; 0 while it sleeps. The low mode needs no other: to open a
        camera anew would cost the first frames of a moment."""
        if self.private or self.scene.mode is CameraMode.OFF:
            return 0.0
        return self._settings.scene.rate_hz * self._settings.posture.scene_rate(self.posture)

    def scene_rate_hz(self) -> float:
        """Rate of the frames that are taken of it: in the low mode its cadence at most."""
        sensor_hz = self.scene_sensor_hz()
        low = self.scene.mode is CameraMode.LOW
        return min(sensor_hz, self._settings.camera.low_rate_hz) if low else sensor_hz


class LiveSceneCamera(SceneCamera):
    """The switch of the scene camera as a sink; its thread is woken at once."""

    def __init__(self, controls: Controls, settle_ms: float) -> None:
        super().__init__(start_ns=round(settle_ms * 1e6))
        self._controls = controls

    def take(self, frame: SceneFrame) -> SceneFrame | None:
        """A frame that was on its way when the camera was switched off is not taken."""
        return None if self.mode is CameraMode.OFF else super().take(frame)

    def __call__(self, value: Value) -> None:
        if self._controls.private:
            return
        before = self.mode
        super().__call__(value)
        if self.mode is not before:
            self._controls.changed()


@dataclass(frozen=True, slots=True)
class EyeWanted:
    """`Wanted` of `device/sources/video_camera.py` for an eye camera."""

    controls: Controls
    normal_hz: float

    def sensor_hz(self) -> float:
        return self.controls.eye_rate_hz(self.normal_hz)

    def rate_hz(self) -> float:
        return self.controls.eye_rate_hz(self.normal_hz)

    def wait(self, timeout_s: float) -> None:
        self.controls.wait(timeout_s)

    def settled(self, t_ns: int) -> bool:
        return not self.controls.private

    def every_frame(self) -> bool:
        return self.controls.posture is Posture.NORMAL


@dataclass(frozen=True, slots=True)
class SceneWanted:
    """The same for the scene camera."""

    controls: Controls

    def sensor_hz(self) -> float:
        return self.controls.scene_sensor_hz()

    def rate_hz(self) -> float:
        return self.controls.scene_rate_hz()

    def wait(self, timeout_s: float) -> None:
        self.controls.wait(timeout_s)

    def settled(self, t_ns: int) -> bool:
        return not self.controls.private and self.controls.scene.awake(t_ns)

    def every_frame(self) -> bool:
        full = self.controls.scene.mode is CameraMode.FULL
        return full and self.controls.posture is Posture.NORMAL
