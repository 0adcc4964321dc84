"""The posture: worse at once, better only beyond the threshold's margin and after a while."""

from __future__ import annotations

import pytest

from device.posture import Posture, PostureJudge, PostureSettings
from device.types import DeviceEvent, EnergySample

S = 1_000_000_000
SETTINGS = PostureSettings()


def told(judge: PostureJudge, name: str, *values: float | bool, at_s: float = 0) -> list[str]:
    """What the judge says to values that come a second apart."""
    said = []
    for number, value in enumerate(values):
        event = DeviceEvent(t_ns=round((at_s + number) * S), name=name, value=value)
        if posture := judge.step(event):
            said.append(posture.value)
    return said


def test_it_gets_worse_at_once_and_better_only_after_a_while() -> None:
    judge = PostureJudge(SETTINGS)
    assert told(judge, "battery", 0.31, 0.29, 0.13, 0.11) == ["conserve", "reserve"]
    assert told(judge, "battery", *[0.2] * 29, at_s=10) == []
    assert told(judge, "battery", 0.2, 0.2, at_s=40) == ["conserve"]
    assert judge.posture is Posture.CONSERVE


def test_a_charge_that_swings_about_the_threshold_changes_it_once() -> None:
    judge = PostureJudge(SETTINGS)
    assert told(judge, "battery", *[0.29, 0.34] * 100) == ["conserve"]


def test_better_must_hold_without_a_break() -> None:
    judge = PostureJudge(SETTINGS)
    told(judge, "battery", 0.29)
    assert told(judge, "battery", *([0.36] * 29 + [0.34]) * 4, at_s=1) == []
    assert told(judge, "battery", *[0.36] * 32, at_s=200) == ["normal"]


def test_heat_has_thresholds_and_margins_of_its_own() -> None:
    judge = PostureJudge(SETTINGS)
    assert told(judge, "heat", 42.0, 42.1, 47.1) == ["conserve", "reserve"]
    assert told(judge, "heat", *[44.1] * 60, at_s=10) == []
    assert told(judge, "heat", *[43.9] * 40, at_s=100) == ["conserve"]
    assert told(judge, "heat", *[38.9] * 40, at_s=200) == ["normal"]


def test_while_charging_the_battery_does_not_count_and_heat_does() -> None:
    judge = PostureJudge(SETTINGS)
    assert told(judge, "charging", True) == told(judge, "battery", 0.05) == []
    assert told(judge, "heat", 43.0) == ["conserve"]
    assert told(judge, "charging", False) == ["reserve"]


def test_other_values_change_nothing() -> None:
    judge = PostureJudge(SETTINGS)
    sample = EnergySample(t_ns=0, rail="processor", power_mw=1.0, span_ns=1)
    assert judge.step(sample) is None and told(judge, "worn", False) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"reserve_battery": 0.4},
        {"conserve_heat_c": 50.0},
        {"conserve_eye_rate": 0.0},
        {"reserve_scene_rate": 1.2},
    ],
)
def test_impossible_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="posture"):
        PostureSettings(**bad)
