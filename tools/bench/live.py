"""`beheld bench live`: the live run on the emulated glasses, for as long as one likes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from device.__main__ import Outcome, load_models
from device.errors import LinkError
from device.glasses.metrics import cpu_seconds, resident_bytes
from device.glasses.session import Glasses, assemble, run_glasses
from device.glasses.settings import (
    GlassesSettings,
    LiveSettings,
    PageSettings,
    SceneCameraSettings,
    SessionSettings,
)
from device.sources.board import BoardSettings
from device.sources.video_camera import CameraSettings
from tools.output import emit, json_option, progress
from tools.virtual_wearer import calibrated

EYE_PX, EYE_HZ, SCENE_HZ = 192, 60.0, 30.0
WARM_UP_S = 120.0
"""Until then buffers fill and memory grows by right: the energy ledger looks back two minutes."""


@dataclass(slots=True)
class Sampler:
    """Memory and CPU of this process, once a second, from after the warm-up on."""

    warm_up_s: float
    rss: list[int] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def follow(self) -> None:
        """Until `stop`."""
        if self._stop.wait(self.warm_up_s):
            return
        while True:
            self.at_s.append(time.monotonic())
            self.rss.append(resident_bytes())
            self.cpu_s.append(cpu_seconds())
            if self._stop.wait(1.0):
                return

    def stop(self) -> None:
        self._stop.set()

    def result(self) -> dict[str, Any]:
        """Shares and megabytes; the ends are means of up to a minute, memory comes in pages.

        Frames that wait for the encoder come and go by tens of megabytes: what stays for good shows in the
        least of each quarter of the time.
        """
        if len(self.rss) < 2:
            return {}
        edge = max(1, min(60, len(self.rss) // 4))
        start, end = (sum(part) / len(part) / 1e6 for part in (self.rss[:edge], self.rss[-edge:]))
        spent_s, took_s = self.cpu_s[-1] - self.cpu_s[0], self.at_s[-1] - self.at_s[0]
        return {
            "measured_s": took_s,
            "cpu_share": spent_s / took_s,
            "rss_start_mb": start,
            "rss_end_mb": end,
            "rss_growth_mb": end - start,
            "rss_least_of_quarters_mb": [min(part) / 1e6 for part in self._quarters()],
            "rss_most_of_quarters_mb": [max(part) / 1e6 for part in self._quarters()],
        }

    def _quarters(self) -> list[list[int]]:
        edges = [k * len(self.rss) // 4 for k in range(5)]
        return [self.rss[a:b] for a, b in pairwise(edges) if b > a]


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0.2), default=30.0, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Which virtual wearer.")
@click.option(
    "--scenario",
    type=click.Choice(["demo", "ordinary_day"]),
    default="demo",
    show_default=True,
    help="`demo` is rich in attended things and the harder of the two.",
)
@click.option("--warm-up-s", default=WARM_UP_S, show_default=True, help="Not measured.")
@click.option("--record", is_flag=True, help="Also record the whole session (MCAP).")
@json_option
def command(
    minutes: float, seed: int, scenario: str, warm_up_s: float, record: bool, as_json: bool
) -> None:
    """The live loop on the emulated glasses: CPU share of a core, memory, latency, losses.

    Another process is the glasses: the C reference as the microcontroller behind a pseudo-terminal, eye
    cameras at 60 Hz (192x192) and a scene camera at 30 Hz (640x480) that behave like V4L2. This process
    runs what `beheld run` runs, in real time; only it is measured. Latency is from the exposure of an eye
    frame to the loop being done with it, decision and sinks included.
    """
    emit(measure(minutes, seed, scenario, warm_up_s, record), as_json=as_json, title="live")


def measure(
    minutes: float, seed: int, scenario: str, warm_up_s: float, record: bool
) -> dict[str, Any]:
    """See `command` for what the keys mean."""
    seconds = minutes * 60
    models = load_models()
    with (
        tempfile.TemporaryDirectory(prefix="beheld-live-") as folder,
        emulated_glasses(Path(folder), seed, scenario, seconds) as where,
    ):
        calibrated(seed, models["eye"]).save(Path(folder) / "calibration.json")
        glasses = assemble(live_settings(Path(folder), where, record), models)
        sampler = Sampler(min(warm_up_s, seconds / 2))
        threading.Thread(target=sampler.follow, daemon=True).start()
        before = load_average()
        outcome = run_for(glasses, seconds)
        sampler.stop()
        return {
            **sampler.result(),
            **figures(glasses, outcome),
            "load_before": before,
            "load_after": load_average(),
            "cores": os.cpu_count(),
        }


def run_for(glasses: Glasses, seconds: float) -> Outcome:
    """The run, ended after its time."""
    limit_ns = round(seconds * 1e9)
    with progress("live", seconds) as bar:

        def follow(t_ns: int) -> None:
            bar(t_ns / 1e9)
            if t_ns >= limit_ns:
                glasses.stop()

        return run_glasses(glasses, follow)


def figures(glasses: Glasses, outcome: Outcome) -> dict[str, Any]:
    """What came of the run: rates, latency, losses by where they happened."""
    report, latest, live = outcome.report, glasses.latest, glasses.live
    session_s = report.session_ns / 1e9
    stages_s = sum(stage.cpu_s for stage in report.stages.values())
    return {
        "session_s": session_s,
        "eye_hz": report.counts["EyeFrame"] / 2 / session_s,
        "scene_awake_share": outcome.energy.scene_camera_on_s / session_s,
        "latency_ms": percentiles(latest.eye_latency),
        "decision_latency_ms": percentiles(latest.decision_latency),
        "drops": {
            "camera": {name: c.dropped for name, c in glasses.cameras.items()},
            "gave_way": dict(live.boxes.lost),
            "late": dict(report.late),
            "board_packets": glasses.board.counts.lost,
            "board_packets_unheard": glasses.board.counts.unheard,
        },
        "dropped_share": dropped_share(glasses, outcome),
        "gap_s": report.gap_ns / 1e9,
        "restarts": {name: vital.budget.used for name, vital in live.vitals.items()},
        "faults": latest.counts["faults"],
        "moments": latest.moment_count,
        "stages_cpu_share": stages_s / session_s,
        "clock_residual_us": glasses.board.counts.clock_residual_us,
    }


def dropped_share(glasses: Glasses, outcome: Outcome) -> float:
    """Share of the eye frames made by the sensors that the loop did not see."""
    lost = sum(glasses.cameras[name].dropped for name in ("left", "right"))
    lost += sum(n for stream, n in glasses.live.boxes.lost.items() if stream.startswith("Eye"))
    return lost / max(1, lost + outcome.report.counts["EyeFrame"])


def percentiles(latency: Any) -> dict[str, float]:
    """p50, p99 and the worst, milliseconds."""
    return {
        "p50": latency.percentile_ms(0.50),
        "p99": latency.percentile_ms(0.99),
        "worst": latency.worst_ms,
        "n": latency.count,
    }


def live_settings(folder: Path, where: dict[str, str], record: bool) -> LiveSettings:
    """Glasses on the emulated board."""
    cameras = f"socket:{where['cameras']}"
    eye = CameraSettings(device=cameras, width_px=EYE_PX, height_px=EYE_PX, rate_hz=EYE_HZ)
    return LiveSettings(
        glasses=GlassesSettings(
            data=str(folder / "data"), calibration=str(folder / "calibration.json")
        ),
        eye_left=eye,
        eye_right=eye,
        scene=SceneCameraSettings(device=cameras, rate_hz=SCENE_HZ),
        board=BoardSettings(port=where["port"]),
        session=SessionSettings(enabled=record),
        page=PageSettings(enabled=False),
    )


@contextmanager
def emulated_glasses(
    folder: Path, seed: int, scenario: str, seconds: float
) -> Iterator[dict[str, str]]:
    """`beheld emulate --serial` in a process of its own. Raises LinkError if it does not start."""
    (folder / "glasses").mkdir()
    command = [sys.executable, "-m", "tools.cli", "emulate", "--serial", "--json"]
    command += ["--folder", str(folder / "glasses"), "--seed", str(seed)]
    command += ["--scenario", scenario, "--duration-s", str(seconds + 300)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        first = process.stdout.readline()
        if not first:
            why = process.stderr.read().strip().splitlines()
            raise LinkError(f"the emulated glasses did not start ({why[-1] if why else 'no word'})")
        yield json.loads(first)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def load_average() -> float:
    """How many processes wanted a core in the last minute: what else this machine was doing."""
    return os.getloadavg()[0]
