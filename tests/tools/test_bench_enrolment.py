"""The enrolment bench: false alarms of the gate, before and after, and recordings too short to enrol from."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from device.errors import InputError
from tools.bench.enrolment import command, measure


def test_enrolment_quietens_the_gate_of_wearers_who_feel_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tools.bench.enrolment.MOST_S", 8.0)
    found = measure(2, 5.0, ["emulator:3"])
    for who in ("virtual", "emulator:3"):
        before, after = found[f"{who}, before"], found[f"{who}, enrolled"]
        assert 0 <= after["open"] < 0.5 < before["open"] <= 1
        assert 0 <= before["neutral"] <= 1


def test_too_little_to_enrol_from_is_refused() -> None:
    with pytest.raises(InputError, match="looks to enrol from; 10 are needed"):
        measure(1, 1.0)
    ran = CliRunner().invoke(command, ["--wearers", "0"])
    assert isinstance(ran.exception, InputError)
