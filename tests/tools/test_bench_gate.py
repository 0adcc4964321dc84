"""The gate bench: what fusion at every look would cost, and what of it the gate saves on a neutral day."""

from __future__ import annotations

import pytest

from device.stages.emotion import EmotionSettings
from tools.bench.gate import measure, open_share


def test_the_gate_has_its_hysteresis_in_the_count_as_well() -> None:
    settings = EmotionSettings(enter=0.6, leave=0.45)
    assert open_share([0.5, 0.65, 0.5, 0.4, 0.5], settings) == pytest.approx(2 / 5)
    assert open_share([], settings) == 0


def test_a_neutral_day_costs_a_third_of_always_or_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.bench.gate.ENROL_S", 4.0)
    found = measure(6.0)
    mj = found["mj"]
    assert found["saved"]["mj"] == pytest.approx(1 - mj["enrolled"] / mj["always"])
    assert min(*found["saved"].values(), found["saved_unknown_wearer"]) >= 0.7
    assert 0 < mj["enrolled"] <= mj["unknown_wearer"] and 0 < found["cpu_share"] < 0.2
    assert found["non_neutral"]["enrolled"] <= found["non_neutral"]["unknown_wearer"]
