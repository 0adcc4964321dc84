"""`beheld reanalyse`: whole recordings again, with other settings or networks, in parallel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from device.errors import InputError
from tools.open_source import is_recording
from tools.output import emit, json_option, progress
from tools.reanalysis import Failure, Job, Pool, Processes, done_before, fingerprint, write_table
from tools.variants import variant


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the results."
)
@click.option("--policy", help="As in `beheld compare`: fused, eye_only, trigger, fixed:6, ...")
@click.option("--set", "settings", multiple=True, metavar="SETTING=VALUE", help="docs/config.md.")
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    help="Networks in place of those shipped, by file name.",
)
@click.option(
    "--ray",
    "ray_address",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[ADDRESS]",
    help="Run on Ray: a cluster at ADDRESS, or one of its own on this machine.",
)
@click.option(
    "--workers", type=click.IntRange(1), default=2, show_default=True, help="Recordings at a time."
)
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Further attempts at a recording whose worker died.",
)
@click.option("--again", is_flag=True, help="Also what was done before with the same settings.")
@json_option
def command(
    folder: Path,
    out: Path,
    policy: str | None,
    settings: tuple[str, ...],
    models: Path | None,
    ray_address: str | None,
    workers: int,
    retries: int,
    again: bool,
    as_json: bool,
) -> None:
    """Replay every recording in FOLDER and write one table of what was found and what it cost.

    Recordings are found by what is in them, at any depth. Each goes as a whole to one worker: a process
    of this machine, or with --ray a task on Ray (pip install 'beheld[ray]'), whose machines must see the
    same folders. A worker that dies costs its recording one attempt and nothing else. OUT receives, under
    the recording's own path, what `beheld replay` writes, the same bytes, and `results.parquet`
    (`results.csv` where the extra `ray` is not installed). What was done before with the same settings and
    networks is not done again.

    \b
    Examples:
      beheld reanalyse recordings/ --out runs/trigger --policy trigger
      beheld reanalyse recordings/ --out runs/new --models weights/new --workers 8
      beheld reanalyse recordings/ --out runs/new --ray ray://head:10001 --workers 64
    """
    chosen = variant(policy, settings, models)  # refused here, not in every worker
    found = recordings(folder, out)
    if not found:
        raise InputError(f"{folder}: holds no recording that is known; give a folder of recordings")
    mark = fingerprint(chosen)
    jobs = [
        Job(
            name=name(folder, path),
            recording=str(path.absolute()),
            out=str((out / name(folder, path)).absolute()),
            policy=policy,
            settings=settings,
            models=None if models is None else str(models.absolute()),
            fingerprint=mark,
        )
        for path in found
    ]
    rows = [] if again else [row for job in jobs if (row := done_before(job))]
    known = {row["recording"] for row in rows}
    todo = [job for job in jobs if job.name not in known]
    with _pool(ray_address, min(workers, max(1, len(todo)))) as pool:
        made, failed, attempts = run_all(pool, todo, retries)
    rows = sorted(rows + made, key=lambda row: str(row["recording"]))
    table = write_table(out, rows)
    result = {
        "recordings": len(jobs),
        "done": len(rows),
        "done_before": len(known),
        "failed": [{"recording": f.job.name, "why": f.why} for f in failed],
        "attempts": attempts,
        "moments": sum(row["moments"] for row in rows),
        "joules": sum(row["joules"] for row in rows),
        "session_s": sum(row["session_s"] for row in rows),
        "table": str(table),
    }
    emit(result, as_json=as_json, title=f"{folder} -> {table}")
    if failed:
        raise InputError(
            f"{len(failed)} of {len(jobs)} failed; first {failed[0].job.name}: {failed[0].why}"
        )


def recordings(folder: Path, out: Path) -> list[Path]:
    """Every recording in the folder, or the folder itself if it is one; `out` is passed over."""
    if not folder.exists():
        raise InputError(f"{folder}: does not exist")
    if folder.resolve() == out.resolve() or folder.name.startswith("."):
        return []
    if is_recording(folder):
        return [folder]
    if not folder.is_dir():
        return []
    return [path for inner in sorted(folder.iterdir()) for path in recordings(inner, out)]


def name(folder: Path, path: Path) -> str:
    """The recording's path below the folder: its key in the table and its place in OUT."""
    return path.name if path == folder else path.relative_to(folder).as_posix()


def run_all(
    pool: Pool, jobs: Sequence[Job], retries: int
) -> tuple[list[dict[str, Any]], list[Failure], int]:
    """(rows, those that failed for good, attempts in all). A worker that died gets its job again."""
    rows: list[dict[str, Any]] = []
    failed: list[Failure] = []
    attempts: Counter[str] = Counter()

    def submit(job: Job) -> None:
        attempts[job.name] += 1
        pool.submit(job)

    for job in jobs:
        submit(job)
    with progress("recordings", len(jobs)) as bar:
        while len(rows) + len(failed) < len(jobs):
            outcome = pool.next()
            if not isinstance(outcome, Failure):
                rows.append(outcome)
            elif outcome.final or attempts[outcome.job.name] > retries:
                failed.append(outcome)
            else:
                submit(outcome.job)
            bar(len(rows) + len(failed))
    return rows, failed, attempts.total()


def _pool(ray_address: str | None, workers: int) -> Pool:
    if ray_address is None:
        return Processes(workers)
    try:
        from tools.ray_pool import RayPool
    except ModuleNotFoundError as error:
        raise InputError(
            f"--ray needs the package '{error.name}', which is not installed; "
            "pip install 'beheld[ray]', or leave --ray out for processes of this machine"
        ) from error
    return RayPool(workers, ray_address or None)
