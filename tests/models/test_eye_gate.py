"""The gate on a pupil's confidence, chosen on people nobody's network saw."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from models.eye_gate import GATES, choose, sweep, table  # noqa: E402


def person(open_confidence: list[float], closed_confidence: list[float]) -> dict:
    """Open eyes with a pupil right on its label; closed eyes the network takes for open."""
    confidence = torch.tensor(open_confidence + closed_confidence)
    opened = torch.tensor([True] * len(open_confidence) + [False] * len(closed_confidence))
    every = torch.ones(len(confidence))
    return sweep(every, confidence, every, opened, ~opened)


def test_shares_at_a_gate_are_of_open_and_of_closed_eyes():
    rows = person([0.9, 0.9, 0.25, 0.1], [0.35, 0.0])
    assert rows[0.2] == {"within_5px": 0.75, "believed_open": 0.75, "false_pupil_closed": 0.5}
    assert rows[0.4]["within_5px"] == 0.5 and rows[0.4]["false_pupil_closed"] == 0.0
    assert math.isnan(person([0.9], [])[0.2]["false_pupil_closed"])


def test_a_far_centre_or_a_shut_lid_is_never_a_hit():
    one = torch.ones(1)
    opened = torch.tensor([True])
    assert sweep(one, one, 6 * one, opened, ~opened)[0.2]["within_5px"] == 0.0
    assert sweep(0.4 * one, one, one, opened, ~opened)[0.2]["believed_open"] == 0.0


def test_the_gate_parts_open_from_closed_and_the_stricter_of_equals_is_taken():
    assert choose([person([0.45, 0.9], [0.12, 0.25])]) == 0.4
    assert choose([person([0.9], [])]) == GATES[-1]


def test_a_gate_that_costs_open_eyes_their_aim_is_not_taken():
    many = [0.9] * 97 + [0.55] * 3
    assert choose([person(many, [0.55])]) == 0.5, "0.6 parts them, but loses three of a hundred"
    assert choose([person(many, [0.55] * 20 + [0.45] * 10)]) == 0.5
    assert choose([person([0.9, 0.04], [0.45])]) == 0.7, "where none meets the aim, all are asked"


def test_nobody_is_scored_at_a_gate_chosen_on_them():
    rows = table({"a": person([0.9, 0.65], [0.0]), "b": person([0.35, 0.9], [0.25])})
    assert rows["chosen over all"] == 0.3
    assert rows["a, at the others' gate"]["gate"] == 0.3
    assert rows["b, at the others' gate"]["gate"] == 0.6
    assert rows["b, at the others' gate"]["within_5px"] == 0.5
