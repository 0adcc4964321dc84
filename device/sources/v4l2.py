"""A V4L2 camera through OpenCV: stamps of the driver, and no longer in the way than it must be.

OpenCV is here already and its licence fits (docs/decisions/); it gives the driver's own time stamp of a
frame, but not its number, so lost frames are counted from the stamps. A stamp that cannot be of the
machine's monotonic clock is replaced by the time of arrival.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

# How long OpenCV's reader waits for a frame, in seconds; its own 10 would hide a frozen camera. Read
# once, when cv2 is loaded.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")

import cv2
import numpy as np

from device.errors import LinkError
from device.sources.video_camera import CameraSettings, Shot

OLDEST_NS = 2_000_000_000
"""A stamp further back than this, or in the future, is of another clock."""


class V4l2Camera:
    """An open V4L2 device, streaming. Raises LinkError if it is missing, busy or another size."""

    def __init__(self, settings: CameraSettings, rate_hz: float) -> None:
        self._path = settings.device
        why = refusal(self._path)
        if why is not None:
            raise LinkError(why)
        self._capture = cv2.VideoCapture(self._path, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise LinkError(f"{self._path}: cannot be opened; another program may be using it")
        self._configure(settings, rate_hz)
        self._rate_hz = rate_hz
        self._seq = 0
        self._last_ns: int | None = None

    def grab(self) -> Shot | None:
        """The next frame; None if it cannot be decoded. Raises LinkError when none comes any more."""
        if not self._capture.grab():
            raise LinkError(f"{self._path}: delivers no frames any more")
        arrival_ns = time.monotonic_ns()
        stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        taken, pixels = self._capture.retrieve()
        if not taken:
            return None
        t_ns = stamp_ns if 0 <= arrival_ns - stamp_ns < OLDEST_NS else arrival_ns
        if self._last_ns is not None:
            self._seq += max(1, round((t_ns - self._last_ns) * self._rate_hz / 1e9))
        self._last_ns = t_ns
        return Shot(monotonic_ns=t_ns, seq=self._seq, pixels=np.asarray(pixels, np.uint8))

    def close(self) -> None:
        """Stop streaming."""
        self._capture.release()

    def _configure(self, settings: CameraSettings, rate_hz: float) -> None:
        capture = self._capture
        if settings.pixel_format:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.pixel_format))
            if settings.pixel_format == "GREY":
                capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width_px)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height_px)
        capture.set(cv2.CAP_PROP_FPS, rate_hz)
        size = (
            round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )
        if size != (settings.width_px, settings.height_px):
            capture.release()
            raise LinkError(
                f"{self._path}: gives {size[0]}x{size[1]} px, asked for "
                f"{settings.width_px}x{settings.height_px}; set width_px and height_px to what it has"
            )


def refusal(path: str) -> str | None:
    """Why this device cannot be opened as a camera, with the remedy; None if nothing speaks against."""
    if not Path(path).exists():
        return f"{path}: no such camera; check the cable and 'ls -l /dev/v4l/by-path'"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path}: no permission; add the user to the group 'video' and log in again"
    return None
