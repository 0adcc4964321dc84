"""What the wearer and those around them see and feel: camera power, recording light, touch.

A sink. The light is on before the scene camera has power and goes off after it: who sees no light is
not filmed. A moment is felt once it is sure to be kept; a look that only began like one is not. When
capture fails the wearer feels it and the light says so until it works again.
"""

from __future__ import annotations

import threading

from device.glasses.settings import LiveSettings
from device.posture import Posture
from device.sources.board import Board
from device.types import CameraMode, CameraRequest, DeviceEvent, MomentSure, Value
from firmware_bridge import wire_pb2 as wire

MODES = {
    CameraMode.OFF: wire.CAMERA_OFF,
    CameraMode.LOW: wire.CAMERA_LOW,
    CameraMode.FULL: wire.CAMERA_FULL,
}
CAPTURE = ("left", "right", "scene", "board", "recording", "snippets")
"""Parts whose failure means that capture fails, until they are said to have recovered."""
SHORT_MS, LONG_MS = 40, 400


class Wearer:
    """`privacy` may be called from another thread; all else is the loop's."""

    def __init__(self, board: Board, settings: LiveSettings) -> None:
        self._board, self._settings = board, settings
        self._mode = CameraMode.OFF
        self._posture = Posture.NORMAL
        self._private = False
        self._lock = threading.Lock()  # a request of the loop must not undo the switch
        self.failed: set[str] = set()
        """Parts that do not work now."""

    def start(self) -> None:
        """The run begins: eyes on, and the wearer feels it."""
        self._eyes(True)
        self._scene(CameraMode.OFF)
        self._light()
        self._buzz(SHORT_MS)

    def stop(self) -> None:
        """The run is over: everything off, the light last."""
        self._scene(CameraMode.OFF)
        self._eyes(False)
        self.failed.clear()
        self._mode = CameraMode.OFF
        self._light()

    def privacy(self, on: bool) -> None:
        """The switch has moved. In this order: power of the cameras, infrared light, recording light."""
        with self._lock:
            self._private = on
            if on:
                self._mode = CameraMode.OFF
                self._scene(CameraMode.OFF)
                self._eyes(False)
            else:
                self._eyes(True)
            self._light()

    def __call__(self, value: Value) -> None:
        with self._lock:
            self._take(value)

    def _take(self, value: Value) -> None:
        match value:
            case CameraRequest():
                self._request(value.mode)
            case MomentSure():
                self._buzz(SHORT_MS)
            case DeviceEvent(name="fault"):
                self._fault(str(value.value))
            case DeviceEvent(name="recovered"):
                self.failed.discard(str(value.value))
                self._light()
            case DeviceEvent(name="posture"):
                self._posture = Posture(str(value.value))
                if not self._private:
                    self._eyes(True)
                    self._scene(self._mode)

    def _request(self, mode: CameraMode) -> None:
        if self._private:
            return
        self._mode = mode
        if mode is CameraMode.OFF:
            self._scene(mode)
            self._light()
        else:
            self._light()
            self._scene(mode)

    def _fault(self, text: str) -> None:
        part = text.partition(":")[0]
        if part in CAPTURE:
            self.failed.add(part)
        self._buzz(LONG_MS)
        self._light()

    # --- commands -----------------------------------------------------------------------------------

    def _light(self) -> None:
        if self._private or (self._mode is CameraMode.OFF and not self.failed):
            shown = wire.INDICATOR_OFF
        elif self.failed:
            shown = wire.INDICATOR_FAULT
        else:
            shown = wire.INDICATOR_RECORDING
        self._board.want("indicator", "set_indicator", wire.SetIndicator(indicator=shown))

    def _scene(self, mode: CameraMode) -> None:
        scene = self._settings.scene
        if not scene.device:
            return
        rate_hz = scene.rate_hz * self._settings.posture.scene_rate(self._posture)
        if mode is CameraMode.LOW:
            rate_hz = min(rate_hz, self._settings.camera.low_rate_hz)
        message = wire.SetCamera(
            camera=wire.CAMERA_SCENE,
            mode=MODES[mode],
            rate_hz=0 if mode is CameraMode.OFF else max(1, round(rate_hz)),
            width_px=scene.width_px,
            height_px=scene.height_px,
        )
        self._board.want("scene", "set_camera", message)

    def _eyes(self, on: bool) -> None:
        """Cameras first, then their lights."""
        lights: list[tuple[str, wire.SetLeds]] = []
        for eye, camera, side in (
            ("left", wire.CAMERA_EYE_LEFT, wire.EYE_LEFT),
            ("right", wire.CAMERA_EYE_RIGHT, wire.EYE_RIGHT),
        ):
            settings = self._settings.eye_left if eye == "left" else self._settings.eye_right
            if not settings.device:
                continue
            rate_hz = settings.rate_hz * self._settings.posture.eye_rate(self._posture)
            power = wire.SetCamera(
                camera=camera,
                mode=wire.CAMERA_FULL if on else wire.CAMERA_OFF,
                rate_hz=round(rate_hz) if on else 0,
                width_px=settings.width_px,
                height_px=settings.height_px,
            )
            board = self._settings.board
            light = wire.SetLeds(
                eye=side,
                current_ma=board.led_current_ma if on else 0,
                strobe_us=board.led_strobe_us if on else 0,
            )
            self._board.want(f"eye {eye}", "set_camera", power)
            lights.append((eye, light))
        for eye, light in lights:
            self._board.want(f"leds {eye}", "set_leds", light)

    def _buzz(self, duration_ms: int) -> None:
        if not self._private:
            message = wire.Haptic(duration_ms=duration_ms, strength_permille=600)
            self._board.once("haptic", message)
