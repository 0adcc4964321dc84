"""Fitting the experts: robust lines, each with a prior that fits what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from device.eye_view import VIEW_PX, Camera, Instant, Observation
from device.gaze_experts import Expert, Kind, pupil_features
from device.gaze_map import Bumps, Floats, Line, fit_bumps, fit_line, fit_turn


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How a calibration is fitted. The alternatives are chosen by blocks left out of the fit."""

    blocks: int = 5
    min_instants: int = 30
    """Fewer matched moments than this are refused."""
    max_reference_gap_ms: float = 45.0
    """Reference gaze is interpolated between two samples no further apart than this."""
    max_reference_step_deg: float = 3.0
    """A larger step between the two is a saccade: where in it the eye was is not known."""
    correlation_ms: float = 250.0
    """Frames closer than a fixation are not independent data."""
    view_features: int = 100
    """Principal components of the view that are regressed on."""
    view_kept: int = 8
    """Of these, kept in the file to tell a strange view (a closed lid, a moved camera) from a known one."""
    view_stiffness: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0)
    """Times the mean square of the features."""
    max_correction_deg: float = 6.0
    """What the view is asked to correct; a pupil further off was not found."""
    slip: float = 0.003
    """Shift of the view, as a share of its width, that must not move the gaze."""
    bump_lengths: tuple[float, ...] = (1.0, 2.0)
    """Times the spread of the features; a map without bumps is always tried too."""


def fit_expert(
    camera: Camera,
    kind: Kind,
    instants: Sequence[Instant],
    gaze: Floats,
    settings: FitSettings,
) -> Expert | None:
    """One expert from instants and their gaze (n, 2); None if its camera was there for too short."""
    rows = [n for n, instant in enumerate(instants) if camera in instant.seen]
    seen = [instants[n].seen[camera] for n in rows]
    gaze, t_ns = gaze[rows], np.array([instants[n].t_ns for n in rows], np.int64)
    if kind == "view":
        if len(rows) < settings.min_instants // 2:
            return None
        return _fit_view(camera, seen, gaze, t_ns, settings)
    weight = np.array([_pupil_weight(o) for o in seen])
    if (weight > 0).sum() < settings.min_instants // 2:
        return None
    if kind == "joint":
        return _fit_joint(camera, seen, gaze, t_ns, weight, settings)
    return _fit_pupil(camera, seen, gaze, t_ns, weight, settings)


def _pupil_weight(observation: Observation) -> float:
    pupil = observation.pupil
    finite = np.isfinite([*observation.centre_px, pupil.confidence]).all()
    return float(pupil.confidence) if finite and pupil.confidence >= 0.2 else 0.0


def _fit_pupil(
    camera: Camera,
    seen: Sequence[Observation],
    gaze: Floats,
    t_ns: NDArray[np.int64],
    weight: Floats,
    settings: FitSettings,
) -> Expert:
    x = np.array([pupil_features(o) for o in seen])
    trusted = weight > 0
    x, gaze, weight, t_ns = x[trusted], gaze[trusted], weight[trusted], t_ns[trusted]
    turn = fit_turn(x, gaze, weight)
    gain = float(np.abs(np.linalg.det(turn)) ** 0.5)
    # The slope may leave the turn by about a quarter of its size (an oblique camera foreshortens by
    # that much); 0.5 deg is the noise of one independent fixation.
    fixations = independent(t_ns, settings)
    stiffness = (0.5 / (0.25 * max(gain, 0.1))) ** 2 / fixations
    line = fit_line(x, gaze, weight, stiffness=stiffness, prior=turn)
    reach = max(float(np.quantile(np.hypot(*(x - line.centre).T), 0.95)), 0.5)
    expert = Expert(
        camera=camera,
        kind="pupil",
        line=line,
        bumps=None,
        basis=np.zeros((2, 0)),
        limits=np.zeros(0),
        reach=reach,
    )
    return _with_bumps(expert, x, gaze, weight, t_ns, settings)


def _fit_joint(
    camera: Camera,
    seen: Sequence[Observation],
    gaze: Floats,
    t_ns: NDArray[np.int64],
    weight: Floats,
    settings: FitSettings,
) -> Expert | None:
    """The pupil's line, and what the view says of its errors.

    Beyond the calibrated range it goes on as the pupil does, where the view alone would fall short.
    """
    line = _fit_pupil(camera, seen, gaze, t_ns, weight, settings).line
    left = gaze - line(np.array([pupil_features(o) for o in seen]))
    # A pupil that is found in the wrong place has errors the view need not learn.
    sound = (weight > 0) & (np.hypot(*left.T) < settings.max_correction_deg)
    if sound.sum() < settings.min_instants // 2:
        return None
    chosen = [o for o, ok in zip(seen, sound, strict=True) if ok]
    view = _fit_view(camera, chosen, left[sound], t_ns[sound], settings)
    return replace(
        view,
        kind="joint",
        line=Line(
            centre=np.concatenate([line.centre, view.line.centre]),
            offset=line.offset + view.line.offset,
            slope=np.concatenate([line.slope, view.line.slope]),
        ),
        basis=np.concatenate([np.zeros((2, view.basis.shape[1])), view.basis]),
    )


def _fit_view(
    camera: Camera,
    seen: Sequence[Observation],
    gaze: Floats,
    t_ns: NDArray[np.int64],
    settings: FitSettings,
) -> Expert:
    views = np.array([o.view for o in seen], np.float64)
    mean = np.median(views, axis=0)
    _, _, axes = np.linalg.svd(views[:: max(1, len(views) // 400)] - mean, full_matrices=False)
    basis = axes[: settings.view_features].T
    x = (views - mean) @ basis
    still = _shifts(views[:: max(1, len(views) // 100)], settings.slip) @ basis
    size = float((x**2).sum(1).mean())

    def line(rows: NDArray[np.bool_], stiffness: float, rounds: int = 8) -> Line:
        hold = stiffness * size / int(rows.sum())
        return fit_line(
            x[rows], gaze[rows], np.ones(rows.sum()), stiffness=hold, still=still, rounds=rounds
        )

    block = blocks_of(t_ns, settings.blocks)

    def cost(stiffness: float) -> float:
        misses = [
            line(block != b, stiffness, rounds=2)(x[block == b]) - gaze[block == b]
            for b in range(settings.blocks)
        ]
        return float(np.median(np.hypot(*np.concatenate(misses).T)))

    fitted = line(np.ones(len(x), bool), min(settings.view_stiffness, key=cost))
    kept = basis[:, : settings.view_kept]
    centre = mean + basis @ fitted.centre
    along = (views - centre) @ kept
    off = (views - centre) - along @ kept.T
    return Expert(
        camera=camera,
        kind="view",
        line=Line(centre=centre, offset=fitted.offset, slope=basis @ fitted.slope),
        bumps=None,
        basis=kept,
        limits=np.maximum(np.quantile(np.abs(along), 0.95, axis=0), 1e-3),
        reach=max(float(np.quantile(np.sqrt((off**2).sum(1)), 0.95)), 1e-3),
    )


def _with_bumps(
    expert: Expert,
    x: Floats,
    gaze: Floats,
    weight: Floats,
    t_ns: NDArray[np.int64],
    settings: FitSettings,
) -> Expert:
    """Add bumps if they predict left-out blocks clearly better than the line alone."""
    left = gaze - expert.line(x)
    block = blocks_of(t_ns, settings.blocks)
    spread = float(np.sqrt(np.median(((x - expert.line.centre) ** 2).sum(1))))
    ease = len(x) / independent(t_ns, settings)

    def bumps(rows: NDArray[np.bool_], length: float) -> Bumps:
        return fit_bumps(x[rows], left[rows], weight[rows], length=length * spread, ease=ease)

    def cost(misses: Floats) -> float:
        return float(np.mean(np.minimum(np.hypot(*misses.T), 5.0)))

    def held_out(length: float) -> float:
        folds = [
            left[block == b] - bumps(block != b, length)(x[block == b])
            for b in range(settings.blocks)
        ]
        return cost(np.concatenate(folds))

    costs = {length: held_out(length) for length in settings.bump_lengths}
    best = min(costs, key=lambda length: costs[length])
    if spread <= 0 or costs[best] > 0.95 * cost(left):
        return expert
    return replace(expert, bumps=bumps(np.ones(len(x), bool), best))


def _shifts(raw: Floats, share: float) -> Floats:
    """How the views change if the picture moves by that share of its width, right and down."""
    pictures = raw.reshape(-1, VIEW_PX, VIEW_PX)
    across = np.asarray(np.gradient(pictures, axis=2)).reshape(len(raw), -1)
    down = np.asarray(np.gradient(pictures, axis=1)).reshape(len(raw), -1)
    return np.asarray(np.concatenate([across, down]) * (share * VIEW_PX))


def independent(t_ns: NDArray[np.int64], settings: FitSettings) -> float:
    """How many fixations' worth of data there are."""
    steps_ns = np.minimum(np.diff(t_ns), settings.correlation_ms * 1e6)
    return max(4.0, float(steps_ns.sum()) / (settings.correlation_ms * 1e6))


def blocks_of(t_ns: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Number of the block of time each row belongs to, blocks with equal numbers of rows."""
    return np.arange(len(t_ns)) * count // len(t_ns)
