"""From what one eye camera saw to gaze angles: a robust linear map, and bumps where data ask for them.

`fit_line` shrinks towards a prior map, not towards zero: with few or narrow data the prior decides,
with many the data do, and beyond the data it goes on as a straight line. `fit_bumps` models what a
line leaves over with radial functions that die out away from the data. So neither explodes outside
the calibrated range, as polynomials do (4.6 deg against 0.9 deg on a Neon recording's second half).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS = 12
"""Rounds of re-weighting; the maps move by less than a hundredth of a degree after eight."""
MIN_NOISE_DEG = 0.3
"""Residuals smaller than this are all equally good: no eye tracker's reference is better."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """gaze = offset + (x - centre) @ slope."""

    centre: Floats
    """(d,)"""
    offset: Floats
    """(2,) azimuth and elevation in degrees at the centre."""
    slope: Floats
    """(d, 2) degrees per unit of x."""

    def __call__(self, x: Floats) -> Floats:
        """(n, d) to (n, 2) degrees."""
        return np.asarray(self.offset + (x - self.centre) @ self.slope)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bumps:
    """A sum of Gaussians around the data; zero far away from all of them."""

    at: Floats
    """(m, d)"""
    length: float
    """Standard deviation of each, in units of x."""
    weight: Floats
    """(m, 2) degrees"""

    def __call__(self, x: Floats) -> Floats:
        """(n, d) to (n, 2) degrees."""
        return np.asarray(_gauss(x, self.at, self.length) @ self.weight)


def fit_line(
    x: Floats,
    y: Floats,
    weight: Floats,
    *,
    stiffness: float,
    prior: Floats | None = None,
    still: Floats | None = None,
    rounds: int = ROUNDS,
) -> Line:
    """Robust ridge regression of y (n, 2) on x (n, d).

    `stiffness` is added to the diagonal of the covariance of x: how hard the slope is pulled towards
    `prior` (d, 2; zero without). `still` (m, d) are displacements of x that must not move the
    gaze, such as a shift of the whole picture when the glasses slip. `weight` (n,) says how far a row
    is trusted.
    """
    d = x.shape[1]
    goal = np.zeros((d, 2)) if prior is None else prior
    hold = stiffness * np.eye(d)
    if still is not None and len(still):
        hold += still.T @ still / len(still)
    trust = weight / weight.sum()
    line = Line(centre=_median(x, trust), offset=_median(y, trust), slope=goal)
    for _ in range(rounds):
        w = weight * _trust(y - line(x), weight)
        w /= w.sum()
        centre, offset = w @ x, w @ y
        dx, left = x - centre, y - offset - (x - centre) @ goal
        weighted = (dx * w[:, None]).T
        slope = goal + np.linalg.solve(weighted @ dx + hold, weighted @ left)
        line = Line(centre=centre, offset=offset, slope=slope)
    return line


def fit_turn(x: Floats, y: Floats, weight: Floats) -> Floats:
    """The best slope (2, 2) that only turns and scales: how a sphere seen from ahead moves.

    Two unknowns instead of four. Both handednesses are tried: some eyewear mirrors an eye's image.
    """
    best: tuple[float, Floats] | None = None
    for mirror in (1.0, -1.0):
        p = x[:, 0] + 1j * mirror * x[:, 1]
        g = y[:, 0] + 1j * y[:, 1]
        w = weight / weight.sum()
        for _ in range(ROUNDS):
            dp, dg = p - w @ p, g - w @ g
            turn = (w * dp.conj()) @ dg / max(float(w @ np.abs(dp) ** 2), 1e-12)
            left = dg - turn * dp
            w = weight * _trust(np.column_stack([left.real, left.imag]), weight)
            w /= w.sum()
        cost = float(np.average(np.minimum(np.abs(left), 3.0), weights=weight))
        slope = np.array([[turn.real, turn.imag], [-turn.imag * mirror, turn.real * mirror]])
        if best is None or cost < best[0]:
            best = (cost, slope)
    assert best is not None
    return best[1]


def fit_bumps(
    x: Floats, left: Floats, weight: Floats, *, length: float, ease: float, most: int = 96
) -> Bumps:
    """Kernel ridge regression of residuals `left` (n, 2) in degrees, at no more than `most` places.

    `ease` is the variance of a row's noise over that of what is to be modelled.
    """
    chosen = _spread(x, most)
    at = x[chosen]
    kernel, inner = _gauss(x, at, length), _gauss(at, at, length)
    w = weight * _trust(left, weight)
    w *= len(at) / w.sum()
    gram = (kernel * w[:, None]).T @ kernel + ease * inner + 1e-6 * np.eye(len(at))
    return Bumps(
        at=at,
        length=length,
        weight=np.asarray(np.linalg.solve(gram, (kernel * w[:, None]).T @ left), np.float64),
    )


def _gauss(x: Floats, at: Floats, length: float) -> Floats:
    square = (x**2).sum(1)[:, None] + (at**2).sum(1)[None] - 2.0 * x @ at.T
    return np.asarray(np.exp(-np.maximum(square, 0.0) / (2.0 * length**2)))


def _trust(left: Floats, weight: Floats) -> Floats:
    """Cauchy weights from residuals: outliers fade instead of being cut off."""
    size = np.hypot(left[:, 0], left[:, 1])
    scale = max(1.5 * float(_median(size[:, None], weight / weight.sum())[0]), MIN_NOISE_DEG)
    return np.asarray(1.0 / (1.0 + (size / scale) ** 2))


def _median(values: Floats, trust: Floats) -> Floats:
    """Weighted median of each column."""
    order = np.argsort(values, axis=0)
    reached = np.cumsum(trust[order], axis=0) >= 0.5
    middle = np.take_along_axis(order, reached.argmax(axis=0)[None], axis=0)
    return np.asarray(np.take_along_axis(values, middle, axis=0)[0])


def _spread(x: Floats, most: int) -> NDArray[np.intp]:
    """Rows far from each other (farthest point first), so that a long fixation fills one place only."""
    if len(x) <= most:
        return np.arange(len(x))
    chosen = [int(((x - x.mean(0)) ** 2).sum(1).argmin())]
    nearest = ((x - x[chosen[0]]) ** 2).sum(1)
    while len(chosen) < most:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((x - x[chosen[-1]]) ** 2).sum(1))
    return np.asarray(chosen)
