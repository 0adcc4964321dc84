"""A camera that is a Unix socket: the emulated glasses' cameras (`device/emulator/frames.py` has the format).

It behaves like V4L2: stamps are CLOCK_MONOTONIC at exposure, a frame nobody took in time is gone, and
`seq` jumps over it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.emulator.frames import HEADER, MAGIC, STREAMS
from device.errors import LinkError
from device.types import Pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SocketFrame:
    """One frame: BGR (H, W, 3) of the scene, grey (H, W) of an eye; uint8."""

    stream: str
    """`scene`, `left` or `right`."""
    t_ns: int
    """Of the machine's monotonic clock."""
    seq: int
    exposure_us: int
    pixels: Pixels


class FrameSocket:
    """Iterate over its frames. `timeout_s` bounds the wait for one; None waits for ever.

    A camera whose rail is off sends nothing and stays connected. Raises LinkError when it cannot be
    opened, falls silent for `timeout_s`, hangs up, or sends what is not a frame.
    """

    def __init__(self, path: Path, timeout_s: float | None = None) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise LinkError(
                f"{path}: no emulated camera answers ({error.strerror}); start `beheld emulate --serial`"
            ) from error
        self._socket.settimeout(timeout_s)

    def __iter__(self) -> Iterator[SocketFrame]:
        while True:
            yield self.read()

    def read(self) -> SocketFrame:
        """The next frame."""
        head = HEADER.unpack(self._exactly(HEADER.size))
        magic, number, channels, width, height, seq, exposure_us, t_ns = head
        size = width * height * channels
        if magic != MAGIC or number >= len(STREAMS) or channels not in (1, 3) or size > 1 << 26:
            raise LinkError(f"{self.path}: what it sends is not a frame")
        shape = (height, width) if channels == 1 else (height, width, channels)
        pixels = np.frombuffer(self._exactly(size), np.uint8).reshape(shape)
        return SocketFrame(
            stream=STREAMS[number], t_ns=t_ns, seq=seq, exposure_us=exposure_us, pixels=pixels
        )

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
