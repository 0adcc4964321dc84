"""Eye movements scored against human raters, ours and the peers'.

Every sample counts: the movement that the stage gave to a sample is compared with each rater's label of
that sample. Kappa is of one class against the rest over the pooled samples of all trials, a mean over the
raters, then over fixation, saccade and pursuit. With a new rate both the gaze and the raters' labels are
thinned to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from device.stages.events import EventSettings, EventsStage
from device.types import EyeMovement, Gaze, Movement
from tools.bench import event_peers
from tools.bench.agreement import Labels, against_raters
from tools.importers.lund import Label, LundTrial
from tools.output import progress

LABELS = {
    Movement.FIXATION: Label.FIXATION,
    Movement.SACCADE: Label.SACCADE,
    Movement.PSO: Label.PSO,
    Movement.PURSUIT: Label.PURSUIT,
    Movement.BLINK: Label.BLINK,
    Movement.UNKNOWN: Label.NONE,
}

Recording = list[LundTrial]
"""One trial as each rater saw it."""


def gather(trials: Sequence[LundTrial]) -> list[Recording]:
    """Put the raters' files of one trial together, cut to the samples they share.

    A file whose gaze is not that of the trial's first file stands as a recording of its own.
    """
    by_trial: dict[tuple[str, str, str], list[Recording]] = {}
    for trial in sorted(trials, key=lambda t: (t.key, t.rater)):
        found = by_trial.setdefault(trial.key, [])
        for recording in found:
            n = min(len(trial.t_ns), len(recording[0].t_ns))
            if np.array_equal(
                trial.azimuth_deg[:n], recording[0].azimuth_deg[:n], equal_nan=True
            ) and trial.rater not in {t.rater for t in recording}:
                recording.append(trial)
                recording[:] = [_part(t, np.arange(n)) for t in recording]
                break
        else:
            found.append([trial])
    return [recording for found in by_trial.values() for recording in found]


def thin(trial: LundTrial, rate_hz: float) -> LundTrial:
    """The samples nearest to the ticks of a lower rate; the trial itself if it is no faster."""
    if rate_hz >= trial.rate_hz:
        return trial
    ticks_ns = np.arange(0, trial.t_ns[-1] + 1, 1e9 / rate_hz)
    after = np.searchsorted(trial.t_ns, ticks_ns).clip(1, len(trial.t_ns) - 1)
    nearer = ticks_ns - trial.t_ns[after - 1] < trial.t_ns[after] - ticks_ns
    return replace(_part(trial, np.unique(after - nearer)), rate_hz=rate_hz)


def slower(recordings: Sequence[Recording], rate_hz: float) -> list[Recording]:
    """All trials thinned to a lower rate."""
    return [[thin(trial, rate_hz) for trial in r] for r in recordings]


def run_ours(
    recordings: Sequence[Recording], settings: EventSettings | None = None, passes: int = 1
) -> tuple[list[Labels], dict[str, float]]:
    """Our label of every sample of each recording, and what it cost: samples_per_s, delay_ms.

    The cost is the median of the `passes`: at 60 Hz a pass is a tenth of a second, and the first runs cold.
    """
    labels: list[Labels] = []
    busy_s, delay_ns = [0.0] * passes, 0
    for number in range(passes):
        labels = []
        for recording in recordings:
            got, took_s, late_ns = classify(recording[0], settings)
            labels.append(got)
            busy_s[number] += took_s
            delay_ns = max(delay_ns, late_ns)
    samples = sum(len(got) for got in labels)
    return labels, {"samples_per_s": samples / float(np.median(busy_s)), "delay_ms": delay_ns / 1e6}


def measure(recordings: Sequence[Recording]) -> dict[str, Any]:
    """Everything the bench reports."""
    ours, cost = run_ours(recordings, passes=3)
    macro, kappas = score(recordings, ours)
    peers, classes, failed = _run_peers(recordings)
    kinds = sorted({r[0].stimulus for r in recordings})
    by_kind = {k: [i for i, r in enumerate(recordings) if r[0].stimulus == k] for k in kinds}

    def part(labels: Sequence[Labels], rows: list[int]) -> float:
        return score([recordings[i] for i in rows], [labels[i] for i in rows])[0]

    def raters(rows: list[int]) -> float | None:
        pairs = [
            (recordings[i][0].labels, recordings[i][1].labels)
            for i in rows
            if len(recordings[i]) > 1
        ]
        return against_raters([pairs])[0] if pairs else None

    return {
        "macro": macro,
        "kappa": kappas,
        "by_stimulus": {k: part(ours, rows) for k, rows in by_kind.items()},
        "kappa_by_stimulus": {
            k: score([recordings[i] for i in rows], [ours[i] for i in rows])[1]
            for k, rows in by_kind.items()
        },
        "rater_macro": raters(list(range(len(recordings)))),
        "rater_by_stimulus": {k: raters(rows) for k, rows in by_kind.items()},
        "peers": {name: score(recordings, labels)[0] for name, labels in peers.items()},
        "peers_kappa": classes,
        "peers_by_stimulus": {
            name: {k: part(labels, rows) for k, rows in by_kind.items()}
            for name, labels in peers.items()
        },
        "peers_failed": failed,
        **cost,
        "recordings": len(recordings),
        "persons": len({r[0].person for r in recordings}),
        "samples": int(sum(len(r[0].t_ns) for r in recordings)),
    }


def score(
    recordings: Sequence[Recording], labels: Sequence[Labels]
) -> tuple[float, dict[str, float]]:
    """(macro kappa, kappa of each class) against the raters, each over what that rater labelled."""
    each: dict[str, list[tuple[Labels, Labels]]] = {}
    for recording, ours in zip(recordings, labels):
        for trial in recording:
            each.setdefault(trial.rater, []).append((ours, trial.labels))
    return against_raters(list(each.values()))


def classify(trial: LundTrial, settings: EventSettings | None = None) -> tuple[Labels, float, int]:
    """Run the stage over one trial, one sample at a time, as the glasses do.

    Returns the label of each sample, the CPU seconds of the stage, and the longest time from a sample
    to its label, in ns of the recording's own clock (what is closed by the end of the trial excepted).
    """
    values = [
        Gaze(t_ns=t, azimuth_deg=x, elevation_deg=y, confidence=float(x == x), pupil_px=size)
        for t, x, y, size in zip(
            trial.t_ns.tolist(),
            trial.azimuth_deg.tolist(),
            trial.elevation_deg.tolist(),
            trial.pupil_px.tolist(),
        )
    ]
    stage = EventsStage(settings)
    out, arrived = [], []
    start_s = time.thread_time()
    for value in values:
        made = list(stage.step(value))
        if made:
            out += made
            arrived += [value.t_ns] * len(made)
    end = list(stage.finish(values[-1].t_ns))
    took_s = time.thread_time() - start_s
    late_ns = max(
        (now - v.t_ns for v, now in zip(out, arrived) if isinstance(v, EyeMovement)), default=0
    )
    found = {v.t_ns: LABELS[v.movement] for v in [*out, *end] if isinstance(v, EyeMovement)}
    labels = np.array([found.get(t, Label.NONE) for t in trial.t_ns.tolist()], dtype=np.uint8)
    return labels, took_s, late_ns


def _run_peers(
    recordings: Sequence[Recording],
) -> tuple[dict[str, list[Labels]], dict[str, dict[str, float]], dict[str, int]]:
    """Labels by each peer, its kappa per class, and how many recordings it could not digest."""
    methods: dict[str, Callable[[LundTrial], Labels]] = {
        "I-VT": event_peers.ivt,
        "I-DT": event_peers.idt,
        "I-VDT": event_peers.ivdt,
    }
    remodnav = event_peers.remodnav()
    if remodnav is not None:
        methods["REMoDNaV"] = remodnav
    labels: dict[str, list[Labels]] = {name: [] for name in methods}
    failed = dict.fromkeys(methods, 0)
    with progress("peers", total=len(methods) * len(recordings)) as advance:
        for name, method in methods.items():
            for recording in recordings:
                trial = recording[0]
                try:
                    got = method(trial)
                except Exception:  # a peer that fails has labelled nothing
                    failed[name] += 1
                    got = np.zeros(len(trial.t_ns), dtype=np.uint8)
                labels[name].append(got)
                advance(sum(map(len, labels.values())))
    for name in [n for n in labels if failed[n] == len(recordings)]:
        del labels[name]  # it takes no gaze of this kind at all: no figure rather than a zero
    classes = {name: score(recordings, got)[1] for name, got in labels.items()}
    return labels, classes, failed


def _part(trial: LundTrial, rows: np.ndarray[Any, np.dtype[np.int_]]) -> LundTrial:
    return replace(
        trial,
        t_ns=trial.t_ns[rows],
        azimuth_deg=trial.azimuth_deg[rows],
        elevation_deg=trial.elevation_deg[rows],
        pupil_px=trial.pupil_px[rows],
        labels=trial.labels[rows],
    )
