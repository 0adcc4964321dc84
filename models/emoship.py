"""EMOShip's fusion: the eye's vector and the view's affect -> seven classes and how much the view explains.

Squeeze-and-excitation over [eye ; scene]: both are squeezed into one short vector, and what comes out of it
weighs every channel of both, so a doubtful eye can hand over to the view and the other way round. The two
parts then give evidence for the classes separately, and the evidence is added: which makes the influence
score a plain share of it. The scene's evidence is counted from that of an average view, so an average view
says nothing. The paper's network is not public; this one is ours.
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
    """Eye vector (B, 96), affect (B, 2) and sd (B, 2) of the view -> logits (B, 7), influence (B, 1)."""

    def __init__(self, config: EmoshipConfig | None = None) -> None:
        super().__init__()
        c = config or EmoshipConfig()
        self.channels = c.channels
        self.register_buffer("vector_mean", torch.zeros(c.vector))
        self.register_buffer("vector_scale", torch.ones(c.vector))
        self.register_buffer("usual", torch.zeros(1, 4))  # affect and sd of an average view
        self.eye = nn.Sequential(nn.Linear(c.vector, c.channels), nn.ReLU())
        self.scene = nn.Sequential(
            nn.Linear(4, c.channels), nn.ReLU(), nn.Linear(c.channels, c.channels), nn.ReLU()
        )
        self.squeeze = nn.Sequential(
            nn.Linear(2 * c.channels, c.squeezed),
            nn.ReLU(),
            nn.Linear(c.squeezed, 2 * c.channels),
            nn.Sigmoid(),
        )
        self.dropout = nn.Dropout(c.dropout)
        self.from_eye = nn.Linear(c.channels, len(EMOTIONS))
        self.from_scene = nn.Linear(c.channels, len(EMOTIONS), bias=False)

    def forward(self, vector: Tensor, affect: Tensor, sd: Tensor) -> dict[str, Tensor]:
        eye = self.dropout(self.eye((vector - self.vector_mean) / self.vector_scale))
        given = torch.cat([affect, sd], 1)
        scene, usual = self.scene(_scaled(given)), self.scene(_scaled(self.usual))
        weight = self.squeeze(torch.cat([eye, scene], 1))
        by_eye = self.from_eye(eye * weight[:, : self.channels])
        by_scene = self.from_scene((scene - usual) * weight[:, self.channels :])
        # A constant added to all classes is no evidence.
        sizes = [
            (part - part.mean(1, keepdim=True)).square().sum(1, keepdim=True).add(1e-6).sqrt()
            for part in (by_eye, by_scene)
        ]
        return {"logits": by_eye + by_scene, "influence": sizes[1] / (sizes[0] + sizes[1])}


def _scaled(given: Tensor) -> Tensor:
    """(B, 4) affect and sd on about one scale."""
    return torch.cat([(given[:, :2] - MIDDLE) / SPREAD, given[:, 2:] - 1], 1)
