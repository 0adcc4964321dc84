"""kill -9 of the client or the server in the middle of an upload: resumed, nothing lost."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from device.identity import Credentials, Identity, pair
from device.journal import SyncState, read_row
from device.sync import Syncer, SyncSettings
from tests.server.snippets import make_small_snippet

SIZE = 10 << 20
SERVER = """
import sys, pathlib, uvicorn
from server.app import create_app
from server.settings import ServerSettings
app = create_app(ServerSettings(data_dir=pathlib.Path(sys.argv[1]), reserve_mb=1))
services = app.state.services
print(services.glasses.new_code(), flush=True)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
"""
CLIENT = """
import sys, pathlib, time
from device.identity import Credentials, Identity
from device.sync import Syncer, SyncSettings
home, spool = map(pathlib.Path, sys.argv[1:3])
def slowly(sent):
    print(sent, flush=True)
    time.sleep(0.02)
Syncer(
    spool, Credentials.load(home), Identity.load_or_create(home), SyncSettings(chunk_kb=1024)
).run_once(progress=slowly)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def begin_server(data: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    """A server in a process of its own, and a pairing code of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(data), str(port)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    code = process.stdout.readline().strip()
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            httpx.get(f"http://127.0.0.1:{port}/api/v1/health")
            return process, code
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not start")


def begin_client(home: Path, spool: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(home), str(spool)], stdout=subprocess.PIPE, text=True
    )


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def paired(tmp_path: Path) -> tuple[Path, int, Callable[[], subprocess.Popen[str]], Path, Path]:
    data, port, home = tmp_path / "server", free_port(), tmp_path / "glasses"
    first, code = begin_server(data, port)
    pair(f"http://127.0.0.1:{port}", code, Identity.load_or_create(home)).save(home)
    kill(first)
    spool = tmp_path / "spool"
    make_small_snippet(spool, "one", video=os.urandom(SIZE))
    return data, port, lambda: begin_server(data, port)[0], home, spool


def finish(home: Path, spool: Path, settings: SyncSettings | None = None) -> Syncer:
    settings = settings or SyncSettings(first_wait_s=0.0)
    return Syncer(spool, Credentials.load(home), Identity.load_or_create(home), settings)


def test_killed_client_resumes_where_it_was(paired) -> None:  # type: ignore[no-untyped-def]
    data, _, begin, home, spool = paired
    digest = hashlib.sha256((spool / "one" / "scene.mp4").read_bytes()).hexdigest()
    server = begin()
    try:
        for _ in range(2):
            client = begin_client(home, spool)
            for _ in range(2):  # two chunks went through, then the power goes
                assert client.stdout is not None
                assert client.stdout.readline()
            kill(client)
            assert read_row(spool, "one").state is SyncState.UPLOADING
            assert (spool / "one" / "scene.mp4").stat().st_size == SIZE
        report = finish(home, spool).run_once()
        assert report.receipts == report.deleted == 1
        assert report.sent_bytes < SIZE - (2 << 20)
        [stored] = data.glob("media/*/one/scene.mp4")
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == digest
    finally:
        kill(server)


def test_killed_server_loses_nothing_and_signs_nothing_wrong(paired) -> None:  # type: ignore[no-untyped-def]
    data, _, begin, home, spool = paired
    for round_number in range(2):
        server = begin()
        client = begin_client(home, spool)
        assert client.stdout is not None
        for _ in range(round_number + 2):
            assert client.stdout.readline()
        kill(server)
        client.wait(timeout=60)
        assert read_row(spool, "one").state is SyncState.WAITING
        assert "cannot be reached" in read_row(spool, "one").reason
        assert (spool / "one" / "manifest.json").is_file()
        # the wait was set by the real clock; this test does not sit it out
        (spool / ".sync" / "one.json").write_text(
            (spool / ".sync" / "one.json")
            .read_text()
            .replace('"next_try_s": 1', '"next_try_s": 0.')
        )
    server = begin()
    try:
        report = finish(home, spool).run_once()
        assert report.receipts == 1
        assert report.sent_bytes < SIZE
        [stored] = data.glob("media/*/one/scene.mp4")
        assert stored.stat().st_size == SIZE
    finally:
        kill(server)


def test_killed_between_rename_and_removal(paired) -> None:  # type: ignore[no-untyped-def]
    _, _, begin, home, spool = paired
    server = begin()
    try:
        finish(home, spool, SyncSettings(keep_after_receipt=True)).run_once()
        assert read_row(spool, "one").state is SyncState.DELETABLE
        (spool / "one").rename(spool / ".deleted-one")  # what a kill at the worst place leaves
        report = finish(home, spool).run_once()
        assert report.deleted == 1
        assert not list(spool.glob(".deleted-*"))
        assert read_row(spool, "one").state is SyncState.DELETED
    finally:
        kill(server)
