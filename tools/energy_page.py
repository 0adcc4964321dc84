"""The standard hour in `docs/energy.md`: the tables that `beheld energy --page` writes between its marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.bench import page

COMMAND = "beheld energy"
AIM = 0.1
LEVELS = ("low", "typical", "high")


def check(path: Path) -> None:
    """Raises InputError where the page cannot be written."""
    page.check(path, COMMAND)


def write(path: Path, found: Mapping[str, Any], day: str) -> None:
    """Put the figures of `tools.energy.result` into the page."""
    joules, ratio = found["j_per_h"], found["ratio"]
    said = "met" if ratio <= AIM else "missed"
    share = {
        "watching": 1 - found["checking_share"] - found["keeping_share"],
        "checking": found["checking_share"],
        "keeping": found["keeping_share"],
    }
    largest = sorted(found["by_component"].items(), key=lambda row: -row[1])
    sections = [
        f"{day}. The aim is a tenth of always-on at typical coefficients; **it is {said}: {ratio:.3f}**.",
        page.table(
            ["", "low", "typical", "high"],
            [
                ["joules a wearing hour", *(f"{joules[k]:.0f}" for k in LEVELS)],
                [
                    "share of always-on",
                    f"{found['ratio_low']:.3f}",
                    f"{ratio:.3f}",
                    f"{found['ratio_high']:.3f}",
                ],
            ],
        ),
        "At typical values that is {mean_mw:.0f} mW, {battery_h:.1f} h on the table's battery "
        "({battery_mwh:.0f} mWh), against {always_on_j_per_h:.0f} J an hour for always-on. "
        "Of an always-on that had accelerator and buffer too and encoded in bursts it is "
        "{ratio_to_bursts:.3f}.".format(**found),
        page.table(
            ["state", "share of time", "J/h"],
            [
                [name, f"{100 * share[name]:.1f} %", f"{found['by_state'][name]:.1f}"]
                for name in share
            ],
        ),
        page.table(["component", "J/h"], [[name, f"{value:.1f}"] for name, value in largest]),
    ]
    page.write(path, COMMAND, sections)
