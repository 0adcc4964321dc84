"""What the machine itself allows: bytes from a socket, hashed, written, flushed; no protocol around it.

No server can be much faster; `beheld bench server` says how near ours and its peers come.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

_READ_BYTES = 1 << 20
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def serve_bare(folder: Path, say: Callable[[str], None]) -> None:
    """Take files on a free port, a thread a connection, until killed."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        say(str(listening.getsockname()[1]))
        for number in range(1 << 30):
            way, _ = listening.accept()
            threading.Thread(target=_take, args=(way, folder, number), daemon=True).start()


def _take(way: socket.socket, folder: Path, connection: int) -> None:
    buffer = memoryview(bytearray(_READ_BYTES))
    way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(1 << 30):
        came = bytearray()
        while b"\r\n\r\n" not in came:
            if not (more := way.recv(65536)):
                return
            came += more
        head, _, body = bytes(came).partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        left = int(found[1]) if found else 0
        digest = hashlib.sha256(body)
        handle = os.open(folder / f"{connection}-{number}", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(handle, body)
        left -= len(body)
        while left > 0:
            size = way.recv_into(buffer, min(left, _READ_BYTES))
            if not size:
                return
            digest.update(buffer[:size])
            os.write(handle, buffer[:size])
            left -= size
        os.fdatasync(handle)
        os.close(handle)
        digest.digest()
        way.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
