"""`beheld bench events`: our eye movements against human raters, beside the peers, in one run."""

from __future__ import annotations

from pathlib import Path

import click

from tools.bench.event_scores import gather, measure, slower
from tools.bench.events_page import write_page
from tools.importers.lund import read_lund_folder
from tools.output import emit, json_option


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Labelled trials.")
@click.option("--rate-hz", type=click.FloatRange(10, 2000), help="Thin the gaze to this rate.")
@click.option("--page", type=click.Path(path_type=Path), help="Write the tables of this page anew.")
@json_option
def command(data: Path, rate_hz: float | None, page: Path | None, as_json: bool) -> None:
    """Fixations, saccades and pursuits against human raters, beside peers."""
    recordings = gather(read_lund_folder(data))
    if page is not None:
        write_page(recordings, page)
    if rate_hz is not None:
        recordings = slower(recordings, rate_hz)
    emit(measure(recordings), as_json=as_json, title="Eye movements: Cohen's kappa")
