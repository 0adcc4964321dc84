"""The scene half of EMOShip: how pleasant and how arousing a view is, and how sure that is.

A Gaussian process on what the backbone says of a view: its embedding on the few axes along which pictures
differ most, what the names it has for the view suggest (`export/affect_words.py`), from the first name alone
to all of them a little, and where these names lie among sentences. Five hundred rated pictures are too few
to train a network's layers on; a Gaussian process uses them all, says how far a view is from everything
rated, and its prediction is three small matrix products. The mean is exact; the doubt is computed on the
leading axes of the rated pictures' likeness, which makes it a little too large and the file small. A view
that shows nothing (an even area, whatever its colour, shading and noise) is told by one product with the
embedding: of it the model says the middle of all ratings, and that it might be anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

NOTHING = (0.5, 0.8)
"""Score from which a view counts as showing nothing by halves, and wholly: 0 is a picture, 1 an even area. Of
pictures of unknown themes none is above 0.48, of even areas not fitted on none below 0.81."""
NOTHING_SD = 3.0
"""Standard deviation that is added to such a view's: anything from 1 to 7."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AffectConfig:
    axes: int = 64
    """Principal axes of the embedding, each channel scaled to unit spread."""
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """Of the class probabilities that weigh the lexicon: from the first name alone to all of them."""
    points: int = 532
    """Rated pictures that are kept."""
    doubts: int = 128
    """Axes of their likeness that the standard deviation is computed on."""
    classes: int = 1000
    embedding: int = 1280
    lexicon: int = 3
    words: int = 24


class Affect(nn.Module):
    """(B, 1280) unit embeddings and (B, 1000) logits -> valence, arousal (1 to 7) and their sd."""

    def __init__(self, config: AffectConfig | None = None) -> None:
        super().__init__()
        c = config or AffectConfig()
        self.temperatures = c.temperatures
        suggested = c.lexicon * len(c.temperatures)
        shapes = {
            "mean": (c.embedding,),
            "axes": (c.embedding, c.axes),
            "lexicon": (c.classes, c.lexicon),
            "lexicon_mean": (suggested,),
            "lexicon_scale": (suggested,),
            "words": (c.classes, c.words),
            "points_view": (c.points, c.axes),
            "points_words": (c.points, c.words),
            "points_lexicon": (c.points, suggested),
            "widths": (2,),  # inverse squared lengths of view and words
            "shares": (3,),  # of the view, the words and the lexicon in the kernel
            "weights": (c.points, 2),
            "certain": (c.points, c.doubts),  # kernel values -> what the pictures say of a view
            "noise": (2,),  # variances
            "ratio": (1,),  # of noise to signal
            "middle": (2,),
            "even": (c.embedding,),
            "even_base": (1,),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    def describe(self, embedding: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the kernel compares: view (B, axes), words (B, words), lexicon (B, 3 x temperatures)."""
        view = (embedding - self.mean) @ self.axes
        words = logits.softmax(1) @ self.words
        each = [(logits / t).softmax(1) @ self.lexicon for t in self.temperatures]
        return view, words, (torch.cat(each, 1) - self.lexicon_mean) / self.lexicon_scale

    def kernel(self, view: Tensor, words: Tensor, lexicon: Tensor) -> Tensor:
        """(B, points): likeness to each rated picture."""
        near_view = torch.exp(-self.widths[0] * _squares(view, self.points_view))
        near_words = torch.exp(-self.widths[1] * _squares(words, self.points_words))
        same = lexicon @ self.points_lexicon.T
        return self.shares[0] * near_view + self.shares[1] * near_words + self.shares[2] * same

    def forward(self, embedding: Tensor, logits: Tensor) -> dict[str, Tensor]:
        seen = self.describe(embedding, logits)
        likeness = self.kernel(*seen)
        alone = self.shares[0] + self.shares[1] + self.shares[2] * seen[2].square().sum(1, True)
        said = (likeness @ self.certain).square().sum(1, keepdim=True)
        doubt = (alone - said).clamp(min=0) / self.ratio  # (B, 1), in noise units
        score = embedding @ self.even[:, None] + self.even_base
        nothing = ((score - NOTHING[0]) / (NOTHING[1] - NOTHING[0])).clamp(0, 1)  # (B, 1)
        return {
            "affect": self.middle + (likeness @ self.weights) * (1 - nothing),
            "sd": (self.noise * (1 + doubt) + (NOTHING_SD * nothing).square()).sqrt(),
        }


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """(B, M): squared distances."""
    return (a * a).sum(1, keepdim=True) + (b * b).sum(1) - 2 * a @ b.T
