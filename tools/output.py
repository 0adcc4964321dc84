"""What every verb prints with: a JSON document for machines, a table for people, a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from device.codec import dumps

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document as the last line of stdout."
)


def emit(result: Any, *, as_json: bool, title: str = "") -> None:
    """Print a result: with `as_json` as one line of JSON on stdout, else as a table."""
    if as_json:
        click.echo(dumps(result))
        return
    table = Table(title=title or None, show_header=False, box=None, pad_edge=False)
    for key, value in _rows(result):
        table.add_row(key, value)
    Console().print(table)


@contextmanager
def progress(label: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """A bar on stderr, only if a person is watching; call what it yields with the amount done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bars:
        task = bars.add_task(label, total=total)
        yield lambda done: bars.update(task, completed=done)


def _rows(result: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(result, Mapping):
        for key, value in result.items():
            yield from _rows(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(result, list) and result and isinstance(result[0], Mapping):
        for number, value in enumerate(result):
            yield from _rows(value, f"{prefix}[{number}]")
    else:
        text = f"{result:.4g}" if isinstance(result, float) else str(result)
        yield prefix, text
