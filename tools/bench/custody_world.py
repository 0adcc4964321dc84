"""One server, one pair of glasses, and everything that can happen to an upload between them."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage

from device.errors import BeheldError
from device.identity import MANIFEST, Identity, pair
from device.sync import Syncer, SyncSettings
from server.app import create_app
from server.settings import ServerSettings
from tools.bench.custody_ledger import Ledger
from tools.bench.custody_way import BadWay
from tools.bench.forked import Child, crash_after, fork, serve

_CHUNK_KB = 16
_SETTLES = 6
_MOST_BYTES = resource.getrlimit(resource.RLIMIT_FSIZE)[1]


class World:
    """A server in a process of its own over one folder, and one pair of glasses paired with it."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._data = folder / "server"
        self.spool = folder / "spool"
        self._rng = rng
        self._number = 0
        self._now_s = time.time()
        self.server_starts = 0
        self.server: Child | None = None
        self._url = self._code = ""
        self._odd_server = False
        self.begin_server()
        self._identity = Identity.load_or_create(folder / "glasses")
        self._credentials = pair(self._url, self._code, self._identity)
        self._media = self._data / "media" / self._identity.device_id
        self.arriving = self._data / "incoming" / self._identity.device_id
        self.ledger = Ledger(self._credentials.server_public_key)

    def write(self, rng: random.Random) -> str:
        """A snippet of one to three files, plain or sealed, appears in the spool and in the books."""
        self._number += 1
        name = f"s{self._number:05d}"
        files = {"moment.json": _record(name, rng)}
        for other, most in (("thumbnail.jpg", 4_000), ("scene.mp4", 120_000)):
            if rng.random() < 0.9:
                files[other] = rng.randbytes(rng.randrange(1, most))
        folder = self.spool / name
        folder.mkdir(parents=True)
        sealed = rng.random() < 0.5
        manifest = self._fill(folder, files, self._credentials.seal_recipient if sealed else "")
        (folder / "manifest.json").write_bytes(manifest)
        (folder / "manifest.sig").write_text(self._identity.sign(MANIFEST, manifest))
        self.ledger.wrote(folder, self._media / name, files)
        return name

    def _fill(self, folder: Path, files: dict[str, bytes], recipient: str) -> bytes:
        """Write the files, sealed if there is someone to seal to; their manifest."""
        entries = []
        for name, data in files.items():
            entry, written = _entry(name, data), data
            if recipient:
                key = pyrage.x25519.Recipient.from_str(recipient)
                written = pyrage.encrypt(data, [key])
                entry = {**_entry(f"{name}.age", written), "plain": entry}
            (folder / str(entry["name"])).write_bytes(written)
            entries.append(entry)
        manifest = {
            "format": 1,
            "snippet_id": folder.name,
            "session_id": "campaign",
            "created_utc": "2026-05-04T07:41:09.320+00:00",
            "moment_sha256": _entry("moment.json", files["moment.json"])["sha256"],
            "files": entries,
            **({"sealed_to": recipient} if recipient else {}),
        }
        return json.dumps(manifest).encode()

    def settle(self, name: str) -> None:
        """Rounds without faults until the snippet has arrived, each with its time come."""
        self.healthy_server()
        for _ in range(_SETTLES):
            if name in self.ledger.delivered:
                return
            self.ledger.look([name], self.sync())

    def last_look(self) -> None:
        """All snippets once more, after everything that happened to the others."""
        self.ledger.look(list(self.ledger.written), [])

    def close(self) -> None:
        if self.server is not None:
            self.server.kill()

    # --- glasses ----------------------------------------------------------------------------------

    def _syncer(self, way: BadWay, now_s: float | None = None) -> Syncer:
        moment_s = self._now_s if now_s is None else now_s
        return Syncer(
            self.spool,
            replace(self._credentials, server_url=self._url),
            self._identity,
            SyncSettings(chunk_kb=_CHUNK_KB),
            transport=way,
            now_s=lambda: moment_s,
            seed=self._rng.randrange(1 << 30),
        )

    def sync(self, way: BadWay | None = None, jump_s: float = 0.0) -> list[dict[str, Any]]:
        """One round, an hour after the last; every answer of the server's."""
        way = way or BadWay(None, 0, self._rng)
        self._now_s += 3600.0
        self._syncer(way, self._now_s + jump_s).run_once(retry_refused=True)
        return way.answers

    def sync_apart(self, prepare: Callable[[], object]) -> tuple[Child, str]:
        """The same in a process of its own, to be killed or to run out of disk; how it ended."""

        def run(say: Callable[[str], None]) -> None:
            syncer = self._syncer(BadWay(None, 0, self._rng))
            prepare()
            try:
                syncer.run_once(retry_refused=True)
                say("done")
            except BeheldError:
                say("stopped")

        self.healthy_server()
        self._now_s += 3600.0
        child = fork(run)
        said = child.line()
        child.wait()
        return child, said

    # --- server -----------------------------------------------------------------------------------

    def begin_server(self, *, crash_at: int | None = None, ahead_s: float = 0.0) -> Child:
        """Start it over the same folder, in place of the last. `ahead_s`: how far its clock is off."""

        def run(say: Callable[[str], None]) -> None:
            if ahead_s:
                right = time.time
                time.time = lambda: right() + ahead_s
            app = create_app(ServerSettings(data_dir=self._data, reserve_mb=1))
            say(app.state.services.glasses.new_code())
            served = app if crash_at is None else _crashing(app, crash_after(crash_at))
            serve(served, say)

        if self.server is not None:
            self.server.kill()
        self.server = fork(run)
        self._code, port = self.server.line(), self.server.line()
        if not port:
            raise RuntimeError("the server did not start")
        self.server_starts += 1
        self._url = f"http://127.0.0.1:{port}"
        self._odd_server = crash_at is not None or ahead_s != 0.0
        return self.server

    def healthy_server(self) -> None:
        if self.server is None or not self.server.running() or self._odd_server:
            self.begin_server()

    @contextmanager
    def server_disk(self, limit_bytes: int) -> Iterator[None]:
        """No file of the server can grow beyond that size: the kernel refuses, as on a full disk."""
        assert self.server is not None
        pid, what = self.server.pid, resource.RLIMIT_FSIZE
        resource.prlimit(pid, what, (limit_bytes, _MOST_BYTES))
        try:
            yield
        finally:
            resource.prlimit(pid, what, (_MOST_BYTES, _MOST_BYTES))


def _crashing(app: Any, arm: Callable[[], None]) -> Any:
    """The same application, which begins to count towards its crash at its first request."""

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            arm()
        await app(scope, receive, send)

    return counting


def _record(name: str, rng: random.Random) -> bytes:
    start_ns = rng.randrange(10**12)
    record = {
        "format": 1,
        "id": name,
        "session_id": "campaign",
        "start_ns": start_ns,
        "end_ns": start_ns + rng.randrange(10**9, 10**10),
        "start_utc": "2026-05-04T07:41:09.320+00:00",
        "zone": "Europe/Berlin",
        "tags": [{"name": "cup", "probability": rng.random(), "attended": True}],
        "evidence": {"gaze": [[start_ns, rng.random(), rng.random(), 1.0] for _ in range(20)]},
    }
    return json.dumps(record).encode()


def _entry(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
