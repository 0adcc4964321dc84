"""Making a calibration from eye observations and reference gaze.

Time is cut into blocks; each block is predicted by experts fitted on the others. Those predictions tell
how good every expert is, how their errors go together, and the figures the calibration
carries: nothing is measured on what it was fitted to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from device.calibration import (
    NEAR_DEG,
    USABLE,
    Accuracy,
    Calibration,
    CameraView,
    from_text,
    to_text,
)
from device.errors import InputError
from device.expert_fit import FitSettings, blocks_of, fit_expert, independent
from device.eye_view import Camera, Instant, Observation, Pairing
from device.gaze_experts import Expert, Kind, covariance, fuse, opinion
from device.gaze_map import Floats
from device.recentre import DRIFT_DEG, Habit
from device.types import Gaze

LOOK_DEG = 1.0
"""Further than this from where it rested, gaze looks at another place."""


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
    natural: bool = False,
) -> Calibration:
    """Fit a calibration. Observations and gazes each in the order of their times.

    `natural`: the wearer looked about as they always do, not at markers; then where they looked says
    later what is drift (`device.recentre`).

    Raises InputError if there is no reference gaze, if it does not overlap the eye frames, or
    if no eye camera saw anything that goes with the gaze.
    """
    settings = settings or FitSettings()
    matched = match(pair(observations), gazes, settings)
    cameras = _cameras(matched.instants)
    kinds: list[tuple[Camera, Kind]] = []
    for camera in cameras:
        kinds += [(camera.camera, kind) for kind in get_args(Kind)]
    experts = {k: fit_expert(*k, matched.instants, matched.gaze, settings) for k in kinds}
    kinds = [k for k in kinds if experts[k] is not None]
    if not kinds:
        raise InputError("no eye camera has enough frames beside the reference gaze to calibrate")
    block = blocks_of(matched.t_ns, settings.blocks)
    left_out = [
        [fit_expert(*k, *_without(matched, block == b), settings) for k in kinds]
        for b in range(settings.blocks)
    ]
    held = _hold_out(kinds, left_out, matched, block)
    calibration = Calibration(
        cameras=tuple(cameras),
        experts=tuple(e for k in kinds if (e := experts[k]) is not None),
        covariance=covariance(held.errors) + DRIFT_DEG**2 * np.eye(len(kinds)),
        sigma_scale=held.scale,
        accuracy=held.accuracy,
        eye_model_sha256=eye_model_sha256,
        wearer=wearer,
        created_utc=created_utc,
        habit=_habit(matched, settings) if natural else None,
    )
    # Through the file's form, so that a calibration just made and one read back are the same.
    return from_text(to_text(calibration), where="new calibration")


def _habit(matched: Matched, settings: FitSettings) -> Habit:
    middle, spread = matched.gaze.mean(axis=0).tolist(), matched.gaze.std(axis=0).tolist()
    return Habit(
        azimuth_deg=middle[0],
        elevation_deg=middle[1],
        spread_azimuth_deg=spread[0],
        spread_elevation_deg=spread[1],
        looks=independent(matched.t_ns, settings),
    )


def _without(matched: Matched, out: NDArray[np.bool_]) -> tuple[list[Instant], Floats]:
    kept = [i for i, skip in zip(matched.instants, out, strict=True) if not skip]
    return kept, matched.gaze[~out]


def pair(observations: Iterable[Observation]) -> list[Instant]:
    """Group the frames of all cameras into instants."""
    observations = list(observations)
    pairing = Pairing({o.camera for o in observations})
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


# --- what was left out ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    errors: Floats
    """(n, experts, 2) degrees, NaN where an expert was silent; doubt is taken out."""
    scale: float
    accuracy: Accuracy


def _hold_out(
    kinds: Sequence[tuple[Camera, Kind]],
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
                guesses[n, m], doubt[n, m] = opinion(expert, seen)
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
    scale = min(max(scale, _least_scale(looks(matched.gaze))), 4.0)
    near = 1.0 - np.exp(-(NEAR_DEG**2) / (2.0 * (fused[:, 2] * scale) ** 2))
    good = known & (near >= USABLE)
    return HeldOut(errors, scale, _accuracy(off, good, fused[:, :2], matched))


def looks(gaze: Floats) -> int:
    """How many places in turn were looked at: one ends where the gaze (n, 2) leaves its mean by a degree."""
    count, held, middle = 0, 0, np.zeros(2)
    for angles in gaze:
        if held and float(np.hypot(*(angles - middle))) <= LOOK_DEG:
            held += 1
            middle += (angles - middle) / held
        else:
            count, held, middle = count + 1, 1, angles.astype(np.float64)
    return count


def _least_scale(looked: int) -> float:
    """A line has three unknowns along an axis: its predictions err so much more than its fit.

    What is left out of a short calibration comes from the same seconds. It can show that errors are larger
    than the experts' covariance has them, not that they are smaller.
    """
    return float(np.sqrt(1.0 + 3.0 / max(looked, 1)))


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
