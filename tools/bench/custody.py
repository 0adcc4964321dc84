"""`beheld bench custody`: uploads under every fault we can make, and books that are not ours to bend."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

import device
import server
from tools.bench.custody_faults import KINDS, Trial, strike
from tools.bench.custody_world import World
from tools.bench.server_page import page_option, require, write_campaign
from tools.output import emit, json_option, progress

RUNS_A_WORLD = 100
"""After so many uploads a fresh server and fresh glasses begin, so that run 10,000 costs as run 1."""
_COUNTED = ("faults", "sums")


@dataclass(slots=True)
class Campaign:
    """The sums of all worlds, or of one."""

    runs: int = 0
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

    def add_all(self, other: Campaign) -> None:
        self.runs += other.runs
        self.missed += other.missed
        self.faults.update(other.faults)
        self.sums.update(other.sums)
        self.why += other.why

    def result(self, seed: int) -> dict[str, Any]:
        return {
            "runs": self.runs,
            "seed": seed,
            "faults": {kind: self.faults[kind] for kind in KINDS},
            "faults_that_did_not_strike": self.missed,
            "lost": self.sums["lost"],
            "wrong_receipts": self.sums["wrong_receipts"],
            "unreceipted_deletes": self.sums["unreceipted_deletes"],
            "delivered": self.sums["delivered"],
            "undelivered": self.runs - self.sums["delivered"],
            "server_starts": self.sums["server_starts"],
            "why": self.why[:20],
        }


class Book:
    """What is known of each hundred: a JSON line each, of this seed and this very code."""

    def __init__(self, path: Path | None, seed: int) -> None:
        self._path = path
        self._of = {"seed": seed, "code": _code()} if path else {}

    def read(self) -> dict[int, Campaign]:
        """By the number of the first upload. A line that was cut while it was written is none."""
        found: dict[int, Campaign] = {}
        lines = self._path.read_text().splitlines() if self._path and self._path.exists() else []
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if all(row.pop(key, None) == value for key, value in self._of.items()):
                first, counted = row.pop("first"), {k: Counter(row.pop(k)) for k in _COUNTED}
                found[first] = Campaign(**row, **counted)
        return found

    def add(self, first: int, one: Campaign) -> None:
        if self._path is not None:
            told = {name: getattr(one, name) for name in one.__slots__}
            row = json.dumps({**self._of, "first": first, **told})
            with self._path.open("a") as file:  # one write, so that processes may share it
                file.write(f"{row}\n")


def _code() -> str:
    """Digest of the program under test."""
    digest = hashlib.sha256()
    for package in (device, server):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class Part(click.ParamType):
    """`I/N` as (I, N)."""

    name = "I/N"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        which, _, of = str(value).partition("/")
        if not (which.isdigit() and of.isdigit() and 0 < int(which) <= int(of)):
            self.fail(f"'{value}' is not I/N, such as 1/2", param, ctx)
        return int(which), int(of)


@click.command()
@click.option("--runs", type=click.IntRange(1), default=200, show_default=True, help="Uploads.")
@click.option("--seed", default=1, show_default=True, help="Chooses every snippet and fault.")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Begin no further hundred after so long; `runs` says how many there were.",
)
@click.option(
    "--book",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the sums of each hundred in this file, and go on from what is in it.",
)
@click.option("--part", type=Part(), help="I/N: only each Nth hundred, beginning with the Ith.")
@page_option
@json_option
def command(
    runs: int,
    seed: int,
    minutes: float | None,
    book: Path | None,
    part: tuple[int, int] | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Upload RUNS snippets, each under one to three faults, and count what must never happen.

    The server is a process of its own, the glasses are this process or one that is killed. Faults: kill
    -9 of either before any change of a disk, connections cut within a request or before its answer, full
    disks on either side, flipped bits on the way and on either disk, clocks that jump, duplicate and
    reordered chunks, answers 401, 413, 429 and 500. After each round both disks and every receipt are
    compared with books that share no code with either side.

    \b
    The whole campaign:   beheld bench custody --runs 10000 --seed 1
    What may be stopped:  beheld bench custody --runs 10000 --seed 1 --book campaign.jsonl
    Beside each other:    the same with --part 1/2 and --part 2/2, then without for the sums
    """
    require(page, "custody")
    found = campaign(runs, seed, minutes, Book(book, seed), part or (1, 1))
    if page is not None:
        write_campaign(found, page)
    emit(found, as_json=as_json, title=f"{found['runs']} uploads, seed {seed}")


def campaign(
    runs: int,
    seed: int,
    minutes: float | None = None,
    book: Book | None = None,
    part: tuple[int, int] = (1, 1),
) -> dict[str, Any]:
    """Run it all; the worlds follow each other, each in a folder that is removed.

    After so many minutes no new world begins, and the result counts what was run. Worlds that are in the
    book are not run again; `part` (which, of how many) leaves the others to other processes.
    """
    book = book or Book(None, seed)
    found, known = Campaign(), book.read()
    until = time.monotonic() + 60 * (minutes or float("inf"))
    with progress("uploads", runs) as show:
        for number, first in enumerate(range(0, runs, RUNS_A_WORLD)):
            size = min(runs - first, RUNS_A_WORLD)
            one = known.get(first)
            if one is None or one.runs != size:
                if number % part[1] != part[0] - 1:
                    continue
                if time.monotonic() > until:
                    break
                one = run_world(first, size, seed, lambda done: show(found.runs + done))
                book.add(first, one)
            found.add_all(one)
            show(found.runs)
    return found.result(seed)


def run_world(first: int, size: int, seed: int, show: Callable[[int], None]) -> Campaign:
    """A fresh server and fresh glasses, and so many uploads."""
    one = Campaign()
    folder = Path(tempfile.mkdtemp(prefix="beheld-custody-"))
    world = World(folder, random.Random(f"{seed}/{first}"))
    try:
        for number in range(first, first + size):
            run_one(world, random.Random(f"{seed}/{first}/{number}"), one)
            one.runs += 1
            show(one.runs)
        world.last_look()
    finally:
        world.close()
        one.add(world)
        shutil.rmtree(folder, ignore_errors=True)
    return one


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
