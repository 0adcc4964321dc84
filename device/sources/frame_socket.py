"""A camera that is a Unix socket: the emulated glasses' cameras (`device/emulator/frames.py` has the format).

It behaves like V4L2: stamps are CLOCK_MONOTONIC at exposure, a frame nobody took in time is gone, and
`seq` jumps over it.
"""

from __future__ import annotations

import select
import socket
from pathlib import Path

import numpy as np

from device.emulator.frames import HEADER, MAGIC
from device.errors import LinkError
from device.sources.video_camera import Shot

WAIT_S = 0.2
HALF_S = 2.0
"""A frame that has begun must be whole by then."""


class FrameSocket:
    """A `Driver`: one stream (`scene`, `left` or `right`) of the emulated cameras.

    A camera whose rail is off sends nothing and stays connected. Raises LinkError when it cannot be
    opened, hangs up, or sends what is not a frame.
    """

    def __init__(self, path: Path, stream: str = "scene") -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(HALF_S)
        try:
            self._socket.connect(str(path))
            self._socket.sendall(f"{stream}\n".encode())
        except OSError as error:
            self._socket.close()
            raise LinkError(
                f"{path}: no emulated camera answers ({error.strerror}); start 'beheld emulate --serial'"
            ) from error

    def grab(self) -> Shot | None:
        """The next frame, or None if none begins within a fraction of a second."""
        try:
            ready, _, _ = select.select([self._socket], [], [], WAIT_S)
        except (OSError, ValueError) as error:
            raise LinkError(f"{self.path}: closed") from error
        if not ready:
            return None
        head = HEADER.unpack(self._exactly(HEADER.size))
        magic, _, channels, width, height, seq, exposure_us, t_ns = head
        size = width * height * channels
        if magic != MAGIC or channels not in (1, 3) or size > 1 << 26:
            raise LinkError(f"{self.path}: what it sends is not a frame")
        shape = (height, width) if channels == 1 else (height, width, channels)
        pixels = np.frombuffer(self._exactly(size), np.uint8).reshape(shape)
        return Shot(monotonic_ns=t_ns, seq=seq, pixels=pixels, exposure_us=exposure_us)

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, count: int) -> bytearray:
        content = bytearray(count)
        view = memoryview(content)
        while view:
            try:
                got = self._socket.recv_into(view)
            except OSError as error:
                raise LinkError(f"{self.path}: the camera is silent ({error})") from error
            if not got:
                raise LinkError(f"{self.path}: the camera has hung up")
            view = view[got:]
        return content
