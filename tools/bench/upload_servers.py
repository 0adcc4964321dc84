"""The three servers that `beheld bench server` uploads to, each in a process of its own.

Ours is the companion server as it is, with its paired device and its checks. The peers are tuspyserver
and the plain FastAPI way (a multipart form, written and flushed). All run on uvicorn with the same
settings; all are spoken to by the same client (`tools.bench.upload_client`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from device.identity import MANIFEST, Credentials, Identity, pair
from device.sync import SyncSettings
from tools.bench.bare_socket import serve_bare
from tools.bench.forked import Child, fork, serve
from tools.bench.upload_client import Answer, Job, Request, request

CHUNK_BYTES = SyncSettings().chunk_kb << 10  # as the glasses send
_TUS = {"Tus-Resumable": "1.0.0"}
_OCTETS = {"Content-Type": "application/offset+octet-stream", **_TUS}
_FILES = 8  # in one snippet of the bench; the default limit is 16

Steps = Generator[Request, Answer, None]


class Target(Protocol):
    """A server that takes files; `jobs` makes everything that can be made before the time counts."""

    child: Child
    port: int

    def jobs(self, files: list[bytes]) -> list[Job]: ...


class Beheld:
    """The companion server: announce a signed manifest, PATCH each file; `whole` commits as well."""

    def __init__(self, folder: Path) -> None:
        from server.app import create_app
        from server.settings import ServerSettings

        def run(say: Callable[[str], None]) -> None:
            app = create_app(
                ServerSettings(data_dir=folder / "server", reserve_mb=1, uploads_per_min=10**9)
            )
            say(app.state.services.glasses.new_code())
            serve(app, say)

        self.child = fork(run)
        code, self.port = self.child.line(), int(self.child.line())
        self._identity = Identity.load_or_create(folder / "glasses")
        self.credentials: Credentials = pair(f"http://127.0.0.1:{self.port}", code, self._identity)
        self._bearer = {"Authorization": f"Bearer {self.credentials.token}"}
        self._number = 0

    def jobs(self, files: list[bytes]) -> list[Job]:
        return [self._job(files[first : first + _FILES]) for first in range(0, len(files), _FILES)]

    def whole(self, files: list[bytes]) -> list[Job]:
        """A snippet each, all the way: announced, sent, verified, stored, signed for."""
        return [self._job([data], commit=True) for data in files]

    def announced(self, files: list[bytes]) -> tuple[str, Request]:
        """A fresh snippet of these files: its id, and the request that announces it."""
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
            **self._bearer,
        }
        return snippet, request("PUT", f"/api/v1/snippets/{snippet}", headers, raw)

    def _job(self, files: list[bytes], *, commit: bool = False) -> Job:
        snippet, announce = self.announced(files)
        asked = [announce]
        for name, data in zip(_names(files), files, strict=True):
            where = f"/api/v1/uploads/{snippet}/{name}"
            for offset, chunk in _chunks(data):
                digest = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
                checksum = {"Upload-Checksum": f"sha256 {digest}"}
                at = {"Upload-Offset": str(offset)}
                asked.append(
                    request("PATCH", where, {**_OCTETS, **at, **checksum, **self._bearer}, chunk)
                )
        if commit:
            asked.append(request("POST", f"/api/v1/snippets/{snippet}/commit", self._bearer))

        def steps() -> Steps:
            for one in asked:
                answer = yield one
            if commit and json.loads(answer.body)["state"] != "stored":
                raise RuntimeError(f"no receipt: {answer.body[:200]!r}")

        return steps


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
        self.port = int(self.child.line())

    def jobs(self, files: list[bytes]) -> list[Job]:
        return [self._job(data) for data in files]

    def _job(self, data: bytes) -> Job:
        create = request("POST", "/files", {"Upload-Length": str(len(data)), **_TUS})

        def steps() -> Steps:
            created = yield create
            where = "/" + created.header(b"location").split("/", 3)[3]
            for offset, chunk in _chunks(data):
                yield request("PATCH", where, {**_OCTETS, "Upload-Offset": str(offset)}, chunk)

        return steps


class Multipart:
    """What one writes without a protocol: a form with a file, copied to the disk and flushed."""

    def __init__(self, folder: Path) -> None:
        from tools.bench.multipart_app import multipart_app

        folder.mkdir()
        self.child = fork(lambda say: serve(multipart_app(folder), say))
        self.port = int(self.child.line())

    def jobs(self, files: list[bytes]) -> list[Job]:
        return [self._job(data) for data in files]

    def _job(self, data: bytes) -> Job:
        edge = "beheldbench"
        head = (
            f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{edge}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
        asked = request("POST", "/files", kind, head + data + tail)

        def steps() -> Steps:
            yield asked

        return steps


class Bare:
    """No server: a socket, a hash, a file and its flush."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.child = fork(lambda say: serve_bare(folder, say))
        self.port = int(self.child.line())

    def jobs(self, files: list[bytes]) -> list[Job]:
        return [self._job(request("PUT", "/", {}, data)) for data in files]

    def _job(self, asked: Request) -> Job:
        def steps() -> Steps:
            yield asked

        return steps


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
