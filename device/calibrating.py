"""Making a calibration from eye observations and reference gaze.

Time is cut into blocks; each block is predicted by experts fitted on the others. Those predictions tell
how good every expert is, how their errors go together, and the figures the calibration
carries: nothing is measured on what it was fitted to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device.calibration import (
    NEAR_DEG,
    USABLE,
    Accuracy,
    Calibration,
    CameraView,
    Expert,
    from_text,
    fuse,
    pupil_features,
    to_text,
    trust,
)
from device.errors import InputError
from device.eye_view import VIEW_PX, Camera, Instant, Observation, Pairing
from device.gaze_map import Bumps, Floats, fit_bumps, fit_line, fit_turn
from device.types import Gaze


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
    view_features: int = 48
    view_stiffness: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0)
    """Times the mean square of the features."""
    slip: float = 0.02
    """Shift of the view, as a share of its width, that must not move the gaze."""
    bump_lengths: tuple[float, ...] = (1.0, 2.0)
    """Times the spread of the features; a map without bumps is always tried too."""


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Instants with the reference gaze at their times."""

    instants: list[Instant]
    t_ns: NDArray[np.int64]
    gaze: Floats
    """(n, 2) azimuth and elevation in degrees."""


def fit(
    observations: Iterable[Observation],
    gazes: Sequence[Gaze],
    *,
    eye_model_sha256: str = "",
    wearer: str = "unknown",
    created_utc: str = "unknown",
    settings: FitSettings | None = None,
) -> Calibration:
    """Fit a calibration. Observations and gazes each in the order of their times.

    Raises InputError if there is no reference gaze, if it does not overlap the eye frames, or
    if no eye camera saw anything that goes with the gaze.
    """
    settings = settings or FitSettings()
    matched = match(pair(observations), gazes, settings)
    cameras = _cameras(matched.instants)
    kinds: list[tuple[Camera, Literal["pupil", "view"]]] = []
    for camera in cameras:
        kinds += [(camera.camera, "pupil"), (camera.camera, "view")]
    whole = np.ones(len(matched.t_ns), bool)
    experts = {k: _fit_expert(*k, matched, whole, settings) for k in kinds}
    kinds = [k for k in kinds if experts[k] is not None]
    if not kinds:
        raise InputError("no eye camera has enough frames beside the reference gaze to calibrate")
    block = _blocks(matched.t_ns, settings.blocks)
    left_out = [
        [_fit_expert(*k, matched, block != b, settings) for k in kinds]
        for b in range(settings.blocks)
    ]
    held = _hold_out(kinds, left_out, matched, block)
    calibration = Calibration(
        cameras=tuple(cameras),
        experts=tuple(e for k in kinds if (e := experts[k]) is not None),
        covariance=covariance(held.errors),
        sigma_scale=held.scale,
        accuracy=held.accuracy,
        eye_model_sha256=eye_model_sha256,
        wearer=wearer,
        created_utc=created_utc,
    )
    # Through the file's form, so that a calibration just made and one read back are the same.
    return from_text(to_text(calibration), where="new calibration")


def pair(observations: Iterable[Observation]) -> list[Instant]:
    """Group the frames of all cameras into instants."""
    pairing = Pairing()
    instants = [instant for o in observations for instant in pairing.add(o)]
    return instants + list(pairing.flush())


def match(instants: Sequence[Instant], gazes: Sequence[Gaze], settings: FitSettings) -> Matched:
    """Reference gaze at the instants, where it is known. Raises InputError if there is too little."""
    known = [g for g in gazes if np.isfinite([g.azimuth_deg, g.elevation_deg]).all()]
    known = [g for g in known if g.confidence >= USABLE]
    if not known:
        raise InputError(
            f"no reference gaze to calibrate with ({len(gazes)} gaze samples, none valid); "
            "give a recording that brings gaze, or markers (--markers)"
        )
    at_ns = np.array([g.t_ns for g in known], np.int64)
    angles = np.array([[g.azimuth_deg, g.elevation_deg] for g in known])
    order = np.argsort(at_ns, kind="stable")
    at_ns, angles = at_ns[order], angles[order]
    t_ns = np.array([i.t_ns for i in instants], np.int64)
    gaze, usable = interpolate(t_ns, at_ns, angles, settings)
    kept = [i for i, ok in zip(instants, usable, strict=True) if ok]
    if len(kept) < settings.min_instants:
        raise InputError(
            f"only {len(kept)} of {len(instants)} eye frames have reference gaze at their time "
            f"(at least {settings.min_instants} are needed); choose another part of the recording"
        )
    return Matched(kept, t_ns[usable], gaze[usable])


def interpolate(
    t_ns: NDArray[np.int64], at_ns: NDArray[np.int64], angles: Floats, settings: FitSettings
) -> tuple[Floats, NDArray[np.bool_]]:
    """Reference angles (n, 2) at `t_ns` and whether they are known there."""
    after = np.clip(np.searchsorted(at_ns, t_ns), 1, max(len(at_ns) - 1, 1))
    if len(at_ns) == 1:
        return np.tile(angles, (len(t_ns), 1)), t_ns == at_ns[0]
    before = after - 1
    gap_ns = at_ns[after] - at_ns[before]
    share = (t_ns - at_ns[before]) / np.maximum(gap_ns, 1)
    step_deg = np.hypot(*(angles[after] - angles[before]).T)
    between = (share >= 0) & (share <= 1) & (gap_ns <= settings.max_reference_gap_ms * 1e6)
    exact = (share == 0) | (share == 1)
    share = np.clip(share, 0.0, 1.0)[:, None]
    gaze = angles[before] * (1 - share) + angles[after] * share
    return gaze, exact | (between & (step_deg <= settings.max_reference_step_deg))


# --- experts -------------------------------------------------------------------------------------


def _cameras(instants: Sequence[Instant]) -> list[CameraView]:
    """Every camera with the image size it has most of the time."""
    seen: dict[Camera, list[Observation]] = {}
    for instant in instants:
        for camera, observation in instant.seen.items():
            seen.setdefault(camera, []).append(observation)
    cameras = []
    for camera in sorted(seen):
        first = seen[camera][0]
        openness = float(np.median([o.pupil.openness for o in seen[camera]]))
        cameras.append(
            CameraView(
                camera=camera,
                width_px=first.width_px,
                height_px=first.height_px,
                openness=openness if np.isfinite(openness) else 0.0,
            )
        )
    return cameras


def _fit_expert(
    camera: Camera,
    kind: Literal["pupil", "view"],
    matched: Matched,
    chosen: NDArray[np.bool_],
    settings: FitSettings,
) -> Expert | None:
    """One expert from the chosen instants; None if its camera was not there for long enough."""
    rows = [n for n in np.flatnonzero(chosen) if camera in matched.instants[n].seen]
    seen = [matched.instants[n].seen[camera] for n in rows]
    gaze, t_ns = matched.gaze[rows], matched.t_ns[rows]
    if kind == "view":
        if len(rows) < settings.min_instants // 2:
            return None
        return _fit_view(camera, seen, gaze, t_ns, settings)
    weight = np.array([_pupil_weight(o) for o in seen])
    if (weight > 0).sum() < settings.min_instants // 2:
        return None
    return _fit_pupil(camera, seen, gaze, t_ns, weight, settings)


def _pupil_weight(observation: Observation) -> float:
    pupil = observation.pupil
    finite = np.isfinite([pupil.x_px, pupil.y_px, pupil.confidence]).all()
    return float(pupil.confidence) if finite and pupil.confidence >= 0.2 else 0.0


def _fit_pupil(
    camera: Camera,
    seen: Sequence[Observation],
    gaze: Floats,
    t_ns: NDArray[np.int64],
    weight: Floats,
    settings: FitSettings,
) -> Expert:
    raw = np.array([pupil_features(o) for o in seen])
    trusted = weight > 0
    raw, gaze, weight, t_ns = raw[trusted], gaze[trusted], weight[trusted], t_ns[trusted]
    mean = np.median(raw, axis=0)
    x = raw - mean
    turn = fit_turn(x, gaze, weight)
    gain = float(np.abs(np.linalg.det(turn)) ** 0.5)
    # The slope may leave the turn by about a quarter of its size (an oblique camera foreshortens by
    # that much); 0.5 deg is the noise of one independent fixation.
    fixations = _independent(t_ns, settings)
    stiffness = (0.5 / (0.25 * max(gain, 0.1))) ** 2 / fixations
    line = fit_line(x, gaze, weight, stiffness=stiffness, prior=turn)
    expert = Expert(
        camera=camera,
        kind="pupil",
        mean=mean,
        basis=np.eye(2),
        line=line,
        bumps=None,
        reach=max(float(np.quantile(np.hypot(*x.T), 0.95)), 0.5),
    )
    return _with_bumps(expert, raw, gaze, weight, t_ns, settings)


def _fit_view(
    camera: Camera,
    seen: Sequence[Observation],
    gaze: Floats,
    t_ns: NDArray[np.int64],
    settings: FitSettings,
) -> Expert:
    raw = np.array([o.view for o in seen], np.float64)
    mean = np.median(raw, axis=0)
    thin = raw[:: max(1, len(raw) // 400)] - mean
    _, _, axes = np.linalg.svd(thin, full_matrices=False)
    basis = axes[: settings.view_features].T
    x = (raw - mean) @ basis
    still = _shifts(raw[:: max(1, len(raw) // 100)], settings.slip) @ basis
    off = (raw - mean) - x @ basis.T
    reach = max(float(np.quantile(np.sqrt((off**2).sum(1)), 0.95)), 1e-3)
    weight = np.ones(len(raw))
    size = float((x**2).sum(1).mean())

    def line(rows: NDArray[np.bool_], stiffness: float) -> Expert:
        fitted = fit_line(
            x[rows], gaze[rows], weight[rows], stiffness=stiffness * size / rows.sum(), still=still
        )
        return Expert(
            camera=camera, kind="view", mean=mean, basis=basis, line=fitted, bumps=None, reach=reach
        )

    block = _blocks(t_ns, settings.blocks)
    costs = {
        s: np.median(
            np.concatenate(
                [
                    np.hypot(*(line(block != b, s).predict(raw[block == b]) - gaze[block == b]).T)
                    for b in range(settings.blocks)
                ]
            )
        )
        for s in settings.view_stiffness
    }
    best = min(costs, key=lambda s: costs[s])
    expert = line(np.ones(len(raw), bool), best)
    return _with_bumps(expert, raw, gaze, weight, t_ns, settings)


def _with_bumps(
    expert: Expert,
    raw: Floats,
    gaze: Floats,
    weight: Floats,
    t_ns: NDArray[np.int64],
    settings: FitSettings,
) -> Expert:
    """Add bumps if they predict left-out blocks clearly better than the line alone."""
    x = (raw - expert.mean) @ expert.basis
    left = gaze - expert.line(x)
    block = _blocks(t_ns, settings.blocks)
    spread = float(np.sqrt(np.median((x**2).sum(1))))
    ease = len(raw) / _independent(t_ns, settings)

    def bumps(rows: NDArray[np.bool_], length: float) -> Bumps:
        return fit_bumps(x[rows], left[rows], weight[rows], length=length * spread, ease=ease)

    def cost(length: float) -> float:
        misses = [left.copy()] if length == 0 else []
        for b in range(settings.blocks if length else 0):
            out = block == b
            misses.append(left[out] - bumps(~out, length)(x[out]))
        return float(np.mean(np.minimum(np.hypot(*np.concatenate(misses).T), 5.0)))

    costs = {length: cost(length) for length in settings.bump_lengths}
    best = min(costs, key=lambda length: costs[length])
    if costs[best] > 0.95 * cost(0.0):
        return expert
    return replace(expert, bumps=bumps(np.ones(len(raw), bool), best))


def _shifts(raw: Floats, share: float) -> Floats:
    """How the views change if the picture moves by that share of its width, right and down."""
    pictures = raw.reshape(-1, VIEW_PX, VIEW_PX)
    across = np.asarray(np.gradient(pictures, axis=2)).reshape(len(raw), -1)
    down = np.asarray(np.gradient(pictures, axis=1)).reshape(len(raw), -1)
    return np.asarray(np.concatenate([across, down]) * (share * VIEW_PX))


def _independent(t_ns: NDArray[np.int64], settings: FitSettings) -> float:
    """How many fixations' worth of data there are."""
    steps_ns = np.minimum(np.diff(t_ns), settings.correlation_ms * 1e6)
    return max(4.0, float(steps_ns.sum()) / (settings.correlation_ms * 1e6))


# --- what was left out ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    errors: Floats
    """(n, experts, 2) degrees, NaN where an expert was silent; doubt is taken out."""
    scale: float
    accuracy: Accuracy


def _blocks(t_ns: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Number of the block of time each row belongs to, blocks with equal numbers of rows."""
    return np.arange(len(t_ns)) * count // len(t_ns)


def _hold_out(
    kinds: Sequence[tuple[Camera, Literal["pupil", "view"]]],
    left_out: Sequence[Sequence[Expert | None]],
    matched: Matched,
    block: NDArray[np.intp],
) -> HeldOut:
    guesses = np.full((len(block), len(kinds), 2), np.nan)
    doubt = np.ones((len(block), len(kinds)))
    for n, instant in enumerate(matched.instants):
        for m, expert in enumerate(left_out[block[n]]):
            seen = instant.seen.get(kinds[m][0])
            if expert is not None and seen is not None:
                raw = expert.raw(seen)[None]
                guesses[n, m] = expert.predict(raw)[0]
                doubt[n, m] = expert.strangeness(raw)[0] / trust(expert, seen)
    errors = (guesses - matched.gaze[:, None]) / doubt[..., None]
    fused = np.full((len(block), 3), np.nan)
    for b in range(len(left_out)):
        shared = covariance(errors[block != b])
        for n in np.flatnonzero(block == b).tolist():
            result = fuse(guesses[n], doubt[n], shared)
            if result is not None:
                fused[n] = result
    off = np.hypot(*(fused[:, :2] - matched.gaze).T)
    known = np.isfinite(off)
    # Median of a Rayleigh distribution: sigma * sqrt(2 ln 2).
    scale = float(np.median(off[known] / fused[known, 2]) / np.sqrt(2 * np.log(2)))
    scale = min(max(scale, 0.25), 4.0)
    near = 1.0 - np.exp(-(NEAR_DEG**2) / (2.0 * (fused[:, 2] * scale) ** 2))
    good = known & (near >= USABLE)
    return HeldOut(errors, scale, _accuracy(off, good, fused[:, :2], matched))


def _accuracy(off: Floats, good: NDArray[np.bool_], fused: Floats, matched: Matched) -> Accuracy:
    if not good.any():
        raise InputError(
            "the eyes tell nothing about the reference gaze: no held-out frame came within "
            f"{NEAR_DEG:g} deg of it; check that eye video and gaze belong together"
        )
    calm = good[1:] & good[:-1] & (np.hypot(*np.diff(matched.gaze, axis=0).T) < 0.5)
    steps = np.hypot(*np.diff(fused, axis=0).T)[calm]
    return Accuracy(
        n=len(off),
        mean_deg=float(off[good].mean()),
        median_deg=float(np.median(off[good])),
        p95_deg=float(np.quantile(off[good], 0.95)),
        usable=float(good.mean()),
        precision_deg=float(np.sqrt((steps**2).mean())) if len(steps) else float("nan"),
    )


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
