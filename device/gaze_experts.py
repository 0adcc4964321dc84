"""The experts on gaze: by the pupil, by the view, and by both, for each eye camera; and how they are fused.

They are fused by the covariance of their errors on moments they were not fitted to, so a camera in
which no pupil can be found weighs little, and an eye that is lost leaves the rest to the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from device.eye_view import Camera, Observation
from device.gaze_map import Bumps, Floats, Line

Kind = Literal["pupil", "view", "joint"]
"""By the pupil, by the view, or by the pupil with a correction from the view."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expert:
    """One way from what a camera saw to gaze: a line, and maybe bumps on it."""

    camera: Camera
    kind: Kind
    line: Line
    bumps: Bumps | None
    basis: Floats
    """(features, k): the directions in which the features moved in calibration; k = 0 for a pupil."""
    limits: Floats
    """(k,) how far along each of these directions 95 % of the calibration lay."""
    reach: float
    """How far off the basis 95 % of the calibration lay."""

    def features(self, observation: Observation) -> Floats:
        """(d,): the pupil in hundredths of the image width (2), the view, or both in this order."""
        if self.kind == "view":
            return observation.view.astype(np.float64)
        pupil = pupil_features(observation)
        return pupil if self.kind == "pupil" else np.concatenate([pupil, observation.view])

    def predict(self, x: Floats) -> Floats:
        """(n, d) features to (n, 2) degrees."""
        return self.line(x) if self.bumps is None else self.line(x) + self.bumps(x)

    def strangeness(self, x: Floats) -> Floats:
        """(n,) how far outside what was seen in calibration: 1 inside, growing outside."""
        off = x - self.line.centre
        if self.kind == "joint":
            off[:, :2] = 0.0  # the pupil's own expert looks after that
        along = off @ self.basis
        off = off - along @ self.basis.T
        beyond = np.max(np.abs(along) / self.limits, axis=1, initial=1.0)
        return np.asarray(np.maximum(beyond, np.sqrt((off**2).sum(1)) / self.reach))


def pupil_features(observation: Observation) -> Floats:
    """(2,) pupil centre from the image centre, hundredths of the image width; y down."""
    (x_px, y_px), width_px = observation.centre_px, observation.width_px
    centre = (x_px - width_px / 2, y_px - observation.height_px / 2)
    return np.asarray(centre, dtype=np.float64) * (100.0 / width_px)


def opinion(expert: Expert, seen: Observation) -> tuple[Floats, float]:
    """Its gaze (2,) in degrees, NaN where it has none, and the factor on its standard deviation."""
    x = expert.features(seen)[None]
    doubt = float(expert.strangeness(x)[0])
    if expert.kind != "view":
        confidence = seen.pupil.confidence
        doubt /= float(np.sqrt(min(max(confidence if np.isfinite(confidence) else 0.0, 1e-3), 1.0)))
    return expert.predict(x)[0], doubt


def fuse(guesses: Floats, doubt: Floats, covariance: Floats) -> tuple[float, float, float] | None:
    """Best unbiased mean of the experts that have something to say, and its standard deviation.

    `guesses` (m, 2) degrees, NaN where absent; `doubt` (m,) multiplies an expert's standard deviation. An
    expert who contradicts the others fades, and all of them contradicting each other widens the result.
    """
    present = np.flatnonzero(np.isfinite(guesses).all(axis=1) & np.isfinite(doubt))
    if not present.size:
        return None
    says = guesses[present]
    spread = doubt[present].copy()
    errors = covariance[np.ix_(present, present)]
    sigma = np.sqrt(np.diag(errors))
    for _ in range(3):
        scaled = errors * np.outer(spread, spread)
        weight = np.maximum(np.linalg.solve(scaled, np.ones(len(present))), 0.0)
        weight = weight / weight.sum() if weight.sum() > 0 else 1.0 / np.diag(scaled)
        weight /= weight.sum()
        gaze = weight @ says
        apart = np.hypot(*(says - gaze).T) / (2.0 * sigma * doubt[present])
        spread = doubt[present] * np.sqrt(1.0 + apart**4)
    variance = float(weight @ scaled @ weight)
    variance += float(weight @ ((says - gaze) ** 2).sum(axis=1)) / 4.0
    return float(gaze[0]), float(gaze[1]), float(np.sqrt(variance))


def covariance(errors: Floats) -> Floats:
    """(m, m) robust covariance of the experts' errors (n, m, 2), per axis, shrunk towards independence."""
    typical = np.nanmedian(np.abs(errors), axis=(0, 2)) * 1.4826
    typical = np.where(np.isfinite(typical), np.maximum(typical, 0.2), 1e3)
    tame = np.clip(errors, -3.0 * typical[:, None], 3.0 * typical[:, None])
    known = np.asarray(np.isfinite(tame).all(axis=2))
    filled = np.where(known[..., None], tame, 0.0)
    product = np.einsum("nia,nja->ij", filled, filled) / 2.0
    both = known.T.astype(float) @ known.astype(float)
    found = product / np.maximum(both, 1.0)
    variance = np.where(np.diag(both) > 0, np.diag(found), typical**2)
    shrunk = 0.7 * found + 0.3 * np.diag(variance)
    np.fill_diagonal(shrunk, variance + 0.1**2)
    values, vectors = np.linalg.eigh(shrunk)
    return np.asarray((vectors * np.maximum(values, 0.01)) @ vectors.T)
