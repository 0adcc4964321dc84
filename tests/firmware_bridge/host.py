"""The host's side of a line in tests: the link on a socket, which may damage what passes."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from device.emulator.firmware import Done, Firmware, deed
from firmware_bridge.link import Answered, Event, Link, LinkSettings, State, Telemetry

SETTINGS = LinkSettings(retry_after_ms=30, time_every_ms=20)


class Line(Protocol):
    """Bytes out and in; `recv` raises BlockingIOError when nothing is there."""

    def send(self, data: bytes, /) -> int: ...
    def recv(self, size: int, /) -> bytes: ...


class Talk:
    """Our link on a line."""

    def __init__(self, line: Line, *, damage: float = 0.0, link: Link | None = None) -> None:
        self.line = line
        self.link = link or Link(settings=SETTINGS)
        self.damage = damage
        self._rng = random.Random(7)
        self.seen: list[Event] = []
        self.link.open(time.monotonic_ns())

    def run(self, seconds: float) -> Iterator[Event]:
        """What happens in that time; all of it is also kept in `seen`."""
        end_ns = time.monotonic_ns() + round(seconds * 1e9)
        while (now_ns := time.monotonic_ns()) < end_ns:
            for event in [*self.link.tick(now_ns), *self.step()]:
                self.seen.append(event)
                yield event

    def step(self) -> list[Event]:
        """One exchange of bytes."""
        if out := self.link.outgoing():
            self.line.send(self._through(out))
        try:
            chunk = self.line.recv(65536)
        except BlockingIOError:
            time.sleep(0.001)
            return []
        return self.link.receive(self._through(chunk), time.monotonic_ns())

    def until(self, done: Callable[[], bool]) -> None:
        """Let the line work until that is so; fails after twenty seconds."""
        for _ in range(400):
            if done():
                return
            list(self.run(0.05))
        raise AssertionError(f"it did not happen; seen: {self.seen[-20:]}")

    def until_ready(self) -> None:
        self.until(lambda: self.link.state is State.READY)

    def command(self, **body: object) -> Answered:
        """Send one and wait for its end."""
        number = self.link.command(time.monotonic_ns(), **body)

        def answers() -> list[Answered]:
            return [e for e in self.seen if isinstance(e, Answered) and e.sequence == number]

        self.until(lambda: bool(answers()))
        return answers()[-1]

    def said(self, kind: str) -> list[Any]:
        """The bodies of that kind that came so far."""
        packets = [e.packet for e in self.seen if isinstance(e, Telemetry)]
        return [getattr(p, kind) for p in packets if p.WhichOneof("body") == kind]

    def _through(self, chunk: bytes) -> bytes:
        rng, damage = self._rng, self.damage
        if not damage:
            return chunk
        return bytes(rng.randrange(256) if rng.random() < damage else byte for byte in chunk)


class Port:
    """A terminal, opened as a host opens it; raises OSError once it is hung up."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def send(self, data: bytes, /) -> int:
        return os.write(self._fd, data)

    def recv(self, size: int, /) -> bytes:
        data = os.read(self._fd, size)
        if not data:
            raise OSError("hung up")
        return data

    def close(self) -> None:
        os.close(self._fd)


class Host(Talk):
    """The C board as a process, on a socket; use as a context manager."""

    def __init__(self, program: Path, *, damage: float = 0.0, drift_ppm: float = 0.0) -> None:
        self.board = Firmware(program, drift_ppm=drift_ppm)
        super().__init__(self.board.line, damage=damage)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.board.close()
        assert self.board.process.returncode == 0  # the sanitizers found nothing

    def deeds(self) -> list[Done]:
        """What the board has done since the last call."""
        found = []
        while True:
            try:
                found.append(deed(self.board.hardware.recv(4096)))
            except BlockingIOError:
                return found
