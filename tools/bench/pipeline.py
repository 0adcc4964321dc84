"""`beheld bench pipeline`: how fast the loop is, and what gating saves against always-on."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import click

from device.__main__ import Outcome, Settings, load_models, run_session
from device.pipeline import Report
from device.sources.camera import AlwaysOn
from tools.output import emit, json_option, progress
from tools.virtual_wearer import calibrated, virtual_wearer


@click.command()
@click.option("--seconds", default=120.0, show_default=True, help="Length of the gated session.")
@click.option(
    "--always-on-seconds",
    default=20.0,
    show_default=True,
    help="Length of the always-on variant of the same session.",
)
@click.option("--seed", default=1, show_default=True, help="Which virtual wearer.")
@json_option
def command(seconds: float, always_on_seconds: float, seed: int, as_json: bool) -> None:
    """Speed and CPU of the whole loop on the virtual wearer, and the share of always-on.

    The session has two eye cameras at 60 Hz (192x192) and a scene camera at 30 Hz (640x480). `speed_x`
    is session seconds per wall second, rendering of the virtual wearer included. CPU figures are of
    the loop's stages alone. The always-on variant runs the same stages on the same session with the
    scene camera always on, every frame analysed at full size, encoded and looked at.
    """
    emit(measure(seconds, always_on_seconds, seed), as_json=as_json, title="pipeline")


def measure(seconds: float, always_on_seconds: float, seed: int) -> dict[str, Any]:
    """Both variants in one run; see `command` for what the keys mean."""
    gated = run(seconds, seed, Settings(), always_on=False)
    always = run(always_on_seconds, seed, everything(), always_on=True)
    per_s, always_per_s = cpu_per_session_s(gated.report), cpu_per_session_s(always.report)
    return {
        "session_s": gated.report.session_ns / 1e9,
        "speed_x": gated.report.session_ns / 1e9 / gated.report.wall_s,
        "cpu_s_per_session_s": per_s,
        "cpu_share_of_always_on": per_s / always_per_s,
        "always_on_cpu_s_per_session_s": always_per_s,
        "scene_awake_share": gated.report.counts["SceneFrame"]
        / (gated.report.session_ns / 1e9 * 30.0),
        "moments": len(gated.moments),
        "stages": stages(gated.report),
        "always_on_stages": stages(always.report),
    }


def everything() -> Settings:
    """Every frame analysed, looked at and encoded as it comes, moment or none."""
    settings = Settings()
    return dataclasses.replace(
        settings,
        tag=dataclasses.replace(settings.tag, always=True),
        attention=dataclasses.replace(settings.attention, rate_hz=30.0),
        encode=dataclasses.replace(settings.encode, hold_low=False),
    )


def run(seconds: float, seed: int, settings: Settings, *, always_on: bool) -> Outcome:
    """One session of the virtual wearer through the loop."""
    source = virtual_wearer(seed=seed, seconds=seconds)
    if always_on:
        source.camera = AlwaysOn()
    models = load_models()
    calibration = calibrated(seed, models["eye"])
    label = "always on" if always_on else "gated"
    with tempfile.TemporaryDirectory() as folder, progress(label, seconds) as bar:
        return run_session(
            source,
            Path(folder),
            settings=settings,
            models=models,
            calibration=calibration,
            progress=lambda t_ns: bar(t_ns / 1e9),
        )


def cpu_per_session_s(report: Report) -> float:
    """CPU seconds of the stages a session second."""
    return sum(stage.cpu_s for stage in report.stages.values()) / (report.session_ns / 1e9)


def stages(report: Report) -> dict[str, float]:
    """CPU milliseconds a call, by stage."""
    return {
        name: stage.cpu_s * 1e3 / stage.calls if stage.calls else 0.0
        for name, stage in report.stages.items()
    }
