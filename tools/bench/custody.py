"""`beheld bench custody`: uploads under every fault we can make, and books that are not ours to bend."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from tools.bench.custody_faults import KINDS, Trial, strike
from tools.bench.custody_world import World
from tools.bench.server_page import page_option, require, write_campaign
from tools.output import emit, json_option, progress

RUNS_A_WORLD = 100
"""After so many uploads a fresh server and fresh glasses begin, so that run 10,000 costs as run 1."""


@dataclass(slots=True)
class Campaign:
    """The sums of all worlds."""

    faults: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    why: list[str] = field(default_factory=list)

    def add(self, world: World) -> None:
        books = world.ledger
        for name in ("lost", "wrong_receipts", "unreceipted_deletes", "delivered"):
            self.sums[name] += len(getattr(books, name))
        self.sums["server_starts"] += world.server_starts
        self.why += books.why

    def result(self, runs: int, seed: int) -> dict[str, Any]:
        return {
            "runs": runs,
            "seed": seed,
            "faults": {kind: self.faults[kind] for kind in KINDS},
            "faults_that_did_not_strike": self.missed,
            "lost": self.sums["lost"],
            "wrong_receipts": self.sums["wrong_receipts"],
            "unreceipted_deletes": self.sums["unreceipted_deletes"],
            "delivered": self.sums["delivered"],
            "undelivered": runs - self.sums["delivered"],
            "server_starts": self.sums["server_starts"],
            "why": self.why[:20],
        }


@click.command()
@click.option("--runs", type=click.IntRange(1), default=200, show_default=True, help="Uploads.")
@click.option("--seed", default=1, show_default=True, help="Chooses every snippet and fault.")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Begin no further hundred after so long; `runs` says how many there were.",
)
@page_option
@json_option
def command(runs: int, seed: int, minutes: float | None, page: Path | None, as_json: bool) -> None:
    """Upload RUNS snippets, each under one to three faults, and count what must never happen.

    The server is a process of its own, the glasses are this process or one that is killed. Faults: kill
    -9 of either before any change of a disk, connections cut within a request or before its answer, full
    disks on either side, flipped bits on the way and on either disk, clocks that jump, duplicate and
    reordered chunks, answers 401, 413, 429 and 500. After each round both disks and every receipt are
    compared with books that share no code with either side.

    \b
    The whole campaign:   beheld bench custody --runs 10000 --seed 1
    """
    require(page, "custody")
    found = campaign(runs, seed, minutes)
    if page is not None:
        write_campaign(found, page)
    emit(found, as_json=as_json, title=f"{found['runs']} uploads, seed {seed}")


def campaign(runs: int, seed: int, minutes: float | None = None) -> dict[str, Any]:
    """Run it all; the worlds follow each other, each in a folder that is removed.

    After so many minutes no new world begins, and the result counts what was run.
    """
    found, done = Campaign(), 0
    until = time.monotonic() + 60 * (minutes or float("inf"))
    with progress("uploads", runs) as show:
        for first in range(0, runs, RUNS_A_WORLD):
            if time.monotonic() > until:
                break
            folder = Path(tempfile.mkdtemp(prefix="beheld-custody-"))
            world = World(folder, random.Random(f"{seed}/{first}"))
            try:
                for number in range(first, min(runs, first + RUNS_A_WORLD)):
                    run_one(world, random.Random(f"{seed}/{first}/{number}"), found)
                    done = number + 1
                    show(done)
                world.last_look()
            finally:
                world.close()
                found.add(world)
                shutil.rmtree(folder, ignore_errors=True)
    return found.result(done, seed)


def run_one(world: World, rng: random.Random, found: Campaign) -> None:
    """One upload: one to three faults, each in a round of its own, then rounds without any."""
    name = world.write(rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if name in world.ledger.delivered:
            break
        kind = rng.choice(KINDS)
        if strike(Trial(world, kind, name, rng)):
            found.faults[kind] += 1
        else:
            found.missed += 1
    world.settle(name)
