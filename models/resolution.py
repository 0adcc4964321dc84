"""The networks of the resolution controller: small, and one for the whole trade-off.

The learned policy is a trigger whose limits are functions. Each measure's weight rises or falls with the
weight of energy; what the last run found (how much, how sure) makes the whole more or less ready to fire;
the size of a run has preferences of its own. That is some fifty numbers, few enough to be found by playing
whole videos and to hold on new ones. Several are averaged, each found on another draw of the videos.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from device.carry import MEASURES
from device.resolution_policies import KEY_SHARE, LADDER, OBSERVED, SCALES, WEIGHT

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

LEAST_BUDGET, LARGEST_BUDGET = 0.04, 0.7
"""Largest share of keys of the key scheduler at weight 1 and at weight 0 of energy."""

_SUMMED = [OBSERVED.index(name) for name in SUMMED]
_CONTEXT = [OBSERVED.index(name) for name in CONTEXT]
_ORDINARY = np.array([SCALES[name] for name in MEASURES], np.float32)
assert max(*_SUMMED, *_CONTEXT) < len(MEASURES)


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


class Members:
    """One member and one weight of energy a lane, in numpy; what depends on these alone is found once."""

    def __init__(self, p: NDArray[np.float64], weight: NDArray[np.float64]) -> None:
        """Parameters (B, PARAMETERS), weights of energy (B,)."""
        n, c = len(SUMMED), len(CONTEXT)
        w = weight[:, None] - 0.5
        scale = np.exp(p[:, :n] + p[:, n : 2 * n] * w + p[:, 2 * n : 3 * n] * (w**2 - 0.1))
        size = p[:, 3 * n + c : 3 * n + c + RUNS] + p[:, 3 * n + c + RUNS :] * w
        self._scale = np.asarray(scale, np.float32)
        self._context = np.asarray(p[:, 3 * n : 3 * n + c], np.float32)
        self._run = size.argmax(axis=1) + 1

    def __call__(self, measures: NDArray[np.float32]) -> NDArray[np.intp]:
        """The action of each lane from its measures, (B, len(MEASURES))."""
        amount = np.minimum(measures[:, _SUMMED] / _ORDINARY[_SUMMED], np.expm1(MOST))
        ready = np.log(np.einsum("bn,bn->b", self._scale, amount) + 1e-3)
        ready += np.einsum(
            "bn,bn->b", self._context, np.log1p(measures[:, _CONTEXT] / _ORDINARY[_CONTEXT])
        )
        return np.asarray(np.where(ready > 0, self._run, 0), np.intp)


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
        return torch.cat([keep, never, never, _within_budget(observation, key)], dim=1)


class Both(nn.Module):
    """What ships in one file: the learned policy and the key scheduler it is compared with."""

    def __init__(self, learned: Policy, scheduler: Scheduler) -> None:
        super().__init__()
        self.learned, self.scheduler = learned, scheduler

    def forward(self, observation: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"learned": self.learned(observation), "scheduler": self.scheduler(observation)}


class Flat(nn.Module):
    """`Both` as it is exported: the same values in few and large steps.

    In a graph of this size a step costs more than its arithmetic, so everything that does not depend on the
    observation is worked out before.
    """

    def __init__(self, both: Both) -> None:
        super().__init__()
        p = both.learned.parameters_of.detach()
        n, c = len(SUMMED), len(CONTEXT)
        middle, slope, curve = p[:, :n], p[:, n : 2 * n], p[:, 2 * n : 3 * n]
        # (w - 1/2) and (w - 1/2)^2 - 1/10, written out in w and w^2.
        constant = middle - 0.5 * slope + 0.15 * curve
        rows = torch.stack([slope - curve, curve], dim=2)  # (members, n, 2)
        steep = p[:, 3 * n + c + RUNS :].mean(dim=0)
        sized = torch.zeros(RUNS, len(OBSERVED))
        sized[:, WEIGHT] = steep
        context = torch.zeros(RUNS, len(OBSERVED))
        context[:, _CONTEXT] = p[:, 3 * n : 3 * n + c].mean(dim=0)
        self.members, self.count = len(p), n
        self.register_buffer("summed", torch.tensor(_SUMMED))
        self.register_buffer("scale_rows", rows.reshape(-1, 2).T.contiguous())
        self.register_buffer("scale_constant", constant.reshape(-1))
        self.register_buffer("sized", sized.T.contiguous())
        start = p[:, 3 * n + c : 3 * n + c + RUNS].mean(dim=0) - 0.5 * steep
        self.register_buffer("sized_constant", start)
        self.register_buffer("context", context.T.contiguous())
        body, head = both.scheduler.body, both.scheduler.head
        masked = body[0].weight.detach() * both.scheduler.mask
        never = torch.full((2,), -1e9)
        blank = torch.zeros(head.in_features, 2)
        weight, bias = head.weight.detach().T, head.bias.detach()
        self.register_buffer("first", masked.T.contiguous())
        self.register_buffer("first_constant", body[0].bias.detach())
        self.register_buffer("second", body[2].weight.detach().T.contiguous())
        self.register_buffer("second_constant", body[2].bias.detach())
        self.register_buffer("third", torch.cat([weight[:, :1], blank, weight[:, 1:]], dim=1))
        self.register_buffer("third_constant", torch.cat([bias[:1], never, bias[1:]]))

    def forward(self, observation: torch.Tensor) -> dict[str, torch.Tensor]:
        weight = observation[:, WEIGHT : WEIGHT + 1]
        powers = torch.cat([weight, weight * weight], dim=1)
        scale = torch.exp(torch.addmm(self.scale_constant, powers, self.scale_rows))
        amount = torch.exp(observation[:, self.summed].clamp(max=MOST)) - 1
        together = scale.reshape(-1, self.members, self.count) @ amount.unsqueeze(2)
        ready = torch.log(together + 1e-3).mean(dim=1)  # (B, 1)
        size = torch.addmm(self.sized_constant, observation, self.sized)
        size = size - size.max(dim=1, keepdim=True).values  # the preferred size fires at 0
        fires = ready + (observation @ self.context + size)
        learned = nn.functional.pad(fires, (1, 0))
        seen = torch.tanh(torch.addmm(self.first_constant, observation, self.first))
        seen = torch.tanh(torch.addmm(self.second_constant, seen, self.second))
        scheduler = torch.addmm(self.third_constant, seen, self.third)
        key = _within_budget(observation, scheduler[:, -1:])
        return {"learned": learned, "scheduler": torch.cat([scheduler[:, :-1], key], dim=1)}


def _within_budget(observation: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """The preference for a key, (B, 1); none where the share of keys has reached the budget.

    In training the episode ends there, so the network never learns what to do beyond.
    """
    weight = observation[:, WEIGHT : WEIGHT + 1]
    most = LARGEST_BUDGET * torch.exp(weight * math.log(LEAST_BUDGET / LARGEST_BUDGET))
    spent = observation[:, KEY_SHARE : KEY_SHARE + 1] >= most
    return key - 1e9 * spent.float()
