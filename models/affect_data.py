"""Pictures with rated affect, and what the glasses' backbone sees in them.

A folder with `labels.csv` (image, theme, valence_mean, valence_sd, arousal_mean, arousal_sd; ratings 1 to
7) beside its images, as in `scene_oasis_dev`.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.model import Model, fit

Floats = NDArray[np.float64]
SPLIT = Path(__file__).parent / "splits" / "affect_train.txt"
"""Hashes of the themes the shipped network was trained on, one a line."""
COLUMNS = ("valence_mean", "valence_sd", "arousal_mean", "arousal_sd")


LOOKS = ((0.0, 0.0, 1.0, 1.0), (0.15, 0.15, 0.85, 0.85), (0.0, 0.0, 0.8, 0.8), (0.2, 0.2, 1.0, 1.0))
"""Left, top, right and bottom of what the backbone looks at in a picture, as shares of it. The first two are
what it gets to see on the glasses, where the tag stage looks at the attended region and, in its turn, at the
whole view: nobody's gaze is known here, and in a composed picture it mostly rests in the middle. The others
only serve fitting: the mean over looks is a steadier description of a rated picture."""
EVEN = 120
"""Pictures that show nothing, made up to tell such views."""
SERVED = 2
"""Looks that a prediction uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """N pictures as the backbone sees them in L looks, and how people rated them."""

    embedding: NDArray[np.float32]
    """(N, L, 1280), unit length."""
    logits: NDArray[np.float32]
    """(N, L, 1000)."""
    ratings: Floats
    """(N, 2): mean valence and arousal, 1 to 7."""
    spread: Floats
    """(N, 2): the raters' standard deviations."""
    themes: tuple[str, ...]
    empty: NDArray[np.float32]
    """(M, 1280): embeddings of pictures that show nothing."""

    def take(self, keep: NDArray[np.bool_]) -> Scenes:
        """The rows where `keep` is true."""
        return Scenes(
            embedding=self.embedding[keep],
            logits=self.logits[keep],
            ratings=self.ratings[keep],
            spread=self.spread[keep],
            themes=tuple(t for t, k in zip(self.themes, keep, strict=True) if k),
            empty=self.empty,
        )

    def seen(self, split: Path = SPLIT) -> NDArray[np.bool_]:
        """True for pictures whose theme the shipped network was trained on."""
        known = set(split.read_text(encoding="utf-8").split()) if split.is_file() else set()
        return np.array([theme_hash(t) in known for t in self.themes], dtype=bool)


def theme_hash(theme: str) -> str:
    """A short name for a theme, for the list of those trained on."""
    return hashlib.sha256(f"beheld/{theme}".encode()).hexdigest()[:12]


def read_scenes(
    folder: Path, backbone: Model, tick: Callable[[float], None] = lambda done: None
) -> Scenes:
    """Every picture of the folder through the backbone. Raises InputError naming file and line.

    `tick` gets the share done.
    """
    path = folder / "labels.csv"
    if not path.is_file():
        raise InputError(f"{folder}: holds no labels.csv of pictures with valence and arousal")
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    missing = {"image", "theme", *COLUMNS} - set(rows[0] if rows else ())
    if missing:
        raise InputError(f"{path}: has no column {', '.join(sorted(missing))}")
    made, numbers = [], []
    for line, row in enumerate(rows, start=2):
        try:
            numbers.append([float(row[c]) for c in COLUMNS])
        except ValueError as error:
            raise InputError(f"{path} line {line}: {error}") from error
        picture = cv2.imread(str(folder / row["image"]))
        if picture is None:
            picture = cv2.imread(str(folder / "images" / row["image"]))
        if picture is None:
            raise InputError(f"{folder / row['image']}: cannot be read (labels.csv line {line})")
        made.append([backbone.run(image=_look(picture, look, backbone)) for look in LOOKS])
        tick((line - 1) / len(rows))
    values = np.array(numbers)
    return Scenes(
        embedding=np.stack([np.concatenate([m["embedding"] for m in row]) for row in made]),
        logits=np.stack([np.concatenate([m["logits"] for m in row]) for row in made]),
        ratings=values[:, [0, 2]],
        spread=values[:, [1, 3]],
        themes=tuple(row["theme"] for row in rows),
        empty=np.concatenate(
            [
                backbone.run(image=fit(picture, backbone.input_size_px)[None])["embedding"]
                for picture in even_pictures(EVEN, np.random.default_rng(0))
            ]
        ),
    )


def even_pictures(count: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """(240, 320, 3) each: areas that show nothing, grey or coloured, shaded and noisy by parts."""
    x, y = np.linspace(-1, 1, 320)[None, :, None], np.linspace(-1, 1, 240)[:, None, None]
    for number in range(count):
        colour = rng.integers(0, 256, 3) if number % 2 else np.repeat(rng.integers(0, 256), 3)
        picture = np.ones((240, 320, 3)) * colour
        if number % 4 >= 2:
            picture = picture + x * rng.uniform(-40, 40) + y * rng.uniform(-40, 40)
        if number % 3:
            picture = picture + rng.normal(0, rng.uniform(0, 12), picture.shape)
        yield np.clip(picture, 0, 255).astype(np.uint8)


def _look(
    picture: NDArray[np.uint8], look: tuple[float, ...], backbone: Model
) -> NDArray[np.uint8]:
    """(1, 224, 224, 3): one part of a picture as the backbone takes it."""
    height, width = picture.shape[:2]
    left, top, right, bottom = (
        round(s * e) for s, e in zip(look, (width, height) * 2, strict=True)
    )
    part = np.ascontiguousarray(picture[top : max(bottom, top + 1), left : max(right, left + 1)])
    return fit(part, backbone.input_size_px)[None]


def combine(mean: Floats, sd: Floats) -> tuple[Floats, Floats]:
    """One mean and sd (N, 2) of several looks' (N, L, 2): weighed by their certainty, as the device does."""
    weight = 1 / sd**2
    weight /= weight.sum(1, keepdims=True)
    return (weight * mean).sum(1), np.sqrt((weight * sd**2).sum(1))


def theme_folds(themes: tuple[str, ...], count: int = 10, seed: int = 0) -> list[NDArray[np.bool_]]:
    """Masks of held-out rows: every theme wholly in one fold."""
    names = np.array(sorted(set(themes)))
    np.random.default_rng(seed).shuffle(names)
    return [np.isin(themes, names[start::count]) for start in range(min(count, len(names)))]
