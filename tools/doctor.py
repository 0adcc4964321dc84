"""`beheld doctor`: may these glasses start, and if not, what to do."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from device.glasses.checks import Finding, examine, refusals
from device.glasses.settings import LiveSettings
from device.settings import from_toml
from tools.output import emit, json_option

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("glasses.toml"),
    show_default=True,
    help="Settings of these glasses (TOML, docs/config.md).",
)


@click.command()
@config_option
@json_option
def command(config: Path, as_json: bool) -> None:
    """Check cameras, microcontroller, models, disk, clock and battery, with a remedy for each fault.

    The same checks are made before `beheld run` starts. Exit code 2 if it would be refused.
    """
    findings = examine(from_toml(LiveSettings, config))
    if as_json:
        emit(result(findings), as_json=True)
    else:
        show(findings)
    if refusals(findings):
        sys.exit(2)


def result(findings: list[Finding]) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "ready": not refusals(findings),
        "refused": refusals(findings),
        "checks": [asdict(finding) for finding in findings],
    }


def show(findings: list[Finding]) -> None:
    """A table for people; what is not good carries its remedy."""
    table = Table("", "check", "found", "remedy", box=None, pad_edge=False)
    for finding in findings:
        mark = "ok" if finding.good else ("NO" if finding.refuses else "..")
        table.add_row(mark, finding.name, finding.found, "" if finding.good else finding.remedy)
    Console().print(table)
