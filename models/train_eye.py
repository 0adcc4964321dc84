"""Train the eye network: `python -m models.train_eye` (one thread; see `TrainEye` for the settings).

Reads `eye_meye_human_dev`, writes `build/eye.pt` (weights, settings, figures). With `--loso` it
trains once per person without that person and prints what it finds on them; the shipped weights are
then trained on everybody. `python -m export.eye` makes the ONNX file and the card of both.

Labels that are wrong are dropped by one rule, on training pictures only (never on the person left
out): after `clean_at` of the steps, pictures of which the network is sure that they show an open eye
with a pupil although the label says `blink` with an empty mask, and masks that differ in area from
what the network is sure of by more than a factor of e, no longer take part.
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

from models.eye import EyeNet, EyeNetConfig
from models.eye_data import Augment, Batch, EyeSet, augment, ellipses, read_meye


@dataclass(frozen=True)
class TrainEye:
    """Everything that shapes a run; the checkpoint stores it."""

    seed: int = 1
    steps: int = 9000
    loso_steps: int = 3000
    """Shorter, for six trainings: figures of unseen people are those of a third of the training."""
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    warm_up: int = 100
    average: float = 0.995
    """Decay of the running average of the weights, which is what is kept."""
    blink_share: float = 0.25
    """Share of pictures labelled as blinks in each batch (16 % in the set)."""
    clean_at: float = 0.3
    """Share of the steps after which wrong labels are dropped."""
    sure: float = 0.8
    """Probability from which the network's word is taken against a label."""
    augment: Augment = field(default_factory=Augment)
    net: EyeNetConfig = field(default_factory=EyeNetConfig)


def losses(out: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Named terms of the loss, already weighted."""
    B = len(batch.pupil)
    seen = batch.pupil.float()
    count = seen.sum().clamp_min(1.0)
    target = F.avg_pool2d(batch.mask[:, None], 4)[:, 0]
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


def draw(data: EyeSet, kept: Tensor, settings: TrainEye, g: torch.Generator) -> Batch:
    """A batch: persons evenly by the root of their pictures, blinks at their share."""
    weight = torch.zeros(len(data))
    for person in np.unique(data.subject):
        for blink in (False, True):
            group = torch.from_numpy(data.subject == person) & (data.blink == blink) & kept
            if group.any():
                share = settings.blink_share if blink else 1.0 - settings.blink_share
                weight[group] = share / math.sqrt(int(group.sum()))
    for blink, share in ((True, settings.blink_share), (False, 1.0 - settings.blink_share)):
        group = data.blink == blink
        weight[group] *= share / weight[group].sum().clamp_min(1e-9)
    index = torch.multinomial(weight, settings.batch, replacement=True, generator=g)
    opened = (~data.blink[index]).float()
    return augment(data.images[index], data.masks[index], opened, settings.augment, g)


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


def train(data: EyeSet, settings: TrainEye, steps: int) -> tuple[EyeNet, dict[str, int]]:
    """Train on all of `data`. Returns the averaged network and how many labels were dropped, by person."""
    torch.manual_seed(settings.seed)
    g = torch.Generator().manual_seed(settings.seed)
    net = EyeNet(settings.net).to(memory_format=torch.channels_last)
    kept_net = EyeNet(settings.net)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    kept = torch.ones(len(data), dtype=torch.bool)
    dropped: dict[str, int] = {}
    running: dict[str, float] = {}
    started = time.process_time()
    for step in range(steps):
        if step == int(settings.clean_at * steps):
            _calibrate(kept_net, data, kept, settings, g)
            kept = ~wrong_labels(kept_net, data, settings)
            for person in data.subject[~kept.numpy()]:
                dropped[str(person)] = dropped.get(str(person), 0) + 1
            print(f"  labels dropped: {dropped}", flush=True)
        rate = min(1.0, (step + 1) / settings.warm_up)
        rate *= 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.005
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate
        batch = draw(data, kept, settings, g)
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
    _calibrate(kept_net, data, kept, settings, g)
    return kept_net.eval(), dropped


@torch.no_grad()
def _average(kept: EyeNet, net: EyeNet, decay: float) -> None:
    for mean, now in zip(kept.parameters(), net.parameters(), strict=True):
        mean.lerp_(now, 1.0 - decay)


@torch.no_grad()
def _calibrate(
    net: EyeNet, data: EyeSet, kept: Tensor, settings: TrainEye, g: torch.Generator
) -> None:
    """Statistics of the batch norms for averaged weights, from forty fresh batches."""
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    net.train()
    for _ in range(40):
        net(draw(data, kept, settings, g).image)
    net.eval()


def leave_one_out(data: EyeSet, settings: TrainEye) -> dict[str, Any]:
    """Train without each person in turn, score on that person; `mean` is over persons."""
    result: dict[str, Any] = {}
    for person in np.unique(data.subject):
        print(f"without {person}", flush=True)
        net, _ = train(data.take(data.subject != person), settings, settings.loso_steps)
        result[str(person)] = score(net, data.take(data.subject == person))
        print(json.dumps(result[str(person)]), flush=True)
    keys = next(iter(result.values())).keys()
    result["mean"] = {k: float(np.nanmean([row[k] for row in result.values()])) for k in keys}
    return result


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Folder like MEYE's.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/eye.pt"))
@click.option("--steps", type=int, default=None, help="Instead of the settings' number.")
@click.option("--loso", is_flag=True, help="Also leave each person out in turn.")
@click.option("--loso-only", is_flag=True, help="Only that; writes --out's name with .json.")
@click.option("--lateral-inhibition", is_flag=True, help="The ablation with that layer.")
def main(
    data: Path | None,
    out: Path,
    steps: int | None,
    loso: bool,
    loso_only: bool,
    lateral_inhibition: bool,
) -> None:
    torch.set_num_threads(1)
    net_config = EyeNetConfig(lateral_inhibition=lateral_inhibition)
    settings = TrainEye(net=net_config)
    if steps is not None:
        settings = dataclasses.replace(settings, steps=steps, loso_steps=steps)
    people = read_meye(data or default_data())
    out.parent.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    if loso or loso_only:
        figures["loso"] = leave_one_out(people, settings)
        figures["loso_steps"] = settings.loso_steps
        print(json.dumps(figures["loso"]["mean"]), flush=True)
        out.with_suffix(".loso.json").write_text(json.dumps(figures, indent=1))
        if loso_only:
            return
    net, dropped = train(people, settings, settings.steps)
    figures |= {"labels_dropped": dropped, "people": sorted(set(people.subject.tolist()))}
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
