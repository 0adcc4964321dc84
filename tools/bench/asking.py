"""`beheld bench asking`: what three answers a day teach, by the rule that chooses the questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.model import Model, load
from device.personal import Personal, learn
from device.types import EMOTIONS
from export.card import put_section
from export.eye_emotion import run
from models.emotion_data import Expressions, never_seen, read_folder
from server.asking import LEAST_DOUBT, MOST, Candidate, choose, doubt
from tools.bench.asking_ensemble import Ensemble
from tools.bench.page import card_option
from tools.output import emit, json_option, progress

DAYS, A_DAY, LATER = 14, 30, 300
"""Days, moments of each, and further moments that the teaching is scored on."""
CONCENTRATION = 0.7
"""Of the Dirichlet distribution that a wearer's share of each feeling is drawn from: most feel two or three
things, and not the same."""
FEWEST = 300

Floats = NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class Pool:
    """What the eye network says of pictures that it was not trained on."""

    probabilities: Floats
    vectors: Floats
    labels: NDArray[np.int64]


@dataclass(slots=True, kw_only=True)
class Day:
    """What a rule may choose from: moments as they would be shown to the wearer."""

    probabilities: Floats
    """(A_DAY, 7), the corrections so far applied."""
    vectors: Floats
    rng: np.random.Generator


Rule = Callable[[Day], list[int]]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of faces.")
@click.option(
    "--wearers",
    type=click.IntRange(2),
    default=40,
    show_default=True,
    help="How many wearers are made up.",
)
@click.option("--seed", default=1, show_default=True)
@card_option
@json_option
def command(data: Path, wearers: int, seed: int, page: Path | None, as_json: bool) -> None:
    """What corrections gain, and whether it matters which moments are asked about.

    DATA is a folder as for `beheld bench emotion`; people that the network was trained on are left out.
    Wearers are made up: each feels some things more often than others, and their moments are pictures drawn
    accordingly. For two weeks a rule chooses at most three of each day's thirty moments, the answer is the
    picture's label, and the personal file learns from it as on the glasses. Scored is the accuracy on the
    wearer's next three hundred moments; `over_shipped` is the mean difference to the rule that ships, wearer
    by wearer, with its standard error. Rules: `doubt_and_newness` ships; `doubt` alone; `random`;
    `ensemble` is the dynamic ensemble of Pang and others (2018, REXP4) over doubt, margin, newness and
    chance. The diversity that ships is that of the views; here it is that of the eye vectors.
    """
    found = measure(data, wearers, seed)
    if page is not None:
        put_section(page, "`beheld bench asking`: which moments to ask about", found)
    emit(found, as_json=as_json, title=f"asking on {data}")


def measure(folder: Path, wearers: int = 40, seed: int = 1) -> dict[str, Any]:
    """Accuracy without answers and by rule; see `command`. Raises InputError for unusable data."""
    model = load("eye_emotion")
    pool = _pool(never_seen(read_folder(folder)), model)
    if len(pool.labels) < FEWEST:
        raise InputError(f"{folder}: {len(pool.labels)} pictures never seen; {FEWEST} are needed")
    before: list[float] = []
    after: dict[str, list[float]] = {name: [] for name in RULES}
    asked = dict.fromkeys(RULES, 0)
    with progress("asking", wearers) as tick:
        for wearer in range(wearers):
            moments, later = _life(pool, np.random.default_rng([seed, wearer]))
            blank = Personal(wearer=str(wearer), model_sha256=model.sha256)
            before.append(_accuracy(pool, later, blank))
            for name, make in RULES.items():
                own, count = _taught(pool, moments, blank, make(), seed + wearer)
                after[name].append(_accuracy(pool, later, own))
                asked[name] += count
            tick(wearer + 1)
    gains = {name: np.array(values) - before for name, values in after.items()}
    return {
        "wearers": wearers,
        "days": DAYS,
        "n": len(pool.labels),
        "accuracy_without_answers": float(np.mean(before)),
        "rules": {
            name: {
                "asked": asked[name] / wearers,
                "accuracy": float(np.mean(after[name])),
                "gain": float(gain.mean()),
                "over_shipped": float((gain - gains["doubt_and_newness"]).mean()),
                "over_shipped_error": _error(gain - gains["doubt_and_newness"]),
            }
            for name, gain in gains.items()
        },
    }


def _error(differences: Floats) -> float:
    """Standard error of their mean over wearers."""
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))


def _pool(data: Expressions, model: Model) -> Pool:
    probabilities, _ = run(model, data.eyes)
    vectors = np.concatenate([model.run(eyes=row[None])["vector"] for row in data.eyes])
    return Pool(
        probabilities=probabilities.astype(float) / probabilities.sum(1, keepdims=True),
        vectors=vectors.astype(float),
        labels=data.labels,
    )


def _life(
    pool: Pool, rng: np.random.Generator
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Rows of the pool: each day's moments, and the later ones."""
    present = np.unique(pool.labels)
    share = rng.dirichlet(np.full(len(present), CONCENTRATION))
    rows = [np.flatnonzero(pool.labels == c) for c in present]
    felt = rng.choice(len(present), DAYS * A_DAY + LATER, p=share)
    drawn = np.array([rng.choice(rows[c]) for c in felt])
    return np.split(drawn[: DAYS * A_DAY], DAYS), drawn[DAYS * A_DAY :]


def _taught(
    pool: Pool, days: Sequence[NDArray[np.int64]], own: Personal, rule: Rule, seed: int
) -> tuple[Personal, int]:
    """The personal file after the last day, and how many questions it took."""
    rng, number = np.random.default_rng(seed), 0
    for rows in days:
        shown = np.stack([own.prefer(pool.probabilities[row]) for row in rows])
        items = []
        for pick in rule(Day(probabilities=shown, vectors=pool.vectors[rows], rng=rng)):
            number += 1
            said = EMOTIONS[pool.labels[rows[pick]]]
            thought = dict(zip(EMOTIONS, shown[pick].tolist(), strict=True))
            items.append(
                {"number": number, "kind": "emotion", "emotion": said, "probabilities": thought}
            )
            told = getattr(rule, "told", None)
            if told is not None:
                told(EMOTIONS[int(shown[pick].argmax())] == said)
        own = learn(own, items)
    return own, number


def _accuracy(pool: Pool, rows: NDArray[np.int64], own: Personal) -> float:
    made = np.stack([own.prefer(pool.probabilities[row]) for row in rows])
    return float((made.argmax(1) == pool.labels[rows]).mean())


def shipped(day: Day) -> list[int]:
    """As the server asks: doubtful, and unlike one another."""
    chosen = choose([_candidate(day, n) for n in range(len(day.probabilities))])
    return [int(c.key) for c in chosen]


def doubtful(day: Day) -> list[int]:
    """The most doubtful alone."""
    doubts = doubts_of(day)
    order = np.argsort(-doubts, kind="stable")[:MOST]
    return [int(n) for n in order if doubts[n] >= LEAST_DOUBT]


def any_three(day: Day) -> list[int]:
    """Whichever."""
    return [int(n) for n in day.rng.choice(len(day.probabilities), MOST, replace=False)]


class ByEnsemble:
    """Three of a day by the dynamic ensemble, which is told after each answer whether the guess was right."""

    def __init__(self) -> None:
        self._ensemble = Ensemble(experts=4)

    def __call__(self, day: Day) -> list[int]:
        chosen: list[int] = []
        for _ in range(MOST):
            left = [n for n in range(len(day.probabilities)) if n not in chosen]
            chosen.append(left[self._ensemble.pick(_scores(day, left, chosen), day.rng)])
        return chosen

    def told(self, right: bool) -> None:
        """One answer, in the order of the questions."""
        self._ensemble.told(right)


RULES: dict[str, Callable[[], Rule]] = {
    "doubt_and_newness": lambda: shipped,
    "doubt": lambda: doubtful,
    "random": lambda: any_three,
    "ensemble": ByEnsemble,
}


def doubts_of(day: Day) -> Floats:
    """Entropy of each moment's classes as a share of the largest."""
    return np.array([doubt(_named(row)) for row in day.probabilities])


def _scores(day: Day, left: list[int], chosen: list[int]) -> Floats:
    """(4, left): how much each expert wants each moment, 0 to 1: doubt, margin, newness, chance."""
    two = np.sort(day.probabilities[left], axis=1)[:, -2:]
    unit = day.vectors / (np.linalg.norm(day.vectors, axis=1, keepdims=True) + 1e-9)
    newness = np.ones(len(left))
    if chosen:
        newness = 1 - (unit[left] @ unit[chosen].T).max(1).clip(0, 1)
    return np.stack(
        [doubts_of(day)[left], 1 - (two[:, 1] - two[:, 0]), newness, day.rng.random(len(left))]
    )


def _candidate(day: Day, number: int) -> Candidate:
    return Candidate(
        key=f"{number:03d}",
        probabilities=_named(day.probabilities[number]),
        embedding=day.vectors[number].tolist(),
    )


def _named(row: Floats) -> dict[str, float]:
    return dict(zip(EMOTIONS, row.tolist(), strict=True))
