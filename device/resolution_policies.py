"""Policies of the resolution controller by name: when to run the scene analysis again, and at what size.

Rules are sums of measures over their limits (`device/resolution.toml`, tuned by `beheld train
resolution`). The learned policy is a network over `observe()`; it says nothing where its inputs are not
what it was trained on, and the stage then falls back on the rule `trigger`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from device.carry import MEASURES
from device.detection import SIZES_PX
from device.errors import ConfigError, ModelError
from device.model import Model

Floats = NDArray[np.float32]

LADDER = (0, *SIZES_PX)
"""Actions: 0 reuses the last result, the others are sides in px at which the analysis runs."""
OBSERVATION_VERSION = 1
"""Raised whenever `observe` or the measures change their meaning."""
RULES = Path(__file__).with_name("resolution.toml")
FULL = LADDER.index(320)

SCALES: Mapping[str, float] = {
    "age_s": 0.2,
    "shift": 0.2,
    "shift_most": 0.4,
    "spread": 0.2,
    "place_shift": 0.2,
    "gaze_off": 0.5,
    "difference": 0.03,
    "changed": 0.05,
    "misfit": 0.02,
    "misfit_sum": 0.1,
    "residual": 0.004,
    "residual_sum": 0.02,
    "camera_sum": 0.1,
    "things": 4.0,
    "confidence": 1.0,
    "doubtful": 0.5,
    "lost": 0.3,
    "last_px": 320.0,
}
"""About the ordinary size of each measure: there the logarithm below is 0.7."""
KEY_SHARE, WEIGHT = len(MEASURES), len(MEASURES) + 1
OBSERVED = (*MEASURES, "key_share", "weight")
LARGEST = 6.0
"""An observation beyond this was never trained on (400 times the ordinary)."""

_SCALE = np.array([SCALES[name] for name in MEASURES], np.float32)


def observe(measures: Floats, key_share: Any, weight: Any) -> Floats:
    """What a learned policy sees, (..., len(OBSERVED)) float32: the one function the glasses and the
    training environment share.

    `measures` (..., len(MEASURES)) as `Carried.measures` gives them; `key_share` is the share of recent
    frames on which the analysis ran (0..1), `weight` the weight of energy (0 quality at any price, 1
    least energy). Logarithms keep the far end of each measure in reach without losing the near one.
    """
    seen = np.empty((*measures.shape[:-1], len(OBSERVED)), np.float32)
    seen[..., : len(MEASURES)] = np.log1p(measures / _SCALE)
    seen[..., KEY_SHARE] = key_share
    seen[..., WEIGHT] = weight
    return seen


class Policy(Protocol):
    """Says what to do with a frame: an index into `LADDER`, and why in a few words."""

    @property
    def name(self) -> str: ...

    def choose(self, measures: Floats, observation: Floats) -> tuple[int, str]: ...


@dataclass(frozen=True, slots=True)
class Always:
    """Run on every frame at one size."""

    size_px: int
    name: str = "always"

    def choose(self, measures: Floats, observation: Floats) -> tuple[int, str]:
        return LADDER.index(self.size_px), "every frame"


@dataclass(slots=True)
class Fixed:
    """Run on every k-th frame at one size."""

    every: int
    size_px: int
    name: str = "fixed"
    _since: int = 0

    def choose(self, measures: Floats, observation: Floats) -> tuple[int, str]:
        self._since = 1 if measures[0] <= 0 or self._since >= self.every else self._since + 1
        if self._since == self.every:
            return LADDER.index(self.size_px), f"every {self.every} frames"
        return 0, f"not yet {self.every} frames since the last run"


@dataclass(frozen=True, slots=True)
class Rule:
    """Run when the sum of measures over their limits reaches 1."""

    name: str
    limits: tuple[tuple[str, float], ...]
    size_px: int

    def score(self, measures: Floats) -> Floats:
        """(...,) of measures (..., len(MEASURES)): from 1 on the rule runs."""
        return np.asarray(measures @ self._weights(), np.float32)

    def _weights(self) -> Floats:
        return _weights(self.limits)

    def choose(self, measures: Floats, observation: Floats) -> tuple[int, str]:
        if self.score(measures) < 1:
            return 0, "little has changed since the last run"
        parts = [(measures[MEASURES.index(name)] / limit, name) for name, limit in self.limits]
        share, name = max(parts)
        value = measures[MEASURES.index(name)]
        return LADDER.index(self.size_px), f"{name} {value:.2f}, which is {share:.0%} of the limit"


@lru_cache(maxsize=256)
def _weights(limits: tuple[tuple[str, float], ...]) -> Floats:
    weights = np.zeros(len(MEASURES), np.float32)
    for name, limit in limits:
        weights[MEASURES.index(name)] = 1.0 / limit
    return weights


class OutOfRangeError(Exception):
    """A learned policy is asked about something it was never trained on."""


class Learned:
    """The network's choice. Outputs are values of the actions; the best is taken."""

    def __init__(self, model: Model, output: str = "learned") -> None:
        """Raises ModelError if the network was made for other observations or actions."""
        version = model.spec.figures.get("observation_version")
        if version != OBSERVATION_VERSION:
            raise ModelError(
                f"{model.path}: made for observation version {version}, this program makes "
                f"{OBSERVATION_VERSION}; train it again (beheld train resolution)"
            )
        shape = {t.name: t.shape[-1] for t in (*model.spec.inputs, *model.spec.outputs)}
        if shape.get("observation") != len(OBSERVED) or shape.get(output) != len(LADDER):
            raise ModelError(f"{model.path}: inputs or actions are not this program's")
        self.name = output
        self._model = model

    def choose(self, measures: Floats, observation: Floats) -> tuple[int, str]:
        """Raises OutOfRangeError for an observation that is not finite or beyond everything trained on."""
        if not float(np.abs(observation).max()) <= LARGEST:  # also where it is not a number
            if not np.isfinite(observation).all():
                raise OutOfRangeError("a measure is not a number")
            worst = OBSERVED[int(np.abs(observation).argmax())]
            raise OutOfRangeError(f"{worst} is beyond what it was trained on")
        values = self._model.run(observation=observation[None])[self.name][0]
        action = int(values.argmax())
        return action, "the network expects more" if action else "the network expects little more"


def read_rules(name: str, path: Path = RULES) -> dict[float, Rule]:
    """The tuned levels of one rule by their weight. Raises ConfigError naming the row."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as rules ({error})") from error
    if raw.get("observation") != OBSERVATION_VERSION:
        raise ConfigError(
            f"{path}: rules for observation version {raw.get('observation')}, this program makes "
            f"{OBSERVATION_VERSION}"
        )
    rows = raw.get(name)
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"{path}: has no rule [[{name}]]")
    return {float(row.pop("weight", 0.5)): _rule(name, row, path) for row in rows}


def _rule(name: str, row: dict[str, Any], path: Path) -> Rule:
    size_px = row.pop("size_px", 320)
    unknown = sorted(set(row) - set(MEASURES))
    if size_px not in SIZES_PX or unknown:
        wrong = f"'{unknown[0]}'" if unknown else f"size_px {size_px}"
        raise ConfigError(f"{path}: [[{name}]] knows no {wrong}")
    if not row or not all(isinstance(v, int | float) and v > 0 for v in row.values()):
        raise ConfigError(f"{path}: [[{name}]] needs limits above zero")
    return Rule(name, tuple((k, float(v)) for k, v in row.items()), size_px)


def rule_at(levels: Mapping[float, Rule], weight: float) -> Rule:
    """The level nearest to a weight of energy."""
    return levels[min(levels, key=lambda level: (abs(level - weight), level))]
