from __future__ import annotations

import numpy as np
import pytest

from device.attention_inputs import EYE_FEATURES, FEATURES, SceneMotion, Trail, crops
from device.geometry import from_frame, pinhole
from device.model import load
from device.stages.attention import (
    SHAPES,
    AttentionSettings,
    AttentionStage,
    InputBuilder,
    feed,
    joint,
)
from device.stages.events import EventsStage
from device.types import Attention, EyeMovement, Gaze, Movement, SceneFrame

GEOMETRY = pinhole(640, 480, 60.0)
RNG = np.random.default_rng(4)
TEXTURE = np.kron(RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))


def movement(t_ns: int, x: float = 0.5, y: float = 0.5) -> EyeMovement:
    azimuth, elevation = from_frame(GEOMETRY, x, y)
    return EyeMovement(
        t_ns=t_ns,
        movement=Movement.FIXATION,
        since_ns=0,
        azimuth_deg=float(azimuth),
        elevation_deg=float(elevation),
        speed_deg_s=1.0,
        confidence=1.0,
    )


def frame(t_ns: int, shift: int = 0) -> SceneFrame:
    return SceneFrame(
        t_ns=t_ns, seq=0, pixels=np.ascontiguousarray(TEXTURE[100:580, 100 + shift : 740 + shift])
    )


def test_the_cadence_is_kept_at_any_frame_rate():
    for rate_hz in (24, 30, 60):
        builder = InputBuilder(GEOMETRY, AttentionSettings())
        due = [builder.frame(frame(round(k * 1e9 / rate_hz))) for k in range(4 * rate_hz)]
        assert 30 <= sum(d is not None for d in due) <= 44


def test_sooner_eye_movements_look_to_the_network_as_those_it_learnt_from():
    """The same movements, 50 ms later or now: the same features of the eyes, the same place."""
    late = InputBuilder(GEOMETRY, AttentionSettings(early_ms=0.0))
    early = InputBuilder(GEOMETRY, AttentionSettings(early_ms=100.0))
    for k in range(60):
        for builder in (late, early):
            builder.push(movement(k * 10_000_000, x=0.5 + 0.001 * k))
    old, new = late.frame(frame(750_000_000)), early.frame(frame(700_000_000))
    assert old is not None and new is not None
    assert np.array_equal(old[0].features[:EYE_FEATURES], new[0].features[:EYE_FEATURES])
    assert np.array_equal(old[0].gaze, new[0].gaze)


def test_gaze_is_classified_sooner_than_the_events_stage_does():
    """What is under the gaze is seen 50 ms sooner after a jump; without, the stage waits for the events'."""
    places = {}
    for early_ms in (0.0, 100.0):
        stage = AttentionStage(load("attention"), GEOMETRY, AttentionSettings(early_ms=early_ms))
        events = EventsStage()
        for k in range(62):  # a jump at 500 ms, 110 ms ago
            seen = Gaze(
                t_ns=k * 10_000_000,
                azimuth_deg=0.0 if k < 50 else 15.0,
                elevation_deg=0.0,
                confidence=1.0,
            )
            for value in (seen, *events.step(seen)):
                if isinstance(value, stage.wants):
                    assert not list(stage.step(value))
        made = stage._inputs.frame(frame(615_000_000))
        assert made is not None
        places[early_ms] = float(made[0].gaze[0])
    assert places[0.0] == pytest.approx(0.5, abs=0.05) and places[100.0] > 0.65


def test_inputs_have_the_shapes_of_the_contract():
    builder = InputBuilder(GEOMETRY, AttentionSettings())
    builder.push(movement(0))
    made = builder.frame(frame(10_000_000))
    assert made is not None and made[1]
    assert {n: v.shape for n, v in feed(made[0]).items()} == SHAPES
    again = builder.frame(frame(110_000_000))
    assert again is not None and not again[1]
    pause = builder.frame(frame(2_000_000_000))
    assert pause is not None and pause[1]


def test_the_crop_shows_what_is_looked_at():
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[100:110, 500:510] = 255
    views = crops(pixels, np.zeros((96, 128), np.uint8), (505 / 640, 105 / 480))
    assert views.crop[30:34, 30:34].min() > 130
    assert views.crop[:20].max() == 0 and views.crop[:, :20].max() == 0


def test_at_the_rim_the_crop_repeats_the_edge():
    pixels = np.full((480, 640, 3), 90, np.uint8)
    assert (crops(pixels, np.zeros((96, 128), np.uint8), (1.0, 0.0)).crop == 90).all()


def test_a_pan_is_background_and_what_moves_alone_is_not():
    still = SceneMotion((60.0, 45.0), 2.0)
    still.features(0, frame(0).pixels, (0.5, 0.5))
    still.features(100_000_000, frame(0, shift=12).pixels, (0.5, 0.5))
    moving = SceneMotion((60.0, 45.0), 2.0)
    before, after = frame(0).pixels.copy(), frame(0).pixels.copy()
    patch = TEXTURE[:160, 300:460]
    before[160:320, 240:400], after[160:320, 256:416] = patch, patch
    moving.features(0, before, (0.5, 0.5))
    moving.features(100_000_000, after, (0.5, 0.5))
    assert np.median(moving.motion[40:55, 55:75]) > 3 * np.median(still.motion)


def test_a_gaze_that_follows_the_pan_stays_on_one_thing():
    motion = SceneMotion((60.0, 45.0), 2.0)
    follows = [
        motion.features(k * 100_000_000, frame(0, shift=8 * k).pixels, (0.8 - 8 * k / 640, 0.5))
        for k in range(12)
    ][-1]
    motion.reset()
    stays = [
        motion.features(k * 100_000_000, frame(0, shift=8 * k).pixels, (0.5, 0.5))
        for k in range(12)
    ][-1]
    # Distance to where the thing looked at a second ago has gone: near, and 11 x 0.75 deg away.
    assert follows[8 + 2] < 0.3 < stays[8 + 2]


def test_lost_eyes_give_finite_features():
    trail = Trail(2.0)
    assert not trail.features(0).any()
    trail.push(movement(0))
    for k in range(1, 200):
        trail.push(
            EyeMovement(
                t_ns=k * 10_000_000,
                movement=Movement.BLINK,
                since_ns=10_000_000,
                azimuth_deg=float("nan"),
                elevation_deg=float("nan"),
                speed_deg_s=float("nan"),
                confidence=0.0,
            )
        )
    assert np.isfinite(trail.features(2_000_000_000)).all()


@pytest.mark.parametrize("kept", ["eyes", "scene"])
def test_hiding_hides(kept: str):
    builder = InputBuilder(GEOMETRY, AttentionSettings(inputs=kept))
    for k in range(30):
        builder.push(movement(k * 10_000_000, x=0.3))
    builder.frame(frame(200_000_000))
    made = builder.frame(frame(300_000_000, shift=5))
    assert made is not None
    inputs = made[0]
    assert not inputs.views.crop.any()
    if kept == "eyes":
        assert inputs.features[:EYE_FEATURES].any() and not inputs.features[EYE_FEATURES:].any()
        assert not inputs.views.coarse.any()
    else:
        assert not inputs.features.any() and inputs.views.coarse.any()
        assert inputs.gaze.tolist() == [0.5, 0.5]


def test_the_shipped_network_runs_and_says_the_same_twice():
    def estimates() -> list[Attention]:
        stage = AttentionStage(load("attention"), GEOMETRY)
        out: list[Attention] = []
        for k in range(100):
            list(stage.step(movement(k * 10_000_000, x=0.6)))
            out += [
                v for v in stage.step(frame(k * 10_000_000, shift=k)) if isinstance(v, Attention)
            ]
        return out

    first, second = estimates(), estimates()
    assert len(first) >= 8
    for a, b in zip(first, second, strict=True):
        assert 0 <= a.probability <= 1 and a.probability == b.probability
        r = a.region
        assert 0 <= r.left <= r.right <= 1 and 0 <= r.top <= r.bottom <= 1
        assert np.linalg.norm(a.embedding) == pytest.approx(1.0, abs=1e-3)
        assert (a.embedding == b.embedding).all()


def test_the_shipped_network_is_small():
    model = load("attention")
    assert model.bytes <= 640_000 and model.spec.macs <= 15_000_000
    assert model.spec.inputs[4].shape == (1, FEATURES)


def test_the_eyes_alone_have_their_share_and_without_one_a_single_run():
    def said(share: float, inputs: str = "both") -> tuple[list[float], int]:
        model = load("attention")
        stage = AttentionStage(model, GEOMETRY, AttentionSettings(eyes_share=share, inputs=inputs))
        out = []
        for k in range(60):
            list(stage.step(movement(k * 10_000_000, x=0.6)))
            made = stage.step(frame(k * 10_000_000, shift=k))
            out += [v.probability for v in made if isinstance(v, Attention)]
        return out, model.calls

    (both, once), (mixed, twice), (alone, _) = said(0.0), said(0.5), said(1.0)
    assert twice == 2 * once == 2 * len(both)
    assert mixed == pytest.approx([joint(b, a, 0.5) for b, a in zip(both, alone, strict=True)])
    assert alone == pytest.approx(said(0.0, inputs="eyes")[0])
    assert joint(0.2, 0.8, 0.5) == pytest.approx(0.5) and joint(0.0, 1.0, 0.0) < 1e-5
