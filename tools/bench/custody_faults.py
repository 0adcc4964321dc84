"""What can happen to an upload: a table of faults, each one round of the sync that goes wrong."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.bench.custody_way import WAYS, BadWay
from tools.bench.custody_world import World
from tools.bench.forked import crash_after

YEAR_S = 365 * 86400.0
_OPERATIONS = 60  # changes of a disk that a round makes, about: a crash comes before one of them
_REQUESTS = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """One snippet about to be sent, and what shall go wrong."""

    world: World
    kind: str
    name: str
    rng: random.Random


Outcome = tuple[bool, list[dict[str, Any]]]
"""Whether the fault struck, and every answer of the server that was heard."""


def strike(trial: Trial) -> bool:
    """One round of the sync under its fault; whether it struck. Then a look at the books."""
    struck, answers = _FAULTS.get(trial.kind, on_the_way)(trial)
    trial.world.ledger.look([trial.name], answers)
    return struck


def on_the_way(trial: Trial) -> Outcome:
    trial.world.healthy_server()
    way = BadWay(trial.kind, trial.rng.randrange(_REQUESTS), trial.rng)
    answers = trial.world.sync(way)
    return way.struck, answers


def kill_glasses(trial: Trial) -> Outcome:
    moment = trial.rng.randrange(_OPERATIONS)
    child, _ = trial.world.sync_apart(lambda: crash_after(moment)())
    return child.was_killed, []


def kill_server(trial: Trial) -> Outcome:
    server = trial.world.begin_server(crash_at=trial.rng.randrange(_OPERATIONS))
    answers = trial.world.sync()
    return not server.running(), answers


def full_disk_glasses(trial: Trial) -> Outcome:
    limit, most = trial.rng.choice((0, 100, 300, 600)), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    _, said = trial.world.sync_apart(
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    )
    return said == "stopped", []


def full_disk_server(trial: Trial) -> Outcome:
    trial.world.healthy_server()
    way = BadWay(None, 0, trial.rng)
    with trial.world.server_disk(trial.rng.choice((0, 500, 20_000, 100_000))):
        answers = trial.world.sync(way)
    return any(status >= 500 for status in way.statuses), answers


def bit_flip_on_glasses(trial: Trial) -> Outcome:
    """A file rots in the spool: it must never be promised, and stays; then it is whole again."""
    folder = trial.world.spool / trial.name
    if not folder.is_dir():  # a kill left it half let go of: it has its receipt already
        return False, []
    path = folder / trial.rng.choice(sorted(path.name for path in folder.iterdir()))
    whole = path.read_bytes()
    path.write_bytes(_flipped(whole, trial.rng))
    spoilt = trial.world.ledger.written[trial.name].spoilt
    spoilt.add(path.name)
    trial.world.healthy_server()
    for _ in range(2):
        trial.world.ledger.look([trial.name], trial.world.sync())
    if folder.is_dir():
        path.write_bytes(whole)
    spoilt.clear()
    return True, []


def bit_flip_on_server(trial: Trial) -> Outcome:
    """Bytes that came rot on the server before the commit."""
    half_way(trial)
    came = [path for path in (trial.world.arriving / trial.name).glob("[!.]*") if path.is_file()]
    came = sorted(path for path in came if path.stat().st_size)
    if not came:
        return False, []
    path = trial.rng.choice(came)
    path.write_bytes(_flipped(path.read_bytes(), trial.rng))
    return True, trial.world.sync()


def clock_jump_glasses(trial: Trial) -> Outcome:
    before = half_way(trial)
    answers = trial.world.sync(jump_s=trial.rng.choice((-30, -1, 1, 30)) * YEAR_S)
    return True, before + answers


def clock_jump_server(trial: Trial) -> Outcome:
    """The server wakes years off; what was half uploaded may have expired, nothing else may."""
    before = half_way(trial)
    trial.world.begin_server(ahead_s=trial.rng.choice((-30, -1, 1, 30)) * YEAR_S)
    return True, before + trial.world.sync()


def half_way(trial: Trial) -> list[dict[str, Any]]:
    """Let a request be cut, so that something of the snippet lies on the server."""
    trial.world.healthy_server()
    return trial.world.sync(BadWay("cut_request", trial.rng.randrange(_REQUESTS), trial.rng))


_FAULTS: dict[str, Callable[[Trial], Outcome]] = {
    "kill_glasses": kill_glasses,
    "kill_server": kill_server,
    "full_disk_glasses": full_disk_glasses,
    "full_disk_server": full_disk_server,
    "bit_flip_on_glasses": bit_flip_on_glasses,
    "bit_flip_on_server": bit_flip_on_server,
    "clock_jump_glasses": clock_jump_glasses,
    "clock_jump_server": clock_jump_server,
}
KINDS = (*_FAULTS, *WAYS)


def _flipped(data: bytes, rng: random.Random) -> bytes:
    spoilt = bytearray(data)
    spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)
