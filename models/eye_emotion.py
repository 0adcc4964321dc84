"""The eye half of EMOShip: one or two eye crops -> a vector, a non-neutral gate, seven expressions.

Each eye goes through the same small network and the vectors of the eyes at hand are averaged, so one eye
and two eyes are the same network. The trunk has the shape of face-api's whole-face expression net (four
blocks of depthwise-separable convolutions, MIT licence), so that it can begin from that net's weights
(`models/face_teacher.py`): what it knows of brows and lids carries over, and a few thousand faces are too
few to learn it from nothing. The head is ours: the vector keeps coarsely where in the crop a thing was.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from device.types import EMOTIONS

WIDTHS = (32, 64, 128, 256)
"""Channels of the four blocks, as in the whole-face net."""
INSIDE_PX = 48
"""Side the trunk works at: nearest to the size an eye has in the whole-face net's input, and cheap."""
SPREAD = 0.22
"""Standard deviation of what the trunk is given: about that of a face's grey values in 0..1."""


@dataclass(frozen=True)
class EyeEmotionConfig:
    vector: int = 96
    dropout: float = 0.3


class Separable(nn.Module):
    """Depthwise 3x3, then pointwise; where it halves the image, padding goes right and below."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else 1)
        self.depthwise = nn.Conv2d(inside, inside, 3, stride, groups=inside, bias=False)
        self.pointwise = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(self.pad(x)))


class Block(nn.Module):
    """Halves the image, then adds up three further convolutions of the running sum."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        first = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, outside, 3, 2))
        self.conv0 = first if inside == 1 else Separable(inside, outside, 2)
        self.conv1 = Separable(outside, outside, 1)
        self.conv2 = Separable(outside, outside, 1)
        self.conv3 = Separable(outside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        total = self.conv0(x).relu()
        for conv in (self.conv1, self.conv2, self.conv3):
            total = total + conv(total.relu())
        return total.relu()


class EyeEmotion(nn.Module):
    """(B, E, 64, 64) uint8 eyes (E = 1 or 2, the image-right one mirrored) -> vector, gate, logits."""

    def __init__(self, config: EyeEmotionConfig | None = None) -> None:
        super().__init__()
        config = config or EyeEmotionConfig()
        ins = (1, *WIDTHS[:-1])
        self.encoder = nn.Sequential(*(Block(i, o) for i, o in zip(ins, WIDTHS, strict=True)))
        self.squeeze = nn.Conv2d(WIDTHS[-1], 48, 1)
        self.vector = nn.Linear(48 * 9, config.vector)
        self.dropout = nn.Dropout(config.dropout)
        self.gate = nn.Linear(config.vector, 1)
        self.classes = nn.Linear(config.vector, len(EMOTIONS))

    def forward(self, eyes: Tensor) -> dict[str, Tensor]:
        B, E, H, W = eyes.shape
        x = eyes.reshape(B * E, 1, H, W).float()
        # Each crop by its own mean and spread: an eye camera's exposure says nothing about feeling.
        mean = x.mean((2, 3), keepdim=True)
        spread = ((x - mean) ** 2).mean((2, 3), keepdim=True).sqrt()
        x = (x - mean) / (spread + 8.0) * SPREAD
        x = nn.functional.interpolate(x, (INSIDE_PX, INSIDE_PX), mode="bilinear")
        x = self.encoder(x)  # (B * E, 256, 3, 3)
        x = self.squeeze(x).relu().flatten(1)  # (B * E, 48 * 3 * 3): where, coarsely
        z = torch.relu(self.vector(x)).reshape(B, E, -1).mean(1)  # (B, vector)
        seen = self.dropout(z)
        return {"vector": z, "gate": self.gate(seen), "logits": self.classes(seen)}
