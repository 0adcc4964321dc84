"""Measured tables in a page of the docs: written between two marks, the prose around them kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from device.errors import InputError

card_option = click.option(
    "--page",
    type=click.Path(exists=True, dir_okay=False, writable=True, path_type=Path),
    help="Write the figures into this card.",
)
"""A model's card (docs/models), which must be there before anything is measured."""
END = "<!-- end of figures -->"


def begin(bench: str) -> str:
    """The mark after which the figures of `beheld bench NAME --page` stand, or of another verb in full."""
    command = bench if bench.startswith("beheld ") else f"beheld bench {bench}"
    return f"<!-- figures: written by `{command} --page` -->"


def check(page: Path, bench: str) -> None:
    """Raises InputError where the page cannot be read or has no marks: better before measuring."""
    _around(page, bench)


def write(page: Path, bench: str, sections: Sequence[str]) -> None:
    """Put the sections between the marks. Raises InputError as `check` does."""
    before, after = _around(page, bench)
    body = "\n\n".join(sections)
    page.write_text(f"{before}{begin(bench)}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def two(value: float | None) -> str:
    """Two decimals; nothing for what was not measured."""
    return "" if value is None else f"{value:.2f}"


def _around(page: Path, bench: str) -> tuple[str, str]:
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{page}: cannot be read ({error.strerror})") from error
    mark = begin(bench)
    before, found, rest = text.partition(mark)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise InputError(f"{page}: has no '{mark}' ... '{END}' to write between")
    return before, after
