"""`beheld bench emoship`: what joining eyes and view gains, and whether the influence score is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from device.agreement import Agreement
from device.errors import InputError
from device.model import Model, load
from export.card import put_section
from export.emoship import sections
from models.affect_data import Scenes, read_scenes, theme_hash
from models.emoship_data import (
    AGREEMENT,
    EYES_SPLIT,
    THEMES_SPLIT,
    Views,
    blank_view,
    construct,
    degrade,
    eye_hash,
    listed,
    vectors,
)
from models.emotion_data import Expressions, never_seen, read_folder
from models.scores import spearman, uar, war
from models.train_affect import cross_validated
from tools.bench.affect import run as run_affect
from tools.bench.page import card_option
from tools.output import emit, json_option, progress

DEGREES = (0.0, 0.25, 0.5, 0.75, 0.8, 1.0)
EVEN = {"grey": 127, "black": 0, "white": 255}
"""Views that show nothing: their one grey level."""
FEWEST_VIEWS = 20
SEED = 7
ROUNDS = 5
"""Views drawn for each eye; the figures are means over these."""
LEARNT = (25, 100, 400)
"""Moments after which the share of agreeing views is asked for that was learnt meanwhile."""

Floats = NDArray[np.float32]


@click.command()
@click.option("--eyes", type=click.Path(path_type=Path), required=True, help="Folder of faces.")
@click.option("--scenes", type=click.Path(path_type=Path), required=True, help="Rated pictures.")
@click.option(
    "--agreement",
    type=click.FloatRange(0, 1),
    default=AGREEMENT,
    show_default=True,
    help="Share of pairs whose view agrees with the feeling.",
)
@card_option
@json_option
def command(eyes: Path, scenes: Path, agreement: float, page: Path | None, as_json: bool) -> None:
    """Seven classes from the eyes alone, the view alone and both; the influence score put to the test.

    Nobody recorded eye and view together: the pairs are constructed (`models.emoship_data.construct`), and
    `by_agreement` shows what changes when fewer or more of them agree, `uar_with_peoples_ratings` what the
    same fusion would make of views whose affect it knew from people. `fused` is of each pair by itself, by
    what is believed of a wearer's views before anything is known (`share_before`). `told` is what it would
    be if the share that agrees were known to be 0.8; `learnt` is the score on one half of the eyes after 25,
    100 and 400 moments of the other half, whose labels nobody looked at, with `share` what is believed then.
    EYES is a folder as for `beheld bench emotion`, SCENES one as for `beheld bench affect`; people and themes
    that the networks were trained on are left out, and where only the affect network saw a theme, its affect
    is predicted by a refitted one that did not.
    """
    found = measure(eyes, scenes, agreement)
    if page is not None:
        for heading, rows in sections(found, eyes.resolve().name).items():
            put_section(page, heading, rows)
    emit(found, as_json=as_json, title=f"emoship on {eyes}, {scenes}")


def measure(eyes: Path, scenes: Path, agreement: float = AGREEMENT) -> dict[str, Any]:
    """Scores on people and themes never seen; see `command`. Raises InputError for unusable data."""
    people, views = _people(eyes), _views(scenes)
    classes, fusion = people.classes(), load("emoship")
    if len(classes) < 2:
        raise InputError(f"{eyes}: no two expressions with 12 pictures of people never seen")
    kept = people.take(np.isin(people.labels, classes))
    eye, rng = load("eye_emotion"), np.random.default_rng(SEED)
    with progress("looking at eyes", 2.0) as tick:
        clear = vectors(eye, kept.eyes, tick)
        hard = vectors(eye, degrade(kept.eyes, rng), lambda done: tick(1 + done))
    alone = clear[1]
    no_eye = (np.broadcast_to(clear[0].mean(0), clear[0].shape), np.full_like(alone, 1 / 7))
    usual = Views(
        affect=np.broadcast_to(views.affect.mean(0), views.affect.shape),
        sd=np.broadcast_to(views.sd.mean(0), views.sd.shape),
        ratings=views.ratings,
    )
    backbone, affect = load("backbone"), load("affect")
    blanks = {name: blank_view(backbone, affect, level) for name, level in EVEN.items()}
    labels, any_row = kept.labels, np.zeros(len(kept.labels), np.int64)
    empty = {
        name: Views(affect=b["affect"], sd=b["sd"], ratings=views.ratings[:1])
        for name, b in blanks.items()
    }

    by_degree: dict[str, dict[str, Any]] = {}
    for degree in sorted({*DEGREES, agreement}):
        rounds = []
        for _ in range(ROUNDS):
            pick = construct(labels, views.ratings, degree, rng)
            fused, _ = run(fusion, clear, views, pick)
            view_only, _ = run(fusion, no_eye, views, pick)
            told, _ = run(fusion, clear, views, pick, AGREEMENT)
            rounds.append([uar(p, labels, classes) for p in (alone, view_only, fused, told)])
        by_degree[f"{degree:g}"] = {
            **dict(
                zip(("eye", "scene", "fused", "told"), np.mean(rounds, 0).tolist(), strict=True)
            ),
            "learnt": learnt(fusion, clear, views, labels, classes, degree),
        }

    pick = construct(labels, views.ratings, agreement, rng)
    fused, influence = run(fusion, clear, views, pick)
    without, _ = run(fusion, clear, usual, any_row)
    blanked = {name: run(fusion, clear, view, any_row) for name, view in empty.items()}
    blank_influence = blanked["grey"][1]
    _, hard_influence = run(fusion, hard, views, pick)
    rated = Views(affect=views.ratings.astype(np.float32), sd=views.sd, ratings=views.ratings)
    with_ratings, _ = run(fusion, clear, rated, pick)
    gone = (fused * np.log(np.maximum(fused, 1e-9) / np.maximum(without, 1e-9))).sum(1)
    return {
        "n": len(labels),
        "views": len(views.ratings),
        "classes": len(classes),
        "agreement": agreement,
        "share_before": Agreement().share,
        "uar": {k: by_degree[f"{agreement:g}"][k] for k in ("eye", "scene", "fused")},
        "uar_learnt": by_degree[f"{agreement:g}"]["learnt"],
        "war": {"eye": war(alone, labels, classes), "fused": war(fused, labels, classes)},
        "uar_without_view": {
            "average": uar(without, labels, classes),
            **{name: uar(made[0], labels, classes) for name, made in blanked.items()},
        },
        "uar_with_peoples_ratings": uar(with_ratings, labels, classes),
        "by_agreement": by_degree,
        "influence_spearman": spearman(influence, gone),
        "influence_shift": {
            "eye_degraded": float((hard_influence - influence).mean()),
            "scene_blanked": float((blank_influence - influence).mean()),
        },
        "influence": dict(
            zip(("p10", "p50", "p90"), np.percentile(influence, [10, 50, 90]).tolist(), strict=True)
        ),
    }


def learnt(
    fusion: Model,
    eye: tuple[Floats, Floats],
    views: Views,
    labels: NDArray[np.int64],
    classes: list[int],
    degree: float,
) -> dict[str, dict[str, float]]:
    """By moments learnt from: score and believed share, means over rounds. The moments' eyes are of one half,
    drawn again where it is too small; scored are those of the other, with views of their own."""
    rng = np.random.default_rng([SEED, round(100 * degree)])
    rows: dict[int, list[tuple[float, float]]] = {n: [] for n in LEARNT}
    for _ in range(ROUNDS):
        order = rng.permutation(len(labels))
        scored = construct(labels, views.ratings, degree, rng)
        half = len(order) // 2
        made: dict[int, list[tuple[Floats, NDArray[np.int64]]]] = {n: [] for n in LEARNT}
        shares: dict[int, list[float]] = {n: [] for n in LEARNT}
        for lived, asked in ((order[:half], order[half:]), (order[half:], order[:half])):
            those = rng.choice(lived, max(LEARNT))
            pick = construct(labels[those], views.ratings, degree, rng)
            belief = Agreement()
            for number, (row, view) in enumerate(zip(those, pick, strict=True), start=1):
                said = call(fusion, (eye[0][row], eye[1][row]), views, view, belief.share)
                belief = belief.after(eye[1][row], said["likelihood"][0])
                if number in made:
                    of = (eye[0][asked], eye[1][asked])
                    p, _ = run(fusion, of, views, scored[asked], belief.share)
                    made[number].append((p, labels[asked]))
                    shares[number].append(belief.share)
        for number, parts in made.items():
            p, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
            rows[number].append((uar(p, truth, classes), float(np.mean(shares[number]))))
    return {
        str(n): dict(zip(("fused", "share"), np.mean(values, 0).tolist(), strict=True))
        for n, values in rows.items()
    }


def call(
    fusion: Model, eye: tuple[Floats, Floats], views: Views, view: int, share: float
) -> dict[str, NDArray[Any]]:
    """One eye, vector (96,) and probabilities (7,), with one view."""
    return fusion.run(
        vector=eye[0][None],
        eye=eye[1][None],
        affect=views.affect[view][None],
        sd=views.sd[view][None],
        share=np.array([[share]], np.float32),
    )


def run(
    fusion: Model,
    eye: tuple[Floats, Floats],
    views: Views,
    pick: NDArray[np.int64],
    share: float | None = None,
) -> tuple[Floats, Floats]:
    """Class probabilities (N, 7) and influence (N,) of each eye with its view, one call a row; by default
    with the share that is believed before anything is known."""
    believed = Agreement().share if share is None else share
    made = [call(fusion, (v, q), views, p, believed) for v, q, p in zip(*eye, pick, strict=True)]
    return (
        np.concatenate([m["probabilities"] for m in made]),
        np.concatenate([m["influence"] for m in made])[:, 0],
    )


def _people(folder: Path) -> Expressions:
    """The faces whose people, and whose eyes, none of the networks was trained on."""
    data = never_seen(read_folder(folder))
    known = listed(EYES_SPLIT)
    return data.take(np.array([eye_hash(e) not in known for e in data.eyes], dtype=bool))


def _views(folder: Path) -> Views:
    """The views of themes the fusion was not trained on. Raises InputError if there are too few."""
    with progress("looking at views", 1.0) as tick:
        scenes = read_scenes(folder, load("backbone"), tick)
    known, affect = listed(THEMES_SPLIT), load("affect")
    fresh = np.array([theme_hash(t) not in known for t in scenes.themes], dtype=bool)
    if fresh.sum() < FEWEST_VIEWS:
        raise InputError(
            f"{folder}: {int(fresh.sum())} pictures of themes never seen; {FEWEST_VIEWS} are needed"
        )
    mean, sd = np.empty_like(scenes.ratings), np.empty_like(scenes.ratings)
    seen = scenes.seen()
    if (seen & fresh).any():
        mean[seen], sd[seen], *_ = cross_validated(scenes.take(seen))
    if (~seen).any():
        mean[~seen], sd[~seen] = run_affect(affect, scenes.take(~seen))
    return _as_views(mean, sd, scenes, fresh)


def _as_views(
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    scenes: Scenes,
    keep: NDArray[np.bool_],
) -> Views:
    return Views(
        affect=mean[keep].astype(np.float32),
        sd=sd[keep].astype(np.float32),
        ratings=scenes.ratings[keep],
    )
