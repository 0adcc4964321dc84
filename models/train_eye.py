"""Train the eye network: `python -m models.train_eye` (one thread; see `TrainEye` for the settings).

Reads `eye_meye_human_dev`, adds the emulator's eyes, writes `build/eye.pt` (weights, settings,
figures). First it trains once per person without that person and prints what it finds on them; then
the shipped weights on all people. `python -m export.eye` makes the ONNX file and the card of both. Beside
the figures it prints, for every person left out, what a gate on the confidence lets through, and the
gate the rule of `models.eye_gate` takes. `--steps 0` stops there; `python -m export.eye --left-out-only
build/eye.loso.json` puts these figures into the card.

Labels that are wrong are dropped by one rule, on training pictures only (never on the person who is
scored): pictures of which a network is sure that they show an open eye with a pupil although the label
says `blink` with an empty mask, and masks whose area differs from what it is sure of by more than a
factor of e. For the shipped weights that network is the one which never saw the person; for those
networks themselves it is their own state after `clean_at` of the steps.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models import eye_gate
from models.eye import EyeNet, EyeNetConfig
from models.eye_augment import Augment, Batch, ellipses
from models.eye_data import EyeSet, Pool, read_meye
from models.eye_render import EMULATED, Renders, render_people


@dataclass(frozen=True)
class TrainEye:
    """Everything that shapes a run; the checkpoint stores it."""

    seed: int = 1
    steps: int = 8000
    loso_steps: int = 2500
    """Shorter, for six trainings: figures of unseen people are those of a third of the training."""
    pool: int = 16384
    renew_every: int = 4
    """Steps between two batches of new pictures for the pool."""
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    warm_up: int = 100
    average: float = 0.995
    """Decay of the running average of the weights, which is what is kept."""
    clean_at: float = 0.3
    """Share of the steps after which wrong labels are dropped."""
    sure: float = 0.7
    """Probability from which the network's word is taken against a label."""
    renders: Renders = field(default_factory=Renders)
    augment: Augment = field(default_factory=Augment)
    net: EyeNetConfig = field(default_factory=EyeNetConfig)


def losses(out: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Named terms of the loss, already weighted."""
    B = len(batch.pupil)
    seen = batch.pupil.float()
    count = seen.sum().clamp_min(1.0)
    target = batch.coverage
    coverage = F.binary_cross_entropy_with_logits(out["coverage"], target, reduction="sum") / B

    radius = torch.exp((batch.ellipse[:, 2] + batch.ellipse[:, 3]) / 4).clamp_min(1.0)  # (B,)
    off_centre = (out["ellipse"][:, :2] - batch.ellipse[:, :2]) / radius[:, None].clamp(3.0, 20.0)
    off_shape = out["ellipse"][:, 2:] - batch.ellipse[:, 2:]
    centre = (
        F.smooth_l1_loss(off_centre, off_centre * 0, beta=0.02, reduction="none").sum(1) * seen
    ).sum()
    shape = (
        F.smooth_l1_loss(off_shape, off_shape * 0, beta=0.05, reduction="none").sum(1) * seen
    ).sum()

    voter = (target > 0.3).float() * seen[:, None, None]
    each = out["votes"] - batch.ellipse[:, :, None, None]
    each = torch.cat([each[:, :2] / radius.clamp(3.0, 20.0)[:, None, None, None], each[:, 2:]], 1)
    voters = (each.abs().sum(1) * voter).sum() / voter.sum().clamp_min(1.0)

    with torch.no_grad():
        near = off_centre.norm(dim=1) < 0.25
        alike = off_shape.abs().amax(1) < 0.7
        right = (near & alike & batch.pupil).float()
    opened = F.binary_cross_entropy_with_logits(out["open"], batch.open)
    sure = F.binary_cross_entropy_with_logits(out["right"], right)
    return {
        "coverage": 0.05 * coverage,
        "centre": 2.0 * centre / count,
        "shape": 1.0 * shape / count,
        "voters": 0.3 * voters,
        "open": 1.0 * opened,
        "right": 0.5 * sure,
    }


@torch.no_grad()
def predict(net: EyeNet, images: Tensor) -> dict[str, Tensor]:
    """(N, 128, 128) uint8 -> ellipse (N, 5), probabilities `open` and `right` (N,)."""
    net.eval()
    parts = [net(part[:, None]) for part in images.split(128)]
    out = {name: torch.cat([p[name] for p in parts]) for name in EyeNet.OUTPUTS}
    return {
        "ellipse": out["ellipse"],
        "open": out["open"].sigmoid(),
        "right": out["right"].sigmoid(),
    }


def wrong_labels(net: EyeNet, data: EyeSet, settings: TrainEye) -> Tensor:
    """(N,) bool: the rule of the module's docstring."""
    said = predict(net, data.images)
    truth, area = ellipses(data.masks.float())
    sure = (said["open"] > settings.sure) & (said["right"] > settings.sure)
    open_called_blink = data.blink & (area == 0) & sure
    difference = (said["ellipse"][:, 2:4].sum(1) - truth[:, 2:4].sum(1)).abs() / 2  # log of areas
    other_size = (area > 0) & sure & (difference > 1.0)
    return open_called_blink | other_size


def score(net: EyeNet, data: EyeSet, threshold: float = 0.5) -> dict[str, float]:
    """Figures on people the network never saw; labels as they are. Definitions as in the bench."""
    said = predict(net, data.images)
    truth, area = ellipses(data.masks.float())
    reported = (said["open"] >= threshold) & (said["right"] >= threshold)
    opened, closed = (area > 0) & ~data.blink, (area == 0) & data.blink
    error = (said["ellipse"][:, :2] - truth[:, :2]).norm(dim=1)
    blink = said["open"] < threshold
    hit = float((blink & data.blink).sum())
    overlap = ellipse_iou(said["ellipse"], data.masks)[opened & reported]
    return {
        "n_open": int(opened.sum()),
        "n_closed": int(closed.sum()),
        "within_5px": float(((error <= 5.0) & reported)[opened].float().mean()),
        "reported_open": float(reported[opened].float().mean()),
        "median_px": float(error[opened & reported].median()),
        "iou_mean": float(overlap.mean()),
        "false_pupil_closed": float(reported[closed].float().mean()) if closed.any() else math.nan,
        "blink_f1": 2 * hit / max(1.0, float(blink.sum() + data.blink.sum())),
    }


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


def train(
    data: EyeSet, pool: Pool, kept: Tensor, settings: TrainEye, steps: int, clean: bool
) -> tuple[EyeNet, Tensor]:
    """Train on the `kept` (N,) part of `data`; with `clean` wrong labels leave on the way.

    Returns the averaged network and what was kept to the end.
    """
    torch.manual_seed(settings.seed)
    net = EyeNet(settings.net).to(memory_format=torch.channels_last)
    kept_net = EyeNet(settings.net)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    running: dict[str, float] = {}
    started = time.process_time()
    for step in range(steps):
        if clean and step == int(settings.clean_at * steps):
            _calibrate(kept_net, pool, kept)
            kept = kept & ~wrong_labels(kept_net, data, settings)
        rate = min(1.0, (step + 1) / settings.warm_up)
        rate *= 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.005
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate
        if step % settings.renew_every == 0:
            pool.renew()
        batch = pool.draw(settings.batch, kept)
        net.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = net(batch.image)
        terms = losses({name: value.float() for name, value in out.items()}, batch)
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        _average(kept_net, net, min(settings.average, step / (step + 10)))
        for name, value in terms.items():
            running[name] = 0.98 * running.get(name, value.item()) + 0.02 * value.item()
        if step % 250 == 249:
            text = " ".join(f"{name} {value:.3f}" for name, value in running.items())
            print(f"  {step + 1} {text} cpu {time.process_time() - started:.0f} s", flush=True)
    _calibrate(kept_net, pool, kept)
    return kept_net.eval(), kept


@torch.no_grad()
def _average(kept: EyeNet, net: EyeNet, decay: float) -> None:
    for mean, now in zip(kept.parameters(), net.parameters(), strict=True):
        mean.lerp_(now, 1.0 - decay)


@torch.no_grad()
def _calibrate(net: EyeNet, pool: Pool, kept: Tensor) -> None:
    """Statistics of the batch norms for averaged weights, from forty batches."""
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    net.train()
    for _ in range(40):
        net(pool.draw(64, kept).image)
    net.eval()


def leave_one_out(
    data: EyeSet, pool: Pool, settings: TrainEye, left_out: tuple[str, ...] = ()
) -> tuple[dict[str, Any], dict[str, Any], Tensor]:
    """Train without each person in turn, score on that person; `mean` is over persons.

    `left_out`: only these persons, for ablations. Also returns the gates (`models.eye_gate`), and which
    labels those networks contradict, (N,) bool.
    """
    result: dict[str, Any] = {}
    sweeps: dict[str, eye_gate.Sweep] = {}
    wrong = torch.zeros(len(data), dtype=torch.bool)
    for person in left_out or np.unique(data.subject[data.subject != EMULATED]):
        print(f"without {person}", flush=True)
        others = torch.from_numpy(data.subject != person)
        net, kept = train(data, pool, others, settings, settings.loso_steps, clean=True)
        print(f"  labels dropped: {by_person(data, others & ~kept)}", flush=True)
        unseen = data.take(data.subject == person)
        result[str(person)] = score(net, unseen)
        sweeps[str(person)] = gate_sweep(net, unseen)
        wrong[~others] = wrong_labels(net, unseen, settings)
        print(json.dumps(result[str(person)]), flush=True)
        for gate, row in sweeps[str(person)].items():
            print(f"  gate {gate}: {json.dumps(row)}", flush=True)
    keys = next(iter(result.values())).keys()
    result["mean"] = {k: float(np.nanmean([row[k] for row in result.values()])) for k in keys}
    return result, eye_gate.table(sweeps), wrong


def gate_sweep(net: EyeNet, data: EyeSet) -> eye_gate.Sweep:
    """One unseen person at every gate; labels as they are."""
    said = predict(net, data.images)
    truth, area = ellipses(data.masks.float())
    error = (said["ellipse"][:, :2] - truth[:, :2]).norm(dim=1)
    opened, closed = (area > 0) & ~data.blink, (area == 0) & data.blink
    return eye_gate.sweep(said["open"], said["right"], error, opened, closed)


def by_person(data: EyeSet, where: Tensor) -> dict[str, int]:
    """How many of `where`, (N,) bool, belong to each person."""
    chosen = data.subject[where.numpy()]
    return {str(person): int((chosen == person).sum()) for person in np.unique(chosen)}


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Folder like MEYE's.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/eye.pt"))
@click.option("--steps", type=int, default=None, help="Instead of the settings' number.")
@click.option("--loso-steps", type=int, default=None, help="The same; 0 leaves nobody out.")
@click.option(
    "--left-out",
    multiple=True,
    help="Leave out only this person (may be given often); for ablations.",
)
@click.option("--lateral-inhibition", is_flag=True, help="The ablation with that layer.")
def main(
    data: Path | None,
    out: Path,
    steps: int | None,
    loso_steps: int | None,
    left_out: tuple[str, ...],
    lateral_inhibition: bool,
) -> None:
    torch.set_num_threads(1)
    settings = TrainEye(net=EyeNetConfig(lateral_inhibition=lateral_inhibition))
    if steps is not None:
        settings = dataclasses.replace(settings, steps=steps)
    if loso_steps is not None:
        settings = dataclasses.replace(settings, loso_steps=loso_steps)
    people = read_meye(data or default_data())
    out.parent.mkdir(parents=True, exist_ok=True)
    people = people + render_people(settings.renders, settings.seed)
    print(f"{len(people)} pictures", by_person(people, torch.ones(len(people), dtype=torch.bool)))
    pool = Pool(people, settings.augment, settings.pool, settings.batch, settings.seed)
    figures: dict[str, Any] = {"people": sorted(set(people.subject.tolist()))}
    wrong = torch.zeros(len(people), dtype=torch.bool)
    if settings.loso_steps:
        found = leave_one_out(people, pool, settings, left_out)
        figures["loso"], figures["gates"], wrong = found
        figures["loso_steps"] = settings.loso_steps
        print("mean", json.dumps(figures["loso"]["mean"]), flush=True)
        print("gates", json.dumps(figures["gates"]), flush=True)
        out.with_suffix(".loso.json").write_text(json.dumps(figures, indent=1))
    if settings.steps == 0:
        return
    clean = not settings.loso_steps
    net, kept = train(people, pool, ~wrong, settings, settings.steps, clean)
    figures["labels_dropped"] = by_person(people, ~kept)
    print("on the training people:", json.dumps(score(net, people)), flush=True)
    torch.save(
        {"state": net.state_dict(), "settings": dataclasses.asdict(settings), "figures": figures},
        out,
    )


def default_data() -> Path:
    """`$BEHELD_DATA/eye_meye_human_dev`, else beside the checkout."""
    import os

    root = os.environ.get("BEHELD_DATA")
    folder = Path(root) if root else Path(__file__).parents[2] / "shared" / "data"
    return folder / "eye_meye_human_dev"


if __name__ == "__main__":
    main()
