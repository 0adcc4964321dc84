"""`beheld bench pupil`: pupils and blinks of the shipped eye network against labels, beside a peer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from device.model import WEIGHTS, Model
from device.pupil import PupilEstimator, PupilGate
from device.types import EyeFrame, Pixels
from tools.bench.eye_folders import LabelledEye, blink_intervals, read_eyes
from tools.data import dataset
from tools.output import emit, json_option, progress

NEAR_PX = 5.0
PACE_HZ = 120.0
PACED_PX = (192, 192)
PEER = "pupil-detectors 2D"
PEER_CONFIDENCE = 0.6
"""What Pupil's own software takes as usable (its default `min_data_confidence`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a method says of one picture."""

    x_px: float
    y_px: float
    axes_px: tuple[float, float]
    angle_deg: float
    reported: bool
    closed: bool
    confidence: float = 0.0


Method = Callable[[Pixels], Answer]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Folder of eye images.")
@click.option("--model", type=click.Path(path_type=Path), default=WEIGHTS / "eye.onnx")
@click.option("--paced-s", default=4.0, show_default=True, help="Seconds of pacing per method.")
@click.option("--limit", default=0, help="Only the first so many pictures (0: all).")
@json_option
def command(data: Path | None, model: Path, paced_s: float, limit: int, as_json: bool) -> None:
    """Pupil centre, mask and blinks against labels, and the cost of a frame.

    \b
    open eye    label shows a pupil and does not say blink
    closed eye  label shows no pupil and says blink (or, without blink labels, shows no pupil)
    reported    openness and confidence of at least a half each (PupilGate)
    n               pictures
    median_px       centre error on open eyes with a reported pupil
    within_5px      share of open eyes with a pupil reported within 5 px; a miss is a failure
    iou_mean        of the filled ellipse with the mask, open eyes with a reported pupil
    size_over_label  of those: median radius of a circle of the ellipse's area over one of the mask's
    false_pupil_closed  share of closed eyes on which a pupil is reported
    blink_f1        closed (openness under a half) against the blink label, all pictures
    undisputed      the last two and their numbers without disputed blink labels: those on pictures in which
                    the peer sees a pupil. It is no truth: it errs on some eyes that are closed
    confidence      ten bins of equal size, doubtful first, over open eyes: stated, and the centre's error
    ms_paced        CPU per 192x192 frame at 120 Hz, resizing and ellipse included

    The peer is scored the same way at the confidence its own software uses (0.6), and timed in the
    same run in turns; without the package `pupil-detectors` it is null.
    """
    folder = data or dataset("eye_meye_human_dev")
    emit(measure(folder, model, paced_s, limit), as_json=as_json, title="pupil")


def measure(folder: Path, model: Path, paced_s: float = 4.0, limit: int = 0) -> dict[str, Any]:
    """Run the bench; keys as in `command`. Raises InputError or ModelError."""
    eyes = []
    for eye in read_eyes(folder):
        eyes.append(eye)
        if limit and len(eyes) >= limit:
            break
    methods: dict[str, Method] = {"ours": our_method(Model(model))}
    peer = peer_method()
    if peer is not None:
        methods[PEER] = peer
    answers: dict[str, list[Answer]] = {}
    for name, method in methods.items():
        with progress(name, len(eyes)) as done:
            answers[name] = []
            for number, eye in enumerate(eyes):
                answers[name].append(method(eye.pixels))
                done(number)
    cost = paced(methods, [eye.pixels for eye in eyes], paced_s)
    result = {"n": len(eyes), **score(eyes, answers["ours"]), "ms_paced": cost["ours"]}
    result["peer"] = None
    if peer is not None:
        theirs = score(eyes, answers[PEER])
        theirs.pop("blink_f1")  # it does not tell a closed eye from one it cannot find
        result["peer"] = {"name": PEER, **theirs, "ms_paced": cost[PEER]}
        result["peer"]["by_part"] = by_part(eyes, answers[PEER])
        result["undisputed"] = undisputed(eyes, answers["ours"], answers[PEER])
    else:
        result["peer_note"] = "pupil-detectors is not installed (extra 'dev')"
    result["by_part"] = by_part(eyes, answers["ours"])
    result["confidence"] = confidence_bins(eyes, answers["ours"])
    spans = blink_intervals(folder)
    if spans:
        result["blinks"] = blinks_found(eyes, answers["ours"], spans)
    return result


def our_method(model: Model) -> Method:
    """The shipped network with everything around it."""
    estimator, gate = PupilEstimator(model), PupilGate()

    def find(pixels: Pixels) -> Answer:
        pupil = estimator.estimate(EyeFrame(t_ns=0, eye="left", seq=0, pixels=pixels))
        return Answer(
            x_px=pupil.x_px,
            y_px=pupil.y_px,
            axes_px=(pupil.major_px, pupil.minor_px),
            angle_deg=pupil.angle_deg,
            reported=gate.reports(pupil),
            closed=gate.closed(pupil),
            confidence=pupil.confidence,
        )

    return find


def peer_method() -> Method | None:
    """Pupil Labs' 2-D detector, if it is installed."""
    try:
        from pupil_detectors import Detector2D
    except ImportError:
        return None
    detector = Detector2D()

    def find(pixels: Pixels) -> Answer:
        found = detector.detect(np.ascontiguousarray(pixels))
        (x, y), axes = found["ellipse"]["center"], found["ellipse"]["axes"]
        reported = found["confidence"] >= PEER_CONFIDENCE
        return Answer(
            x_px=x,
            y_px=y,
            axes_px=(axes[0], axes[1]),
            angle_deg=found["ellipse"]["angle"],
            reported=reported,
            closed=not reported,
            confidence=found["confidence"],
        )

    return find


def score(eyes: Sequence[LabelledEye], answers: Sequence[Answer]) -> dict[str, float | None]:
    """The figures of one method; None where the set has no labels for them."""
    errors, overlaps, sizes, missed, false = [], [], [], 0, []
    for eye, answer in zip(eyes, answers, strict=True):
        if eye.pupil and not eye.blink and eye.centre_px is not None:
            if not answer.reported:
                missed += 1
                continue
            errors.append(np.hypot(answer.x_px - eye.centre_px[0], answer.y_px - eye.centre_px[1]))
            if eye.mask is not None:
                overlaps.append(iou(answer, eye.mask))
                sizes.append(_size_over_label(answer, eye.mask))
        elif eye.pupil is False and eye.blink is not False:
            false.append(answer.reported)
    opened = len(errors) + missed
    return {
        "median_px": float(np.median(errors)) if errors else None,
        "within_5px": float(np.sum(np.array(errors) <= NEAR_PX)) / opened if opened else None,
        "iou_mean": float(np.mean(overlaps)) if overlaps else None,
        "size_over_label": float(np.median(sizes)) if sizes else None,
        "false_pupil_closed": float(np.mean(false)) if false else None,
        "blink_f1": _f1(
            [(a.closed, e.blink) for e, a in zip(eyes, answers, strict=True) if e.blink is not None]
        ),
        "reported_open": len(errors) / opened if opened else None,
        "n_open": opened,
        "n_closed": len(false),
        "reported": float(np.mean([a.reported for a in answers])),
    }


def undisputed(
    eyes: Sequence[LabelledEye], answers: Sequence[Answer], witness: Sequence[Answer]
) -> dict[str, Any] | None:
    """Figures of blinks where the `witness` contradicts no label; by part too. None without blink labels.

    A label is disputed where it says blink and the witness reports a pupil, whatever `answers` say.
    """
    if not any(eye.blink for eye in eyes):
        return None
    kept = [
        n
        for n, (eye, seen) in enumerate(zip(eyes, witness, strict=True))
        if not (eye.blink and seen.reported)
    ]
    parts: dict[str, list[int]] = defaultdict(list)
    for n in kept:
        parts[eyes[n].part].append(n)

    def figures(chosen: Sequence[int]) -> dict[str, Any]:
        found = score([eyes[n] for n in chosen], [answers[n] for n in chosen])
        return {key: found[key] for key in ("n_closed", "false_pupil_closed", "blink_f1")}

    return {
        "disputed": len(eyes) - len(kept),
        "witness": PEER,
        **figures(kept),
        "by_part": {part: figures(chosen) for part, chosen in sorted(parts.items())},
    }


def confidence_bins(
    eyes: Sequence[LabelledEye], answers: Sequence[Answer], count: int = 10
) -> list[dict[str, float]]:
    """Stated confidence against the centre's error on open eyes whose centre is labelled."""
    rows = [
        (a.confidence, float(np.hypot(a.x_px - e.centre_px[0], a.y_px - e.centre_px[1])))
        for e, a in zip(eyes, answers, strict=True)
        if e.pupil and not e.blink and e.centre_px is not None
    ]
    stated, error = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    order = np.argsort(stated, kind="stable")
    return [
        {
            "n": len(chosen),
            "confidence": float(stated[chosen].mean()),
            "within_5px": float((error[chosen] <= NEAR_PX).mean()),
            "median_px": float(np.median(error[chosen])),
            "p95_px": float(np.quantile(error[chosen], 0.95)),
        }
        for chosen in np.array_split(order, count)
        if len(chosen)
    ]


def by_part(eyes: Sequence[LabelledEye], answers: Sequence[Answer]) -> dict[str, Any]:
    """`score` for each subject or video."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, eye in enumerate(eyes):
        groups[eye.part].append(number)
    return {
        part: {"n": len(index), **score([eyes[i] for i in index], [answers[i] for i in index])}
        for part, index in sorted(groups.items())
    }


def iou(answer: Answer, mask: NDArray[np.uint8]) -> float:
    """Intersection over union of pixels whose centre lies in the ellipse with the mask."""
    height, width = mask.shape
    turn = np.deg2rad(answer.angle_deg)
    dx = np.arange(width)[None, :] - answer.x_px
    dy = np.arange(height)[:, None] - answer.y_px
    along, off = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    a, b = (max(axis, 1e-3) / 2 for axis in answer.axes_px)
    inside = (along / a) ** 2 + (off / b) ** 2 <= 1.0
    pupil = mask > 0
    return float((inside & pupil).sum() / max(1, (inside | pupil).sum()))


def _size_over_label(answer: Answer, mask: NDArray[np.uint8]) -> float:
    ellipse_px2 = np.pi / 4 * answer.axes_px[0] * answer.axes_px[1]
    return float(np.sqrt(ellipse_px2 / max(1, np.count_nonzero(mask))))


def blinks_found(
    eyes: Sequence[LabelledEye],
    answers: Sequence[Answer],
    spans: dict[str, list[tuple[int, int]]],
    join_frames: int = 3,
) -> dict[str, Any]:
    """Runs of closed frames, gaps up to `join_frames` bridged, against labelled blinks."""
    result = {}
    for part, labelled in spans.items():
        closed = [
            eye.frame
            for eye, answer in zip(eyes, answers, strict=True)
            if eye.part == part and answer.closed and eye.frame is not None
        ]
        runs: list[list[int]] = []
        for frame in closed:
            if runs and frame - runs[-1][1] <= join_frames + 1:
                runs[-1][1] = frame
            else:
                runs.append([frame, frame])
        hit = sum(any(r[0] <= last and first <= r[1] for r in runs) for first, last in labelled)
        extra = sum(
            not any(r[0] <= last and first <= r[1] for first, last in labelled) for r in runs
        )
        result[part] = {"labelled": len(labelled), "found": hit, "extra": extra, "runs": runs}
    return result


def paced(
    methods: dict[str, Method], pictures: Sequence[Pixels], seconds: float
) -> dict[str, float]:
    """CPU milliseconds per frame at 120 Hz, the methods in turns of half a second."""
    chosen = pictures[:: max(1, len(pictures) // 120)][:120]
    frames = [cv2.resize(p, PACED_PX, interpolation=cv2.INTER_LINEAR) for p in chosen]
    spent: dict[str, list[float]] = defaultdict(list)
    per_turn = int(PACE_HZ / 2)
    for turn in range(max(1, round(seconds * 2))):
        for name, method in methods.items():
            spent[name] += _turn(method, frames, turn * per_turn, per_turn)
    return {name: 1e3 * float(np.mean(values)) for name, values in spent.items()}


def _turn(method: Method, frames: Sequence[Pixels], first: int, count: int) -> Iterable[float]:
    spent = []
    due = time.monotonic()
    for number in range(first, first + count):
        due += 1.0 / PACE_HZ
        time.sleep(max(0.0, due - time.monotonic()))
        started = time.process_time()
        method(frames[number % len(frames)])
        spent.append(time.process_time() - started)
    return spent


def _f1(pairs: Sequence[tuple[bool, bool | None]]) -> float | None:
    hit = sum(said and bool(true) for said, true in pairs)
    total = sum(said for said, _ in pairs) + sum(bool(true) for _, true in pairs)
    return 2 * hit / total if total and any(true for _, true in pairs) else None
