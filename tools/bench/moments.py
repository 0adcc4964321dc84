"""`beheld bench moments`: what the controller keeps of the moments found when nothing is spared.

Each session runs twice through the loop of `beheld compare`. `always_full`: looks are checked with full
frames at the camera's own rate, and the scene analysis runs at 320 px at each decided frame, nothing reused.
`controller`: the loop as shipped, with the camera's low mode in checks and the learned policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.pipeline import Source
from tools.bench import page
from tools.compare import Run, matched, replayed, told
from tools.open_source import open_source
from tools.output import emit, json_option, progress
from tools.variants import variant

FULL = ("camera.low_height_px=4320", "camera.low_rate_hz=1000")
"""A low mode that leaves out neither row nor frame."""
FIRST_SEED = 31
SCENARIOS = {"demo": 120.0, "ordinary_day": 240.0}
"""Scenario of the virtual wearer -> seconds of a session."""
AIM = 0.95


@click.command()
@click.option(
    "--data",
    "recordings",
    multiple=True,
    help="A recording of your own; several times for several. Without it the virtual wearer.",
)
@click.option(
    "--sessions",
    default=4,
    show_default=True,
    type=click.IntRange(min=1),
    help="Of each scenario of the virtual wearer.",
)
@click.option("--page", "page_path", type=click.Path(path_type=Path), help="Write its tables anew.")
@json_option
def command(
    recordings: tuple[str, ...], sessions: int, page_path: Path | None, as_json: bool
) -> None:
    """Moments found with the controller against moments found at always-full, on the same sessions.

    kept: share of always-full's moments that the controller finds as well (their times overlap, each
    matched once); invented: its moments that always-full does not have.
    """
    if page_path is not None:
        page.check(page_path, "moments")
    sources = given(recordings) if recordings else worn(sessions)
    with progress("sessions", 2 * len(sources)) as done:
        result = bench(sources, done)
    if page_path is not None:
        page.write(page_path, "moments", sections(result))
    emit(result, as_json=as_json, title="moments with the controller against always-full")


Opened = tuple[str, Callable[[], Source]]
"""A session's name, and how to begin it."""


def given(recordings: Sequence[str]) -> list[Opened]:
    """Recordings by name. Raises InputError for one that is not known, before any is run."""
    for name in recordings:
        open_source(name)
    return [(name, partial(open_source, name)) for name in recordings]


def worn(sessions: int) -> list[Opened]:
    """Sessions of the virtual wearer with its own gaze."""
    return [
        (f"{scenario}:{seed}", partial(wearer, seed, seconds, scenario))
        for scenario, seconds in SCENARIOS.items()
        for seed in range(FIRST_SEED, FIRST_SEED + sessions)
    ]


def wearer(seed: int, seconds: float, scenario: str) -> Emulator:
    return Emulator(EmulatorSettings(seed=seed, duration_s=seconds, scenario=scenario, eyes=False))


def bench(
    sources: Sequence[Opened], done: Callable[[float], None] = lambda n: None
) -> dict[str, Any]:
    """Both variants over all sessions; `done` is told how many of the runs are."""
    full, ours = variant("always", FULL), variant(None)
    rows: list[dict[str, Any]] = []
    for number, (name, opened) in enumerate(sources):
        runs = []
        for chosen in (full, ours):
            runs.append(replayed(opened(), chosen, lambda t_ns: None))
            done(2 * number + len(runs))
        rows.append(row(name, *runs))
    total = {key: sum(r[key] for r in rows) for key in ("always_full", "controller", "both")}
    return {
        "sessions": len(rows),
        "session_s": sum(r["session_s"] for r in rows),
        "moments": total,
        "kept": total["both"] / total["always_full"] if total["always_full"] else None,
        "invented": total["controller"] - total["both"],
        "joules": {
            side: sum(r["joules"][side] for r in rows) for side in ("always_full", "controller")
        },
        "by_session": rows,
    }


def row(name: str, one: Run, other: Run) -> dict[str, Any]:
    pairs = matched(one.records, other.records)
    mine, theirs = {a["id"] for a, _ in pairs}, {b["id"] for _, b in pairs}
    return {
        "session": name,
        "session_s": one.session_s,
        "always_full": len(one.records),
        "controller": len(other.records),
        "both": len(pairs),
        "lost": [told(m) for m in one.records if m["id"] not in mine],
        "invented": [told(m) for m in other.records if m["id"] not in theirs],
        "joules": {"always_full": one.energy.total_j, "controller": other.energy.total_j},
    }


def sections(result: dict[str, Any]) -> list[str]:
    """The page's tables."""
    kept = result["kept"]
    met = kept is not None and kept >= AIM and not result["invented"]
    counts, joules = result["moments"], result["joules"]
    said = (
        f"{result['sessions']} sessions, {result['session_s'] / 3600:.2f} h. Kept: "
        f"{'none to keep' if kept is None else f'{100 * kept:.1f} %'}, invented: {result['invented']}. "
        f"The aim, {100 * AIM:.0f} % and none, is {'met' if met else '**missed**'}."
    )
    return [
        said,
        page.table(
            ["session", "always-full", "controller", "both", "J, always-full", "J, controller"],
            [
                *(_line(r["session"], r, r["joules"]) for r in result["by_session"]),
                _line("all", counts, joules),
            ],
        ),
    ]


def _line(name: str, counts: Mapping[str, int], joules: Mapping[str, float]) -> list[str]:
    found = [str(counts[key]) for key in ("always_full", "controller", "both")]
    return [name, *found, *(f"{joules[side]:.1f}" for side in ("always_full", "controller"))]
