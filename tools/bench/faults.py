"""`beheld bench faults`: the live run on the emulated glasses, a fault at a random time in each run."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from device.__main__ import load_models
from device.errors import InputError, StorageError
from tools.bench.faults_judge import Run
from tools.bench.faults_page import sections
from tools.bench.faults_run import campaign_run
from tools.bench.page import check, write
from tools.output import emit, json_option, progress

KINDS = (
    "unplug", "freeze", "hang", "brown-out", "noise", "reboot", "privacy", "camera-unplug", "drift"
)  # fmt: skip


@click.command()
@click.option("--runs", default=20, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True)
@click.option("--kind", type=click.Choice(KINDS), help="Only this fault. [default: all, in turn]")
@click.option(
    "--log",
    "log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep each run as a line of this file. Runs that are in it are not run again, and count: a long "
    "campaign in slices, `--runs 20 --log F`, then `--runs 40 --log F`, and so on.",
)
@click.option("--page", type=click.Path(path_type=Path), help="Write the table of this page anew.")
@json_option
def command(
    runs: int, seed: int, kind: str | None, log: Path | None, page: Path | None, as_json: bool
) -> None:
    """The whole live run (loop, models, recording) on the emulated glasses, a fault in each run.

    Each run lasts some seconds of real time: eyes over the serial line, scene over the camera socket, the
    wearer presses the button at random times, the fault comes at a random time. Afterwards the recording
    must be readable, every press be in it once, every interval without eyes be a gap. `recovery_s` counts
    from the end of the fault to the next eye frame. `died_with_board`: presses (down or up) that a board
    held when it restarted and that had not reached the host; the board itself counts what it holds.
    """
    if page is not None:
        check(page, "faults")
    done = read_log(log) if log is not None else []
    models = load_models()
    with (
        progress("faults", runs) as bar,
        suppress(KeyboardInterrupt),
    ):  # what was done by then counts
        for number in range(len(done), runs):
            run = campaign_run(kind or KINDS[number % len(KINDS)], seed * 10_007 + number, models)
            done.append(run)
            if log is not None:
                write_log(log, run)
            bar(number + 1)
    result = summary(done)
    if page is not None:
        write(page, "faults", sections(result))
    emit(result, as_json=as_json, title="faults")
    if result["bad"]:
        raise click.exceptions.Exit(1)


def read_log(path: Path) -> list[Run]:
    """The runs of earlier slices. Raises InputError if the file is something else."""
    if not path.exists():
        return []
    try:
        return [Run(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: is no log of bench faults ({error})") from error


def write_log(path: Path, run: Run) -> None:
    """One more line. Raises StorageError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(run)) + "\n")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error


def summary(done: list[Run]) -> dict[str, Any]:
    """The campaign's keys."""
    recovery: dict[str, list[float]] = defaultdict(list)
    for run in done:
        if run.recovery_s is not None:
            recovery[run.kind].append(run.recovery_s)
    loads = [run.load for run in done]
    return {
        "runs": len(done),
        "faults": dict(Counter(run.kind for run in done)),
        "bad": sum(not run.good for run in done),
        "crashed": sum(bool(run.crashed) for run in done),
        "presses": sum(run.presses for run in done),
        "lost_events": sum(run.lost_events for run in done),
        "repeated_events": sum(run.repeated_events for run in done),
        "died_with_board": sum(run.died_with_board for run in done),
        "unaccounted_s": sum(run.unaccounted_s for run in done),
        "unreadable": sum(bool(run.unreadable) for run in done),
        "wrong_stamps": sum(run.wrong_stamps for run in done),
        "stamp_error_ms": _percentiles([ms for run in done for ms in run.stamp_errors_ms]),
        "recovery_s": {
            kind: {"median": float(np.median(times)), "worst": max(times)}
            for kind, times in recovery.items()
        },
        "load": {"least": min(loads), "most": max(loads)} if loads else {},
        "troubles": [f"{run.kind}: {run}" for run in done if not run.good][:5],
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(values, p)) for p in (50, 99)} if values else {}
