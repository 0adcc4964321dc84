"""The resolution stage: policies by name, hard bounds, fallbacks and their reasons."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device.carry import MEASURES, Carried
from device.errors import ConfigError
from device.model import Model, load
from device.resolution_policies import (
    LADDER,
    OBSERVATION_VERSION,
    OBSERVED,
    Fixed,
    Learned,
    OutOfRangeError,
    observe,
    read_rules,
    rule_at,
)
from device.stages.resolution import (
    POLICIES,
    ResolutionSettings,
    ResolutionStage,
    bound,
    installed_network,
)
from device.types import (
    Attention,
    DeviceEvent,
    MomentEnd,
    MomentStart,
    Region,
    ResolutionDecision,
    SceneFrame,
    Value,
)

MS = 1_000_000
LEFT = Region(left=0.1, top=0.3, right=0.3, bottom=0.6)
RIGHT = Region(left=0.7, top=0.3, right=0.9, bottom=0.6)
BLANK = np.full((480, 640, 3), 90, np.uint8)
START = MomentStart(t_ns=0, reason="attention")


def frame(t_ms: int, pixels: np.ndarray = BLANK) -> SceneFrame:
    return SceneFrame(t_ns=t_ms * MS, seq=t_ms, pixels=pixels)


def attention(t_ms: int, region: Region) -> Attention:
    return Attention(
        t_ns=t_ms * MS, probability=0.9, region=region, embedding=np.zeros(2, np.float32)
    )


class Loop:
    """The stage with what the tag stage does to the shared memory."""

    def __init__(self, network: Model | None = None, **settings: object) -> None:
        self.carried = Carried()
        self.stage = ResolutionStage(
            self.carried,
            network,
            ResolutionSettings(**settings),  # type: ignore[arg-type]
        )
        self.place = LEFT

    def push(self, *values: Value) -> list[ResolutionDecision]:
        made: list[ResolutionDecision] = []
        for value in values:
            self.place = value.region if isinstance(value, Attention) else self.place
            for decision in self.stage.step(value):
                assert isinstance(decision, ResolutionDecision)
                made.append(decision)
                if not decision.reuse:
                    self.carried.begin(
                        decision.t_ns,
                        decision.scale_px,
                        [LEFT],
                        [0.9],
                        region=self.place,
                        place=self.place,
                    )
        return made

    def still(self, seconds: float, step_ms: int = 100) -> list[ResolutionDecision]:
        """A moment in which nothing moves."""
        made = self.push(frame(0), attention(0, LEFT), START)
        for t_ms in range(step_ms, round(seconds * 1000), step_ms):
            made += self.push(frame(t_ms))
        return made


def test_it_is_silent_outside_moments_and_runs_in_full_when_one_opens() -> None:
    loop = Loop()
    assert loop.push(frame(0), attention(0, LEFT), frame(100)) == []
    (decision,) = loop.push(START)
    assert (decision.scale_px, decision.reuse, decision.why) == (320, False, "a moment opens")
    assert decision.t_ns == 100 * MS
    loop.push(MomentEnd(t_ns=200 * MS, reason="over"))
    assert loop.push(frame(300)) == []


@pytest.mark.parametrize("policy", [p for p in POLICIES if p not in ("off", "always", "fixed")])
def test_while_nothing_moves_results_are_reused_but_never_longer_than_the_bound(
    policy: str,
) -> None:
    decisions = Loop(policy=policy, longest_s=0.7).still(4.0)
    runs = [d.t_ns // MS for d in decisions if not d.reuse]
    assert len(decisions) == 40
    assert len(runs) < 15
    assert max(b - a for a, b in itertools.pairwise(runs)) <= 700


def test_always_and_fixed_do_what_they_are_called() -> None:
    always = Loop(policy="always", size_px=160).still(1.0)
    assert [d.scale_px for d in always] == [320] + [160] * 9  # a moment opens in full
    fixed = Loop(policy="fixed", every_frames=3, size_px=224).still(1.0)
    assert [d.scale_px for d in fixed] == [320, 0, 0, 224, 0, 0, 224, 0, 0, 224]
    assert [LADDER[a] for a, _ in (Fixed(1, 320).choose(np.zeros(18), np.zeros(20)),)] == [320]


def test_gaze_on_something_new_forces_a_run_and_the_same_place_does_not() -> None:
    loop = Loop()
    loop.still(0.4)
    assert loop.push(attention(400, LEFT), frame(400))[0].reuse
    (decision,) = loop.push(attention(500, RIGHT), frame(500))
    assert decision.scale_px == 320 and "something new" in decision.why
    assert loop.push(frame(600))[0].reuse


def test_frames_between_two_decisions_are_passed_over() -> None:
    loop = Loop(rate_hz=5.0)
    decisions = loop.still(2.0, step_ms=33)
    gaps_ms = np.diff([d.t_ns // MS for d in decisions])
    assert gaps_ms.min() >= 165 and gaps_ms.max() <= 240


def test_a_low_battery_moves_the_policy_towards_less_energy() -> None:
    loop = Loop(energy_weight=0.4, saving_below=0.5)
    weights = []
    for charge in (1.0, 0.5, 0.25, 0.0):
        loop.push(DeviceEvent(t_ns=0, name="battery", value=charge))
        weights.append(loop.stage.weight)
    assert weights == pytest.approx([0.4, 0.4, 0.7, 1.0])


def test_a_sparing_posture_moves_it_as_well_whatever_the_battery() -> None:
    loop, weights = Loop(energy_weight=0.4), []
    for posture in ("normal", "conserve", "reserve", "normal"):
        loop.push(DeviceEvent(t_ns=0, name="posture", value=posture))
        weights.append(loop.stage.weight)
    assert weights == pytest.approx([0.4, 0.7, 1.0, 0.4])


def test_a_missing_network_gives_way_to_the_rule_and_says_so() -> None:
    decisions = Loop(policy="learned").still(2.0)
    chosen = [d for d in decisions if "rule instead of network" in d.why]
    assert chosen and "no network is installed" in chosen[0].why
    rule = Loop(policy="trigger").still(2.0)
    assert [d.scale_px for d in decisions] == [d.scale_px for d in rule]


def test_a_network_for_another_observation_gives_way_to_the_rule_and_says_so() -> None:
    network = load("resolution")
    figures = {**network.spec.figures, "observation_version": OBSERVATION_VERSION + 1}
    network.spec = replace(network.spec, figures=figures)
    decisions = Loop(network, policy="learned").still(2.0)
    said = [d.why for d in decisions if "rule instead of network" in d.why]
    assert said and f"made for observation version {OBSERVATION_VERSION + 1}" in said[0]
    rule = Loop(policy="trigger").still(2.0)
    assert [d.scale_px for d in decisions] == [d.scale_px for d in rule]


@pytest.mark.parametrize(
    ("wrong", "why"), [(np.nan, "not a number"), (np.inf, "not a number"), (1e9, "beyond what")]
)
def test_the_network_judges_nothing_that_it_cannot_have_learnt(wrong: float, why: str) -> None:
    policy = Learned(load("resolution"))
    observation = observe(np.full(len(MEASURES), 0.1, np.float32), 0.5, 0.5)
    assert policy.choose(observation[: len(MEASURES)], observation)[0] in range(len(LADDER))
    observation[2] = wrong
    with pytest.raises(OutOfRangeError, match=why):
        policy.choose(observation[: len(MEASURES)], observation)


def test_a_measure_that_is_not_a_number_means_a_full_run() -> None:
    measures = np.zeros(len(MEASURES), np.float32)
    measures[3] = np.nan
    choice = bound(measures, ResolutionSettings(), ran=True)
    assert choice == (3, "a measure is not a number")


def test_a_camera_smaller_than_the_ladder_is_analysed_at_what_it_has() -> None:
    loop = Loop(policy="always")
    small = np.full((150, 200, 3), 90, np.uint8)
    (decision,) = loop.push(frame(0, small), START)
    assert decision.scale_px == 160 and "200 px" in decision.why


def test_the_observation_is_one_function_for_one_frame_and_for_many() -> None:
    rng = np.random.default_rng(0)
    measures = rng.uniform(0, 2, (5, len(MEASURES))).astype(np.float32)
    share, weight = rng.uniform(0, 1, 5), rng.uniform(0, 1, 5)
    many = observe(measures, share, weight)
    assert many.shape == (5, len(OBSERVED)) and many.dtype == np.float32
    for row in range(5):
        assert observe(measures[row], share[row], weight[row]) == pytest.approx(many[row])


def test_rules_of_another_observation_version_are_refused(tmp_path: object) -> None:
    path = tmp_path / "rules.toml"  # type: ignore[operator]
    path.write_text("observation = 99\n[[trigger]]\nage_s = 1\n")
    with pytest.raises(ConfigError, match="version 99"):
        read_rules("trigger", path)
    for wrong in ("nonsense = 1", "age_s = -1", "age_s = 1\nsize_px = 300", ""):
        path.write_text(f"observation = {OBSERVATION_VERSION}\n[[trigger]]\n{wrong}\n")
        with pytest.raises(ConfigError, match=r"\[\[trigger\]\]"):
            read_rules("trigger", path)


def test_a_heavier_weight_of_energy_never_runs_sooner() -> None:
    levels = read_rules("trigger")
    weights = sorted(levels)
    measures = np.full(len(MEASURES), 0.1, np.float32)
    scores = [float(rule_at(levels, w).score(measures)) for w in weights]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": "best"},
        {"size_px": 512},
        {"energy_weight": 1.5},
        {"rate_hz": 0.0},
        {"every_frames": 0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"resolution\."):
        ResolutionSettings(**wrong)  # type: ignore[arg-type]


def test_a_network_that_cannot_be_read_is_named_in_the_reason(tmp_path: Path) -> None:
    missing = ResolutionSettings(policy="learned", network=str(tmp_path / "none.onnx"))
    network, why = installed_network(missing)
    assert network is None and "none.onnx" in why
    assert installed_network(ResolutionSettings(policy="trigger")) == (None, "")
