"""Processes that a bench starts and kills: forked, so that none pays for its imports again.

The parent must have no threads of its own. Nothing here ends a process it did not start.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn

_START_S = 60.0
CRASHES_BEFORE = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}
)
"""Audit events (sys.addaudithook) that change a disk: before any of them the power may go."""


@dataclass(slots=True)
class Child:
    """A forked process. `said` is the read end of the pipe that it may speak through."""

    pid: int
    said: int
    status: int | None = None

    def line(self, timeout_s: float = _START_S) -> str:
        """The next line it says; empty if it ended or said nothing in time."""
        text = bytearray()
        while select.select([self.said], [], [], timeout_s)[0]:
            byte = os.read(self.said, 1)
            if byte in (b"", b"\n"):
                break
            text += byte
        return text.decode()

    def kill(self) -> None:
        """SIGKILL, unless it has ended already."""
        if self.running():
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def running(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is None

    def wait(self) -> int:
        """How it ended, as `waitpid` says it."""
        if self.status is None:
            self.status = os.waitpid(self.pid, 0)[1]
        if self.said >= 0:
            os.close(self.said)
            self.said = -1
        return self.status

    @property
    def was_killed(self) -> bool:
        return self.status is not None and os.WIFSIGNALED(self.status)


def fork(run: Callable[[Callable[[str], None]], object]) -> Child:
    """Run a function in a process of its own; it is given `say(line)`. Its stderr is dropped."""
    sys.stdout.flush()
    sys.stderr.flush()
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return Child(pid, read)
    code = 1
    try:
        os.close(read)
        if "BEHELD_BENCH_STDERR" not in os.environ:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        run(lambda line: (os.write(write, f"{line}\n".encode()), None)[1])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # without the parent's exit handlers and buffers
    raise AssertionError


def crash_after(count: int) -> Callable[[], None]:
    """Arm this process to kill itself before its `count`-th change of a disk; counts once called."""
    armed, left = [False], [count]

    def hook(event: str, _: tuple[Any, ...]) -> None:
        if armed[0] and event in CRASHES_BEFORE:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)

    def arm() -> None:
        armed[0] = True

    return arm


class Announcing(uvicorn.Server):
    """Says its port once it listens."""

    def __init__(self, config: uvicorn.Config, say: Callable[[str], None]) -> None:
        super().__init__(config)
        self._say = say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._say(str(self.servers[0].sockets[0].getsockname()[1]))


def serve(app: Any, say: Callable[[str], None]) -> None:
    """Serve an ASGI application on a free port, as `beheld serve` does, until killed."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="critical", access_log=False, lifespan="on"
    )
    Announcing(config, say).run()
