"""At which confidence is a pupil believed? Chosen on people the network never saw.

Every person was left out by some network, whose word on that person is unseen. Over a grid of
confidences the rule takes the one at which the mean over persons of

    share of open eyes with a pupil within 5 px and believed
    - share of closed eyes on which a pupil is believed

is largest, the stricter one where two are equal (the second share is not counted for a person without
labelled closed eyes), among those at which the mean of the first share meets its aim (`AIM`); among all if
none does. The gate that ships is that of all persons; a person's own figures are at the gate
the *others* choose, so that nobody is scored at a gate chosen on them. Openness stays at one half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

GATES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
AIM = 0.99
"""Share of open eyes whose pupil is found and believed, mean over persons, that a gate must leave."""
OPEN = 0.5
"""Openness from which an eye is open, whatever the gate."""
COLUMNS = ("within_5px", "believed_open", "false_pupil_closed")

Row = dict[str, float]
Sweep = dict[float, Row]


def sweep(
    openness: Tensor, confidence: Tensor, error_px: Tensor, opened: Tensor, closed: Tensor
) -> Sweep:
    """One person's shares at every gate.

    (N,) each: probabilities, distance of the centre from the label, and which eyes are labelled open
    (pupil and no blink) or closed (blink and no pupil).
    """
    rows: Sweep = {}
    for gate in GATES:
        believed = (openness >= OPEN) & (confidence >= gate)
        near = (error_px <= 5.0) & believed
        rows[gate] = {
            "within_5px": _share(near, opened),
            "believed_open": _share(believed, opened),
            "false_pupil_closed": _share(believed, closed),
        }
    return rows


def choose(persons: Sequence[Sweep]) -> float:
    """The gate of the rule above for these persons."""
    found = {gate: _mean([person[gate]["within_5px"] for person in persons]) for gate in GATES}
    worth = {gate: _mean([_worth(person[gate]) for person in persons]) for gate in GATES}
    enough = [gate for gate in reversed(GATES) if found[gate] >= AIM]
    return max(enough or reversed(GATES), key=lambda gate: round(worth[gate], 6))


def table(
    persons: Mapping[str, Sweep], chosen: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Rows for the card: every gate over all persons, then everybody at the gate of the others.

    `chosen`: these gates, where the others' confidences are not those of `persons`.
    """
    rows: dict[str, Any] = {"chosen over all": choose(list(persons.values()))}
    for gate in GATES:
        row = {c: _mean([p[gate][c] for p in persons.values()]) for c in COLUMNS}
        row["worst within_5px"] = min(p[gate]["within_5px"] for p in persons.values())
        rows[f"{gate}, mean"] = row
    if len(persons) > 1:
        for name, person in persons.items():
            others = [p for other, p in persons.items() if other != name]
            gate = chosen[name] if chosen else choose(others)
            rows[f"{name}, at the others' gate"] = {**person[gate], "gate": gate}
    return rows


def _worth(row: Row) -> float:
    false = row["false_pupil_closed"]
    return row["within_5px"] - (0.0 if math.isnan(false) else false)


def _share(what: Tensor, of: Tensor) -> float:
    return float(what[of].float().mean()) if bool(of.any()) else math.nan


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan
