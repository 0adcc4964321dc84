"""Train the eye network: `python -m models.train_eye` (one thread; see `TrainEye` for the settings).

Reads `eye_meye_human_dev`, adds the emulator's eyes, writes `build/eye.pt` (weights, settings,
figures). First it trains once per person without that person and keeps what it says of them in
`build/eye.left_out/`; `models.eye_left_out` makes tables of it: figures at the gate that the others
choose, every gate, confidence against what was right. `--steps 0` stops there; `python -m export.eye
--left-out-only build/eye.loso.json` puts them into the card. Then it trains the shipped weights on all
people, with the confidence scaled as those left out ask for. `python -m export.eye` makes the ONNX file
and the card of both.
`--left-out` shares the persons between processes, and `--loso-steps 0` takes what is there.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.eye import EyeNet, EyeNetConfig
from models.eye_augment import Augment, Batch, ellipses
from models.eye_data import EyeSet, Pool, read_meye
from models.eye_left_out import LeftOut, read_all, right, score, tables
from models.eye_render import Renders, render_people


@dataclass(frozen=True)
class TrainEye:
    """Everything that shapes a run; the checkpoint stores it."""

    seed: int = 1
    steps: int = 8000
    loso_steps: int = 2500
    """Shorter, for six trainings: figures of unseen people are those of a third of the training."""
    pool: int = 16384
    renew_every: int = 6
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
    even: bool = True
    """Every person counts the same in a batch, not by the root of their pictures."""
    lenient: bool = True
    """Confidence is taught on `models.eye_left_out.right`, not on a quarter of the label's radius and axes
    within 1.4: labels that are too small then teach less doubt."""
    renders: Renders = field(default_factory=Renders)
    augment: Augment = field(default_factory=Augment)
    net: EyeNetConfig = field(default_factory=EyeNetConfig)


def losses(out: dict[str, Tensor], batch: Batch, lenient: bool = False) -> dict[str, Tensor]:
    """Named terms of the loss, already weighted; `lenient` as in `TrainEye`."""
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
        if lenient:
            hit = right(out["ellipse"], batch.ellipse, batch.pupil)
        else:
            near = off_centre.norm(dim=1) < 0.25
            hit = near & (off_shape.abs().amax(1) < 0.7) & batch.pupil
    opened = F.binary_cross_entropy_with_logits(out["open"], batch.open)
    sure = F.binary_cross_entropy_with_logits(out["right"], hit.float())
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
        floats = {name: value.float() for name, value in out.items()}
        terms = losses(floats, batch, settings.lenient)
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
    data: EyeSet, pool: Pool, settings: TrainEye, persons: Sequence[str], folder: Path
) -> None:
    """Train without each of these persons in turn; what is said of them goes to `folder`/PERSON.npz."""
    for person in persons:
        print(f"without {person}", flush=True)
        others = torch.from_numpy(data.subject != person)
        net, kept = train(data, pool, others, settings, settings.loso_steps, clean=True)
        print(f"  labels dropped: {by_person(data, others & ~kept)}", flush=True)
        unseen = data.take(data.subject == person)
        said = predict(net, unseen.images)
        wrong = wrong_labels(net, unseen, settings)
        LeftOut(settings.loso_steps, said, wrong).write(folder / f"{person}.npz")
        print(json.dumps(score(said, unseen)), flush=True)


def contradicted(data: EyeSet, parts: Mapping[str, LeftOut]) -> Tensor:
    """(N,) bool: labels that the networks which never saw the person contradict."""
    wrong = torch.zeros(len(data), dtype=torch.bool)
    for person, part in parts.items():
        wrong[torch.from_numpy(data.subject == person)] = part.wrong
    return wrong


@torch.no_grad()
def scale_confidence(net: EyeNet, slope: float, offset: float) -> None:
    """Put the scale of `models.eye_left_out` into the last layer."""
    last = net.whole[2]
    last.weight[1] *= slope
    last.bias[1] = slope * last.bias[1] + offset


def by_person(data: EyeSet, where: Tensor) -> dict[str, int]:
    """How many of `where`, (N,) bool, belong to each person."""
    chosen = data.subject[where.numpy()]
    return {str(person): int((chosen == person).sum()) for person in np.unique(chosen)}


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Folder like MEYE's.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/eye.pt"))
@click.option("--steps", type=int, default=None, help="Instead of the settings' number.")
@click.option(
    "--loso-steps",
    type=int,
    default=None,
    help="The same; 0 leaves nobody out now and takes what was said of them before, if it was.",
)
@click.option(
    "--left-out",
    multiple=True,
    help="Leave out only this person (may be given often): for ablations, or to share the persons "
    "between processes.",
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
    net_config = EyeNetConfig(lateral_inhibition=lateral_inhibition)
    settings = TrainEye(net=net_config)
    if steps is not None:
        settings = dataclasses.replace(settings, steps=steps)
    if loso_steps is not None:
        settings = dataclasses.replace(settings, loso_steps=loso_steps)
    people = read_meye(data or default_data())
    persons = left_out or np.unique(people.subject).tolist()
    people = people + render_people(settings.renders, settings.seed)
    print(f"{len(people)} pictures", by_person(people, torch.ones(len(people), dtype=torch.bool)))
    pool = Pool(
        people, settings.augment, settings.pool, settings.batch, settings.seed, settings.even
    )
    folder = out.with_suffix(".left_out")
    if settings.loso_steps:
        leave_one_out(people, pool, settings, persons, folder)
    parts = {person: part for person, part in read_all(folder).items() if person in persons}
    figures: dict[str, Any] = {"people": sorted(set(people.subject.tolist()))}
    if parts:
        figures |= tables(parts, people)
        print(json.dumps(figures), flush=True)
        out.with_suffix(".loso.json").write_text(json.dumps(figures, indent=1))
        if isinstance(figures["loso_steps"], int):  # left out in another process, maybe
            settings = dataclasses.replace(settings, loso_steps=figures["loso_steps"])
    if settings.steps == 0:
        return
    wrong = contradicted(people, parts)
    net, kept = train(people, pool, ~wrong, settings, settings.steps, clean=not parts)
    if parts:
        scale_confidence(net, *figures["confidence_scale"])
    figures["labels_dropped"] = by_person(people, ~kept)
    print("on the training people:", json.dumps(score(predict(net, people.images), people)))
    out.parent.mkdir(parents=True, exist_ok=True)
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
