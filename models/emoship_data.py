"""Eyes paired with views, since nobody recorded both: how, and to what degree they agree.

`construct` is the whole construction. Nothing measured with such pairs says how often a wearer's feeling
agrees with what is in view; it says what fusion makes of it if it does to the stated degree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.model import Model, fit
from device.types import EMOTIONS
from models.affect_data import even_pictures

Floats = NDArray[np.float64]
EYES_SPLIT = Path(__file__).parent / "splits" / "emoship_eyes.txt"
"""Hashes of the eyes the shipped fusion was trained on."""
THEMES_SPLIT = Path(__file__).parent / "splits" / "emoship_themes.txt"
"""Hashes of the themes the shipped fusion was trained on."""
AFFECT_OF = {
    "angry": (2.4, 5.0),
    "disgust": (2.4, 4.0),
    "fear": (2.4, 5.6),
    "happy": (6.2, 4.4),
    "sad": (2.4, 2.8),
    "surprise": (5.2, 5.6),
    "neutral": (4.3, 2.4),
}
"""Valence and arousal, 1 to 7, of the views that agree with a feeling: where the circumplex of affect
(Russell 1980) puts the feeling, brought to the part of the scale that rated pictures cover."""
NEAR = 0.6
"""Standard deviation of the agreeing views around that point, in ratings."""
AGREEMENT = 0.8
"""The documented degree: the share of pairs whose view agrees with the feeling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """N views as the affect network sees them."""

    affect: NDArray[np.float32]
    """(N, 2)"""
    sd: NDArray[np.float32]
    """(N, 2)"""
    ratings: Floats
    """(N, 2): what people said, which the construction goes by and no network sees."""


def construct(
    labels: NDArray[np.int64],
    ratings: Floats,
    agreement: float | Floats,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Index of a view for each eye; `agreement` is one share, or one for each.

    With probability `agreement` it is drawn with weights that fall with the distance of its rated valence
    and arousal from `AFFECT_OF` its feeling (a Gaussian of width `NEAR`); else it is drawn blindly, which
    may agree by chance.
    """
    goals = np.array([AFFECT_OF[name] for name in EMOTIONS])
    squares = ((ratings[None] - goals[:, None]) ** 2).sum(2)  # (7, views)
    weights = np.exp(-(squares - squares.min(1, keepdims=True)) / (2 * NEAR**2))
    chosen = rng.integers(len(ratings), size=len(labels))
    agrees = rng.random(len(labels)) < agreement
    for c in range(len(EMOTIONS)):
        rows = np.flatnonzero(agrees & (labels == c))
        chosen[rows] = rng.choice(len(ratings), len(rows), p=weights[c] / weights[c].sum())
    return chosen


def degrade(eyes: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The same crops (N, E, 64, 64) out of focus, dim and noisy: an eye hardly seen."""
    out = np.empty_like(eyes)
    for index in np.ndindex(eyes.shape[:2]):
        soft = cv2.GaussianBlur(eyes[index], (0, 0), float(rng.uniform(4, 7)))
        dim = soft * rng.uniform(0.15, 0.4) + rng.normal(0, 10, soft.shape)
        out[index] = np.clip(dim, 0, 255)
    return out


def vectors(
    model: Model,
    eyes: NDArray[np.uint8],
    tick: Callable[[float], None] = lambda done: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Eye vectors (N, 96) and class probabilities (N, 7) through the shipped eye network."""
    made = []
    for number, row in enumerate(eyes):
        made.append(model.run(eyes=row[None]))
        tick((number + 1) / len(eyes))
    return (
        np.concatenate([m["vector"] for m in made]),
        np.concatenate([m["probabilities"] for m in made]),
    )


def blank_view(backbone: Model, affect: Model, level: int = 127) -> dict[str, NDArray[np.float32]]:
    """What the affect network says of an even picture, grey by itself: `affect` (1, 2) and `sd` (1, 2)."""
    return _judged(np.full((240, 320, 3), level, np.uint8), backbone, affect)


def blank_views(
    backbone: Model, affect: Model, count: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(count, 4), affect and sd, of views that show nothing."""
    made = [_judged(picture, backbone, affect) for picture in even_pictures(count, rng)]
    return np.concatenate([np.concatenate([m["affect"], m["sd"]], 1) for m in made])


def _judged(
    picture: NDArray[np.uint8], backbone: Model, affect: Model
) -> dict[str, NDArray[np.float32]]:
    seen = backbone.run(image=fit(picture, backbone.input_size_px)[None])
    return affect.run(embedding=seen["embedding"], logits=seen["logits"])


def eye_hash(eyes: NDArray[np.uint8]) -> str:
    """A short name for one pair of crops, for the list of those trained on."""
    return hashlib.sha256(np.ascontiguousarray(eyes).tobytes()).hexdigest()[:12]


def listed(path: Path) -> set[str]:
    """The hashes of a split file; none if it is not there."""
    return set(path.read_text(encoding="utf-8").split()) if path.is_file() else set()
