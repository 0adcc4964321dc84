"""EMOShip's fusion: the eye's vector and the view's affect -> seven classes and how much the view explains.

Squeeze-and-excitation over [eye ; scene]: both are squeezed into one short vector, and what comes out of it
weighs the eye's evidence and every channel of the scene's, so a doubtful eye can hand over to the view and
the other way round. The eye's evidence is the eye network's own opinion, as a whole: an average view, from
which the scene's evidence is counted, leaves its order of classes as it is. The two kinds of evidence are
added, and the influence score says how far the classes move without the view, as a share of that and of
how far they move without the eyes. The paper's network is not public; this one is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from device.types import EMOTIONS

MIDDLE, SPREAD = 4.0, 1.5
"""Of the ratings' scale from 1 to 7."""


@dataclass(frozen=True)
class EmoshipConfig:
    vector: int = 96
    """Length of the eye network's vector."""
    channels: int = 32
    """Of each part."""
    squeezed: int = 16
    dropout: float = 0.2


class Emoship(nn.Module):
    """Eye vector (B, 96) and class probabilities (B, 7), affect (B, 2) and sd (B, 2) of the view -> logits
    (B, 7), influence (B, 1)."""

    def __init__(self, config: EmoshipConfig | None = None) -> None:
        super().__init__()
        c = config or EmoshipConfig()
        self.register_buffer("vector_mean", torch.zeros(c.vector))
        self.register_buffer("vector_scale", torch.ones(c.vector))
        self.register_buffer("usual", torch.zeros(1, 4))  # affect and sd of an average view
        self.eye = nn.Sequential(nn.Linear(c.vector, c.channels), nn.ReLU())
        self.scene = nn.Sequential(nn.Linear(4, c.channels), nn.ReLU())
        self.squeeze = nn.Sequential(
            nn.Linear(2 * c.channels, c.squeezed),
            nn.ReLU(),
            nn.Linear(c.squeezed, 1 + c.channels),
            nn.Sigmoid(),
        )
        self.dropout = nn.Dropout(c.dropout)
        self.from_scene = nn.Linear(c.channels, len(EMOTIONS), bias=False)

    def forward(
        self, vector: Tensor, probabilities: Tensor, affect: Tensor, sd: Tensor
    ) -> dict[str, Tensor]:
        eye = self.dropout(self.eye((vector - self.vector_mean) / self.vector_scale))
        given = torch.cat([affect, sd], 1)
        scene, usual = self.scene(_scaled(given)), self.scene(_scaled(self.usual))
        weight = self.squeeze(torch.cat([eye, scene], 1))
        by_eye = 2 * weight[:, :1] * _centred(probabilities.clamp(min=1e-4).log())
        by_scene = _centred(self.from_scene((scene - usual) * weight[:, 1:]))
        both = by_eye + by_scene
        # How far the classes move when the view is taken away, and when the eyes are.
        moved = [_divergence(both, rest).sqrt() for rest in (by_eye, by_scene)]
        return {"logits": both, "influence": moved[0] / (moved[0] + moved[1])}


def _divergence(a: Tensor, b: Tensor) -> Tensor:
    """(B, 1): Kullback-Leibler divergence between the classes of two rows of logits."""
    gap = a.log_softmax(1) - b.log_softmax(1)
    return (a.softmax(1) * gap).sum(1, keepdim=True).clamp(min=0) + 1e-6


def _centred(evidence: Tensor) -> Tensor:
    """(B, 7): a constant added to all classes is no evidence."""
    return evidence - evidence.mean(1, keepdim=True)


def _scaled(given: Tensor) -> Tensor:
    """(B, 4) affect and sd on about one scale."""
    return torch.cat([(given[:, :2] - MIDDLE) / SPREAD, given[:, 2:] - 1], 1)
