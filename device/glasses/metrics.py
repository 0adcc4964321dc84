"""The run as Prometheus text (exposition format 0.0.4): ages, losses, times, power. No content."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

from device.glasses.latest import Latency
from device.glasses.session import Glasses
from device.posture import Posture
from device.types import CameraMode, WakeState
from device.watchdog import Life

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = Mapping[str, str]


def exposition(glasses: Glasses) -> str:
    """All metrics of a run, now."""
    return "".join(
        part
        for group in (_sources, _cameras, _loop, _stages, _state, _board, _process)
        for part in group(glasses)
    )


def resident_bytes() -> int:
    """Memory of this process that is in use now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds() -> float:
    """CPU time of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def spool_size(spool: Path) -> tuple[int, int]:
    """(snippets, bytes) that wait in the spool."""
    snippets = total = 0
    try:
        for folder in spool.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                snippets += 1
                total += sum(path.stat().st_size for path in folder.iterdir())
    except OSError:  # a snippet may be deleted by sync while it is counted
        return snippets, total
    return snippets, total


def _sources(glasses: Glasses) -> Iterator[str]:
    now_ns, vitals = glasses.clock.now_ns(), glasses.live.vitals
    yield _family(
        "beheld_source_up",
        "gauge",
        "Whether a source delivers (1) or is opening, lost or spent (0).",
        [({"source": n}, float(v.life is Life.LIVE)) for n, v in vitals.items()],
    )
    yield _family(
        "beheld_frame_age_seconds",
        "gauge",
        "Age of a source's last value; grows while a camera sleeps by right.",
        [
            ({"source": n}, (now_ns - v.last_ns) / 1e9)
            for n, v in vitals.items()
            if v.last_ns is not None
        ],
    )
    yield _family(
        "beheld_source_restarts_total",
        "counter",
        "How often the watchdog started a source again.",
        [({"source": n}, v.budget.used) for n, v in vitals.items()],
    )


def _cameras(glasses: Glasses) -> Iterator[str]:
    counts = glasses.cameras
    yield _family(
        "beheld_camera_frames_total",
        "counter",
        "Frames taken from a camera.",
        [({"source": n}, c.frames) for n, c in counts.items()],
    )
    yield _family(
        "beheld_camera_dropped_total",
        "counter",
        "Frames a camera made that are not in the loop, by reason.",
        [
            ({"source": name, "reason": reason}, value)
            for name, c in counts.items()
            for reason, value in (
                ("driver", c.dropped),
                ("rate", c.thinned),
                ("settling", c.unsettled),
            )
        ],
    )


def _loop(glasses: Glasses) -> Iterator[str]:
    boxes, report, latest = glasses.live.boxes, glasses.report, glasses.latest
    yield _family(
        "beheld_values_total",
        "counter",
        "Values that went through the loop, by class.",
        [({"kind": n}, v) for n, v in sorted(dict(report.counts).items())],
    )
    yield _family(
        "beheld_gave_way_total",
        "counter",
        "Frames that gave way to fresher ones.",
        [({"stream": n}, v) for n, v in sorted(dict(boxes.lost).items())],
    )
    yield _family(
        "beheld_late_total",
        "counter",
        "Values dropped because a later one had passed.",
        [({"stream": n}, v) for n, v in sorted(dict(report.late).items())],
    )
    yield _family("beheld_waiting", "gauge", "Values waiting for the loop.", boxes.waiting())
    yield _summary("beheld_eye_latency", "Light in the eye to its decision.", latest.eye_latency)
    yield _summary(
        "beheld_decision_latency", "Light to the state change carried out.", latest.decision_latency
    )


def _stages(glasses: Glasses) -> Iterator[str]:
    profiles = dict(glasses.report.stages)
    for name, kind, text, field in (
        ("beheld_stage_calls_total", "counter", "Values a stage took.", "calls"),
        ("beheld_stage_cpu_seconds_total", "counter", "CPU time of a stage.", "cpu_s"),
        ("beheld_stage_seconds_total", "counter", "Wall time of a stage.", "wall_s"),
        ("beheld_stage_worst_seconds", "gauge", "Longest call of a stage.", "worst_wall_s"),
    ):
        samples = [({"stage": n}, float(getattr(p, field))) for n, p in profiles.items()]
        yield _family(name, kind, text, samples)


def _state(glasses: Glasses) -> Iterator[str]:
    latest, controls = glasses.latest, glasses.controls
    yield _family(
        "beheld_rail_milliwatts",
        "gauge",
        "Measured power of a rail.",
        [({"rail": n}, v) for n, v in sorted(dict(latest.rails_mw).items())],
    )
    for name, event, text in (
        ("beheld_battery_ratio", "battery", "Charge of the battery, 0 to 1."),
        ("beheld_temperature_celsius", "heat", "Temperature of the battery."),
    ):
        if event in latest.events:
            yield _family(name, "gauge", text, float(latest.events[event]))
    yield _family(
        "beheld_state",
        "gauge",
        "1 for the state of the loop.",
        [({"state": s.value}, float(s is latest.state)) for s in WakeState],
    )
    yield _family(
        "beheld_posture",
        "gauge",
        "1 for the posture.",
        [({"posture": p.value}, float(p is controls.posture)) for p in Posture],
    )
    on = controls.scene.mode is not CameraMode.OFF
    yield _family("beheld_scene_camera_on", "gauge", "Whether the scene camera has power.", on)
    yield _family("beheld_private", "gauge", "Whether the privacy switch is on.", controls.private)
    yield _family("beheld_moments_total", "counter", "Moments kept.", latest.moment_count)
    yield _family("beheld_faults_total", "counter", "Faults told.", latest.counts["faults"])
    yield _family("beheld_gaps_total", "counter", "Gaps of any stream.", latest.counts["gaps"])
    snippets, size = spool_size(glasses.spool)
    yield _family("beheld_spool_snippets", "gauge", "Snippets in the spool.", snippets)
    yield _family("beheld_spool_bytes", "gauge", "Bytes in the spool.", size)


def _board(glasses: Glasses) -> Iterator[str]:
    if not glasses.settings.board.port:
        return
    counts = glasses.board.counts
    for name, kind, text, value in (
        ("beheld_board_lost_total", "counter", "Packets that did not arrive.", counts.lost),
        ("beheld_board_unheard_total", "counter", "Sent while no line was open.", counts.unheard),
        ("beheld_board_damaged_total", "counter", "Frames that were damaged.", counts.damaged),
        ("beheld_board_torn_total", "counter", "Eye frames with a piece lost.", counts.torn_frames),
        ("beheld_board_refused_total", "counter", "Commands not carried out.", counts.refused),
        ("beheld_board_reboots_total", "counter", "Restarts of the board.", counts.reboots),
        ("beheld_board_drift_ppm", "gauge", "Drift of its clock.", counts.clock_drift_ppm),
        ("beheld_board_residual_us", "gauge", "Residual of the fit.", counts.clock_residual_us),
    ):
        yield _family(name, kind, text, value)


def _process(glasses: Glasses) -> Iterator[str]:
    yield _family(
        "process_resident_memory_bytes", "gauge", "Memory of the process.", resident_bytes()
    )
    yield _family("process_cpu_seconds_total", "counter", "CPU of the process.", cpu_seconds())
    yield _family(
        "beheld_session_seconds", "gauge", "Age of the session.", glasses.clock.now_ns() / 1e9
    )


def _family(
    name: str, kind: str, text: str, samples: float | list[tuple[dict[str, str], float]]
) -> str:
    """One metric with its help; a bare number is a sample without labels."""
    rows = samples if isinstance(samples, list) else [({}, samples)]
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {float(value):.9g}" for labels, value in rows]
    return "\n".join(lines) + "\n"


def _summary(name: str, text: str, latency: Latency) -> str:
    lines = [f"# HELP {name}_seconds {text}", f"# TYPE {name}_seconds summary"]
    lines += [
        f'{name}_seconds{{quantile="{share}"}} {latency.percentile_ms(share) / 1e3:.6g}'
        for share in (0.5, 0.9, 0.99)
    ]
    lines.append(f"{name}_seconds_sum {latency.sum_ms / 1e3:.9g}")
    lines.append(f"{name}_seconds_count {latency.count}")
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    quoted = ",".join(f'{k}="{_escape(v)}"' for k, v in labels.items())
    return f"{{{quoted}}}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
