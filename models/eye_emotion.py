"""The eye half of EMOShip: one or two eye crops -> a vector, a non-neutral gate, seven expressions.

Each eye goes through the same small residual network; the vectors of the eyes at hand are averaged, so
one eye and two eyes are the same network. Our own design: the paper's is not public.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from device.types import EMOTIONS


@dataclass(frozen=True)
class EyeEmotionConfig:
    widths: tuple[int, int, int, int] = (24, 48, 80, 112)
    vector: int = 96
    dropout: float = 0.3


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut; the first one may halve the image."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class EyeEmotion(nn.Module):
    """(B, E, 64, 64) uint8 eyes (E = 1 or 2, the image-right one mirrored) -> vector, gate, logits."""

    def __init__(self, config: EyeEmotionConfig | None = None) -> None:
        super().__init__()
        config = config or EyeEmotionConfig()
        first, second, third, fourth = config.widths
        self.encoder = nn.Sequential(
            nn.Conv2d(1, first, 3, 2, 1, bias=False),  # (B, first, 32, 32)
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            Residual(first, second, 2),  # (B, second, 16, 16)
            Residual(second, third, 2),  # (B, third, 8, 8)
            Residual(third, fourth, 2),  # (B, fourth, 4, 4)
        )
        self.vector = nn.Linear(fourth * 4, config.vector)
        self.dropout = nn.Dropout(config.dropout)
        self.gate = nn.Linear(config.vector, 1)
        self.classes = nn.Linear(config.vector, len(EMOTIONS))

    def forward(self, eyes: Tensor) -> dict[str, Tensor]:
        B, E, H, W = eyes.shape
        x = eyes.reshape(B * E, 1, H, W).float()
        # Each crop by its own mean and spread: an eye camera's exposure says nothing about feeling.
        mean = x.mean((2, 3), keepdim=True)
        spread = ((x - mean) ** 2).mean((2, 3), keepdim=True).sqrt()
        x = self.encoder((x - mean) / (spread + 8.0))
        x = torch.nn.functional.avg_pool2d(x, 2).flatten(
            1
        )  # (B * E, fourth * 2 * 2): where, coarsely
        z = torch.relu(self.vector(x)).reshape(B, E, -1).mean(1)  # (B, vector)
        seen = self.dropout(z)
        return {"vector": z, "gate": self.gate(seen), "logits": self.classes(seen)}
