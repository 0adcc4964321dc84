"""`beheld train NAME`: train a part on recordings of one's own; one row a training."""

from __future__ import annotations

import click

from tools.cli import LazyGroup

TRAININGS = {
    "resolution": ("tools.train_resolution", "The resolution controller, for what you look at."),
}
"""training -> (module, one line of help)."""


@click.command(cls=LazyGroup, verbs=TRAININGS)
def command() -> None:
    """Train a part on recordings of your own. Needs the extra `train`."""
