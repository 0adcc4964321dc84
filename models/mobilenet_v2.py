"""MobileNetV2 (Sandler et al., CVPR 2018): features and classes, in torchvision's layout of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# expansion, channels, repeats, first stride: table 2 of the paper
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FEATURES = 1280
CLASSES = 1000
MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)


def conv(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; a shortcut where the shape stays."""

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [conv(inside, wide, 1)]
        layers += [
            conv(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        ]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """(B, H, W, 3) BGR uint8 -> features of unit length (B, 1280), ImageNet logits (B, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3, 32, 3, 2)]
        inside = 32
        for expansion, outside, repeats, stride in BLOCKS:
            for number in range(repeats):
                first = stride if number == 0 else 1
                layers.append(InvertedResidual(inside, outside, first, expansion))
                inside = outside
        layers.append(conv(inside, FEATURES, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(FEATURES, CLASSES))
        self.register_buffer(
            "mean", torch.tensor(MEAN_RGB).view(1, 3, 1, 1) * 255, persistent=False
        )
        self.register_buffer("std", torch.tensor(STD_RGB).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = image.permute(0, 3, 1, 2).flip(1).float()
        x = self.features((x - self.mean) / self.std).mean((2, 3))  # (B, 1280)
        unit = x / (x.norm(dim=1, keepdim=True) + 1e-6)
        return {"embedding": unit, "logits": self.classifier(x)}
