"""The fault campaign as a page's table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.bench.page import table, two


def sections(result: Mapping[str, Any]) -> list[str]:
    """What it came to, then recovery by fault."""
    load = result["load"]
    lost = [result[key] for key in ("lost_events", "repeated_events", "died_with_board")]
    lines = [
        ["runs; bad ones", f"{result['runs']}; {result['bad']}"],
        ["loop ended, recording unreadable", f"{result['crashed']}, {result['unreadable']}"],
        [
            "presses (down or up); lost, repeated, died with a board that restarted",
            f"{result['presses']}; {', '.join(map(str, lost))}",
        ],
        ["time unaccounted for", f"{result['unaccounted_s']:g} s"],
        ["eye frames stamped over 0.1 s from any exposure", str(result["wrong_stamps"])],
        ["processes that wanted the machine's cores", f"{load['least']:.1f} to {load['most']:.1f}"],
    ]
    recovery = [
        [kind, str(count), *_recovery(result["recovery_s"].get(kind))]
        for kind, count in result["faults"].items()
    ]
    return [
        table(["what", "figure"], lines),
        table(["fault", "runs", "seen again after, median", "worst"], recovery),
    ]


def _recovery(times: Mapping[str, float] | None) -> list[str]:
    return ["", ""] if times is None else [f"{two(times[key])} s" for key in ("median", "worst")]
