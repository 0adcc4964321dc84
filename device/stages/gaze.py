"""EyeFrame -> Pupil -> Gaze: the pupil of every eye frame, and gaze where the wearer is calibrated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from device.calibration import USABLE, Calibration, Estimate
from device.errors import ConfigError
from device.eye_view import Instant, Observation, Pairing, observe
from device.recentre import Recentre
from device.types import EyeFrame, Gaze, Pupil, Value


class Estimator(Protocol):
    """Finds the pupil in one eye frame (`device.pupil.PupilEstimator`)."""

    def estimate(self, frame: EyeFrame) -> Pupil: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GazeSettings:
    """How frames are paired and how gaze is smoothed. No threshold: doubt travels with the gaze."""

    pair_within_ms: float = 12.0
    """Frames of different cameras this close belong to one instant."""
    forget_ms: float = 500.0
    """A camera silent for so long is no longer waited for."""
    smooth_ms: float = 15.0
    """Time constant of the smoothing while the eye is steady; 0 switches it off."""
    saccade_deg: float = 1.5
    """A step larger than this is followed at once, so that saccades keep their speed."""
    recentre_s: float = 60.0
    """Over how long looks are remembered that tell drift from looking elsewhere; 0 switches it off."""

    def __post_init__(self) -> None:
        if not self.pair_within_ms > 0 or not self.forget_ms > 0 or not self.saccade_deg > 0:
            raise ValueError("pair_within_ms, forget_ms and saccade_deg must be above 0")
        if not self.smooth_ms >= 0:
            raise ValueError("smooth_ms must be 0 or more")
        if not self.recentre_s >= 0:
            raise ValueError("recentre_s must be 0 or more")


class GazeStage:
    """Without a calibration it yields pupils only."""

    name = "gaze"
    wants = (EyeFrame,)

    def __init__(
        self,
        estimator: Estimator,
        calibration: Calibration | None = None,
        settings: GazeSettings | None = None,
        *,
        eye_model_sha256: str = "",
    ) -> None:
        """Raises ConfigError if the calibration was fitted with another eye network.

        `eye_model_sha256` is found by itself where the estimator carries its `model`.
        """
        self._settings = settings or GazeSettings()
        self._estimator = estimator
        self._calibration = calibration
        if calibration is not None:
            calibration.check_model(eye_model_sha256 or model_sha256(estimator))
        self._pairing = Pairing(
            (c.camera for c in calibration.cameras) if calibration else (),
            tolerance_ns=int(self._settings.pair_within_ms * 1e6),
            forget_ns=int(self._settings.forget_ms * 1e6),
        )
        self._last: tuple[int, float, float] | None = None
        habit = calibration.habit if calibration is not None else None
        memory_s = self._settings.recentre_s
        self._recentre = Recentre(habit, memory_s) if habit and memory_s > 0 else None

    def step(self, frame: EyeFrame) -> Iterable[Value]:
        """The frame's pupil, and gaze for each instant that the frame completes."""
        pupil = self._estimator.estimate(frame)
        yield pupil
        if self._calibration is not None:
            yield from self.see(observe(frame, pupil))

    def see(self, observation: Observation) -> Iterator[Gaze]:
        """Gaze from a pupil that is known already."""
        for instant in self._pairing.add(observation):
            yield from self._gaze(instant)

    def finish(self, end_ns: int) -> Iterable[Value]:
        if self._calibration is not None:
            for instant in self._pairing.flush():
                yield from self._gaze(instant)

    def _gaze(self, instant: Instant) -> Iterator[Gaze]:
        if self._calibration is None:
            raise ConfigError("gaze needs a calibration; make one with beheld calibrate")
        estimate = self._calibration.estimate(instant)
        if estimate is None:
            return
        estimate = self._without_drift(instant.t_ns, estimate)
        azimuth_deg, elevation_deg = self._smooth(instant.t_ns, estimate)
        yield Gaze(
            t_ns=instant.t_ns,
            azimuth_deg=azimuth_deg,
            elevation_deg=elevation_deg,
            confidence=estimate.confidence,
            pupil_px=_diameter(instant),
        )

    def _without_drift(self, t_ns: int, found: Estimate) -> Estimate:
        if self._recentre is None:
            return found
        if found.confidence >= USABLE:
            self._recentre.see(t_ns, found.azimuth_deg, found.elevation_deg)
        azimuth_deg, elevation_deg = self._recentre.drift_deg()
        return found._replace(
            azimuth_deg=found.azimuth_deg - azimuth_deg,
            elevation_deg=found.elevation_deg - elevation_deg,
        )

    def _smooth(self, t_ns: int, now: Estimate) -> tuple[float, float]:
        """Exponential smoothing of small steps; a large one, or a pause, starts anew."""
        tau_ms = self._settings.smooth_ms
        last = self._last
        if last is not None and tau_ms > 0 and now.confidence > 0:
            elapsed_ms = (t_ns - last[0]) / 1e6
            step_deg = math.hypot(now.azimuth_deg - last[1], now.elevation_deg - last[2])
            if elapsed_ms < 100.0 and step_deg < self._settings.saccade_deg:
                # Larger steps are followed faster, up to the saccade's.
                calm = 1.0 - step_deg / self._settings.saccade_deg
                share = 1.0 - calm * math.exp(-elapsed_ms / tau_ms)
                self._last = (
                    t_ns,
                    last[1] + share * (now.azimuth_deg - last[1]),
                    last[2] + share * (now.elevation_deg - last[2]),
                )
                return self._last[1], self._last[2]
        self._last = (t_ns, now.azimuth_deg, now.elevation_deg)
        return now.azimuth_deg, now.elevation_deg


def model_sha256(estimator: object) -> str:
    """Hash of the network an estimator runs; empty if it has none."""
    found = getattr(getattr(estimator, "model", None), "sha256", "")
    return found if isinstance(found, str) else ""


def _diameter(instant: Instant) -> float | None:
    """Mean major axis over the cameras, weighted by confidence; None if no pupil was seen."""
    seen = [(o.pupil.major_px, o.pupil.confidence) for o in instant.seen.values()]
    seen = [(size, weight) for size, weight in seen if math.isfinite(size) and weight > 0.0]
    total = sum(weight for _, weight in seen)
    return sum(size * weight for size, weight in seen) / total if total > 0 else None
