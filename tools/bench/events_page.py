"""The tables of docs/eye-movements.md, measured and written between its markers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from device.stages.events import EventSettings
from tools.bench.event_scores import Recording, measure, run_ours, score, slower
from tools.bench.page import check, table, two, write

RATES_HZ = (None, 250.0, 120.0, 60.0, 30.0)

VARIED: dict[str, tuple[float, ...]] = {
    "saccades.onset_sigmas": (6.0, 7.0, 10.0, 12.0),
    "saccades.edge_sigmas": (4.0, 6.0),
    "saccades.onset_floor_deg_s": (8.0, 20.0),
    "saccades.noise_tau_ms": (500.0, 2000.0),
    "saccades.filter_ms": (3.0, 6.0),
    "slow.bin_ms": (10.0, 40.0),
    "slow.window_ms": (400.0, 1000.0),
    "slow.carried_deg": (0.45, 0.8),
    "slow.carried_weight": (2.0, 4.0),
    "slow.speed_deg_s": (1.5, 4.0),
    "slow.speed_weight": (0.0, 1.0),
    "slow.catch_up_deg": (1.0, 4.0),
    "slow.catch_up_weight": (0.0, 1.0, 2.0),
    "slow.aligned_weight": (0.0, 1.0),
    "slow.continued_weight": (0.0, 2.0),
    "slow.memory_weight": (0.0, 1.0, 3.0),
    "slow.memory_ms": (1000.0, 4000.0),
    "delay_ms": (50.0, 100.0),
}
"""Settings and the values they are given, one at a time, to show what hangs on them."""


def write_page(recordings: Sequence[Recording], page: Path) -> None:
    """Measure all tables and put them between the markers of the page.

    Raises InputError where the page cannot be read or has no markers.
    """
    check(page, "events")
    tables = [_against_peers(measure(recordings)), _rates(recordings), _persons(recordings)]
    write(page, "events", [*tables, _sensitivity(recordings)])


def _against_peers(result: dict[str, Any]) -> str:
    kinds = list(result["by_stimulus"])
    rows = [
        ["Beheld, online", result["kappa"], result["macro"], result["by_stimulus"]],
        ["rater against rater", None, result["rater_macro"], result["rater_by_stimulus"]],
    ]
    rows += [
        [name, result["peers_kappa"][name], macro, result["peers_by_stimulus"][name]]
        for name, macro in result["peers"].items()
    ]
    lines = [
        [name, *_kappas(kappas), two(macro), *(two(by[k]) for k in kinds)]
        for name, kappas, macro, by in rows
    ]
    failed = {n: c for n, c in result["peers_failed"].items() if c}
    return (
        f"{result['recordings']} recordings of {result['persons']} people, {result['samples']} "
        f"samples, two raters. Longest delay {result['delay_ms']:.1f} ms. "
        f"Recordings that a peer could not digest: {failed or 'none'}.\n\n"
        + table(["", "fixation", "saccade", "pursuit", "macro", *kinds], lines)
    )


def _rates(recordings: Sequence[Recording]) -> str:
    lines = []
    for rate_hz in RATES_HZ:
        thinned = recordings if rate_hz is None else slower(recordings, rate_hz)
        labels, cost = run_ours(thinned)
        macro, kappas = score(thinned, labels)
        name = "as recorded" if rate_hz is None else f"{rate_hz:.0f} Hz"
        lines.append([name, *_kappas(kappas), two(macro), f"{cost['delay_ms']:.0f}"])
    header = ["gaze thinned to", "fixation", "saccade", "pursuit", "macro", "longest delay, ms"]
    return table(header, lines)


def _persons(recordings: Sequence[Recording]) -> str:
    labels, _ = run_ours(recordings)
    people = sorted({r[0].person for r in recordings})
    lines = []
    for person in people:
        without = [i for i, r in enumerate(recordings) if r[0].person != person]
        macro, kappas = score([recordings[i] for i in without], [labels[i] for i in without])
        lines.append([person, *_kappas(kappas), two(macro)])
    return table(["all people but", "fixation", "saccade", "pursuit", "macro"], lines)


def _sensitivity(recordings: Sequence[Recording]) -> str:
    lines = []
    for name, values in VARIED.items():
        default = _get(EventSettings(), name)
        scored = []
        for value in sorted({*values, default}):
            labels, _ = run_ours(recordings, _with(EventSettings(), name, value))
            found = two(score(recordings, labels)[0])
            scored.append(f"**{value:g}: {found}**" if value == default else f"{value:g}: {found}")
        lines.append([f"`{name}`", ", ".join(scored)])
    return table(["setting", "value: macro kappa (the default in bold)"], lines)


def _get(settings: EventSettings, name: str) -> float:
    found: Any = settings
    for part in name.split("."):
        found = getattr(found, part)
    return float(found)


def _with(settings: EventSettings, name: str, value: float) -> EventSettings:
    group, _, field = name.rpartition(".")
    if group == "saccades":
        return replace(settings, saccades=replace(settings.saccades, **{field: value}))
    if group == "slow":
        return replace(settings, slow=replace(settings.slow, **{field: value}))
    return replace(settings, delay_ms=value)


def _kappas(kappas: dict[str, float] | None) -> list[str]:
    return [two(k) for k in kappas.values()] if kappas else ["", "", ""]
