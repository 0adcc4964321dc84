"""The client of `beheld bench server`: requests made beforehand, sent over kept connections.

What is timed is the servers: every byte of a request, its hashes and signatures are made before. One
thread a connection; each does one job after the other, and a job's requests in their order.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

Job = Callable[[], Generator["Request", "Answer", None]]
"""Makes the requests of one piece of work, each from the answer to the one before."""
_AT_ONCE_BYTES = 64 << 10
_IDLE_S = 2.0  # after this a kept connection may be the server's to close


@dataclass(frozen=True, slots=True)
class Request:
    """The exact bytes of a request."""

    head: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """Head (the status line and headers, as they came) and body of a success."""

    head: bytes
    body: bytes

    def header(self, name: bytes) -> str:
        """The value of a header; empty without it."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == name:
                return value.strip().decode()
        return ""


class Wire:
    """One kept connection to a server on this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open()

    def ask(self, request: Request) -> Answer:
        """Send a request and read its answer to the end. Raises RuntimeError unless it is a success."""
        if time.monotonic() - self._last_s > _IDLE_S:
            self._way.close()
            self._open()
        if len(request.body) < _AT_ONCE_BYTES:
            self._way.sendall(request.head + request.body)
        else:
            self._way.sendall(request.head)
            self._way.sendall(request.body)
        came = b""
        while b"\r\n\r\n" not in came:
            came += self._more()
        head, _, body = came.partition(b"\r\n\r\n")
        length = int(Answer(head, b"").header(b"content-length") or 0)
        while len(body) < length:
            body += self._more()
        self._last_s = time.monotonic()
        if not head[9:12].startswith(b"2"):
            raise RuntimeError(f"{request.head[:80]!r} was answered {head[:60]!r} {body[:200]!r}")
        return Answer(head, body)

    def close(self) -> None:
        self._way.close()

    def _open(self) -> None:
        self._way = socket.create_connection(("127.0.0.1", self._port), timeout=120)
        self._way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._last_s = time.monotonic()

    def _more(self) -> bytes:
        came = self._way.recv(65536)
        if not came:
            raise RuntimeError("the server closed the connection")
        return came


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Request:
    """A request with its length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return Request("\r\n".join([*lines, "", ""]).encode(), body)


def do(jobs: Iterable[Job], wires: list[Wire]) -> None:
    """All jobs over these connections, side by side. Raises what a job raised first."""
    left: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        left.put(job)
    failed: list[BaseException] = []

    def work(wire: Wire) -> None:
        try:
            while not failed:
                _one(left.get_nowait(), wire)
        except queue.Empty:
            return
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(wire,)) for wire in wires[1:]]
    for thread in threads:
        thread.start()
    work(wires[0])
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _one(job: Job, wire: Wire) -> None:
    steps = job()
    try:
        asked = next(steps)
        while True:
            asked = steps.send(wire.ask(asked))
    except StopIteration:
        return
