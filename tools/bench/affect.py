"""`beheld bench affect`: how pleasant and how arousing pictures are, on themes never seen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.model import Model, load
from models.affect_data import SERVED, Scenes, combine, read_scenes
from models.train_affect import TrainAffect, cross_validated, ridge, scores
from tools.data import data_root
from tools.output import emit, json_option, progress

Floats = NDArray[np.float64]
FEWEST = 40
"""Pictures below which nothing is said."""


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of pictures.")
@click.option(
    "--looks",
    type=click.IntRange(1, SERVED),
    default=SERVED,
    show_default=True,
    help="1: the whole view alone; 2: its middle as well.",
)
@json_option
def command(data: Path, looks: int, as_json: bool) -> None:
    """Valence and arousal of pictures against people's ratings, beside ridge on the same features.

    DATA holds `labels.csv` (image, theme, valence_mean, valence_sd, arousal_mean, arousal_sd) and its
    images. Themes that the shipped network was trained on are cross-validated instead: each picture is
    judged by a refitted network that saw none of its theme. Each picture is looked at twice, its whole and
    its middle, as the tag stage looks at the whole view and the attended region in turns. The peer is ridge
    regression on the backbone's embedding of the same looks, fitted on the same pictures as the network;
    `raters_sd` is how far single raters lie apart.
    """
    emit(measure(data, looks), as_json=as_json, title=f"affect on {data}")


def measure(folder: Path, looks: int = SERVED) -> dict[str, Any]:
    """Scores on unseen themes; see `command`. Raises InputError for unusable data."""
    with progress("looking at pictures", 1.0) as tick:
        scenes = read_scenes(folder, load("backbone"), tick)
    if len(scenes.themes) < FEWEST:
        raise InputError(f"{folder}: {len(scenes.themes)} pictures; at least {FEWEST} are needed")
    model, seen = load("affect"), scenes.seen()
    mean, sd, peer = (np.full_like(scenes.ratings, np.nan) for _ in range(3))
    if seen.any():
        known = scenes.take(seen)
        if len(set(known.themes)) < 10:
            raise InputError(
                f"{folder}: {int(seen.sum())} pictures are of themes the network was trained on, "
                "too few to cross-validate; leave them out"
            )
        mean[seen], sd[seen], peer[seen], _ = cross_validated(known, served=looks)
    if (~seen).any():
        mean[~seen], sd[~seen] = run(model, scenes.take(~seen), looks)
        peer[~seen] = _peer(scenes, seen, looks)
    inside = np.abs(mean - scenes.ratings) < 1.2816 * sd
    by_peer = scores(peer, scenes.ratings)
    return {
        "n": len(scenes.themes),
        "themes": len(set(scenes.themes)),
        "cross_validated": int(seen.sum()),
        **scores(mean, scenes.ratings),
        "ridge": {f"{k}_r": v["r"] for k, v in by_peer.items()}
        | {f"{k}_mae": v["mae"] for k, v in by_peer.items()},
        "raters_sd": dict(zip(("valence", "arousal"), scenes.spread.mean(0).tolist(), strict=True)),
        "in_80_interval": dict(zip(("valence", "arousal"), inside.mean(0).tolist(), strict=True)),
        "ms": cpu_ms(model, scenes),
    }


def run(model: Model, scenes: Scenes, served: int = SERVED) -> tuple[Floats, Floats]:
    """(N, 2) means and standard deviations through the shipped network, from the first looks."""
    made = [
        [model.run(embedding=e[None], logits=w[None]) for e, w in zip(*looks, strict=True)]
        for looks in zip(scenes.embedding[:, :served], scenes.logits[:, :served], strict=True)
    ]
    mean, sd = (
        np.stack([np.concatenate([m[k] for m in row]) for row in made]).astype(np.float64)
        for k in ("affect", "sd")
    )
    return combine(mean, sd)


def _peer(scenes: Scenes, seen: NDArray[np.bool_], looks: int) -> Floats:
    """Ridge for unseen themes, fitted on the open set; where that is absent, on the other half."""
    cfg, unseen = TrainAffect(), scenes.take(~seen)
    folder = data_root() / "scene_oasis_dev"
    if folder.is_dir():
        return ridge(read_scenes(folder, load("backbone")), unseen, cfg.ridge, looks)
    themes = sorted(set(unseen.themes))
    first = np.isin(unseen.themes, themes[::2])
    guess = np.empty_like(unseen.ratings)
    guess[first] = ridge(unseen.take(~first), unseen.take(first), cfg.ridge, looks)
    guess[~first] = ridge(unseen.take(first), unseen.take(~first), cfg.ridge, looks)
    return guess


def cpu_ms(model: Model, scenes: Scenes, calls: int = 100) -> float:
    """Median CPU milliseconds of one view, the backbone's own time not counted."""
    took = []
    for number in range(calls):
        row = number % len(scenes.themes)
        started = time.thread_time()
        model.run(embedding=scenes.embedding[row, :1], logits=scenes.logits[row, :1])
        took.append(time.thread_time() - started)
    return float(np.median(took)) * 1e3
