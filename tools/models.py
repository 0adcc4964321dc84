"""`beheld models`: the networks that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from device.model import WEIGHTS, Model, installed
from tools.output import emit, json_option


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), default=WEIGHTS, help="Another folder of models."
)
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Every network in device/weights: version, size, work, licence, held-out figures.

    The figures were measured by the command in the network's card (docs/models/) and travel in the
    file itself, with its inputs, outputs and licence. With --json the last line is a JSON array.
    """
    models = [describe(model) for model in installed(folder)]
    if as_json:
        emit(models, as_json=True)
        return
    table = Table(title=f"{len(models)} networks in {folder}")
    for column in ("name", "version", "kB", "params", "MMAC", "licence", "trained on"):
        table.add_column(column, justify="right" if column in ("kB", "params", "MMAC") else "left")
    for m in models:
        table.add_row(
            m["name"],
            m["version"],
            f"{m['bytes'] / 1000:.0f}",
            f"{m['params']:,}",
            f"{m['mmac']:.1f}",
            m["licence"],
            m["trained_on"],
        )
    Console().print(table)


def describe(model: Model) -> dict[str, Any]:
    """One network as `--json` prints it."""
    spec = model.spec
    return {
        "name": spec.name,
        "version": spec.version,
        "bytes": model.bytes,
        "params": spec.params,
        "mmac": spec.macs / 1e6,
        "licence": spec.licence,
        "trained_on": spec.trained_on,
        "figures": spec.figures,
        "sha256": model.sha256,
    }
