"""The stage: a pupil for every frame, gaze for every instant, at the time of the light."""

from __future__ import annotations

import numpy as np
import pytest
from gaze_wearer import STEP_NS, Wearer, pupil_at

from device.calibrating import fit
from device.calibration import Calibration
from device.errors import ConfigError
from device.eye_view import Instant, Observation, Pairing
from device.stages.gaze import GazeSettings, GazeStage
from device.types import EyeFrame, Gaze, Pupil, Value


class KnownPupil:
    """Finds the disc of `Wearer` by its centre of darkness."""

    def estimate(self, frame: EyeFrame) -> Pupil:
        dark = (frame.pixels < 70).astype(float)
        if dark.sum() < 50:
            return pupil_at(frame, float("nan"), float("nan"), 0.01, 0.01)
        y, x = np.mgrid[: frame.pixels.shape[0], : frame.pixels.shape[1]]
        return pupil_at(
            frame, float((dark * x).sum() / dark.sum()), float((dark * y).sum() / dark.sum())
        )


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    wearer = Wearer(seed=21)
    return fit(*wearer.look(wearer.gaze_at(300)))


def frames(gaze: np.ndarray, seed: int = 22) -> list[EyeFrame]:
    wearer = Wearer(seed=seed)
    return [
        wearer.frame(eye, camera, n * STEP_NS, azimuth, elevation)
        for n, (azimuth, elevation) in enumerate(gaze)
        for eye, camera in wearer.eyes
    ]


def run(stage: GazeStage, values: list[EyeFrame]) -> list[Value]:
    out = [made for value in values for made in stage.step(value)]
    return out + list(stage.finish(values[-1].t_ns))


def test_without_calibration_there_are_pupils_only() -> None:
    out = run(GazeStage(KnownPupil(), None, GazeSettings()), frames(np.zeros((5, 2))))
    assert [type(v) for v in out] == [Pupil] * 10


def test_one_gaze_an_instant_at_the_time_of_the_light(calibration: Calibration) -> None:
    gaze = np.repeat([[5.0, -5.0], [-8.0, 2.0]], 20, axis=0)
    out = run(GazeStage(KnownPupil(), calibration), frames(gaze))
    found = [v for v in out if isinstance(v, Gaze)]
    assert [g.t_ns for g in found] == [n * STEP_NS for n in range(40)]
    off = [
        np.hypot(g.azimuth_deg - a, g.elevation_deg - e)
        for g, (a, e) in zip(found, gaze, strict=True)
    ]
    assert np.median(off) < 0.6
    assert max(off[20:23]) < 1.5, "a saccade must be followed at once"
    assert all(0.5 < g.confidence <= 1.0 for g in found)
    assert all(g.pupil_px == pytest.approx(16.0) for g in found)


def test_a_blink_lowers_the_confidence(calibration: Calibration) -> None:
    stage = GazeStage(KnownPupil(), calibration)
    shut = [
        EyeFrame(t_ns=v.t_ns, eye=v.eye, seq=v.seq, pixels=np.full_like(v.pixels, 150))
        for v in frames(np.zeros((3, 2)))
    ]
    found = [v for v in run(stage, shut) if isinstance(v, Gaze)]
    assert found
    assert all(g.confidence < 0.1 for g in found)


def test_smoothing_calms_a_steady_eye(calibration: Calibration) -> None:
    def jitter(smooth_ms: float) -> float:
        settings = GazeSettings(smooth_ms=smooth_ms)
        out = run(
            GazeStage(KnownPupil(), calibration, settings), frames(np.zeros((60, 2)), seed=23)
        )
        azimuth = [v.azimuth_deg for v in out if isinstance(v, Gaze)]
        return float(np.std(np.diff(azimuth)))

    assert jitter(60.0) < 0.7 * jitter(0.0)


def test_a_calibration_for_another_network_is_refused() -> None:
    wearer = Wearer(seed=24)
    other = fit(*wearer.look(wearer.gaze_at(150)), eye_model_sha256="a" * 64)
    with pytest.raises(ConfigError, match="calibrate again"):
        GazeStage(KnownPupil(), other, eye_model_sha256="b" * 64)


def instants(observations: list[Observation]) -> list[Instant]:
    pairing = Pairing({o.camera for o in observations})
    return [i for o in observations for i in pairing.add(o)] + list(pairing.flush())


def test_cameras_that_alternate_are_paired() -> None:
    wearer = Wearer(seed=25)
    observations, _ = wearer.look(np.zeros((50, 2)))
    shifted = [later(o, 4_000_000) if o.pupil.eye == "right" else o for o in observations]
    made = instants(shifted)
    assert len(made) == 50
    assert all(len(i.seen) == 2 for i in made)


def test_a_lost_frame_does_not_shift_the_pairs() -> None:
    observations, _ = Wearer(seed=26).look(np.zeros((50, 2)))
    fast = [later(o, -o.t_ns * 3 // 4) for o in observations]  # 200 Hz
    del fast[21]
    made = instants(fast)
    assert sum(len(i.seen) == 2 for i in made) >= 48
    assert all(len({o.t_ns for o in i.seen.values()}) == 1 for i in made)


def test_a_dead_camera_delays_nothing_for_long() -> None:
    observations, _ = Wearer(seed=27).look(np.zeros((100, 2)))
    left = [o for o in observations if o.pupil.eye == "left" or o.t_ns < 10 * STEP_NS]
    pairing = Pairing({o.camera for o in observations})
    late = []
    for o in left:
        late += [o.t_ns - i.t_ns for i in pairing.add(o)]
    assert max(late) <= STEP_NS, "no later than the next frame"
    assert late[-20:] == [0] * 20, "forgotten after half a second"


def later(observation: Observation, by_ns: int) -> Observation:
    import dataclasses

    return dataclasses.replace(observation, t_ns=observation.t_ns + by_ns)
