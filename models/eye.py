"""The eye network: where the pupil is, how open the eye, how sure one can be.

A small plain-convolution encoder and decoder. At a quarter of the input's size every cell says how
much of it the pupil covers and, if it lay on the pupil, what ellipse the pupil would be; the cells
vote with their coverage. A vote of many cells finds sub-pixel ellipses from features that are four
pixels wide, and what a lash or a glint hides is simply not asked. Two numbers for the whole image
follow: is the eye open, and is the voted ellipse right.

Ellipse shape is the matrix logarithm of E, where E has the squared semi-axes as eigenvalues: all
real triples are legal, turning the image turns the triple, a difference is a relative error of size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class EyeNetConfig:
    """Sizes of the network. The defaults are what ships."""

    size_px: int = 128
    """Side of the square input; other frames are stretched to it and the ellipse stretched back."""
    channels: tuple[int, int, int, int, int] = (8, 16, 32, 48, 64)
    """At 1/2, 1/4, 1/8, 1/16, 1/32 of the input. Multiples of 16 from the second on: kernels with
    vectors of 16 floats fill up anything else with zeros."""
    lateral_inhibition: bool = False
    """A learned centre-minus-surround layer at 1/8 and 1/16 (LI-Convs, arXiv 2006.03708)."""


class LateralInhibition(nn.Module):
    """Each channel minus a learned share of its neighbourhood: one parameter a channel in [0, 1].

    3x3 kernel: 1 in the centre, -w * exp(-d^2 / 2) around it (sigma 1), w starting near 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.full((channels, 1, 1, 1), 0.01))
        near, far = torch.exp(torch.tensor(-0.5)).item(), torch.exp(torch.tensor(-1.0)).item()
        surround = torch.tensor([[far, near, far], [near, 0.0, near], [far, near, far]])
        centre = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        self.register_buffer("surround", surround[None, None])
        self.register_buffer("centre", centre[None, None])

    def forward(self, x: Tensor) -> Tensor:  # (B, C, h, w)
        kernel = self.centre - self.share.clamp(0.0, 1.0) * self.surround
        return F.relu(F.conv2d(x, kernel, padding=1, groups=x.shape[1]))


def conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm (folded at export), ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class EyeNet(nn.Module):
    """(B, 1, S, S) uint8 grey -> dict of tensors, S = `size_px`.

    `ellipse` (B, 5): x, y in input pixels (centre of the top-left pixel is 0, 0), then the triple
    (log E)_xx, (log E)_yy, (log E)_xy with E in input px^2. `open` (B,) logit that the eye is open.
    `right` (B,) logit that the ellipse is right. While training also `coverage` (B, S/4, S/4) logits
    and `votes` (B, 5, S/4, S/4).
    """

    OUTPUTS = ("ellipse", "open", "right")

    def __init__(self, config: EyeNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or EyeNetConfig()
        c2, c4, c8, c16, c32 = self.config.channels
        inhibit = LateralInhibition if self.config.lateral_inhibition else _nothing
        self.to4 = nn.Sequential(conv(1, c2, 2), conv(c2, c4, 2))
        self.to8 = nn.Sequential(conv(c4, c8, 2), inhibit(c8))
        self.to16 = nn.Sequential(conv(c8, c16, 2), inhibit(c16), conv(c16, c16))
        self.to32 = nn.Sequential(conv(c16, c32, 2), conv(c32, c32))
        self.from32 = conv(c32, c16, kernel=1)
        self.mix16 = conv(c16, c8)
        self.mix8 = conv(c8, c4)
        self.mix4 = conv(c4, c4)
        self.covers = nn.Conv2d(c4, 1, 1)
        self.says = nn.Conv2d(c4, 5, 1)  # dx, dy, log E
        self.whole = nn.Sequential(nn.Linear(c32 + c4 + 1, 32), nn.ReLU(), nn.Linear(32, 2))
        with torch.no_grad():
            self.says.weight[:2] *= STEP_PX
            self.says.bias[:] = torch.tensor([0.0, 0.0, *USUAL_SHAPE])
        self.scale = 1.0 / 64.0
        cells = self.config.size_px // 4
        middle = torch.arange(cells, dtype=torch.float32) * 4.0 + 1.5
        grid = torch.stack(torch.meshgrid(middle, middle, indexing="xy"))
        self.register_buffer("grid", grid[None])  # (1, 2, cells, cells) x, y of each cell's centre

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = image.float() * self.scale  # (B, 1, S, S)
        x4 = self.to4(x)
        x8 = self.to8(x4)
        x16 = self.to16(x8)
        x32 = self.to32(x16)
        y16 = self.mix16(x16 + _twice(self.from32(x32)))
        y8 = self.mix8(x8 + _twice(y16))
        y4 = self.mix4(x4 + _twice(y8))
        return self._vote_open(x32, y4) if self.training else self._vote(x32, y4)

    def fold_scale(self) -> None:
        """Move the scaling of pixels into the first convolution: one operation less per frame."""
        first = self.to4[0][0]
        with torch.no_grad():
            first.weight *= self.scale
        self.scale = 1.0

    def _vote_open(self, x32: Tensor, y4: Tensor) -> dict[str, Tensor]:
        """The vote with every cell's part in it, which training looks at."""
        coverage = self.covers(y4)[:, 0]  # (B, S/4, S/4)
        votes = self.says(y4) + F.pad(self.grid, (0, 0, 0, 0, 0, 3))  # (B, 5, S/4, S/4)
        weight = torch.sigmoid(coverage)
        weight = (weight * weight).flatten(1)  # (B, cells)
        mass = weight.sum(1, keepdim=True)
        weight = weight / (mass + EMPTY)
        ellipse = (votes.flatten(2) * weight[:, None]).sum(2)
        there = (y4.flatten(2) * weight[:, None]).sum(2)  # features where the pupil is
        summary = torch.cat([x32.mean((2, 3)), there, torch.log(mass + 1e-2)], 1)
        logits = self.whole(summary)
        result = {"ellipse": ellipse, "open": logits[:, 0], "right": logits[:, 1]}
        return {**result, "coverage": coverage, "votes": votes}

    def _vote(self, x32: Tensor, y4: Tensor) -> dict[str, Tensor]:
        """The same vote for a fifth of the work: what cells say is linear in their features, so the
        features are averaged first and asked once."""
        features = y4.flatten(2)  # (B, C, cells)
        weight = torch.sigmoid(self.covers.weight[:, :, 0, 0] @ features + self.covers.bias)
        weight = (weight * weight).reshape(y4.shape[0], -1, 1)  # (B, cells, 1)
        place = torch.cat([self.grid, torch.ones_like(self.grid[:, :1])], 1).flatten(2)
        there, where = (features @ weight)[:, :, 0], (place @ weight)[:, :, 0]  # (B, C), (B, 3)
        mass = where[:, 2:]
        share = 1.0 / (mass + EMPTY)
        there = there * share
        # Answers to features, then x, y and 1 at the place: one product for all.
        answers = [self.says.weight[:, :, 0, 0].T, torch.eye(2, 5), self.says.bias[None]]
        ellipse = torch.cat([there, where * share], 1) @ torch.cat(answers)
        summary = torch.cat([x32.mean((2, 3)), there, torch.log(mass + 1e-2)], 1)
        logits = self.whole(summary)
        return {"ellipse": ellipse, "open": logits[:, 0], "right": logits[:, 1]}


STEP_PX = 8.0
"""How much larger offsets to the centre start than other answers: a usual pupil's radius at 128 px."""
USUAL_SHAPE = (4.0, 4.0, 0.0)
"""Where the shape starts: log E of a circle of radius e^2 = 7.4 px."""
EMPTY = 1e-4
"""Keeps the vote defined when no cell sees a pupil."""


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _nothing(_: int) -> nn.Module:
    return nn.Identity()


def log_shape(covariance: Tensor) -> Tensor:
    """(B, 2, 2) covariance of a uniformly filled ellipse, px^2 -> (B, 3) log E: xx, yy, xy."""
    values, vectors = torch.linalg.eigh(4.0 * covariance)  # E = 4 cov
    logs = values.clamp_min(0.05).log()
    matrix = vectors @ torch.diag_embed(logs) @ vectors.transpose(1, 2)
    return torch.stack([matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 0, 1]], 1)
