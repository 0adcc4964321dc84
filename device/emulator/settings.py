"""Settings of the virtual wearer. Every number is ours unless a source stands beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Scenario = Literal["demo", "ordinary_day", "calibration"]


@dataclass(frozen=True, kw_only=True)
class EmulatorSettings:
    """What a session of the virtual wearer is made of. The same settings give the same bytes."""

    seed: int = 1
    duration_s: float = 240.0
    scenario: str = "demo"
    """`demo`: rich in attended things; `ordinary_day`: some twenty an hour; `calibration`: a grid of dots."""
    eyes: bool = True
    """Render eye images. False: true gaze with noise instead, for cheap runs."""
    eye_hz: float = 60.0
    eye_px: int = 192
    """Side of the square eye image, 64 to 640."""
    gaze_hz: float = 60.0
    """Rate of `Gaze` where `eyes` is False."""
    gaze_noise_deg: float = 0.35
    """Sample noise (standard deviation) of that gaze; a slow error twice as large comes on top."""
    scene_hz: float = 30.0
    scene_width_px: int = 640
    scene_height_px: int = 480
    scene_field_deg: float = 65.0
    """Horizontal field of view of the scene camera."""
    imu_hz: float = 100.0
    blinks_per_min: float = 17.0
    """At rest (17: Bentivoglio et al. 1997); reading has fewer, mind wandering more."""
    slippage_mm: float = 0.6
    """How far (standard deviation) the glasses creep on the nose within minutes."""
    eye_noise: float = 1.0
    """Sensor noise of the eye cameras as a multiple of the default."""
    scene_noise: float = 1.0
    start_utc: str = "2026-03-02T08:00:00+00:00"

    def __post_init__(self) -> None:
        if self.scenario not in get_args(Scenario):
            known = ", ".join(get_args(Scenario))
            raise ValueError(f"scenario '{self.scenario}' is unknown; known here: {known}")
        for name in ("duration_s", "eye_hz", "gaze_hz", "scene_hz", "imu_hz", "blinks_per_min"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}, must be above 0")
        if not 64 <= self.eye_px <= 640:
            raise ValueError(f"eye_px is {self.eye_px}, must be 64 to 640")
        if not (160 <= self.scene_width_px <= 1920 and 120 <= self.scene_height_px <= 1080):
            raise ValueError("the scene must be between 160x120 and 1920x1080 px")
        if not 30.0 <= self.scene_field_deg <= 100.0:
            raise ValueError(f"scene_field_deg is {self.scene_field_deg}, must be 30 to 100")
