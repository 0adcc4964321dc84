"""Frames of the emulated cameras on a Unix socket, for whoever would open `/dev/video0` on real glasses.

A client writes which stream it wants (`scene`, `left` or `right`) and a line end. It gets the newest
frame whenever it has taken the last one; what it was too slow for is gone, and shows as a jump in `seq`,
as a V4L2 camera's `sequence` does. A frame is a header and its pixels:

    b"BHF1", stream (0 scene, 1 left eye, 2 right eye), channels (3 BGR, 1 grey), two zero bytes,
    width_px, height_px, seq (uint32), exposure_us (uint32), t_ns (uint64, CLOCK_MONOTONIC at exposure)

all little endian, then width * height * channels bytes, row-major.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path

import numpy as np

from device.emulator.listener import Listener
from device.types import Pixels

HEADER = struct.Struct("<4sBB2xIIIIQ")
MAGIC = b"BHF1"
STREAMS = ("scene", "left", "right")
Message = tuple[bytes, Pixels]


class FrameServer:
    """Listens at `path`; `show` hands a frame to every client and never blocks."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError if nothing can listen there."""
        self._clients: list[_Client] = []
        self._lock = threading.Lock()
        self._listener = Listener(path, self._welcome)

    def watched(self, stream: str) -> bool:
        """Whether anybody would see a frame of it."""
        return any(client.stream == stream for client in self._clients)

    def show(self, stream: str, seq: int, t_ns: int, exposure_us: int, pixels: Pixels) -> None:
        height, width = pixels.shape[:2]
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        number = STREAMS.index(stream)
        header = HEADER.pack(MAGIC, number, channels, width, height, seq, exposure_us, t_ns)
        with self._lock:
            self._clients = clients = [client for client in self._clients if client.alive]
        for client in clients:
            if client.stream == stream:
                client.offer((header, np.ascontiguousarray(pixels)))

    def hang_up(self) -> None:
        """Every client loses its camera, as when a cable comes off; it may open it again."""
        for client in self._clients:
            client.close()

    def close(self) -> None:
        self.hang_up()
        self._listener.close()

    def _welcome(self, connection: socket.socket) -> None:
        client = _Client(connection)
        with self._lock:
            self._clients = [*self._clients, client]
        client.serve()


class _Client:
    """One slot: a newer frame replaces one that still waits."""

    def __init__(self, connection: socket.socket) -> None:
        self.alive = True
        self.stream = ""
        """What it asked for; nothing yet."""
        self._connection = connection
        self._waiting: Message | None = None
        self._changed = threading.Condition()

    def offer(self, message: Message) -> None:
        with self._changed:
            self._waiting = message
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self.alive = False
            self._changed.notify()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        """Until it has gone, or is closed."""
        try:
            with self._connection.makefile("r", encoding="ascii") as asked:
                self.stream = asked.readline().strip()
            while (message := self._next()) is not None:
                header, pixels = message
                self._connection.sendall(header)
                self._connection.sendall(pixels.data)
        except (OSError, ValueError):
            pass  # it has gone, or asked for what is no word
        finally:
            self.alive = False
            self._connection.close()

    def _next(self) -> Message | None:
        with self._changed:
            while self.alive and self._waiting is None:
                self._changed.wait()
            message, self._waiting = self._waiting, None
            return message if self.alive else None
