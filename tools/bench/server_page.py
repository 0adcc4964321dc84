"""The tables of `docs/server-figures.md`: what the benches of the server printed, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tools.bench.page import check, table, write

PAGE = Path("docs/server-figures.md")

page_option = click.option(
    "--page",
    type=click.Path(path_type=Path),
    help=f"Write the figures into this page anew ({PAGE}).",
)
_WHO = {
    "beheld": "Beheld",
    "tuspyserver": "tuspyserver (no flush, no checksum)",
    "fastapi_multipart": "multipart (flushed, not resumable)",
    "bare_socket": "bare socket (hash, file, flush)",
}


def require(page: Path | None, bench: str) -> None:
    """Raises InputError before anything is measured, if there is no such page to write."""
    if page is not None:
        check(page, bench)


def write_uploads(found: Mapping[str, Any], page: Path) -> None:
    """The upload, memory and search figures of `beheld bench server`."""
    header = [
        "",
        "connections",
        "4 KiB files/s",
        "MB/s (8 MiB)",
        "CPU ms a small",
        "CPU ms a large",
    ]
    lines, ratios = [], []
    for part, number in ((found, found["connections"]), (found["one_connection"], 1)):
        rows = {"beheld": part, **part["peers"], "bare_socket": part["bare_socket"]}
        for name, row in rows.items():
            if row is not None:
                lines.append([_WHO[name], str(number), *_rates(row)])
        times = {**part["times_peer"], "bare_socket": part["times_bare_socket"]}
        for name, ratio in times.items():
            ratios.append([_WHO[name], str(number), f"{ratio['small']}", f"{ratio['large']}"])
    memory = ", ".join(f"{name.replace('_', ' ')} {mb}" for name, mb in found["memory_mb"].items())
    whole = f"A whole 4 KiB snippet to its receipt: {found['snippets_per_s']} a second."
    sections = [
        _when("server"),
        table(header, lines),
        "Ours as a multiple of theirs, in the same run:",
        table(["", "connections", "4 KiB files/s", "MB/s"], ratios),
        f"Processes that wanted one of the cores when it began: {found['load_before']}.",
        f"{whole} Memory of the server, MiB: {memory}.",
    ]
    if found["page"] is not None:
        sections += ["The page of days in headless Chromium:", _plain(found["page"])]
    if found["search_p95_ms"] is not None:
        rows = [[f"{size:,}", f"{ms:.1f}"] for size, ms in found["search_p95_ms"].items()]
        sections += ["Search:", table(["moments", "p95, ms"], rows)]
    write(page, "server", sections)


def write_month(found: Mapping[str, Any], page: Path) -> None:
    """The figures of `beheld bench month`."""
    write(page, "month", [_when("month"), _plain(found)])


def write_campaign(found: Mapping[str, Any], page: Path) -> None:
    """The outcome of `beheld bench custody`."""
    sums = {name: value for name, value in found.items() if name not in ("faults", "why")}
    faults = [[kind.replace("_", " "), str(count)] for kind, count in found["faults"].items()]
    sections = [
        _when(f"custody --runs {found['runs']} --seed {found['seed']}"),
        _plain(sums),
        "Faults that struck:",
        table(["fault", "times"], faults),
    ]
    if found["why"]:
        sections.append("\n".join(f"- {line}" for line in found["why"]))
    write(page, "custody", sections)


def _when(command: str) -> str:
    return f"`beheld bench {command}`, {datetime.now(UTC):%Y-%m-%d}:"


def _rates(row: Mapping[str, float]) -> Sequence[str]:
    names = ("small_per_s", "mb_per_s", "small_cpu_ms", "large_cpu_ms")
    return [f"{row[name]:.0f}" for name in names[:2]] + [f"{row[name]:.2f}" for name in names[2:]]


def _plain(found: Mapping[str, Any]) -> str:
    lines = [
        [name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else f"{value:,}"]
        for name, value in found.items()
    ]
    return table(["", ""], lines)
