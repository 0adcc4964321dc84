"""`beheld run`: the live run on eyewear."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click

from device.__main__ import Outcome
from device.errors import ConfigError
from device.glasses.checks import examine, refusals
from device.glasses.log import begin_logging
from device.glasses.page import Page
from device.glasses.session import Glasses, assemble, run_glasses
from device.glasses.settings import LiveSettings
from device.settings import from_toml
from tools.doctor import config_option
from tools.output import emit, json_option


@click.command()
@config_option
@click.option("--seconds", type=click.FloatRange(min=0.1), help="End after so long.")
@click.option("--no-checks", is_flag=True, help="Start even if 'beheld doctor' would refuse.")
@json_option
def command(config: Path, seconds: float | None, no_checks: bool, as_json: bool) -> None:
    """Run the glasses: cameras and microcontroller through the same loop as a replay.

    Goes on until Ctrl-C or SIGTERM, then closes the moment in progress and the recording. What is kept
    lies in the data folder's `spool/`; `beheld sync` sends it. The log is JSON lines on standard error.
    """
    settings = from_toml(LiveSettings, config)
    if not no_checks:
        reasons = refusals(examine(settings, deep=False))
        if reasons:
            raise ConfigError("refused to start: " + "; ".join(reasons))
    begin_logging(settings.log.level)
    glasses = assemble(settings)
    page = Page(glasses) if settings.page.enabled else None
    try:
        if page is not None:
            tell_page(page, glasses)
        outcome = run(glasses, seconds)
    finally:
        if page is not None:
            page.close()
    emit(result(glasses, outcome), as_json=as_json, title="run")


def tell_page(page: Page, glasses: Glasses) -> None:
    """Where the page is: with its token only for a person at a terminal, not for the journal."""
    if sys.stderr.isatty():
        click.echo(f"live page: {page.link}", err=True)
    where = {"url": page.url, "token_file": str(glasses.data / "page-token")}
    logging.getLogger(__name__).info("live page", extra=where)


def run(glasses: Glasses, seconds: float | None) -> Outcome:
    """The session, with the signals that end it."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        glasses.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    limit_ns = None if seconds is None else round(seconds * 1e9)

    def progress(t_ns: int) -> None:
        if limit_ns is not None and t_ns >= limit_ns:
            glasses.stop()

    try:
        return run_glasses(glasses, progress)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def result(glasses: Glasses, outcome: Outcome) -> dict[str, Any]:
    """What `--json` prints."""
    report, latest = outcome.report, glasses.latest
    return {
        "session_id": glasses.header.session_id,
        "session_s": report.session_ns / 1e9,
        "seen_s": report.seen_ns / 1e9,
        "gap_s": report.gap_ns / 1e9,
        "gaps": len(report.gaps),
        "eye_frames": report.counts["EyeFrame"],
        "scene_frames": report.counts["SceneFrame"],
        "gaze": report.counts["Gaze"],
        "events": report.counts["DeviceEvent"],
        "moments": latest.moment_count,
        "faults": latest.counts["faults"],
        "gave_way": sum(glasses.live.boxes.lost.values()),
        "late": sum(report.late.values()),
        "camera_dropped": sum(c.dropped for c in glasses.cameras.values()),
        "latency_ms": {
            "p50": latest.eye_latency.percentile_ms(0.50),
            "p99": latest.eye_latency.percentile_ms(0.99),
        },
        "joules": outcome.energy.total_j,
    }
