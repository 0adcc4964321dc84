"""The emotion stages: what is looked at, what is skipped, when the view is asked, and odd numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from device.agreement import Agreement
from device.errors import ModelError
from device.model import load
from device.personal import Neutral, Personal, PersonalError
from device.stages.emotion import EmotionSettings, EyeEmotionStage, eye_crop
from device.stages.fusion import FusionStage
from device.types import (
    EMOTIONS,
    DeviceEvent,
    EmotionEstimate,
    EyeFrame,
    EyeMovement,
    MomentEnd,
    MomentStart,
    Movement,
    Pupil,
    Region,
    Tag,
    Tags,
    Value,
)

MS = 1_000_000
ON = EmotionSettings(on=True, smooth_ms=1.0)
PLACE = Region(left=0.2, top=0.2, right=0.6, bottom=0.6)


class FakeModel:
    """Says what it is told to, and remembers what it was shown."""

    def __init__(self, classes: tuple[str, ...] = EMOTIONS, **outputs: Any) -> None:
        self.spec = SimpleNamespace(classes=classes)
        self.path, self.sha256 = "fake.onnx", "f" * 64
        self.outputs = {k: np.asarray(v, np.float32) for k, v in outputs.items()}
        self.shown: list[dict[str, Any]] = []

    def run(self, **inputs: Any) -> dict[str, Any]:
        self.shown.append(inputs)
        return self.outputs


def eyes(gate: float = 0.9) -> Any:
    row = [0.1, 0.05, 0.05, 0.6, 0.1, 0.05, 0.05]
    return FakeModel(vector=[[1.0, 2.0]], gate=[[gate]], probabilities=[row])


PATTERN = np.tile(np.arange(96, dtype=np.uint8), (96, 1))


def frame(ms: int, eye: str = "right") -> EyeFrame:
    return EyeFrame(t_ns=ms * MS, eye=eye, seq=ms, pixels=PATTERN)  # type: ignore[arg-type]


def pupil(ms: int, eye: str = "right", openness: float = 0.9, confidence: float = 0.9) -> Pupil:
    return Pupil(
        t_ns=ms * MS,
        eye=eye,  # type: ignore[arg-type]
        x_px=48,
        y_px=48,
        major_px=20,
        minor_px=20,
        angle_deg=0,
        openness=openness,
        confidence=confidence,
    )


def feed(stage: Any, values: Iterable[Value]) -> list[Value]:
    return [made for value in values for made in stage.step(value)]


def stream(
    last_ms: int, both: tuple[str, ...] = ("right", "left"), **of_pupil: float
) -> list[Value]:
    return [
        value
        for ms in range(0, last_ms, 20)
        for eye in both
        for value in (frame(ms, eye), pupil(ms, eye, **of_pupil))
    ]


def test_both_eyes_are_looked_at_together_every_so_often() -> None:
    model = eyes()
    made = feed(EyeEmotionStage(model, ON), stream(2000))
    assert len(made) == 4  # every half second
    assert all(call["eyes"].shape == (1, 2, 64, 64) for call in model.shown)
    assert all(isinstance(m, EmotionEstimate) and m.influence is None for m in made)


def test_one_eye_lost_the_other_serves() -> None:
    model = eyes()
    made = feed(EyeEmotionStage(model, ON), stream(2000, ("left",)))
    assert len(made) >= 3
    assert all(call["eyes"].shape == (1, 1, 64, 64) for call in model.shown)


@pytest.mark.parametrize("of_pupil", [{"openness": 0.1}, {"confidence": 0.05}])
def test_closed_or_absent_eyes_say_nothing_at_all(of_pupil: dict[str, float]) -> None:
    model = eyes()
    assert feed(EyeEmotionStage(model, ON), stream(2000, **of_pupil)) == []
    assert model.shown == []


def test_blinks_of_a_recordings_own_gaze_are_skipped() -> None:
    def movement(ms: int, what: Movement) -> EyeMovement:
        return EyeMovement(
            t_ns=ms * MS,
            movement=what,
            since_ns=0,
            azimuth_deg=0,
            elevation_deg=0,
            speed_deg_s=0,
            confidence=1,
        )

    stage = EyeEmotionStage(eyes(), ON, sees_pupils=False)
    closed = feed(stage, [movement(0, Movement.BLINK), frame(10), frame(100), frame(700)])
    assert closed == []
    opened = feed(stage, [movement(720, Movement.FIXATION), frame(730), frame(800)])
    assert len(opened) == 1


def test_a_covered_camera_is_no_eye_and_no_made_up_feeling() -> None:
    def dark(ms: int, eye: str) -> EyeFrame:
        pixels = np.random.default_rng(ms).normal(20, 1, (96, 96)).astype(np.uint8)
        return dataclasses.replace(frame(ms, eye), pixels=pixels)

    model = eyes()
    stage = EyeEmotionStage(model, ON, sees_pupils=False)
    both = [dark(ms, eye) for ms in range(0, 2000, 20) for eye in ("right", "left")]
    assert feed(stage, both) == [] and model.shown == [] and stage.empty == 4
    one = [f for ms in range(3000, 4000, 20) for f in (dark(ms, "right"), frame(ms, "left"))]
    assert len(feed(stage, one)) == 2
    assert all(call["eyes"].shape == (1, 1, 64, 64) for call in model.shown)


def test_estimates_are_averaged_over_time_and_a_long_gap_begins_anew() -> None:
    model = eyes(gate=0.2)
    stage = EyeEmotionStage(model, EmotionSettings(on=True, smooth_ms=1500.0, forget_ms=5000.0))
    feed(stage, stream(2000))
    model.outputs["gate"][:] = 0.9

    def gates(start_ms: int) -> list[float]:
        later = [dataclasses.replace(v, t_ns=v.t_ns + start_ms * MS) for v in stream(2000)]  # type: ignore[type-var]
        return [m.non_neutral for m in feed(stage, later) if isinstance(m, EmotionEstimate)]

    slowly = gates(2000)
    assert 0.2 < slowly[0] < 0.45 and slowly == sorted(slowly) and slowly[-1] < 0.9
    assert gates(20_000)[0] == pytest.approx(0.9)


def test_the_left_eye_is_mirrored() -> None:
    right, left = eye_crop(PATTERN, mirrored=False), eye_crop(PATTERN, mirrored=True)
    assert right[0, 0] < right[0, -1] and (left == right[:, ::-1]).all()


def test_what_is_no_number_is_a_stated_fault_and_no_silent_neutral() -> None:
    model = eyes()
    model.outputs["vector"][0, 0] = np.nan
    stage = EyeEmotionStage(model, ON)
    made = feed(stage, stream(100))
    assert [type(m) for m in made] == [DeviceEvent] and stage.refused == 1


def test_a_network_of_other_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="joy"):
        EyeEmotionStage(FakeModel(classes=("joy", "neutral")))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="none"):
        FusionStage(FakeModel(), FakeModel(classes=()))  # type: ignore[arg-type]


def test_privacy_stops_looking_and_forgets() -> None:
    model = eyes()
    stage = EyeEmotionStage(model, ON)
    feed(stage, [DeviceEvent(t_ns=0, name="privacy", value=True), *stream(1000)])
    assert model.shown == []
    feed(stage, [DeviceEvent(t_ns=MS, name="privacy", value=False), *stream(1000)])
    assert model.shown


def test_where_nothing_changed_the_last_answer_holds() -> None:
    model = eyes()
    stage = EyeEmotionStage(model, EmotionSettings(on=True, fast_forward=0.05))
    assert len(feed(stage, stream(2000))) == 4 and len(model.shown) == 1 and stage.skipped == 3
    noisy = np.random.default_rng(0).integers(0, 255, (96, 96), dtype=np.uint8)
    changed = [dataclasses.replace(frame(3000, eye), pixels=noisy) for eye in ("right", "left")]
    feed(stage, [v for f in changed for v in (f, pupil(3000, f.eye))])
    assert len(model.shown) == 2


# --- fusion --------------------------------------------------------------------------------------


def estimate(ms: int, gate: float) -> EmotionEstimate:
    return EmotionEstimate(
        t_ns=ms * MS,
        probabilities=(1 / 7,) * 7,
        non_neutral=gate,
        influence=None,
        region=None,
        vector=np.ones(2, np.float32),
    )


def tags(ms: int, whole: bool = False, value: float = 0.1) -> Tags:
    return Tags(
        t_ns=ms * MS,
        tags=(Tag(name="cup", probability=0.9, region=PLACE, attended=True),),
        region=PLACE,
        embedding=np.full(4, value, np.float32),
        logits=np.zeros(3, np.float32),
        whole=np.full(4, value, np.float32) if whole else None,
        word="beach" if whole else None,
    )


def fusion(settings: EmotionSettings = ON) -> tuple[FusionStage, Any, Any]:
    affect = FakeModel(affect=[[6.0, 4.0]], sd=[[0.8, 0.7]])
    network = FakeModel(
        probabilities=[[0, 0, 0, 1, 0, 0, 0]], influence=[[0.7]], likelihood=[[1.0] * 7]
    )
    return FusionStage(affect, network, settings), affect, network  # type: ignore[arg-type]


def test_neutral_and_no_moment_open_costs_nothing() -> None:
    stage, affect, network = fusion()
    assert feed(stage, [tags(0), estimate(10, 0.2), estimate(500, 0.3)]) == []
    assert affect.shown == network.shown == []


def test_a_feeling_is_joined_with_the_view_and_says_why() -> None:
    stage, affect, _ = fusion()
    made = feed(stage, [tags(0), tags(400, whole=True), estimate(500, 0.9), estimate(900, 0.9)])
    assert [m.influence for m in made] == pytest.approx([0.7, 0.7])  # type: ignore[union-attr]
    first = made[0]
    assert isinstance(first, EmotionEstimate)
    assert first.because == ("cup", "beach") and first.affect == pytest.approx((6.0, 4.0))
    assert len(affect.shown) == 2  # once a view, not once an estimate


def test_an_open_moment_is_reason_enough() -> None:
    stage, _, _ = fusion()
    opened = MomentStart(t_ns=0, reason="attention")
    assert len(feed(stage, [opened, tags(0), estimate(10, 0.1)])) == 1
    assert feed(stage, [MomentEnd(t_ns=20 * MS, reason="over"), estimate(30, 0.1)]) == []


def test_a_kept_moment_teaches_once_how_far_views_agree_and_a_dropped_one_nothing() -> None:
    stage, _, network = fusion()
    stage.agreement = Agreement(moments=10)
    network.outputs["likelihood"] = np.array([[0.1, 0.1, 0.1, 6.0, 0.1, 0.1, 0.1]], np.float32)
    happy = dataclasses.replace(
        estimate(10, 0.9), probabilities=(0.02, 0.02, 0.02, 0.88, 0.02, 0.02, 0.02)
    )

    def moment(kept: bool) -> None:
        start, end = MomentStart(t_ns=0, reason="attention"), MomentEnd(t_ns=9 * MS, reason="over")
        feed(stage, [start, tags(0), happy, happy, dataclasses.replace(end, kept=kept)])

    before = stage.agreement
    moment(kept=False)
    feed(stage, [happy])  # a feeling with no moment around it
    assert stage.agreement is before and network.shown[-1]["share"] == pytest.approx(before.share)
    moment(kept=True)
    assert stage.agreement.moments == 11 and stage.agreement.share > before.share
    feed(stage, [happy])
    assert network.shown[-1]["share"] == pytest.approx(stage.agreement.share)


def test_a_fusion_that_gives_no_numbers_leaves_the_eyes_estimate_and_teaches_nothing() -> None:
    for output in ("probabilities", "influence", "likelihood"):
        stage, _, network = fusion()
        network.outputs[output] = network.outputs[output] * np.nan
        start, end = MomentStart(t_ns=0, reason="attention"), MomentEnd(t_ns=9 * MS, reason="over")
        assert feed(stage, [start, tags(0), estimate(10, 0.9), end]) == []
        assert stage.refused == 1 and stage.agreement.moments == 0


def test_the_gate_has_hysteresis() -> None:
    stage, _, _ = fusion()
    gates = [0.5, 0.65, 0.5, 0.4, 0.5]
    made = [len(feed(stage, [tags(0), estimate(n, g)])) for n, g in enumerate(gates)]
    assert made == [0, 1, 1, 0, 0]


def test_without_a_recent_view_the_eyes_estimate_stands() -> None:
    stage, _, _ = fusion()
    assert feed(stage, [estimate(0, 0.9)]) == []
    assert feed(stage, [tags(0), estimate(60_000, 0.9)]) == []


def test_an_embedding_that_is_no_number_is_left_out_and_counted() -> None:
    stage, affect, _ = fusion()
    assert feed(stage, [tags(0, value=float("nan")), estimate(10, 0.9)]) == []
    assert stage.refused == 1 and affect.shown == []


def test_an_affect_that_is_no_number_leaves_the_eyes_estimate() -> None:
    stage, affect, network = fusion()
    affect.outputs["affect"][:] = np.nan
    network.run = lambda **given: {k: v + given["affect"].sum() for k, v in network.outputs.items()}
    assert feed(stage, [tags(0), estimate(10, 0.9)]) == [] and stage.refused == 1


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="leave"):
        EmotionSettings(enter=0.4, leave=0.5)


def test_the_shipped_networks_fit_together() -> None:
    eye, affect, emoship = load("eye_emotion"), load("affect"), load("emoship")
    first = EyeEmotionStage(eye, ON)
    second = FusionStage(affect, emoship, EmotionSettings(on=True, always_fuse=True))
    embedding = np.full(1280, 1280**-0.5, np.float32)
    seen = Tags(
        t_ns=0, tags=(), region=PLACE, embedding=embedding, logits=np.zeros(1000, np.float32)
    )
    found = feed(first, stream(100))
    made = feed(second, [seen, *found])
    assert len(made) == 1 and isinstance(made[0], EmotionEstimate)
    assert sum(made[0].probabilities) == pytest.approx(1, abs=1e-5)
    assert made[0].influence is not None and 0 <= made[0].influence <= 1


def test_a_personal_file_of_another_network_is_refused() -> None:
    neutral = Neutral(vector=(0.0, 0.0), log_probabilities=(-2.0,) * 7, gate_logit=0.0)
    own = Personal(wearer="a", model_sha256="e" * 64, neutral=neutral, usual=neutral)
    with pytest.raises(PersonalError, match="enrol again"):
        EyeEmotionStage(eyes(), ON, own)
