"""`beheld energy`: joules of a wearing hour, by component, against always-on."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from device.__main__ import run_session
from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.energy_report import EnergyReport
from device.energy_table import EnergyTable
from device.pipeline import Source
from tools import energy_page
from tools.open_source import open_source
from tools.output import emit, json_option, progress

HOUR_S = 3600.0


@click.command()
@click.argument("recording", type=str, required=False)
@click.option("--seed", default=1, show_default=True, help="Which ordinary day, without RECORDING.")
@click.option(
    "--seconds", default=HOUR_S, show_default=True, help="Length of the day, without RECORDING."
)
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    help="Coefficients of another board, laid out as device/energy.toml.",
)
@click.option("--battery-mwh", type=float, help="Battery to state the hours for.")
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    help="Write the tables of this page (docs/energy.md) anew.",
)
@json_option
def command(
    recording: str | None,
    seed: int,
    seconds: float,
    table: Path | None,
    battery_mwh: float | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Joules per wearing hour of RECORDING, or of the virtual wearer's ordinary hour.

    The ledger runs on first principles: every coefficient is a row of device/energy.toml with a low, a
    typical and a high value, its source, and whether it was measured, quoted or estimated. The ratio is
    to always-on recording and analysis of the same session at typical values; it survives errors in
    the coefficients better than the joules do. docs/energy.md explains the model.

    The standard hour takes two to four minutes on one core of a PC.

    \b
    Examples:
      beheld energy
      beheld energy session.mcap --battery-mwh 800
      beheld energy --seconds 600 --table my-board.toml --json
    """
    coefficients = EnergyTable.shipped() if table is None else EnergyTable.read(table)
    if battery_mwh is not None:
        if not battery_mwh > 0:
            raise click.BadParameter("must be above zero", param_hint="--battery-mwh")
        assumed = dataclasses.replace(coefficients.assumed, battery_mwh=battery_mwh)
        coefficients = dataclasses.replace(coefficients, assumed=assumed)
    if recording is not None:
        source: Source = open_source(recording)
    else:
        if not seconds > 0:
            raise click.BadParameter("must be above zero", param_hint="--seconds")
        day = EmulatorSettings(seed=seed, duration_s=seconds, scenario="ordinary_day", eyes=False)
        source = Emulator(day)
    if page is not None:
        energy_page.check(page)
    found = result(measure(source, coefficients), source)
    if page is not None:
        what = recording or (
            f"An ordinary day of the virtual wearer (seed {seed}, {seconds:g} s, true gaze with noise)"
        )
        energy_page.write(page, found, what)
    emit(found, as_json=as_json, title=recording or "the virtual wearer's hour")


def measure(source: Source, table: EnergyTable) -> EnergyReport:
    """Replay the source and return the ledger's account; nothing of the session is kept."""
    duration_ns = source.header.duration_ns
    with (
        tempfile.TemporaryDirectory() as folder,
        progress("energy", None if duration_ns is None else duration_ns / 1e9) as bar,
    ):
        outcome = run_session(
            source, Path(folder), table=table, progress=lambda t_ns: bar(t_ns / 1e9)
        )
    return outcome.energy


def result(report: EnergyReport, source: Source) -> dict[str, Any]:
    """What `--json` prints: per wearing hour, exactly scaled from the session."""
    hours = report.session_s / HOUR_S

    def per_h(joules: float) -> float:
        return joules / hours if hours else 0.0

    def each_per_h(joules: Mapping[str, float]) -> dict[str, float]:
        return {name: per_h(j) for name, j in joules.items()}

    def ratio(ours: float, always: float) -> float:
        return ours / always if always else 0.0

    return {
        "source": source.header.source,
        "session_s": report.session_s,
        "j_per_h": {
            "low": per_h(report.total_j_low),
            "typical": per_h(report.total_j),
            "high": per_h(report.total_j_high),
        },
        "by_component": each_per_h(report.by_component_j),
        "by_stage": each_per_h(report.by_stage_j),
        "by_state": each_per_h(report.by_state_j),
        "moments_j_per_h": per_h(report.moments_j),
        "between_moments_j_per_h": per_h(report.between_moments_j),
        "always_on_j_per_h": per_h(report.always_on_j),
        "ratio": report.ratio,
        "ratio_low": ratio(report.total_j_low, report.always_on_j_low),
        "ratio_high": ratio(report.total_j_high, report.always_on_j_high),
        "ratio_to_bursts": ratio(report.total_j, report.always_on_bursts_j),
        "scene_camera_on_share": ratio(report.scene_camera_on_s, report.session_s),
        "checking_share": ratio(report.by_state_s["checking"], report.session_s),
        "keeping_share": ratio(report.by_state_s["keeping"], report.session_s),
        "mean_mw": report.total_j / report.session_s * 1e3 if report.session_s else 0.0,
        "battery_mwh": report.battery_mwh,
        "battery_h": report.battery_h,
        "measured": report.measured,
        "unknown_rails": report.unknown_rails,
        "assumed": report.assumed,
    }
