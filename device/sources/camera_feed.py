"""Cameras fed from a recording or the virtual wearer, in real time and in a process of their own.

For tests, the emulated board and setting-up without hardware. Like a V4L2 camera it has buffers that
are filled whether they are read or not (a frame not read in time is lost and its number is missing), a
stamp from the machine's monotonic clock, and it costs this process no more than the copy of a frame.

The frames of one feed lie in a ring of slots in shared memory, one ring a camera; a line on a pipe
says which slot was filled. `python -m device.sources.camera_feed` is the other process.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from device.errors import LinkError
from device.pipeline import Source
from device.sources.video_camera import Shot
from device.types import EyeFrame, Pixels, SceneFrame

ROLES = ("left", "right", "scene")
SLOTS = 4
SLOT_BYTES = 1920 * 1080 * 3
FILLED = struct.Struct("<QQIII")
"""Number, monotonic ns, width, height, channels of the frame that was just put into its slot."""
STAMP = struct.Struct("<Q")
_RING_BYTES = SLOTS * (SLOT_BYTES + STAMP.size)
EMULATED_S = 600.0
"""The virtual wearer's day, over and over."""


class CameraFeed:
    """One feeding process for the cameras of one source; started with the first camera opened.

    `faults` makes a camera misbehave: `unplugged` or `frozen`, by role.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self.faults: dict[str, str] = {}
        self.ended = False
        """A camera has found the feeding process gone."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._memory: mmap.mmap | None = None
        self._pipes: dict[str, int] = {}

    def open(self, role: str) -> FeedCamera:
        """Start the stream of one camera. Raises LinkError if it is `unplugged`."""
        if self.faults.get(role) == "unplugged":
            raise LinkError("no such camera")
        with self._lock:
            if self._process is None or self.ended or self._process.poll() is not None:
                self._shut()
                self._begin()
        pipe = self._pipes[role]
        while select.select([pipe], [], [], 0)[0] and os.read(pipe, FILLED.size * 64):
            pass  # what an earlier stream left behind is no longer fresh
        self.say(f"{role} on")
        assert self._memory is not None
        return FeedCamera(self, role, pipe, self._memory)

    def say(self, command: str) -> None:
        """Tell the feeding process; raises LinkError if it has ended."""
        process = self._process
        try:
            if process is None or process.stdin is None:
                raise LinkError("camera feed is not running")
            process.stdin.write(f"{command}\n".encode())
            process.stdin.flush()
        except (OSError, ValueError) as error:
            raise LinkError(f"camera feed '{self._source}' has ended") from error

    def close(self) -> None:
        """End the feeding process."""
        with self._lock:
            self._shut()

    def _begin(self) -> None:
        self.ended = False
        with tempfile.TemporaryFile() as file:
            file.truncate(_RING_BYTES * len(ROLES))
            self._memory = mmap.mmap(file.fileno(), _RING_BYTES * len(ROLES))
            ends = {role: os.pipe() for role in ROLES}
            writers = [ends[role][1] for role in ROLES]
            command = [sys.executable, "-m", __name__, self._source, str(file.fileno())]
            self._process = subprocess.Popen(
                [*command, *map(str, writers)],
                stdin=subprocess.PIPE,
                pass_fds=(file.fileno(), *writers),
            )
        for writer in writers:
            os.close(writer)
        self._pipes = {role: ends[role][0] for role in ROLES}

    def _shut(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in self._pipes.values():
            os.close(pipe)
        self._pipes = {}
        self._memory = None  # cameras still open keep the mapping alive


class FeedCamera:
    """A `Driver`: one camera of a feed."""

    def __init__(self, feed: CameraFeed, role: str, pipe: int, memory: mmap.mmap) -> None:
        self._feed, self._role, self._pipe, self._memory = feed, role, pipe, memory
        self._at = ROLES.index(role) * _RING_BYTES

    def grab(self) -> Shot | None:
        """The next frame not yet overwritten. Raises LinkError if the feed is gone or unplugged."""
        fault = self._feed.faults.get(self._role)
        if fault == "unplugged":
            raise LinkError("unplugged")
        if fault == "frozen":
            time.sleep(0.05)
            return None
        try:
            ready, _, _ = select.select([self._pipe], [], [], 0.2)
            line = os.read(self._pipe, FILLED.size) if ready else None
        except (OSError, ValueError) as error:
            raise LinkError("the feed was closed") from error
        if line is None:
            return None
        if len(line) < FILLED.size:
            self._feed.ended = True
            raise LinkError("the feed has ended")
        return self._copy(*FILLED.unpack(line))

    def close(self) -> None:
        """Stop the stream."""
        try:
            self._feed.say(f"{self._role} off")
        except LinkError:
            return  # it is off already

    def _copy(self, seq: int, t_ns: int, width: int, height: int, channels: int) -> Shot | None:
        at = self._at + (seq % SLOTS) * (SLOT_BYTES + STAMP.size)
        size = width * height * channels
        start = at + STAMP.size
        data = bytearray(self._memory[start : start + size])
        if STAMP.unpack_from(self._memory, at)[0] != seq:
            return None  # overwritten before it was read: lost
        shape = (height, width) if channels == 1 else (height, width, channels)
        pixels = np.frombuffer(data, np.uint8).reshape(shape)
        return Shot(monotonic_ns=t_ns, seq=seq, pixels=pixels)


# --- the other process ------------------------------------------------------------------------------


class Rings:
    """Where the feeding process puts frames."""

    def __init__(self, memory: mmap.mmap, pipes: Sequence[int]) -> None:
        self._memory = memory
        self._pipes = dict(zip(ROLES, pipes, strict=True))
        self._seq = dict.fromkeys(ROLES, 0)
        for pipe in pipes:
            os.set_blocking(pipe, False)

    def put(self, role: str, pixels: Pixels) -> None:
        """Fill the next slot and say so; nobody listening is no fault."""
        self._seq[role] += 1
        seq = self._seq[role]
        at = ROLES.index(role) * _RING_BYTES + (seq % SLOTS) * (SLOT_BYTES + STAMP.size)
        STAMP.pack_into(self._memory, at, 0)
        start = at + STAMP.size
        self._memory[start : start + pixels.size] = np.ascontiguousarray(pixels).tobytes()
        STAMP.pack_into(self._memory, at, seq)
        height, width = pixels.shape[:2]
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        line = FILLED.pack(seq, time.monotonic_ns(), width, height, channels)
        try:
            os.write(self._pipes[role], line)
        except BlockingIOError:
            return


class Streams:
    """Which cameras stream now, as the parent says on standard input; ends the process with it."""

    def __init__(self, source: Source) -> None:
        self.on = dict.fromkeys(ROLES, False)
        self._source = source
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            role, _, word = line.strip().partition(" ")
            if role in self.on:
                self.on[role] = word == "on"
            if role == "scene":
                self._source.camera.ready(self.on["scene"])
        os._exit(0)


def open_feed(name: str) -> Source:
    """`emulator:SEED` or the path of one of our sessions."""
    if name.startswith("emulator"):
        from device.emulator.settings import EmulatorSettings
        from device.emulator.source import Emulator

        seed = int(name.partition(":")[2] or 1)
        return Emulator(EmulatorSettings(seed=seed, duration_s=EMULATED_S))
    from device.record import SessionSource

    return SessionSource(Path(name))


def paced(source: Source) -> Iterator[EyeFrame | SceneFrame]:
    """The frames of the source, each when its time has come, over and over."""
    while True:
        begin_ns = time.monotonic_ns()
        for value in source:
            if isinstance(value, EyeFrame | SceneFrame):
                wait_s = (begin_ns + value.t_ns - time.monotonic_ns()) / 1e9
                if wait_s > 0:
                    time.sleep(wait_s)
                yield value


def main(arguments: Sequence[str]) -> None:
    """SOURCE MEMORY-FD LEFT-FD RIGHT-FD SCENE-FD."""
    source = open_feed(arguments[0])
    memory = mmap.mmap(int(arguments[1]), _RING_BYTES * len(ROLES))
    rings, streams = Rings(memory, [int(a) for a in arguments[2:]]), Streams(source)
    for value in paced(source):
        role = "scene" if isinstance(value, SceneFrame) else value.eye
        if streams.on[role]:
            rings.put(role, value.pixels)


if __name__ == "__main__":
    main(sys.argv[1:])
