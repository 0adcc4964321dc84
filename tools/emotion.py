"""`beheld emotion`: what is kept about feelings on these glasses, and how to have none of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from device import personal
from device.feelings import erase
from device.identity import Identity
from device.sealing import Protection
from tools.enroll import told
from tools.home import home_option
from tools.output import emit, json_option


@click.group()
def command() -> None:
    """What these glasses hold about the wearer's feelings."""


@command.command("status")
@home_option
@json_option
def show(home: Path, as_json: bool) -> None:
    """The personal file's present version and what corrections taught."""
    wearer = Identity.load_or_create(home).device_id
    emit(told(personal.read(home, wearer), home), as_json=as_json, title="Personal")


@command.command("erase")
@home_option
@click.option(
    "--spool",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/spool"),
    show_default=True,
    help="Folder of kept snippets.",
)
@click.option("--sealed", "with_sealed", is_flag=True, help="Remove sealed snippets whole.")
@json_option
def erase_all(home: Path, spool: Path, with_sealed: bool, as_json: bool) -> None:
    """Erase everything about feelings on these glasses: personal file, corrections, waiting snippets, the
    records of sessions.

    What is sealed to the server cannot be opened here; it is counted, or with --sealed removed whole. To
    have no more estimated, set `emotion.on = false` (docs/config.md), which is the default. What the
    server holds is erased there. A run that goes on meanwhile writes no feelings any more until it ends.
    """
    done = erase(home, spool, Protection.of(home), with_sealed=with_sealed)
    emit(dataclasses.asdict(done), as_json=as_json, title="Erased")
