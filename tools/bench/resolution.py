"""`beheld bench resolution`: what quality costs under each policy of the resolution controller."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from device.carry import MEASURES
from device.errors import InputError
from device.model import load
from device.resolution_policies import OBSERVED, Learned, observe
from models.resolution_clips import SHORTEST, clip_paths, read_clip
from models.resolution_compare import curves, summary
from models.resolution_set import PolicySet, by_seed, sets, unseen_by
from models.resolution_table import Table, TableBuilder
from models.resolution_world import Costs
from tools.output import emit, json_option, progress

FRAMES = 120
"""Frames of each clip that are looked at, from its beginning."""


@click.command()
@click.option(
    "--data",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="A folder of videos, or of folders of pictures (as in DAVIS); may be given again.",
)
@click.option("--frames", default=FRAMES, show_default=True, help="Most frames a clip.")
@click.option(
    "--tables",
    type=click.Path(path_type=Path),
    help="Keep what was analysed there, and use what is there already.",
)
@click.option(
    "--card", is_flag=True, help="Write the figures into docs/models/resolution.md, with a picture."
)
@json_option
def command(
    data: tuple[Path, ...], frames: int, tables: Path | None, card: bool, as_json: bool
) -> None:
    """Energy and quality of every policy on videos it was not tuned on.

    Every frame is analysed at each size with the networks that ship and carried along by flow, so each
    policy can be played exactly. Quality 1 is a run at 320 px on every frame; a second judge, who sees the
    frame shifted by a pixel, tells the detector's noise from what a policy loses. A clip that the shipped
    policies were tuned on (told by its fingerprint) is played with those of a fold that never saw it;
    one that every fold saw is left out and named.
    """
    if frames < SHORTEST:
        raise InputError(f"--frames {frames}: at least {SHORTEST}")
    result = measure(data, frames, tables)
    if card:
        from tools.bench.resolution_page import write  # matplotlib is not needed to measure

        write(result)
    emit(result, as_json=as_json, title=f"resolution on {', '.join(map(str, data))}")


def measure(data: Sequence[Path], frames: int, kept: Path | None = None) -> dict[str, Any]:
    """All figures of the folders together, with the policies of the first seed; where fold sets judge,
    those of each fold and seed as well."""
    tables = build(data, frames, kept)
    seeds = by_seed(sets())
    groups, seen = grouped(tables, seeds[0])
    if not groups:
        raise InputError(
            f"{', '.join(map(str, data))}: every clip was used in training ({', '.join(seen)})"
        )
    costs = Costs.of([table for _, mine in groups for table in mine])
    with progress("policies", None) as done:
        result = summary(curves(groups, costs, done), costs)
    result["clips"] = {
        t.name: {"frames": t.frames, "policies": s.name.rpartition("-")[0] or s.name}
        for s, mine in groups
        for t in mine
    }
    result["left_out"] = seen
    result["by_set"] = by_set(tables, seeds, costs) if len(groups) > 1 else {}
    result |= decision_cost(seeds[0][0])
    return result


def by_set(
    tables: Sequence[Table], seeds: Sequence[Sequence[PolicySet]], costs: Costs
) -> dict[str, Any]:
    """Share of always-320 at each quality of every fold and seed: {set: {judge: {quality: {policy}}}}."""
    found = {}
    for known in seeds:
        for chosen, mine in grouped(tables, known)[0]:
            figures = summary(curves([(chosen, mine)], costs), costs)
            found[chosen.name] = {
                "share_at_quality": figures["share_at_quality"],
                "second_judge": figures["second_judge"]["share_at_quality"],
            }
    return found


def build(data: Sequence[Path], frames: int, kept: Path | None = None) -> list[Table]:
    """The tables of every clip of the folders."""
    builder = TableBuilder(load("detector"), load("backbone"))
    paths = [path for place in data for path in clip_paths(place)]
    tables = []
    with progress("analysing", len(paths) * frames) as done:
        for number, path in enumerate(paths):
            clip = read_clip(path, frames)
            if len(clip.frames) < SHORTEST:
                continue
            file = kept / f"{clip.fingerprint}-{len(clip.frames)}.npz" if kept else None
            if file is not None and file.exists():
                tables.append(Table.read(file))
                continue
            start = number * frames
            tables.append(builder.build(clip, lambda n, s=start: done(s + n)))  # type: ignore[misc]
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                tables[-1].save(file)
    if not tables:
        raise InputError(
            f"{', '.join(map(str, data))}: every clip is shorter than {SHORTEST} frames"
        )
    return tables


def grouped(
    tables: Sequence[Table], known: Sequence[PolicySet]
) -> tuple[list[tuple[PolicySet, list[Table]]], list[str]]:
    """Clips by the policies that may be judged on them, and the names of those for which there are none."""
    groups: dict[str, tuple[PolicySet, list[Table]]] = {}
    seen = []
    for table in tables:
        chosen = unseen_by(table.fingerprint, known)
        if chosen is None:
            seen.append(table.name)
        else:
            groups.setdefault(chosen.name, (chosen, []))[1].append(table)
    return list(groups.values()), seen


def decision_cost(shipped: PolicySet, calls: int = 2000) -> dict[str, Any]:
    """CPU of one decision of the network, observation included."""
    if shipped.network is None:
        return {"decision_us": None, "decisions_per_s": None}
    policy = Learned(shipped.network)
    rng = np.random.default_rng(0)
    measures = rng.uniform(0, 0.5, (calls, len(MEASURES))).astype(np.float32)
    assert len(OBSERVED) == len(MEASURES) + 2
    started = time.thread_time()
    for row in measures:
        policy.choose(row, observe(row, 0.3, 0.5))
    took_s = (time.thread_time() - started) / calls
    return {"decision_us": took_s * 1e6, "decisions_per_s": 1 / took_s}
