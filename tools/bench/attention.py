"""`beheld bench attention`: attended intervals found by the eyes alone, the scene alone, and both.

Every variant runs the stages that ship (events, attention, wake) in the loop that ships, with the scene
camera asleep until the wake stage asks for it. Nothing here runs in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from device.__main__ import Settings, load_models
from device.__main__ import stages as glasses
from device.errors import InputError
from device.model import Model, load
from device.pipeline import Stage, run
from device.sources.camera import AlwaysOn, SceneCamera
from device.stages.attention import AttentionSettings, AttentionStage
from device.stages.events import EventsStage
from device.stages.wake import WakeSettings, WakeStage
from device.types import Attention, MomentEnd, MomentStart, SceneFrame, Value
from tools.attention_regions import Proposals, Regions, figures
from tools.attention_truth import Intervals, Trial, composites, emulated, generated, real
from tools.data import dataset
from tools.output import emit, json_option, progress

IOU = 0.5

EYE_ONLY = {
    "generated": WakeSettings(
        policy="eye_only",
        eye_only_dwell_ms=650,
        eye_only_leave_ms=100,
        same_place_deg=6.0,
        glance_ms=150,
        min_moment_ms=0,
        shortest_ms=1000,
    ),
    "real": WakeSettings(
        policy="eye_only",
        eye_only_dwell_ms=200,
        eye_only_leave_ms=100,
        same_place_deg=1.0,
        glance_ms=150,
        min_moment_ms=0,
        shortest_ms=0,
    ),
    "emulator": WakeSettings(
        policy="eye_only",
        eye_only_dwell_ms=400,
        eye_only_leave_ms=100,
        same_place_deg=1.0,
        glance_ms=150,
        min_moment_ms=0,
        shortest_ms=1000,
    ),
}
"""The dwell rule at its best: each tuned (`tools.tune_wake eyes`, then `eyes-again`) on the open sessions of
its own kind, those it is scored on included: scene_davis16_dev, gaze_lund2013_dev and the emulator's seeds
9100 to 9102."""

CONTENT = WakeSettings(dwell_ms=0, recheck_ms=0, check_ms=10_000, linger_ms=10_000)
"""Without the eyes nothing wakes the scene camera: it is always on, and always asked."""

EYES_SHARE = 1 / 3
"""Of `fused_and_eyes`, a variant that does not ship; chosen on composites."""


@dataclass
class Seen:
    """A sink: what one variant decided in one session."""

    decided: list[int] = field(default_factory=list)
    """When each moment was opened, by the newest value the loop had then."""
    moments: Intervals = field(default_factory=list)
    estimates: list[Attention] = field(default_factory=list)
    scene_frames: int = 0
    taken_back: int = 0
    """Moments that were opened and not kept, because attention did not last."""
    _now_ns: int = 0
    _open: MomentStart | None = None

    def __call__(self, value: Value) -> None:
        self._now_ns = max(self._now_ns, value.t_ns)
        match value:
            case SceneFrame():
                self.scene_frames += 1
            case Attention():
                self.estimates.append(value)
            case MomentStart() if self._open is None:
                self._open = value
                self.decided.append(self._now_ns)
            case MomentEnd() if self._open is not None:
                start, self._open = self._open, None
                if not value.kept:
                    self.decided.pop()
                    self.taken_back += 1
                    return
                since_ns = start.t_ns if start.since_ns is None else start.since_ns
                until_ns = value.t_ns if value.until_ns is None else value.until_ns
                self.moments.append((since_ns, max(until_ns, since_ns + 1)))


@dataclass(eq=False)
class Recording:
    """A trial as a source."""

    trial: Trial
    camera: SceneCamera

    def __post_init__(self) -> None:
        self.header = self.trial.header

    def __iter__(self) -> Iterator[Value]:
        return self.trial.source(self.camera)


def watch(
    trial: Trial,
    model: Model | None,
    attention: AttentionSettings,
    wake: WakeSettings,
    others: Sequence[Callable[[Value], None]] = (),
    analysis: Mapping[str, Model] | None = None,
) -> Seen:
    """Run one variant over one session; without a model the eyes decide and the scene stays dark.

    `others` are sinks that look on. With the networks of the `analysis` the whole loop of the glasses runs,
    but for the encoder: what is in the scene is found as well.
    """
    seen = Seen()
    camera = AlwaysOn() if attention.inputs == "scene" else SceneCamera()
    stages: list[Stage]
    if model is None:
        camera = SceneCamera(start_ns=10**18)
        stages = [EventsStage(), WakeStage(wake)]
    elif analysis is None:
        judge = AttentionStage(model, trial.geometry, attention)
        stages = [EventsStage(), judge, WakeStage(wake)]
    else:
        header = replace(trial.header, brings_packets=True)
        settings = Settings(attention=attention, wake=wake)
        stages = glasses(header, {**analysis, "attention": model}, settings)
    run(Recording(trial, camera), stages, [camera, seen, *others])
    return seen


# --- scores --------------------------------------------------------------------------------------


@dataclass
class Tally:
    """Counts over sessions and raters."""

    hits: int = 0
    found: int = 0
    true: int = 0
    false: int = 0
    taken_back: int = 0
    hours: float = 0.0
    onset_ms: list[float] = field(default_factory=list)

    def add(self, seen: Seen, truth: Intervals, duration_ns: int) -> None:
        pairs = matched(seen.moments, truth)
        self.hits += len(pairs)
        self.found += len(seen.moments)
        self.true += len(truth)
        self.hours += duration_ns / 3.6e12
        self.taken_back += seen.taken_back
        self.false += sum(2 * _covered(m, truth) < m[1] - m[0] for m in seen.moments)
        for m, t in pairs:
            self.onset_ms.append(max(0.0, (seen.decided[m] - truth[t][0]) / 1e6))

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(1, self.found + self.true)

    def figures(self) -> dict[str, float | None]:
        return {
            "f1": self.f1,
            "precision": self.hits / max(1, self.found),
            "recall": self.hits / max(1, self.true),
            "onset_ms": float(np.median(self.onset_ms)) if self.onset_ms else None,
            "false_per_h": self.false / max(1e-9, self.hours),
            "taken_back_per_h": self.taken_back / max(1e-9, self.hours),
        }


def matched(found: Intervals, true: Intervals) -> list[tuple[int, int]]:
    """Pairs (found, true), each used once, of IoU at least `IOU`; the best first."""
    scores = [
        (_iou(f, t), i, k) for i, f in enumerate(found) for k, t in enumerate(true) if f[1] > t[0]
    ]
    pairs: list[tuple[int, int]] = []
    for score, i, k in sorted(scores, reverse=True):
        if score >= IOU and all(i != a and k != b for a, b in pairs):
            pairs.append((i, k))
    return pairs


def _iou(a: tuple[int, int], b: tuple[int, int]) -> float:
    both = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return both / max(1, (a[1] - a[0]) + (b[1] - b[0]) - both)


def _covered(moment: tuple[int, int], truth: Intervals) -> int:
    return sum(max(0, min(moment[1], b) - max(moment[0], a)) for a, b in truth)


# --- the command ---------------------------------------------------------------------------------


def sessions(data: str) -> tuple[str, list[Trial], list[str]]:
    """(kind, trials, those that could not be used). Raises InputError for anything else."""
    if data == "composites":
        return "generated", composites(dataset("scene_oasis_dev")), []
    if data.startswith("emulator"):
        name, _, seed = data.partition(":")
        if name != "emulator" or (seed and not seed.isdigit()):
            raise InputError(f"{data}: not a seed; write emulator or emulator:7")
        return "emulator", emulated(int(seed or 1)), []
    folder = Path(data)
    if (folder / "JPEGImages").is_dir():
        return "generated", generated(folder), []
    if folder.is_dir() and any(folder.rglob("*_video_*_labelled_*.mat")):
        trials, without = real(folder)
        if not trials:
            raise InputError(f"{folder}: the films ({', '.join(without)}) are not there as .avi")
        return "real", trials, without
    raise InputError(
        f"{folder}: neither DAVIS layout (JPEGImages/480p) nor labelled film trials (*_video_*.mat)"
    )


def bench(
    kind: str, trials: list[Trial], model: Model, done: Callable[[float], None] = lambda n: None
) -> dict[str, Any]:
    """All variants over all sessions."""
    eyes, scene, mixed = (
        AttentionSettings(inputs="eyes"),
        AttentionSettings(inputs="scene"),
        AttentionSettings(eyes_share=EYES_SHARE),
    )
    variants: dict[str, tuple[Model | None, AttentionSettings, WakeSettings]] = {
        "eye_only": (None, eyes, EYE_ONLY[kind]),
        "content_only": (model, scene, CONTENT),
        "fused": (model, AttentionSettings(), WakeSettings()),
        "eye_net": (model, eyes, WakeSettings()),
        "fused_and_eyes": (model, mixed, WakeSettings()),
    }
    tallies = {name: Tally() for name in variants}
    analysis, proposals, regions = load_models(), Proposals(), []
    awake = 0.0
    for number, trial in enumerate(trials):
        for name, (network, attention, wake) in variants.items():
            if name == "fused":
                regions.append(Regions(trial, proposals))
                seen = watch(trial, network, attention, wake, [regions[-1]], analysis)
                regions[-1].close()
            else:
                seen = watch(trial, network, attention, wake)
            for truth in trial.truths:
                tallies[name].add(seen, truth, trial.duration_ns)
            if name == "fused":
                awake += seen.scene_frames
        done(number + 1)
    found = {name: tally.figures() for name, tally in tallies.items()}
    fused = found["fused"]
    return {
        "f1": {name: found[name]["f1"] for name in ("eye_only", "content_only", "fused")},
        "onset_ms": fused["onset_ms"],
        "false_per_h": fused["false_per_h"],
        **figures(regions),
        "n_intervals": tallies["fused"].true,
        "gaze": "real" if kind == "real" else "generated",
        "kind": kind,
        "sessions": len(trials),
        "session_s": sum(t.duration_ns for t in trials) / 1e9,
        "variants": found,
        "scene_frames_per_s": awake / max(1e-9, sum(t.duration_ns for t in trials) / 1e9),
    }


@click.command()
@click.option(
    "--data",
    default="emulator",
    help="A folder (DAVIS or Lund layout), emulator[:SEED] or composites (of pictures not trained on).",
)
@click.option("--model", "path", type=click.Path(path_type=Path), help="Another network than ours.")
@json_option
def command(data: str, path: Path | None, as_json: bool) -> None:
    """Attended intervals: eyes alone, scene alone, fused; through the stages that ship.

    f1 at an IoU of 0.5 in time; onset_ms from the beginning of the attended interval to the decision;
    false_per_h: moments of which less than half was attended. Where the thing is known (masks, the
    emulator): region_iou is the mean overlap of the delivered region with the box of its mask, over every
    estimate while it was attended; right_object the share of them with an overlap of at least 0.5.
    Delivered is the scene analysis' region in an open moment, the network's before; in_moment has the
    figures of open moments alone. region_iou_network and right_object.network are the network's
    throughout. region_iou_os1 and right_object.os1 are the
    same frames by OS-1's rule: of class-agnostic boxes (the shipped detector's from a probability of 0.1
    on) those of at least a tenth of a side that contain the gaze with 10 px around it, suppressed at 0.4,
    the outer rectangle of the 8 smallest, the whole image where there is none.
    """
    kind, trials, without = sessions(data)
    model = Model(path) if path else load("attention")
    with progress("sessions", len(trials)) as done:
        result = bench(kind, trials, model, done)
    if without:
        result["without_film"] = without
    emit(result, as_json=as_json, title=f"attention on {data} ({result['gaze']} gaze)")
