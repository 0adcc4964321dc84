"""The temporal visual attention network: two views of the scene and the way of the gaze, over time.

Two small convolutional stems (the gaze-centred crop; the coarse whole frame with the place of the
gaze drawn in), each with a channel of what moves against the background; gaze dynamics; one gated
recurrent unit with its state as an explicit tensor. Heads: probability of attending, attended
region, embedding of the attended thing. That attention restricts the analysis to a region and the
content in turn corrects attention is MemX's idea; the layers are our choice.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from device.attention_inputs import COARSE_PX, CROP_PX, FEATURES

STATE = 64
EMBEDDING = 64


def stem(channels: tuple[int, ...], summary: int) -> nn.Sequential:
    """Strided 3x3 convolutions, halving each time, then a 1x1 to `summary` maps: (N, C, H, W) in."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(channels[-1], summary, 1), nn.ReLU(), nn.Flatten())


class AttentionNet(nn.Module):
    """One step, or (`sequence`) many steps of many sessions at once."""

    def __init__(self) -> None:
        super().__init__()
        self.crop = stem((4, 16, 32, 48, 56), 16)
        self.coarse = stem((5, 12, 24, 32, 40), 12)
        self.from_crop = nn.Linear(16 * (CROP_PX // 16) ** 2, 64)
        self.from_coarse = nn.Linear(12 * (COARSE_PX[0] // 16) * (COARSE_PX[1] // 16), 40)
        self.from_eyes = nn.Linear(FEATURES, 40)
        self.memory = nn.GRUCell(144, STATE)
        self.attending = nn.Sequential(nn.Linear(STATE, 24), nn.ReLU(), nn.Linear(24, 1))
        self.region = nn.Sequential(nn.Linear(STATE + 144, 48), nn.ReLU(), nn.Linear(48, 4))
        self.embed = nn.Linear(STATE + 64, EMBEDDING)
        width, height = COARSE_PX
        rows = (torch.arange(height) + 0.5) / height
        columns = (torch.arange(width) + 0.5) / width
        self.register_buffer("rows", rows.view(1, height, 1), persistent=False)
        self.register_buffer("columns", columns.view(1, 1, width), persistent=False)

    def look(
        self,
        crop: Tensor,
        crop_motion: Tensor,
        coarse: Tensor,
        coarse_motion: Tensor,
        features: Tensor,
        gaze: Tensor,
    ) -> Tensor:
        """What one step shows, (N, 144); pictures uint8 channels last, gaze in fractions."""
        near = torch.cat([_scaled(crop), _enlarged(crop_motion)], 1)
        x, y = gaze[:, 0].view(-1, 1, 1), gaze[:, 1].view(-1, 1, 1)
        spot = torch.exp(-((self.columns - x) ** 2 + (self.rows - y) ** 2) * 100.0)
        wide = torch.cat([_scaled(coarse), _plane(coarse_motion), spot.unsqueeze(1)], 1)
        return torch.cat(
            [
                F.relu(self.from_crop(self.crop(near))),
                F.relu(self.from_coarse(self.coarse(wide))),
                F.relu(self.from_eyes(features)),
            ],
            1,
        )

    def heads(self, seen: Tensor, state: Tensor, gaze: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(logit (N, 1), region (N, 4) as fractions left top right bottom, embedding (N, 64))."""
        both = torch.cat([state, seen], 1)
        reach = F.softplus(self.region(both)) * 0.3
        # From the gaze outwards, with a little slack: gaze may fall just beside what is looked at.
        offsets = torch.cat([0.03 - reach[:, :2], reach[:, 2:] - 0.03], 1)
        box = torch.clamp(gaze.repeat(1, 2) + offsets, 0.0, 1.0)
        embedding = self.embed(torch.cat([state, seen[:, :64]], 1))
        return self.attending(state), box, F.normalize(embedding, dim=1)

    def forward(
        self,
        crop: Tensor,
        crop_motion: Tensor,
        coarse: Tensor,
        coarse_motion: Tensor,
        features: Tensor,
        gaze: Tensor,
        state: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step as shipped: (probability, region, embedding, next_state)."""
        seen = self.look(crop, crop_motion, coarse, coarse_motion, features, gaze)
        state = self.memory(seen, state)
        logit, box, embedding = self.heads(seen, state, gaze)
        return torch.sigmoid(logit), box, embedding, state

    def sequence(self, inputs: dict[str, Tensor], restart: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, ...) inputs, (B, T) true where memory starts anew: logits (B, T), boxes, embeddings.

        Where the caller casts to a shorter float, the views are computed in it, the memory never is.
        """
        batch, steps = restart.shape
        flat = {name: value.flatten(0, 1) for name, value in inputs.items()}
        seen = self.look(**flat).float().view(batch, steps, -1)
        with torch.autocast(seen.device.type, enabled=False):
            return self._over_time(seen, flat["gaze"], restart)

    def _over_time(
        self, seen: Tensor, gaze: Tensor, restart: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, 144) what each step shows, (B * T, 2) gaze: as `sequence`."""
        batch, steps = restart.shape
        state = seen.new_zeros(batch, STATE)
        states = []
        for step in range(steps):
            state = torch.where(restart[:, step, None], torch.zeros_like(state), state)
            state = self.memory(seen[:, step], state)
            states.append(state)
        remembered = torch.stack(states, 1).flatten(0, 1)
        logit, box, embedding = self.heads(seen.flatten(0, 1), remembered, gaze)
        return (
            logit.view(batch, steps),
            box.view(batch, steps, 4),
            embedding.view(batch, steps, -1),
        )


def _scaled(pixels: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W), about -2..2."""
    return pixels.permute(0, 3, 1, 2).float() / 64.0 - 2.0


def _plane(pixels: Tensor) -> Tensor:
    return pixels.unsqueeze(1).float() / 64.0


def _enlarged(pixels: Tensor) -> Tensor:
    return F.interpolate(_plane(pixels), scale_factor=2.0, mode="nearest")
