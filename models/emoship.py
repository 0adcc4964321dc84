"""EMOShip's fusion: the eye's vector and the view's affect -> seven classes and how much the view explains.

Two kinds of evidence are added. The eye's is the eye network's own opinion, as a whole. The view's is how
likely such a view is for each feeling: each feeling has a place in valence and arousal, the view's own place
is known with a doubt (the affect network's standard deviation), and only a share of the views agrees with the
feeling at all. In closed form that is a Gaussian of summed variances beside a constant, so a view that might
be anything says nothing; places and widths are learnt from where the circumplex puts them. Seven places are
few enough for the few hundred views there are. The share is given: it is the wearer's and their day's, and
`device.agreement` learns it from what the eyes say and the likelihoods that come out here.

Squeeze-and-excitation over [eye ; scene]: both are squeezed into one short vector, and what comes out of it
weighs both kinds of evidence, so a doubtful eye can hand over to the view and the other way round. A view
of which the affect network says that it might be anything (an empty one) counts for nothing. The influence
score says how far the classes move without the view, as a share of that and of how far they move without the
eyes. The paper's network is not public; this one is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from device.types import EMOTIONS

EMPTY = (1.5, 2.5)
"""Doubt (mean sd of valence and arousal, in ratings) from which a view counts for less, and for nothing. The
affect network doubts pictures by less than 1, and an even area by 3."""


@dataclass(frozen=True)
class EmoshipConfig:
    vector: int = 96
    """Length of the eye network's vector."""
    channels: int = 8
    """Of each part's description in the squeeze."""
    squeezed: int = 4
    dropout: float = 0.2


class Emoship(nn.Module):
    """Eye vector (B, 96) and class probabilities (B, 7), affect (B, 2) and sd (B, 2) of the view, share
    (B, 1) of views that agree -> logits (B, 7), influence (B, 1), likelihood (B, 7) of the view if it agrees
    with each feeling, beside 1 for an average view."""

    def __init__(self, config: EmoshipConfig | None = None) -> None:
        super().__init__()
        c, classes = config or EmoshipConfig(), len(EMOTIONS)
        self.register_buffer("vector_mean", torch.zeros(c.vector))
        self.register_buffer("vector_scale", torch.ones(c.vector))
        self.register_buffer("usual", torch.zeros(1, 4))  # affect and sd of an average view
        self.register_buffer("spread", torch.ones(1, 4))
        self.places = nn.Parameter(torch.zeros(classes, 2))  # of feelings, on the ratings' scale
        self.width = nn.Parameter(torch.zeros(2))  # log; of the agreeing views around a place
        self.doubt = nn.Parameter(torch.zeros(2))  # log; factor on the affect network's sd
        self.rarity = nn.Parameter(torch.zeros(classes))  # log; of views near a place
        self.register_buffer("ordinary", torch.ones(classes))  # mean of `near` over many views
        self.eye = nn.Sequential(nn.Linear(c.vector + classes, c.channels), nn.ReLU())
        self.scene = nn.Sequential(nn.Linear(4 + classes, c.channels), nn.ReLU())
        self.squeeze = nn.Sequential(
            nn.Linear(2 * c.channels, c.squeezed),
            nn.ReLU(),
            nn.Linear(c.squeezed, 2),
            nn.Sigmoid(),
        )
        nn.init.zeros_(self.squeeze[2].weight)  # begin by believing both as they are
        nn.init.zeros_(self.squeeze[2].bias)
        self.dropout = nn.Dropout(c.dropout)

    def near(self, given: Tensor) -> Tensor:
        """Affect and sd (B, 4) -> likelihood of such a view among those that agree with each feeling, over
        that among all views (B, 7)."""
        variance = self.width.exp().square() + (given[:, 2:] * self.doubt.exp()).square()
        squares = (given[:, None, :2] - self.places).square() / variance[:, None]
        log = self.rarity - squares.sum(2) / 2 - variance.log().sum(1, keepdim=True) / 2
        return log.exp()

    def suggested(self, given: Tensor, share: Tensor) -> Tensor:
        """Log likelihood of such a view for each feeling (B, 7), up to a constant."""
        return (share * self.near(given) + 1 - share).log()

    def forward(
        self, vector: Tensor, probabilities: Tensor, affect: Tensor, sd: Tensor, share: Tensor
    ) -> dict[str, Tensor]:
        given = torch.cat([affect, sd], 1)
        off = (given - self.usual) / self.spread
        opinion = _centred(probabilities.clamp(min=1e-4).log())
        evidence = _centred(self.suggested(given, share) - self.suggested(self.usual, share))
        doubt = sd.mean(1, keepdim=True)
        shows = ((EMPTY[1] - doubt) / (EMPTY[1] - EMPTY[0])).clamp(0, 1)
        evidence = evidence * shows
        vector = (vector - self.vector_mean) / self.vector_scale
        eye = self.dropout(self.eye(torch.cat([vector, opinion / 2], 1)))
        scene = self.scene(torch.cat([off.clamp(-6, 6), evidence], 1))
        weight = 2 * self.squeeze(torch.cat([eye, scene], 1))
        by_eye, by_scene = weight[:, :1] * opinion, weight[:, 1:] * evidence
        both = by_eye + by_scene
        # How far the classes move when the view is taken away, and when the eyes are.
        moved = [_divergence(both, rest).sqrt() for rest in (by_eye, by_scene)]
        return {
            "logits": both,
            "influence": moved[0] / (moved[0] + moved[1]),
            "likelihood": 1 + shows * (self.near(given) / self.ordinary - 1),
        }


def _divergence(a: Tensor, b: Tensor) -> Tensor:
    """(B, 1): Kullback-Leibler divergence between the classes of two rows of logits."""
    gap = a.log_softmax(1) - b.log_softmax(1)
    return (a.softmax(1) * gap).sum(1, keepdim=True).clamp(min=0) + 1e-6


def _centred(evidence: Tensor) -> Tensor:
    """(B, 7): a constant added to all classes is no evidence."""
    return evidence - evidence.mean(1, keepdim=True)
