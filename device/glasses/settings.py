"""`glasses.toml`: every setting of the live run beside those of the loop (docs/config.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from device.__main__ import Settings
from device.posture import PostureSettings
from device.record import RecordSettings
from device.sources.board import BoardSettings
from device.sources.video_camera import CameraSettings
from device.types import SceneGeometry
from device.watchdog import WatchdogSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassesSettings:
    """Who wears the glasses and where their files are."""

    data: str = "~/beheld"
    """Folder of kept snippets (`spool/`) and sessions (`sessions/`)."""
    wearer: str = "unknown"
    """Name of the wearer in sessions and moments."""
    zone: str = "Etc/UTC"
    """IANA time zone in which the wearer's day is told."""
    home: str = ""
    """Folder of the device's keys and pairing; empty: `$BEHELD_HOME`, else `~/.beheld`."""
    seal: str = "auto"
    """What is kept is sealed to the paired server's key or to one's own (`beheld seal key`): `auto` if \
there is one, `required` refuses to start without, `off` writes in clear."""
    calibration: str = ""
    """The wearer's calibration (`beheld calibrate`); empty: only the button opens moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneCameraSettings(CameraSettings):
    """The scene camera: what the wearer has before them."""

    width_px: int = 640
    """Width of the frames asked for."""
    height_px: int = 480
    """Height of the frames asked for."""
    rate_hz: float = 30.0
    """Rate in the posture `normal`."""
    field_deg: float = 65.0
    """Horizontal field of view; gaze is drawn and cut out by it."""
    settle_ms: float = 80.0
    """Frames so soon after power-on are not used: the exposure is still settling."""

    def __post_init__(self) -> None:
        CameraSettings.__post_init__(self)
        if not 20 <= self.field_deg <= 150:
            raise ValueError("scene.field_deg must be 20 to 150")

    def geometry(self) -> SceneGeometry:
        """A pinhole camera of that field, without distortion."""
        width, height = self.width_px, self.height_px
        if self.rotate_deg in (90, 270):
            width, height = height, width
        focal_px = width / 2 / math.tan(math.radians(self.field_deg / 2))
        matrix = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]])
        return SceneGeometry(width_px=width, height_px=height, camera_matrix=matrix)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSettings:
    """What must hold before a run starts (`beheld doctor` prints the same checks)."""

    disk_mb: int = 500
    """Least free space in the data folder."""
    battery: float = 0.05
    """Least charge (0..1), if the microcontroller tells one."""
    clock_after: str = "2026-01-01"
    """A clock before this day is not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings(RecordSettings):
    """The recording of the whole session (MCAP) that can be replayed later."""

    enabled: bool = False
    """Record it. It holds the video of the eyes as well; moments are kept either way."""
    erase_s: float | None = 5.0
    eye_rate_hz: float = 60.0
    """Nominal rate of the eye cameras: bounds the frames between keyframes and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """The live page and the metrics on a port of the glasses themselves."""

    enabled: bool = True
    """Serve them."""
    address: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` shows the page to everyone who has the token and is near."""
    port: int = 8087
    """0 takes a free one."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError("page.port must be 0 to 65535")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The log: one JSON object a line on standard error, nothing of what was seen in it."""

    level: str = "info"
    """`debug`, `info`, `warning` or `error`."""

    def __post_init__(self) -> None:
        if self.level not in ("debug", "info", "warning", "error"):
            raise ValueError(f"log.level is {self.level!r}; debug, info, warning or error")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSettings(Settings):
    """Everything in `glasses.toml`."""

    glasses: GlassesSettings = field(default_factory=GlassesSettings)
    eye_left: CameraSettings = field(default_factory=CameraSettings)
    eye_right: CameraSettings = field(default_factory=CameraSettings)
    scene: SceneCameraSettings = field(default_factory=SceneCameraSettings)
    board: BoardSettings = field(default_factory=BoardSettings)
    start: StartSettings = field(default_factory=StartSettings)
    watchdog: WatchdogSettings = field(default_factory=WatchdogSettings)
    posture: PostureSettings = field(default_factory=PostureSettings)
    session: SessionSettings = field(default_factory=SessionSettings)
    page: PageSettings = field(default_factory=PageSettings)
    log: LogSettings = field(default_factory=LogSettings)
