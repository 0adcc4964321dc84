"""One recording again, in a worker; the pool of workers of this machine; the table of what they found."""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, Self

from device.__main__ import run_session
from device.codec import dumps
from device.errors import BeheldError, StorageError
from device.spool import atomic_write
from tools.open_source import open_source
from tools.variants import Variant, variant

ROW, PID = "row.json", "worker.pid"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One recording and how to run it; plain values, for it travels to another process or machine."""

    name: str
    recording: str
    out: str
    policy: str | None
    settings: tuple[str, ...]
    models: str | None
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An attempt without a result. `final`: the recording is at fault, another attempt is of no use."""

    job: Job
    why: str
    final: bool


class Pool(AbstractContextManager["Pool"], Protocol):
    """Takes jobs, gives back what became of each, in whatever order they end."""

    def submit(self, job: Job) -> None: ...

    def next(self) -> Row | Failure:
        """Waits for the next job that ends, one way or the other."""
        ...


def analyse(job: Job) -> Row | Failure:
    """Replay the recording into its folder, whole or not at all; what the table says of it."""
    out = Path(job.out)
    partial = out.with_name(f".working-{out.name}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / PID).write_text(str(os.getpid()))
        chosen = variant(job.policy, job.settings, Path(job.models) if job.models else None)
        outcome = run_session(
            open_source(job.recording),
            partial,
            settings=chosen.settings,
            models=chosen.models,
        )
        report, energy = outcome.report, outcome.energy
        row: Row = {
            "recording": job.name,
            "session_s": report.session_ns / 1e9,
            "seen_s": report.seen_ns / 1e9,
            "gap_s": report.gap_ns / 1e9,
            "moments": len(outcome.moments),
            "moments_sha256": outcome.moments_sha256,
            "joules": energy.total_j,
            "joules_low": energy.total_j_low,
            "joules_high": energy.total_j_high,
            "always_on_joules": energy.always_on_j,
            "scene_camera_on_s": energy.scene_camera_on_s,
            "fingerprint": job.fingerprint,
        }
        atomic_write(partial / ROW, dumps(row).encode())
        row = json.loads((partial / ROW).read_text(encoding="utf-8"))  # as a later run will find it
        (partial / PID).unlink()
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
        return row
    except BeheldError as error:
        return Failure(job=job, why=str(error), final=not isinstance(error, StorageError))
    except OSError as error:
        return Failure(job=job, why=f"{out}: {error.strerror}", final=False)


def fingerprint(chosen: Variant) -> str:
    """Of everything that decides what a recording gives: settings and networks."""
    what = {
        "settings": chosen.settings,
        "models": {name: model.sha256 for name, model in sorted(chosen.models.items())},
    }
    return hashlib.sha256(dumps(what).encode()).hexdigest()


def done_before(job: Job) -> Row | None:
    """The row of an earlier run with the same settings and networks, if its result lies there whole."""
    try:
        row: Row = json.loads((Path(job.out) / ROW).read_text(encoding="utf-8"))
        content = (Path(job.out) / "moments.json").read_bytes()
    except (OSError, ValueError):
        return None
    same = row.get("fingerprint") == job.fingerprint and row.get("recording") == job.name
    whole = row.get("moments_sha256") == hashlib.sha256(content).hexdigest()
    return row if same and whole else None


class Processes:
    """A fresh process for every recording, some at a time: one that dies takes nothing else with it."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._context = multiprocessing.get_context("spawn")
        self._waiting: deque[Job] = deque()
        self._running: dict[Connection, tuple[Job, BaseProcess]] = {}

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def next(self) -> Row | Failure:
        while self._waiting and len(self._running) < self._workers:
            self._start(self._waiting.popleft())
        ended = wait(list(self._running))[0]
        assert isinstance(ended, Connection)
        job, process = self._running.pop(ended)
        try:
            outcome: Row | Failure = ended.recv()
        except EOFError:  # its end of the pipe closed with the process
            process.join()
            why = f"its worker ended with exit code {process.exitcode}"
            outcome = Failure(job=job, why=why, final=False)
        ended.close()
        process.join()
        return outcome

    def _start(self, job: Job) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(job, theirs), daemon=True)
        process.start()
        theirs.close()
        self._running[ours] = (job, process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _, process in self._running.values():
            process.kill()


def _work(job: Job, answer: Connection) -> None:
    answer.send(analyse(job))
    answer.close()


def write_table(out: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """`results.parquet`, or `results.csv` without pyarrow; equal rows give equal bytes."""
    names = list(rows[0]) if rows else []
    out.mkdir(parents=True, exist_ok=True)
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        path = out / "results.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        return path
    path = out / "results.parquet"
    columns = {name: [row[name] for row in rows] for name in names}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path
