"""`beheld replay`: any recording through the glasses' own loop."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from device.__main__ import Outcome, Settings, run_session
from device.calibration import Calibration
from device.personal import Personal, read_file
from device.pipeline import Report, Source
from device.settings import from_toml
from tools.open_source import open_source
from tools.output import emit, json_option, progress
from tools.virtual_wearer import calibration_of

UNCALIBRATED = (
    "beheld: this recording has eye video but no gaze, and no --calibration was given, so nothing can have "
    "been attended to; `beheld calibrate` makes one from a recording with reference gaze or markers"
)


@click.command()
@click.argument("path", type=str)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the result."
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Map the recording's eye video by this file (beheld calibrate) instead of its own gaze.",
)
@click.option(
    "--personal",
    "personal_file",
    type=click.Path(path_type=Path),
    help="The wearer's own file (beheld enroll).",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Settings (TOML, docs/config.md); of a whole glasses.toml those of the loop.",
)
@click.option("--profile", is_flag=True, help="Print what each stage cost and what was dropped.")
@json_option
def command(
    path: str,
    out: Path,
    calibration: Path | None,
    personal_file: Path | None,
    config: Path | None,
    profile: bool,
    as_json: bool,
) -> None:
    """Replay PATH through the glasses' own loop and keep what was attended to.

    PATH is a Beheld session (.mcap), a recording of another maker's eyewear, a video with a gaze
    table, or `emulator`, `emulator:SEED` for the virtual wearer. What it is, is found by what is in
    it. OUT receives `moments.json`, `session.json` and the snippets in `spool/`; the same recording,
    models and settings give the same bytes.

    \b
    Examples:
      beheld replay session.mcap --out out/
      beheld replay ~/recordings/neon-2024-03 --out out/ --profile
      beheld replay emulator:7 --out out/ --json
    """
    source = open_source(path)
    fitted = Calibration.load(calibration) if calibration else None
    settings = loop_settings(config) if config else Settings()
    own = None if personal_file is None else read_file(personal_file)
    outcome = replay(source, out, settings=settings, calibration=fitted, personal=own)
    if outcome.report.counts["EyeFrame"] and not outcome.report.counts["Gaze"]:
        click.echo(UNCALIBRATED, err=True)
    if profile:
        print_profile(outcome.report)
    emit(result(source, outcome), as_json=as_json, title=f"{path} -> {out}")


def loop_settings(path: Path) -> Settings:
    """The loop's part of a settings file, which may be a whole `glasses.toml`: what else is in it must be
    right too, and is named on stderr. Raises ConfigError."""
    from device.glasses.settings import (
        LiveSettings,
    )  # here: a replay without a file needs no live run

    whole = from_toml(LiveSettings, path)
    ours = {item.name for item in dataclasses.fields(Settings)}
    ignored = [name for name in tomllib.loads(path.read_text(encoding="utf-8")) if name not in ours]
    if ignored:
        tables = ", ".join(f"[{name}]" for name in ignored)
        click.echo(f"beheld: {path}: {tables} do not concern a replay and are ignored", err=True)
    return Settings(**{name: getattr(whole, name) for name in ours})


def replay(
    source: Source,
    out: Path,
    *,
    settings: Settings,
    calibration: Calibration | None,
    personal: Personal | None = None,
) -> Outcome:
    """Run the loop with a progress bar over session time."""
    if calibration is not None:
        source.header = dataclasses.replace(source.header, brings_gaze=False)
    calibration = calibration or calibration_of(source)
    duration_ns = source.header.duration_ns
    with progress("replay", None if duration_ns is None else duration_ns / 1e9) as bar:
        return run_session(
            source,
            out,
            settings=settings,
            calibration=calibration,
            personal=personal,
            progress=lambda t_ns: bar(t_ns / 1e9),
        )


def result(source: Source, outcome: Outcome) -> dict[str, Any]:
    """What `--json` prints."""
    report = outcome.report
    return {
        "source": source.header.source,
        "session_s": report.session_ns / 1e9,
        "seen_s": report.seen_ns / 1e9,
        "gap_s": report.gap_ns / 1e9,
        "eye_frames": report.counts["EyeFrame"],
        "scene_frames": source.camera.asked,
        "scene_frames_looked_at": report.counts["SceneFrame"],
        "gaze": report.counts["Gaze"],
        "moments": len(outcome.moments),
        "sha256": outcome.moments_sha256,
        "dropped": sum(report.late.values()),
        "joules": outcome.energy.total_j,
        "wall_s": report.wall_s,
    }


def print_profile(report: Report) -> None:
    """A table of the stages on stderr, so that stdout stays for the result."""
    table = Table(title=f"{report.cpu_s:.1f} s CPU for {report.session_ns / 1e9:.1f} s of session")
    for column in ("stage", "calls", "CPU ms/call", "CPU s", "worst wall ms"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name, stage in report.stages.items():
        per_call_ms = stage.cpu_s * 1e3 / stage.calls if stage.calls else 0.0
        worst_ms = f"{stage.worst_wall_s * 1e3:.1f}"
        table.add_row(name, str(stage.calls), f"{per_call_ms:.3f}", f"{stage.cpu_s:.2f}", worst_ms)
    console = Console(stderr=True)
    console.print(table)
    for stream, count in sorted(report.late.items()):
        console.print(f"dropped: {count} late values of {stream}")
    for gap in report.gaps:
        console.print(
            f"gap: {gap.start_ns / 1e9:.3f} to {gap.end_ns / 1e9:.3f} s ({gap.stream}): {gap.cause}"
        )
