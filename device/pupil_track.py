"""The pupil between two runs of the eye network: carried by the middle of its own darkness.

Four frames of five show an eye that has hardly moved since the last one. There the pupil found by the network
is moved by as much as the dark within a small window has moved, which costs a five-hundredth of the
network. The network runs again when that no longer says enough: after a while, when the eye has moved far,
when there is more or less dark than there was (a lid, a lash, a pupil that opens), or where the network
itself was in doubt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from device.model import Model
from device.types import EyeFrame, Pixels, Pupil

WINDOW = 1.5
"""Half the window's side, in pupil radii."""
LEAST_CONTRAST = 16.0
"""Grey values between pupil and surroundings below which nothing is carried."""
MIN_CONFIDENCE, MIN_OPENNESS = 0.5, 0.7
"""Probabilities below which the network's own finding is not carried on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSettings:
    """How long and how far a pupil is carried."""

    network_every_ms: float = 100.0
    """The eye network runs at least so often; 0: on every frame."""
    farthest: float = 0.12
    """It runs again once the pupil has moved so far since, as a share of its diameter."""
    most_changed: float = 0.06
    """And when so much of its darkness has come or gone."""

    def __post_init__(self) -> None:
        if not self.network_every_ms >= 0:
            raise ValueError("network_every_ms must be 0 or more")
        if not (0 < self.farthest <= 0.5 and 0 < self.most_changed <= 0.5):
            raise ValueError("farthest and most_changed must be above 0, to 0.5")


@dataclass(frozen=True, slots=True, eq=False)
class _Anchor:
    """One run of the network and the window around what it found."""

    pupil: Pupil
    shape: tuple[int, ...]
    rows: slice
    columns: slice
    limit: float
    """Grey value below which a pixel is dark."""
    mass: float
    x_px: float
    y_px: float


class Network(Protocol):
    """The eye network with what is around it (`device.pupil.PupilEstimator`)."""

    model: Model

    def estimate(self, frame: EyeFrame) -> Pupil: ...


class PupilTracker:
    """An estimator (`device.stages.gaze.Estimator`) that asks the network only when it has to."""

    def __init__(self, estimator: Network, settings: TrackSettings | None = None) -> None:
        self._estimator = estimator
        self._settings = settings or TrackSettings()
        self._anchors: dict[tuple[str, int], _Anchor] = {}
        self.frames = self.runs = 0
        """Frames seen, and those on which the network ran."""

    @property
    def model(self) -> Model:
        return self._estimator.model

    def estimate(self, frame: EyeFrame) -> Pupil:
        """The pupil of one frame; `openness` and `confidence` of a carried one are the network's last."""
        self.frames += 1
        key = (frame.eye, frame.camera)
        anchor = self._anchors.get(key)
        carried = None if anchor is None else self._carry(anchor, frame)
        if carried is not None:
            return carried
        self.runs += 1
        pupil = self._estimator.estimate(frame)
        made = _anchor(pupil, frame.pixels) if self._settings.network_every_ms else None
        if made is None:
            self._anchors.pop(key, None)
        else:
            self._anchors[key] = made
        return pupil

    def _carry(self, anchor: _Anchor, frame: EyeFrame) -> Pupil | None:
        s, pupil = self._settings, anchor.pupil
        age_ms = (frame.t_ns - pupil.t_ns) / 1e6
        if not 0 <= age_ms < s.network_every_ms or frame.pixels.shape != anchor.shape:
            return None
        mass, x_px, y_px = _dark(frame.pixels[anchor.rows, anchor.columns], anchor.limit)
        if abs(mass / anchor.mass - 1) > s.most_changed:
            return None
        right, down = x_px - anchor.x_px, y_px - anchor.y_px
        if math.hypot(right, down) > s.farthest * pupil.major_px:
            return None
        return replace(pupil, t_ns=frame.t_ns, x_px=pupil.x_px + right, y_px=pupil.y_px + down)


def _anchor(pupil: Pupil, pixels: Pixels) -> _Anchor | None:
    """The window of a finding; None where it should not be carried."""
    doubtful = pupil.confidence < MIN_CONFIDENCE or pupil.openness < MIN_OPENNESS
    if doubtful or not math.isfinite(pupil.x_px + pupil.y_px + pupil.major_px):
        return None
    radius = (pupil.major_px + pupil.minor_px) / 4
    half = WINDOW * radius + 2
    height, width = pixels.shape[:2]
    left, right = round(pupil.x_px - half), round(pupil.x_px + half) + 1
    top, bottom = round(pupil.y_px - half), round(pupil.y_px + half) + 1
    if radius < 4 or left < 0 or top < 0 or right > width or bottom > height:
        return None
    window = pixels[top:bottom, left:right]
    y, x = np.ogrid[top:bottom, left:right]
    away = np.hypot(x - pupil.x_px, y - pupil.y_px) / radius
    inside = float(np.median(window[away < 0.7]))
    around = float(np.median(window[(away > 1.15) & (away < WINDOW)]))
    if around - inside < LEAST_CONTRAST:
        return None
    limit = (inside + around) / 2
    mass, x_px, y_px = _dark(window, limit)
    rows, columns = slice(top, bottom), slice(left, right)
    return _Anchor(pupil, pixels.shape, rows, columns, limit, mass, x_px, y_px)


def _dark(window: NDArray[np.uint8], limit: float) -> tuple[float, float, float]:
    """Sum of the darkness below `limit`, and its middle (x, y) in pixels of the window."""
    dark = np.maximum(np.float32(limit) - window, 0)
    across, down = dark.sum(axis=0), dark.sum(axis=1)
    mass = float(across.sum()) + 1e-6
    x = float(across @ np.arange(len(across), dtype=np.float32)) / mass
    y = float(down @ np.arange(len(down), dtype=np.float32)) / mass
    return mass, x, y
