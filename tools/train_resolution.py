"""`beheld train resolution`: the resolution controller for the scenes of one wearer's own recordings."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from device.errors import InputError
from device.model import load
from device.resolution_policies import read_rules
from device.sources.camera import AlwaysOn
from device.spool import atomic_write
from device.types import SceneFrame
from models.resolution_clips import SHORTEST, VIDEOS, Clip, clip_paths, read_clip
from models.resolution_compare import curves, summary
from models.resolution_rules import WEIGHTS
from models.resolution_set import PolicySet, read_set
from models.resolution_table import Table, TableBuilder
from models.resolution_world import Costs
from tools.home import home_option
from tools.open_source import open_source
from tools.output import emit, json_option, progress

CLIP_FRAMES = 100
MOST_CLIPS = 24
SCHEDULER_STEPS = 20_000
JUDGED = 0.95
"""Quality at which a new policy is held against the fallback."""


@click.command()
@click.argument("recordings", nargs=-1, required=True, type=str)
@home_option
@click.option("--generations", default=30, show_default=True, help="Length of each search.")
@click.option("--seed", default=0, show_default=True)
@json_option
def command(
    recordings: tuple[str, ...], home: Path, generations: int, seed: int, as_json: bool
) -> None:
    """Train the resolution controller on the scene video of RECORDINGS.

    RECORDINGS are anything `beheld replay` takes, video files, or folders of them. A quarter of the
    clips (whole recordings where there are several) is held out: it stops the search and judges the result. A
    policy that needs more energy there than the fallback, the shipped rule `trigger`, is not
    installed. One that needs less is written to HOME/resolution.onnx beside its rules and its card; use it
    with `resolution.policy = "learned"` and `resolution.network = "HOME/resolution.onnx"`.
    """
    if generations < 1:
        raise InputError(f"--generations {generations}: at least 1")
    clips = [clip for recording in recordings for clip in clips_of(recording)][:MOST_CLIPS]
    if len(clips) < 4:
        raise InputError(
            f"{', '.join(recordings)}: {len(clips)} clips of {SHORTEST} to {CLIP_FRAMES} frames are too "
            "few to train on and to judge by; give at least 4 (about 15 s of scene video)"
        )
    result = train(clips, home, generations, seed)
    emit(result, as_json=as_json, title="resolution controller")
    if not result["installed"] and not as_json:
        click.echo("Not installed: the fallback does as well or better on what was held out.")


def train(clips: Sequence[Clip], home: Path, generations: int, seed: int) -> dict[str, Any]:
    """Tables, search, judgement; what was installed, if anything."""
    # torch is loaded when it is needed, not when `--help` is asked for.
    from export.resolution import export
    from models.resolution_fit import FitSettings
    from models.train_resolution import TrainResolution, train_set

    builder = TableBuilder(load("detector"), load("backbone"))
    tables: list[Table] = []
    with progress("analysing", sum(len(c.frames) for c in clips)) as done:
        behind = 0
        for clip in clips:
            tables.append(builder.build(clip, lambda n, b=behind: done(b + n)))  # type: ignore[misc]
            behind += len(clip.frames)
    mine, judge = split(tables, seed)
    costs = Costs.of(tables)
    settings = TrainResolution(
        seed=seed,
        scheduler_steps=SCHEDULER_STEPS,
        fit=FitSettings(seed=seed, generations=generations),
    )
    with progress("searching", settings.fit.members * generations) as done:
        trained = train_set(
            mine, costs, settings, lambda what, n: done(n) if what == "learned" else None
        )
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder)
        trained.save(draft / "trained.pt")
        export(draft / "trained.pt", draft / "resolution.toml", draft / "resolution.onnx", {})
        chosen = read_set("own", draft / "resolution.toml", draft / "resolution.onnx")
        result = judged(chosen, judge, costs)
        if result["installed"]:
            home.mkdir(parents=True, exist_ok=True)
            for name in ("resolution.toml", "resolution.onnx"):
                atomic_write(home / name, (draft / name).read_bytes())
            atomic_write(home / "resolution.md", card(result).encode())
    return {**result, "clips": {"trained": len(mine), "held_out": len(judge)}}


def judged(chosen: PolicySet, judge: Sequence[Table], costs: Costs) -> dict[str, Any]:
    """The new policy against the fallback on held-out clips, over the whole curve."""
    fallback = replace(chosen, rules={**chosen.rules, "trigger": read_rules("trigger")})
    figures = summary(curves([(fallback, judge)], costs), costs)
    at = figures["share_at_quality"]
    new, old = at[f"{JUDGED:.2f}"]["learned"], at[f"{JUDGED:.2f}"]["trigger"]
    return {
        "installed": bool(new < old),
        "share_at_quality": {
            quality: {name: row[name] for name in ("fixed", "trigger", "learned", "oracle")}
            for quality, row in at.items()
        },
        "curve": {
            name: [[energy / costs.full_ms, q] for energy, q in figures["curves"][name]]
            for name in ("trigger", "learned")
        },
        "actions": figures["policies"]["learned"]["actions"],
    }


def card(result: dict[str, Any]) -> str:
    """A page about the policy: energy at each quality on what was held out."""
    names = ("fixed", "trigger", "learned", "oracle")
    lines = [
        "# Resolution controller of your own",
        "Energy as a share of a run at 320 px on every frame, on clips held out from training.",
        "| quality | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|",
    ]
    rows = [
        f"| {quality} | " + " | ".join(f"{row[name]:.3f}" for name in names) + " |"
        for quality, row in result["share_at_quality"].items()
    ]
    levels = zip(WEIGHTS, result["curve"]["trigger"], result["curve"]["learned"], strict=True)
    curve = [
        "The curve, by the weight of energy:",
        "| weight | trigger: energy | quality | learned: energy | quality |\n|---|---|---|---|---|",
    ]
    points = [
        f"| {weight:g} | " + " | ".join(f"{v:.3f}" for v in (*old, *new)) + " |"
        for weight, old, new in levels
    ]
    table = "\n\n".join(lines) + "\n" + "\n".join(rows)
    return table + "\n\n" + "\n\n".join(curve) + "\n" + "\n".join(points) + "\n"


def split(tables: Sequence[Table], seed: int) -> tuple[list[Table], list[Table]]:
    """About a quarter held out: whole recordings where there are several, else the last clips."""
    videos = sorted({t.fingerprint for t in tables})
    if len(videos) < 4:
        cut = len(tables) - max(1, len(tables) // 4)
        return list(tables[:cut]), list(tables[cut:])
    order = np.random.default_rng(seed).permutation(videos).tolist()
    out = set(order[: max(1, len(order) // 4)])
    mine = [t for t in tables if t.fingerprint not in out]
    return mine, [t for t in tables if t.fingerprint in out]


def clips_of(recording: str) -> Iterator[Clip]:
    """The scene video of a recording in pieces of `CLIP_FRAMES`."""
    place = Path(recording)
    if place.suffix.lower() in VIDEOS or (place.is_dir() and _videos_only(place)):
        for path in clip_paths(place):
            yield from _pieces(read_clip(path, CLIP_FRAMES * 8))
        return
    source = open_source(recording)
    source.camera = AlwaysOn()
    frames = [(v.t_ns, v.pixels) for v in source if isinstance(v, SceneFrame)]
    if len(frames) >= SHORTEST:
        span_s = (frames[-1][0] - frames[0][0]) / 1e9
        rate_hz = min(60.0, max(1.0, (len(frames) - 1) / max(1e-3, span_s)))
        pixels = [p for _, p in frames[: CLIP_FRAMES * 8]]
        digest = hashlib.sha256(pixels[0].tobytes()).hexdigest()[:16]
        yield from _pieces(Clip(place.name, digest, rate_hz, pixels))


def _videos_only(place: Path) -> bool:
    """A folder of plain videos or pictures, and nothing else that a recording is known by."""
    try:
        open_source(place)
    except InputError:
        return True
    return False


def _pieces(clip: Clip) -> Iterator[Clip]:
    for start in range(0, len(clip.frames), CLIP_FRAMES):
        frames = clip.frames[start : start + CLIP_FRAMES]
        if len(frames) >= SHORTEST:
            yield Clip(f"{clip.name}+{start}", clip.fingerprint, clip.rate_hz, frames)
