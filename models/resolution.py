"""The networks of the resolution controller: small, and one for the whole trade-off.

The learned policy is a trigger whose limits are functions. Each measure's weight rises or falls with the
weight of energy; what the last run found (how much, how sure) makes the whole more or less ready to fire;
the size of a run has preferences of its own. That is some fifty numbers, few enough to be found by playing
whole videos and to hold on new ones. Several are averaged, each found on another draw of the videos.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from device.carry import MEASURES
from device.resolution_policies import LADDER, OBSERVED, WEIGHT

SUMMED = (
    "age_s",
    "shift",
    "shift_most",
    "spread",
    "place_shift",
    "gaze_off",
    "difference",
    "changed",
    "misfit",
    "misfit_sum",
    "residual",
    "residual_sum",
    "camera_sum",
    "lost",
)
"""Measures that add up to readiness."""
CONTEXT = ("things", "confidence", "doubtful", "last_px", "difference", "residual")
"""Observations that make the sum count more or less."""
RUNS = len(LADDER) - 1
MOST = 4.0
"""A measure counts up to about 50 times the ordinary (a logarithm)."""
PARAMETERS = 3 * len(SUMMED) + len(CONTEXT) + 2 * RUNS
KEY_SEEN = ("difference", "changed", "misfit", "residual", "age_s", "key_share", "weight")
"""What the key scheduler sees of an observation."""

_SUMMED = [OBSERVED.index(name) for name in SUMMED]
_CONTEXT = [OBSERVED.index(name) for name in CONTEXT]
assert max(_SUMMED) < len(MEASURES)


class Policy(nn.Module):
    """Observation (B, N) -> preference of each action, (B, 4); the key share is not looked at."""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.parameters_of = nn.Parameter(torch.zeros(members, PARAMETERS), requires_grad=False)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        p = self.parameters_of
        n, c = len(SUMMED), len(CONTEXT)
        weight = observation[:, WEIGHT : WEIGHT + 1].unsqueeze(1) - 0.5  # (B, 1, 1)
        amount = torch.exp(torch.clamp(observation[:, _SUMMED], max=MOST)).unsqueeze(1) - 1
        bend = p[:, 2 * n : 3 * n]
        curve = bend * (weight * weight - 0.1)
        scale = torch.exp(p[:, :n] + p[:, n : 2 * n] * weight + curve)  # (B, members, n)
        ready = torch.log((scale * amount).sum(dim=2) + 1e-3)  # (B, members)
        ready = ready + observation[:, _CONTEXT] @ p[:, 3 * n : 3 * n + c].T
        at, slope = p[:, 3 * n + c : 3 * n + c + RUNS], p[:, 3 * n + c + RUNS :]
        size = (at + slope * weight).mean(dim=1)  # (B, RUNS)
        size = size - size.max(dim=1, keepdim=True).values  # the preferred size fires at 0
        fires = ready.mean(dim=1, keepdim=True) + size
        return torch.cat([torch.zeros_like(fires[:, :1]), fires], dim=1)


def preferences(p: NDArray[np.float64], seen: NDArray[np.float32]) -> NDArray[np.intp]:
    """The action of one member a row, in numpy: parameters (B, PARAMETERS), observations (B, N) -> (B,)."""
    n, c = len(SUMMED), len(CONTEXT)
    weight = seen[:, WEIGHT : WEIGHT + 1] - 0.5
    amount = np.exp(np.minimum(seen[:, _SUMMED], MOST)) - 1
    scale = np.exp(p[:, :n] + p[:, n : 2 * n] * weight + p[:, 2 * n : 3 * n] * (weight**2 - 0.1))
    ready = np.log((scale * amount).sum(axis=1) + 1e-3)
    ready += (seen[:, _CONTEXT] * p[:, 3 * n : 3 * n + c]).sum(axis=1)
    size = p[:, 3 * n + c : 3 * n + c + RUNS] + p[:, 3 * n + c + RUNS :] * weight
    return np.asarray(np.where(ready > 0, size.argmax(axis=1) + 1, 0), np.intp)


class Scheduler(nn.Module):
    """The key scheduler: what it sees of the observation -> preference of each action, (B, 4)."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(len(OBSERVED), hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()
        )
        self.head = nn.Linear(hidden, 2)
        seen = [float(name in KEY_SEEN) for name in OBSERVED]
        self.register_buffer("mask", torch.tensor(seen))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        keep, key = self.head(self.body(observation * self.mask)).split(1, dim=1)
        never = torch.full_like(keep, -1e9)
        return torch.cat([keep, never, never, key], dim=1)


class Both(nn.Module):
    """What ships in one file: the learned policy and the key scheduler it is compared with."""

    def __init__(self, learned: Policy, scheduler: Scheduler) -> None:
        super().__init__()
        self.learned, self.scheduler = learned, scheduler

    def forward(self, observation: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"learned": self.learned(observation), "scheduler": self.scheduler(observation)}
