"""The three servers that `beheld bench server` uploads to, each in a process of its own, and one client.

Ours is the companion server as it is, with its paired device and its checks. The peers are tuspyserver
and the plain FastAPI way (a multipart form, written and flushed). All run on uvicorn with the same settings;
all are spoken to by the standard library's HTTP client over one kept connection.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from device.identity import MANIFEST, Credentials, Identity, pair
from tools.bench.forked import Child, fork, serve

CHUNK_BYTES = 4 << 20  # as the glasses send
_TUS = {"Tus-Resumable": "1.0.0"}
_OCTETS = {"Content-Type": "application/offset+octet-stream", **_TUS}
_IDLE_S = 2.0
_FILES = 8  # in one snippet of the bench; the default limit is 16


class Target(Protocol):
    """A server that takes files. `send` returns when they are, as it says, received."""

    child: Child

    def send(self, files: list[bytes]) -> None: ...


@dataclass
class Connection:
    """One kept connection; every answer is read to its end and must be a success."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self._last_s = time.monotonic()

    def ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        if time.monotonic() - self._last_s > _IDLE_S:
            self._http.close()  # the server may have done so by now; the next request opens it again
        self._http.request(method, path, body, {**self.headers, **headers})
        answer = self._http.getresponse()
        said = answer.read()
        self._last_s = time.monotonic()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {said[:200]!r}")
        return answer, said


class Beheld:
    """The companion server: announce a signed manifest, PATCH each file; `receipt` commits as well."""

    def __init__(self, folder: Path) -> None:
        from server.app import create_app
        from server.settings import ServerSettings

        def run(say: Callable[[str], None]) -> None:
            app = create_app(ServerSettings(data_dir=folder / "server", reserve_mb=1))
            say(app.state.services.glasses.new_code())
            serve(app, say)

        self.child = fork(run)
        code, port = self.child.line(), int(self.child.line())
        self._identity = Identity.load_or_create(folder / "glasses")
        self.credentials: Credentials = pair(f"http://127.0.0.1:{port}", code, self._identity)
        bearer = {"Authorization": f"Bearer {self.credentials.token}"}
        self.connection = Connection(port, bearer)
        self._number = 0

    def send(self, files: list[bytes]) -> None:
        for first in range(0, len(files), _FILES):
            self._patch(self.announce(files[first : first + _FILES]), files[first : first + _FILES])

    def receipt(self, file: bytes) -> None:
        """The whole way of a small snippet: announced, sent, verified, stored, signed for."""
        snippet = self.announce([file])
        self._patch(snippet, [file])
        _, said = self.connection.ask("POST", f"/api/v1/snippets/{snippet}/commit", b"", {})
        assert json.loads(said)["state"] == "stored"

    def announce(self, files: list[bytes]) -> str:
        self._number += 1
        snippet = f"b{self._number:07d}"
        listed = [
            {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in zip(_names(files), files, strict=True)
        ]
        manifest = {
            "format": 1,
            "snippet_id": snippet,
            "session_id": "bench",
            "created_utc": "2026-05-04T07:41:09.320+00:00",
            "moment_sha256": listed[0]["sha256"],
            "files": listed,
        }
        raw = json.dumps(manifest).encode()
        headers = {
            "Content-Type": "application/json",
            "Beheld-Signature": self._identity.sign(MANIFEST, raw),
        }
        self.connection.ask("PUT", f"/api/v1/snippets/{snippet}", raw, headers)
        return snippet

    def _patch(self, snippet: str, files: list[bytes]) -> None:
        for name, data in zip(_names(files), files, strict=True):
            for offset, chunk in _chunks(data):
                digest = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
                headers = {
                    **_OCTETS,
                    "Upload-Offset": str(offset),
                    "Upload-Checksum": f"sha256 {digest}",
                }
                self.connection.ask("PATCH", f"/api/v1/uploads/{snippet}/{name}", chunk, headers)


class Tuspyserver:
    """github.com/edihasaj/tuspyserver: creation, then PATCH; it does not flush."""

    def __init__(self, folder: Path) -> None:
        from fastapi import FastAPI
        from tuspyserver import create_tus_router

        def run(say: Callable[[str], None]) -> None:
            app = FastAPI()
            app.include_router(create_tus_router(prefix="files", files_dir=str(folder)))
            serve(app, say)

        folder.mkdir()
        self.child = fork(run)
        self.connection = Connection(int(self.child.line()))

    def send(self, files: list[bytes]) -> None:
        for data in files:
            created, _ = self.connection.ask(
                "POST", "/files", b"", {"Upload-Length": str(len(data)), **_TUS}
            )
            where = "/" + (created.getheader("Location") or "").split("/", 3)[3]
            for offset, chunk in _chunks(data):
                self.connection.ask(
                    "PATCH", where, chunk, {**_OCTETS, "Upload-Offset": str(offset)}
                )


class Multipart:
    """What one writes without a protocol: a form with a file, copied to the disk and flushed."""

    def __init__(self, folder: Path) -> None:
        from tools.bench.multipart_app import multipart_app

        folder.mkdir()
        self.child = fork(lambda say: serve(multipart_app(folder), say))
        self.connection = Connection(int(self.child.line()))

    def send(self, files: list[bytes]) -> None:
        edge = "beheldbench"
        head = (
            f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{edge}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
        for data in files:
            self.connection.ask("POST", "/files", head + data + tail, kind)


PEERS: dict[str, tuple[str, Any]] = {
    "tuspyserver": ("tuspyserver", Tuspyserver),
    "fastapi_multipart": ("python_multipart", Multipart),
}
"""Name -> (the package it needs, the server)."""


def installed(name: str) -> bool:
    return find_spec(PEERS[name][0]) is not None


def memory_mb(child: Child, key: str = "VmRSS") -> float:
    """Memory of a process as the kernel counts it; `VmHWM` is its highest."""
    for line in Path(f"/proc/{child.pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {key}")


def cpu_s(child: Child) -> float:
    """CPU seconds of a process so far, in the kernel's ticks."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def made_up(count: int, size: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(size) for _ in range(count)]


def _names(files: list[bytes]) -> list[str]:
    return ["moment.json", *(f"part{n}.bin" for n in range(1, len(files)))]


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    for offset in range(0, len(data), CHUNK_BYTES):
        yield offset, data[offset : offset + CHUNK_BYTES]
