"""The virtual wearer as the command line uses it: a session, and the calibration before it."""

from __future__ import annotations

from device.calibrating import fit
from device.calibration import Calibration
from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.eye_view import Observation, observe
from device.model import Model, load
from device.pipeline import Source
from device.pupil import PupilEstimator
from device.types import EyeFrame, Gaze

CALIBRATION_S = 30.0
CALIBRATION_HZ = 20.0


def virtual_wearer(
    *, seed: int = 1, seconds: float | None = None, scenario: str = "demo"
) -> Emulator:
    """A seeded session; `seconds` None takes the emulator's own length."""
    if seconds is None:
        return Emulator(EmulatorSettings(seed=seed, scenario=scenario))
    return Emulator(EmulatorSettings(seed=seed, scenario=scenario, duration_s=seconds))


def calibration_of(source: Source, eye: Model | None = None) -> Calibration | None:
    """The calibration that the virtual wearer makes before a session; None for every other source."""
    if not isinstance(source, Emulator) or source.header.brings_gaze:
        return None
    return calibrated(source.settings.seed, eye or load("eye"))


def calibrated(seed: int, eye: Model) -> Calibration:
    """The virtual wearer looks at a grid of dots first, as a person would; the fit knows the dots.

    The same wearer (eyes, glasses, camera angles) as in the session of that seed, on another day: no
    frame of the session itself is used.
    """
    settings = EmulatorSettings(
        seed=seed, scenario="calibration", duration_s=CALIBRATION_S, eye_hz=CALIBRATION_HZ
    )
    source = Emulator(settings)
    estimator = PupilEstimator(eye)
    observations: list[Observation] = []
    gazes: list[Gaze] = []
    for value in source:
        if not isinstance(value, EyeFrame):
            continue
        observations.append(observe(value, estimator.estimate(value)))
        azimuth, elevation = (float(a.item()) for a in source.truth.gaze(value.t_ns))
        gazes.append(
            Gaze(
                t_ns=value.t_ns,
                azimuth_deg=azimuth,
                elevation_deg=elevation,
                confidence=1.0,
            )
        )
    return fit(
        observations,
        gazes,
        eye_model_sha256=eye.sha256,
        wearer=f"virtual wearer {seed}",
        created_utc=source.header.start_utc,
    )
