"""`beheld bench server`: durable uploads, memory, and search, against peers in the same run."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from tools.bench.page_load import page_load
from tools.bench.server_page import page_option, require, write_uploads
from tools.bench.upload_client import Wire, do
from tools.bench.upload_servers import (
    PEERS,
    Bare,
    Beheld,
    Target,
    cpu_s,
    installed,
    made_up,
    memory_mb,
)
from tools.output import emit, json_option, progress

SMALL_BYTES, LARGE_BYTES = 4 << 10, 8 << 20
CONCURRENT = 50
SIZES = (1_000, 10_000, 100_000)
ALONE = 1
FLOOR = "bare_socket"


@dataclass
class Timed:
    """Rates of one server over some connections, a round each; and its CPU per file."""

    small_per_s: list[float] = field(default_factory=list)
    mb_per_s: list[float] = field(default_factory=list)
    small_cpu_ms: list[float] = field(default_factory=list)
    large_cpu_ms: list[float] = field(default_factory=list)

    def result(self) -> dict[str, float]:
        return {name: round(statistics.median(v), 3) for name, v in vars(self).items() if v}


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True)
@click.option("--small", type=click.IntRange(8), default=128, help="4 KiB files a round.")
@click.option("--large", type=click.IntRange(1), default=8, help="8 MiB files a round.")
@click.option(
    "--connections", type=click.IntRange(2), default=8, show_default=True, help="Side by side."
)
@click.option(
    "--search/--no-search", default=True, help="Time searches as well (1k to 100k moments)."
)
@click.option(
    "--browser/--no-browser", default=True, help="Weigh and time the page of days in Chromium."
)
@page_option
@json_option
def command(
    rounds: int,
    small: int,
    large: int,
    connections: int,
    search: bool,
    browser: bool,
    page: Path | None,
    as_json: bool,
) -> None:
    """Uploads a second to the companion server and its peers, memory, search, and the page.

    An upload to ours is announced under a signed manifest, checked by its checksum, and on the disk when it
    is answered; tuspyserver does not flush; multipart does, cannot resume and checks nothing. The three take
    turns, medians over the rounds count. Each is asked over several connections at once, and over one
    (`one_connection`), where every upload waits for its own flush. Requests are made before the time
    counts. `bare_socket` is no server: what socket, hash, disk and flush allow on this machine.
    `snippets_per_s` is the whole way of a 4 KiB snippet to its signed receipt.
    """
    require(page, "server")
    load = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="beheld-bench-server-"))
    try:
        with running(folder) as targets:
            result = uploads(targets, rounds, small, large, connections)
            result["memory_mb"] = memory(targets["beheld"])  # type: ignore[arg-type]
        result["load_before"] = round(load, 1)
        result["page"] = page_load() if browser else None
        result["search_p95_ms"] = latencies() if search else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if page is not None:
        write_uploads(result, page)
    emit(result, as_json=as_json, title="companion server")


@contextmanager
def running(folder: Path) -> Iterator[dict[str, Target]]:
    """Ours and every peer that is installed."""
    targets: dict[str, Target] = {"beheld": Beheld(folder)}
    try:
        targets[FLOOR] = Bare(folder / FLOOR)
        for name, (_, make) in PEERS.items():
            if installed(name):
                targets[name] = make(folder / name)
        yield targets
    finally:
        for target in targets.values():
            target.child.kill()


def uploads(
    targets: dict[str, Target], rounds: int, small: int, large: int, connections: int
) -> dict[str, Any]:
    """Rates of all, in turns; the first round only warms up."""
    times: dict[tuple[int, str], Timed] = defaultdict(Timed)
    whole: list[float] = []
    ours = targets["beheld"]
    assert isinstance(ours, Beheld)
    wires = {name: [Wire(t.port) for _ in range(connections)] for name, t in targets.items()}
    with progress("uploads", rounds + 1) as show:
        for number in range(rounds + 1):
            files, big = made_up(small, SMALL_BYTES, number), made_up(large, LARGE_BYTES, number)
            kept = defaultdict(Timed) if number == 0 else times
            for name, target in targets.items():
                one_round(target, wires[name], files, big, kept[connections, name])
                few = (files[: max(8, small // 4)], big[: max(1, large // 4)])
                one_round(target, wires[name][:ALONE], *few, kept[ALONE, name])
            jobs = ours.whole(files[:16])
            whole.append(len(jobs) / timed(lambda jobs=jobs: do(jobs, wires["beheld"])))
            show(number + 1)
    for ways in wires.values():
        for wire in ways:
            wire.close()
    return {
        **compared(times, connections, set(targets)),
        "connections": connections,
        "one_connection": compared(times, ALONE, set(targets)),
        "snippets_per_s": round(statistics.median(whole[1:]), 1),
    }


def compared(
    times: dict[tuple[int, str], Timed], connections: int, known: set[str]
) -> dict[str, Any]:
    """Ours, the peers, and how many times theirs ours is."""
    own = times[connections, "beheld"].result()
    bare = times[connections, FLOOR].result()
    peers = {name: times[connections, name].result() if name in known else None for name in PEERS}
    ratios = {
        name: {
            "small": round(own["small_per_s"] / peer["small_per_s"], 2),
            "large": round(own["mb_per_s"] / peer["mb_per_s"], 2),
        }
        for name, peer in peers.items()
        if peer is not None
    }
    return {
        **own,
        "peers": peers,
        "times_peer": ratios,
        FLOOR: bare,
        f"times_{FLOOR}": {
            "small": round(own["small_per_s"] / bare["small_per_s"], 2),
            "large": round(own["mb_per_s"] / bare["mb_per_s"], 2),
        },
    }


def one_round(
    target: Target, wires: list[Wire], files: list[bytes], big: list[bytes], kept: Timed
) -> None:
    small, large = target.jobs(files), target.jobs(big)
    os.sync()  # nobody pays for what another left to be written
    before = cpu_s(target.child)
    kept.small_per_s.append(len(files) / timed(lambda: do(small, wires)))
    between = cpu_s(target.child)
    kept.mb_per_s.append(sum(map(len, big)) / 1e6 / timed(lambda: do(large, wires)))
    kept.small_cpu_ms.append(1e3 * (between - before) / len(files))
    kept.large_cpu_ms.append(1e3 * (cpu_s(target.child) - between) / len(big))


def memory(ours: Beheld) -> dict[str, float]:
    """The server's memory before and at most during 50 uploads of 8 MiB that go on side by side."""
    [data] = made_up(1, LARGE_BYTES, 99)
    before = memory_mb(ours.child)
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    ways, first = [], Wire(ours.port)
    for _ in range(CONCURRENT):
        snippet, asked = ours.announced([data])
        first.ask(asked)
        way = socket.create_connection(("127.0.0.1", ours.port))
        way.sendall(
            f"PATCH /api/v1/uploads/{snippet}/moment.json HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Bearer {ours.credentials.token}\r\nTus-Resumable: 1.0.0\r\n"
            "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
            f"Upload-Checksum: sha256 {digest}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        )
        ways.append(way)
    most, step = before, 256 << 10
    for offset in range(0, len(data), step):
        for way in ways:
            way.sendall(data[offset : offset + step])
        most = max(most, memory_mb(ours.child))
    for way in ways:
        answer = way.recv(64)
        if b" 204 " not in answer:
            raise RuntimeError(f"an upload among {CONCURRENT} was answered {answer!r}")
        way.close()
    return {
        "before": round(before, 1),
        f"with_{CONCURRENT}_uploads": round(max(most, memory_mb(ours.child)), 1),
        "highest_ever": round(memory_mb(ours.child, "VmHWM"), 1),
    }


def latencies() -> dict[int, float] | None:
    """p95 of a search in milliseconds, by the number of moments."""
    from tools.bench.search import search_latencies

    with progress("search", 1.0) as show:
        found = search_latencies(SIZES, progress=show)
    return {size: found[size]["p95_ms"] for size in SIZES}


def timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
