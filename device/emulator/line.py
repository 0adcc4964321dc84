"""The serial line of the emulated board: a pseudo-terminal under a fixed path, and what can happen to it."""

from __future__ import annotations

import os
import pty
import time
import tty
from pathlib import Path

import numpy as np

QUEUE_BYTES = 1 << 14
"""So much a USB line holds back for a program that reads too slowly; then the board has to wait. More would
keep a press of the button behind seconds of eye pictures."""
GONE_NS = 3_000_000_000
"""For a program that has taken nothing for so long the board does not wait: what it says is lost."""
PACED_QUEUE_BYTES = 4096
"""With a baud rate: so much the board may be ahead of the line before it has to wait. Such a line has
flow control (RTS/CTS), as any at these rates should: the board also waits for a host that does not read."""


RESTED_NS = 20_000_000


class Line:
    """Bytes to and from whoever opens `path`. Calls come from one thread."""

    def __init__(
        self, path: Path, *, baud: int | None = None, noise: float = 0.0, seed: int = 1
    ) -> None:
        self.path = path
        self.noise = noise
        """Share of bytes spoilt, both ways."""
        self.overrun_bytes = 0
        """Bytes lost because nobody read them in time."""
        self._baud = baud
        self._rng = np.random.default_rng([seed, 90])
        self._queue = bytearray()
        self._master = self._slave = -1
        self._paid_ns = self._taken_ns = 0
        self.plug()

    @property
    def plugged(self) -> bool:
        return self._master >= 0

    def fileno(self) -> int:
        """Of our end; only while plugged."""
        return self._master

    def plug(self) -> None:
        """A new terminal under the same path; the link is replaced in one step."""
        if self.plugged:
            return
        self._master, self._slave = pty.openpty()
        # Our own open end keeps the terminal alive while the host opens and closes its own.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(self._slave))
        fresh.replace(self.path)

    def unplug(self) -> None:
        """The path is gone, and whoever has it open is hung up on."""
        if not self.plugged:
            return
        self.path.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1
        self._queue.clear()

    def wants(self) -> bool:
        """Whether the board may send more now, or has to wait."""
        if self._baud is not None:
            return len(self._queue) < PACED_QUEUE_BYTES
        gone = time.monotonic_ns() - self._taken_ns > GONE_NS
        return gone or not self.plugged or len(self._queue) < QUEUE_BYTES

    def send(self, chunk: bytes) -> None:
        """Bytes of the board on their way to the host."""
        if not self.plugged:
            return
        if self._baud is None and len(self._queue) >= QUEUE_BYTES:
            self.overrun_bytes += len(chunk)
            return
        self._queue += self._spoilt(chunk)

    def pump(self, now_ns: int) -> bool:
        """Let the line carry what it can by now; True if something still waits."""
        if not self.plugged or not self._queue:
            self._paid_ns = self._taken_ns = now_ns
            return False
        upto = len(self._queue)
        if self._baud is not None:
            upto = min(upto, (now_ns - self._paid_ns) * self._baud // 10_000_000_000)
            # Time that passed while the line rested is gone, but for what one turn of ours takes.
            self._paid_ns = max(
                self._paid_ns + upto * 10_000_000_000 // self._baud, now_ns - RESTED_NS
            )
        try:
            while upto > 0:
                written = os.write(self._master, self._queue[:upto])
                del self._queue[:written]
                self._taken_ns = now_ns
                upto -= written
        except BlockingIOError:
            pass  # the host does not read: the line rests
        except OSError:
            self._queue.clear()
        return bool(self._queue)

    def receive(self) -> bytes:
        """What the host has sent by now."""
        try:
            return self._spoilt(os.read(self._master, 65536)) if self.plugged else b""
        except OSError:  # nothing there
            return b""

    def _spoilt(self, chunk: bytes) -> bytes:
        if self.noise <= 0:
            return chunk
        content = np.frombuffer(chunk, np.uint8).copy()
        hit = self._rng.random(len(content)) < self.noise
        content[hit] ^= self._rng.integers(1, 256, int(hit.sum()), dtype=np.uint8)
        return content.tobytes()
