"""What networks said of the person they never saw, and the tables that come of it.

`models.train_eye` leaves each person out in turn and keeps what that network says of that person in a file
(`LeftOut`), so persons can be trained apart, in any order, on any number of cores. The tables need all of
them: a person's figures stand at the confidence scale and the gate that the *other* persons choose.

    python -m models.eye_left_out build/eye.left_out     # prints them, writes build/eye.loso.json

**Confidence** is scaled, sigmoid(slope * logit + offset), by the likelihood of what was right on persons left
out, every person counting the same. What is right says `right`, on every picture, closed eyes included.

**Labels are scored as they are.** Beside them stand figures without the *disputed* blink labels: those on
pictures in which pupil-detectors, which learnt from no label and knows nothing of this network, sees a pupil
with a confidence of at least 0.6. The rule asks nothing of this network and is the same for everybody. It is
no truth either: it also sets aside some eyes that are closed, on which that detector errs. Where gate and
scale are *chosen*, disputed labels do not count; where somebody is scored, they do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models import eye_gate
from models.eye_augment import ellipses
from models.eye_data import EyeSet, read_meye

WITNESS_CONFIDENCE = 0.6
"""What the maker of pupil-detectors takes as usable; `beheld bench pupil` uses the same."""
Said = dict[str, Tensor]
"""`ellipse` (N, 5), `open` and `right` (N,) probabilities."""


@dataclass(frozen=True)
class LeftOut:
    """One person as the network that never saw them sees them; N pictures in the order of the set."""

    steps: int
    """Of the training that left them out."""
    said: Said
    wrong: Tensor
    """(N,) bool: labels which that network contradicts (`models.train_eye.wrong_labels`)."""

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: value.numpy() for name, value in self.said.items()}
        np.savez(path, steps=self.steps, wrong=self.wrong.numpy(), **arrays)

    @classmethod
    def read(cls, path: Path) -> LeftOut:
        with np.load(path) as stored:
            said = {name: torch.from_numpy(stored[name]) for name in ("ellipse", "open", "right")}
            return cls(int(stored["steps"]), said, torch.from_numpy(stored["wrong"]))


def read_all(folder: Path) -> dict[str, LeftOut]:
    """Every person of a folder, by the name of the file."""
    return {path.stem: LeftOut.read(path) for path in sorted(folder.glob("*.npz"))}


def right(said: Tensor, truth: Tensor, pupil: Tensor) -> Tensor:
    """(B,) bool: the ellipse (B, 5) is right where there is a `pupil`, (B,) bool.

    The centre within a quarter of the larger radius (of at least 4 px), every number of the shape within 1:
    axes within a factor of 1.65, which is also what the rule for wrong labels allows.
    """
    shapes = torch.stack([said[:, 2] + said[:, 3], truth[:, 2] + truth[:, 3]]).clamp(max=20.0)
    radius = torch.exp(shapes / 4).amax(0).clamp(4.0, 20.0)
    near = (said[:, :2] - truth[:, :2]).norm(dim=1) < 0.25 * radius
    alike = (said[:, 2:] - truth[:, 2:]).abs().amax(1) < 1.0
    return near & alike & pupil


def scale_of(logits: list[Tensor], rights: list[Tensor]) -> tuple[float, float]:
    """(slope, offset) of the largest likelihood; one tensor a person, each person counts the same."""
    by = torch.tensor([1.0, 0.0], requires_grad=True)
    search = torch.optim.LBFGS([by], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        each = [
            F.binary_cross_entropy_with_logits(by[0] * logit + by[1], hit.float())
            for logit, hit in zip(logits, rights, strict=True)
        ]
        total: Tensor = torch.stack(each).mean()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    search.step(loss)  # type: ignore[no-untyped-call]
    slope, offset = by.detach().tolist()
    return slope, offset


def score(said: Said, data: EyeSet, gate: float = 0.5) -> dict[str, float]:
    """Figures of one person; labels as they are. Definitions as in `beheld bench pupil`."""
    truth, area = ellipses(data.masks.float())
    reported = (said["open"] >= eye_gate.OPEN) & (said["right"] >= gate)
    opened, closed = (area > 0) & ~data.blink, (area == 0) & data.blink
    error = (said["ellipse"][:, :2] - truth[:, :2]).norm(dim=1)
    overlap = ellipse_iou(said["ellipse"], data.masks)[opened & reported]
    return {
        "n_open": int(opened.sum()),
        "n_closed": int(closed.sum()),
        "within_5px": _share((error <= 5.0) & reported, opened),
        "reported_open": _share(reported, opened),
        "median_px": float(error[opened & reported].median()),
        "iou_mean": float(overlap.mean()),
        "false_pupil_closed": _share(reported, closed),
        "blink_f1": f1(said["open"] < eye_gate.OPEN, data.blink),
    }


def undisputed(said: Said, data: EyeSet, gate: float, disputed: Tensor) -> dict[str, float]:
    """The figures that need blink labels, without the `disputed` ones, (N,) bool."""
    _, area = ellipses(data.masks.float())
    reported = (said["open"] >= eye_gate.OPEN) & (said["right"] >= gate)
    closed, kept = (area == 0) & data.blink, ~(disputed & data.blink)
    return {
        "closed_disputed": int((closed & disputed).sum()),
        "blinks_disputed": int((data.blink & disputed).sum()),
        "false_pupil_undisputed": _share(reported, closed & kept),
        "blink_f1_undisputed": f1(said["open"][kept] < eye_gate.OPEN, data.blink[kept]),
    }


def f1(said: Tensor, labelled: Tensor) -> float:
    """Of two (N,) bool; nan without labels."""
    if not bool(labelled.any()):
        return math.nan
    return 2 * float((said & labelled).sum()) / float(said.sum() + labelled.sum())


def ellipse_iou(ellipse: Tensor, mask: Tensor) -> Tensor:
    """(N, 5) against (N, S, S) masks of 0/1 -> (N,) intersection over union in pixels."""
    log_e = torch.stack([ellipse[:, 2], ellipse[:, 4], ellipse[:, 4], ellipse[:, 3]], 1)
    inverse = torch.linalg.matrix_exp(-log_e.reshape(-1, 2, 2))[:, :, :, None, None]
    at = torch.arange(mask.shape[-1], dtype=torch.float32)
    dx = at[None, None, :] - ellipse[:, 0, None, None]
    dy = at[None, :, None] - ellipse[:, 1, None, None]
    level = inverse[:, 0, 0] * dx**2 + 2 * inverse[:, 0, 1] * dx * dy + inverse[:, 1, 1] * dy**2
    inside, pupil = level <= 1.0, mask > 0
    return (inside & pupil).sum((1, 2)) / (inside | pupil).sum((1, 2)).clamp_min(1)


def witness(images: Tensor) -> Tensor | None:
    """(N, H, W) uint8 -> (N,) bool: pupil-detectors is sure of a pupil; None where it is not installed."""
    try:
        from pupil_detectors import Detector2D
    except ImportError:
        return None
    detector = Detector2D()
    found = [detector.detect(np.ascontiguousarray(image))["confidence"] for image in images.numpy()]
    return torch.tensor(found) >= WITNESS_CONFIDENCE


def tables(parts: Mapping[str, LeftOut], people: EyeSet, disputes: bool = True) -> dict[str, Any]:
    """`loso`, `gates`, `confidence` and what they rest on (`loso_steps`, `confidence_scale`).

    `disputes`: ask the witness. Raises ValueError if a file does not fit the set.
    """
    data = {name: people.take(people.subject == name) for name in parts}
    for name, part in parts.items():
        if len(part.wrong) != len(data[name]):
            raise ValueError(f"{name}: {len(part.wrong)} pictures were seen, the set has others")
    truths = {name: ellipses(one.masks.float()) for name, one in data.items()}
    hits = {n: right(parts[n].said["ellipse"], t, area > 0) for n, (t, area) in truths.items()}
    logits = {n: torch.logit(part.said["right"], eps=1e-6) for n, part in parts.items()}
    seen = {n: witness(data[n].images) if disputes else None for n in parts}
    kept = {
        n: torch.ones(len(data[n]), dtype=torch.bool) if s is None else ~(s & data[n].blink)
        for n, s in seen.items()
    }

    def scale(names: list[str]) -> tuple[float, float]:
        return scale_of([logits[n][kept[n]] for n in names], [hits[n][kept[n]] for n in names])

    def scaled(name: str, by: tuple[float, float]) -> Said:
        return {**parts[name].said, "right": torch.sigmoid(by[0] * logits[name] + by[1])}

    said, gates, rows = {}, {}, {}
    for name in parts:
        others = [n for n in parts if n != name]
        by = scale(others) if others else (1.0, 0.0)
        said[name] = scaled(name, by)
        swept = [gate_sweep(scaled(n, by), data[n], kept[n]) for n in others or [name]]
        gates[name] = eye_gate.choose(swept)
        rows[name] = {"gate": gates[name], **score(said[name], data[name], gates[name])}
        doubted = seen[name]
        if doubted is not None:
            rows[name] |= undisputed(said[name], data[name], gates[name], doubted)
    sweeps = {name: gate_sweep(said[name], data[name]) for name in parts}
    over_all = eye_gate.choose([gate_sweep(said[n], data[n], kept[n]) for n in parts])
    steps = sorted({part.steps for part in parts.values()})
    mean = {k: _mean([row[k] for row in rows.values()]) for k in next(iter(rows.values()))}
    return {
        "loso_steps": steps[0] if len(steps) == 1 else steps,
        "loso": {**rows, "mean": mean},
        "gates": {**eye_gate.table(sweeps, gates), "chosen over all": over_all},
        "confidence_scale": scale(list(parts)) if len(parts) > 1 else (1.0, 0.0),
        "confidence": bins(
            torch.cat([said[n]["right"] for n in parts]),
            torch.cat([hits[n] for n in parts]),
            torch.cat([_error(said[n], truths[n], data[n]) for n in parts]),
        ),
    }


def bins(stated: Tensor, hit: Tensor, error_px: Tensor, count: int = 10) -> dict[str, Any]:
    """Ten rows of equally many pictures, the most doubtful first; errors are nan without a pupil."""
    rows: dict[str, Any] = {}
    order = torch.argsort(stated, stable=True)
    for number, chosen in enumerate(torch.tensor_split(order, count)):
        errors = error_px[chosen]
        errors = errors[~errors.isnan()]
        rows[str(number + 1)] = {
            "n": len(chosen),
            "stated": float(stated[chosen].mean()),
            "right": float(hit[chosen].float().mean()),
            "with a pupil": len(errors) / max(1, len(chosen)),
            "median_px": float(errors.median()) if len(errors) else math.nan,
            "p95_px": float(errors.quantile(0.95)) if len(errors) else math.nan,
        }
    return rows


def gate_sweep(said: Said, data: EyeSet, kept: Tensor | None = None) -> eye_gate.Sweep:
    """One unseen person at every gate; labels as they are, of the `kept`, (N,) bool, or of all pictures."""
    truth, area = ellipses(data.masks.float())
    error = (said["ellipse"][:, :2] - truth[:, :2]).norm(dim=1)
    opened, closed = (area > 0) & ~data.blink, (area == 0) & data.blink
    if kept is not None:
        opened, closed = opened & kept, closed & kept
    return eye_gate.sweep(said["open"], said["right"], error, opened, closed)


def _error(said: Said, truth: tuple[Tensor, Tensor], data: EyeSet) -> Tensor:
    """(N,) px, nan where the label shows no pupil in an open eye."""
    error = (said["ellipse"][:, :2] - truth[0][:, :2]).norm(dim=1)
    return torch.where((truth[1] > 0) & ~data.blink, error, math.nan)


def _share(what: Tensor, of: Tensor) -> float:
    return float(what[of].float().mean()) if bool(of.any()) else math.nan


def _mean(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Folder like MEYE's.")
def main(folder: Path, data: Path | None) -> None:
    """Tables of all persons in FOLDER; FOLDER.loso.json without the ending `.left_out`."""
    from models.train_eye import default_data

    torch.set_num_threads(1)
    found = tables(read_all(folder), read_meye(data or default_data()))
    folder.with_suffix(".loso.json").write_text(json.dumps(found, indent=1))
    click.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
