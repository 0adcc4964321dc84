"""The cameras that the settings name, as sensors of the live run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from device.glasses.controls import Controls, EyeWanted, SceneWanted
from device.glasses.settings import LiveSettings
from device.live import Clock, Sensor, Watch
from device.sources.camera_feed import CameraFeed
from device.sources.frame_socket import FrameSocket
from device.sources.v4l2 import V4l2Camera
from device.sources.video_camera import CameraCounts, CameraSensor, CameraSettings, Driver, Wanted
from device.types import Eye

FEED, SOCKET = "feed:", "socket:"


def eyes_on_board(settings: LiveSettings) -> frozenset[Eye]:
    """Eyes whose camera is the microcontroller's own."""
    cameras: tuple[tuple[Eye, CameraSettings], ...] = (
        ("left", settings.eye_left),
        ("right", settings.eye_right),
    )
    return frozenset(eye for eye, camera in cameras if camera.device == "board")


def camera_watches(
    settings: LiveSettings,
    controls: Controls,
    clock: Clock,
    counts: dict[str, CameraCounts],
    feeds: dict[str, CameraFeed],
) -> dict[str, Watch]:
    """A watch for every camera that this processor opens itself."""
    watches: dict[str, Watch] = {}
    cameras: tuple[tuple[str, CameraSettings], ...] = (
        ("left", settings.eye_left),
        ("right", settings.eye_right),
        ("scene", settings.scene),
    )
    for role, camera in cameras:
        if camera.device in ("", "board"):
            continue
        wanted: Wanted = (
            SceneWanted(controls) if role == "scene" else EyeWanted(controls, camera.rate_hz)
        )
        counts[role] = CameraCounts()
        sensor = sensor_maker(role, camera, wanted, clock, counts[role], feeds)
        watches[role] = Watch(open=sensor, expected=is_wanted(wanted))
    return watches


def is_wanted(wanted: Wanted) -> Callable[[], bool]:
    """Whether frames should be coming now."""
    return lambda: wanted.rate_hz() > 0


def sensor_maker(
    role: str,
    camera: CameraSettings,
    wanted: Wanted,
    clock: Clock,
    counts: CameraCounts,
    feeds: dict[str, CameraFeed],
) -> Callable[[], Sensor]:
    """What opens that camera, anew after each loss."""

    def driver(rate_hz: float) -> Driver:
        if camera.device.startswith(FEED):
            return feeds[camera.device].open(role)
        if camera.device.startswith(SOCKET):
            return FrameSocket(Path(camera.device.removeprefix(SOCKET)), role)
        return V4l2Camera(camera, rate_hz)

    if camera.device.startswith(FEED) and camera.device not in feeds:
        feeds[camera.device] = CameraFeed(camera.device.removeprefix(FEED))
    return lambda: CameraSensor(role, driver, wanted, clock, camera, counts)
