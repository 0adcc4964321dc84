"""Settings, camera switches and counts of the emulated board."""

from __future__ import annotations

from dataclasses import dataclass

from device.sources.camera import CameraSettings
from device.types import CameraMode
from firmware_bridge import wire_pb2 as wire

LOW_ROWS = CameraSettings().low_height_px
"""What the scene camera's low mode reads at least."""
MODES: dict[int, CameraMode] = {
    wire.CAMERA_OFF: CameraMode.OFF,
    wire.CAMERA_LOW: CameraMode.LOW,
    wire.CAMERA_FULL: CameraMode.FULL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardSettings:
    eye_px: int = 96
    """Side of the eye images on the line, 32 to 320; what the camera draws is scaled to it."""
    baud: int | None = None
    """None: as fast as USB; 921600: a serial line, on which eye images must be few and small."""
    noise: float = 0.0
    drift_ppm: float = 0.0
    charge: float = 0.95
    battery_mwh: float | None = None
    """None: as in the energy table."""
    seed: int = 1


@dataclass(slots=True)
class CameraSwitch:
    """How one camera was set last."""

    mode: int = wire.CAMERA_OFF
    rate_hz: int = 0
    width_px: int = 0
    height_px: int = 0
    due_ns: int = 0

    @property
    def camera_mode(self) -> CameraMode:
        """As the glasses' own loop calls it."""
        return MODES.get(self.mode, CameraMode.OFF)

    def wants(self, t_ns: int) -> bool:
        """Whether a frame is due; the rate thins the sensor's own."""
        if self.mode == wire.CAMERA_OFF or t_ns < self.due_ns:
            return False
        if self.rate_hz:
            period_ns = 1_000_000_000 // self.rate_hz
            # Half a millisecond of grace: 60 Hz must take every frame of a 60 Hz sensor.
            self.due_ns = max(self.due_ns, t_ns - period_ns) + period_ns - 500_000
        return True


@dataclass(slots=True)
class Counts:
    """What the emulated sensors did; the host's own counts must fit."""

    eye_frames: int = 0
    scene_frames: int = 0
    imu_samples: int = 0
    dropped: int = 0
    """Readings the board had no time for, or frames that could not be drawn in time."""
    restarts: int = 0
    died: int = 0
    """Events that the host had not confirmed when a board restarted, over all restarts."""
    died_presses: int = 0
    """Those of them that were the button going down or up."""
    haptics: int = 0
