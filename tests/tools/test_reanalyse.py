"""`beheld reanalyse`: a folder in parallel, a worker killed on the way, the bytes of a single run."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from device.__main__ import run_session
from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.record import Recorder, SessionSource
from device.sources.camera import AlwaysOn
from device.stages.encode import EncodeStage
from tools.cli import beheld
from tools.reanalyse import recordings, run_all
from tools.reanalysis import Failure, Job, write_table

HAS_RAY = importlib.util.find_spec("ray") is not None
WITHOUT = "the extra 'ray' is not installed; pip install 'beheld[ray]'"
NAMES = ("day one/morning.mcap", "evening.mcap")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short sessions at different depths, and files that are none."""
    root = tmp_path_factory.mktemp("recordings")
    (root / "day one").mkdir()
    for seed, name in enumerate(NAMES, 3):
        settings = EmulatorSettings(seed=seed, duration_s=5.0, scenario="demo", eyes=False)
        source, encode = Emulator(settings, AlwaysOn()), EncodeStage()
        with Recorder(root / name, source.header) as recorder:
            for value in source:
                recorder(value)
                for packet in encode.step(value) if isinstance(value, encode.wants) else ():
                    recorder(packet)
    (root / "notes.txt").write_text("not a recording")
    (root / ".hidden.mcap").write_text("left by something")
    return root


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hash of each recording's moments, run by itself in this process."""
    out = tmp_path_factory.mktemp("alone")
    return {
        name: run_session(SessionSource(folder / name), out / str(i)).moments_sha256
        for i, name in enumerate(NAMES)
    }


def reanalyse(folder: Path, out: Path, *more: str) -> Result:
    arguments = ["reanalyse", str(folder), "--out", str(out), "--json", *more]
    return CliRunner().invoke(beheld, arguments)


def document(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(path: Path) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet", reason=WITHOUT)
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


@contextlib.contextmanager
def one_worker_killed(out: Path) -> Iterator[list[int]]:
    """Kills the first worker that begins a recording, once; yields the pids that were killed."""
    killed: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for file in out.glob("**/.working-*/worker.pid"):
                with contextlib.suppress(OSError, ValueError):
                    pid = int(file.read_text())
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        [],
        pytest.param(["--ray"], marks=pytest.mark.skipif(not HAS_RAY, reason=WITHOUT)),
    ],
    ids=["processes", "ray"],
)
def test_a_killed_worker_costs_an_attempt_and_nothing_else(
    how: list[str], folder: Path, alone: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with one_worker_killed(out) as killed:
        done = reanalyse(folder, out, "--workers", "2", *how)
    assert done.exit_code == 0, done.output
    found = document(done)
    assert len(killed) == 1 and found["attempts"] == 3
    assert found["recordings"] == found["done"] == 2 and found["failed"] == []
    for name, sha256 in alone.items():
        row = json.loads((out / name / "row.json").read_text())
        assert row["moments_sha256"] == sha256
    assert not list(out.glob("**/.working-*"))
    if found["table"].endswith(".parquet"):
        rows = table(Path(found["table"]))
        assert {row["recording"]: row["moments_sha256"] for row in rows} == alone
        assert sum(row["joules"] for row in rows) == pytest.approx(found["joules"], rel=1e-6)
    # What is done is not done again, and gives the same table; a missing result is.
    before = Path(found["table"]).read_bytes()
    shutil.rmtree(out / NAMES[1])
    again = document(reanalyse(folder, out))
    assert again["done_before"] == 1 and again["attempts"] == 1
    assert Path(again["table"]).read_bytes() == before


def job(name: str) -> Job:
    return Job(
        name=name, recording=name, out=name, policy=None, settings=(), models=None, fingerprint=""
    )


class Script:
    """A pool that answers as it was told."""

    def __init__(self, answers: dict[str, list[Any]]) -> None:
        self._answers = answers
        self._jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def next(self) -> Any:
        job = self._jobs.pop()
        answer = self._answers[job.name].pop(0)
        lost = Failure(job=job, why=str(answer), final=answer == "damaged")
        return {"recording": job.name} if answer == "row" else lost


def test_workers_are_given_up_after_the_retries_and_damaged_recordings_at_once() -> None:
    pool = Script({"a": ["killed", "row"], "b": ["damaged"], "c": ["killed", "killed", "killed"]})
    rows, failed, attempts = run_all(pool, [job(n) for n in "abc"], retries=2)  # type: ignore[arg-type]
    assert [row["recording"] for row in rows] == ["a"]
    assert sorted((f.job.name, f.why) for f in failed) == [("b", "damaged"), ("c", "killed")]
    assert attempts == 6


def test_recordings_are_found_at_any_depth_and_results_are_not_among_them(folder: Path) -> None:
    found = [path.relative_to(folder).as_posix() for path in recordings(folder, folder / "evening")]
    assert found == list(NAMES)
    assert recordings(folder, folder) == []
    assert recordings(folder / NAMES[0], folder / "out") == [folder / NAMES[0]]


def test_a_damaged_recording_fails_alone_and_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "damaged.mcap").write_bytes(b"\x89MCAP0\r\n" + bytes(64))
    done = reanalyse(tmp_path / "in", tmp_path / "out")
    assert done.exit_code != 0
    found = document(done)
    assert found["done"] == 0 and found["attempts"] == 1
    assert [f["recording"] for f in found["failed"]] == ["damaged.mcap"]
    assert "damaged.mcap" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: does not exist"),
        (["empty"], "holds no recording"),
        (["empty", "--policy", "sometimes"], "policy 'sometimes' is unknown"),
    ],
)
def test_bad_input_is_refused_before_any_worker_starts(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    done = CliRunner().invoke(beheld, ["reanalyse", *arguments, "--out", "out"])
    assert done.exit_code != 0 and message in str(done.exception)
    assert not Path("out").exists()


def test_equal_rows_are_an_equal_table(tmp_path: Path) -> None:
    rows = [{"recording": "a", "joules": 1.5}, {"recording": "b", "joules": 2.0}]
    one, other = (write_table(tmp_path / name, rows) for name in "ab")
    assert one.read_bytes() == other.read_bytes()
