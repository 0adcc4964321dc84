"""Train the fusion: `python -m models.train_emoship`.

Eyes are those of FER2013's validation file: the eye network was not trained on them, so its vectors are as
doubtful as a stranger's. 60 % of them are trained on; LFW's held-out people stay unseen by both networks.
Views are `scene_oasis_dev`'s, 70 % of the themes, their affect predicted by processes that saw no picture
of the theme, for the same reason. Pairs are constructed anew for every batch (`models.emoship_data`).
Writes `runs/emoship.pt` and the lists of what was trained on.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from device.model import load
from device.types import EMOTIONS
from models.affect_data import read_scenes, theme_hash
from models.emoship import Emoship, EmoshipConfig
from models.emoship_data import (
    AGREEMENT,
    EYES_SPLIT,
    THEMES_SPLIT,
    Views,
    blank_view,
    construct,
    degrade,
    eye_hash,
    vectors,
)
from models.emotion_data import held_out, read_npz
from models.train_affect import cross_validated


@dataclass(frozen=True)
class TrainEmoship:
    seed: int = 1
    steps: int = 3000
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    smoothing: float = 0.05
    agreement: float = AGREEMENT
    one_eye_share: float = 0.4
    degraded_share: float = 0.2
    """Of the eyes, hardly seen."""
    blank_share: float = 0.25
    """Of the views, empty or average."""
    ema: float = 0.995


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/emoship.pt"))
    options = parser.parse_args()
    default = Path(__file__).parents[2] / "shared" / "data"
    root = options.data or Path(os.environ.get("BEHELD_DATA", default))
    cfg = TrainEmoship()
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(cfg.seed)

    faces = read_npz(root / "emo_fer2013_dev" / "validation.npz")
    names = tuple(eye_hash(e) for e in faces.eyes)
    faces = faces.take(held_out(names, 0.6, "emoship"))
    eye = load("eye_emotion")
    hard = degrade(faces.eyes, rng)
    kinds = [vectors(eye, x)[0] for x in (faces.eyes, faces.eyes[:, :1], faces.eyes[:, 1:], hard)]

    backbone, affect = load("backbone"), load("affect")
    scenes = read_scenes(root / "scene_oasis_dev", backbone)
    mean, sd, _ = cross_validated(scenes)
    held_in = held_out(tuple(theme_hash(t) for t in scenes.themes), 0.7, "emoship")
    views = Views(
        affect=mean[held_in].astype(np.float32),
        sd=sd[held_in].astype(np.float32),
        ratings=scenes.ratings[held_in],
    )
    blank = blank_view(backbone, affect)
    print(f"{len(faces.labels)} eyes, {len(views.ratings)} views")

    net = Emoship(EmoshipConfig(vector=kinds[0].shape[1]))
    every = np.concatenate(kinds[:3])
    net.vector_mean.copy_(torch.from_numpy(every.mean(0)))
    net.vector_scale.copy_(torch.from_numpy(every.std(0) + 0.05))
    usual = np.concatenate([views.affect.mean(0), views.sd.mean(0)])
    net.usual.copy_(torch.from_numpy(usual)[None])
    average = {k: v.clone() for k, v in net.state_dict().items()}
    optimiser = torch.optim.AdamW(
        net.parameters(), cfg.learning_rate, weight_decay=cfg.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, cfg.learning_rate, cfg.steps)
    counts = np.bincount(faces.labels, minlength=len(EMOTIONS)).astype(float)
    weight = 1 / np.maximum(counts, counts.max() / 8)
    share = weight[faces.labels] / weight[faces.labels].sum()
    empty = np.concatenate([blank["affect"][0], blank["sd"][0]])
    for step in range(cfg.steps):
        rows = rng.choice(len(faces.labels), cfg.batch, p=share)
        labels = faces.labels[rows]
        draw = rng.random(cfg.batch)
        kind = np.where(draw < cfg.degraded_share, 3, 0)
        one = (kind == 0) & (rng.random(cfg.batch) < cfg.one_eye_share)
        kind[one] = rng.integers(1, 3, int(one.sum()))
        eyes = np.stack(kinds)[kind, rows]
        pick = construct(labels, views.ratings, cfg.agreement, rng)
        seen = np.concatenate([views.affect[pick], views.sd[pick]], 1)
        none = rng.random(cfg.batch) < cfg.blank_share
        seen[none] = np.where(rng.random((int(none.sum()), 1)) < 0.5, usual, empty)
        x = torch.from_numpy(seen)
        made = net(torch.from_numpy(eyes), x[:, :2], x[:, 2:])
        loss = F.cross_entropy(
            made["logits"], torch.from_numpy(labels), label_smoothing=cfg.smoothing
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for key, value in net.state_dict().items():
                average[key].lerp_(value, 1 - cfg.ema)
        if step % 500 == 499:
            print(f"step {step + 1} loss {float(loss.detach()):.3f}", flush=True)

    EYES_SPLIT.write_text("\n".join(sorted(eye_hash(e) for e in faces.eyes)) + "\n")
    known = {theme_hash(t) for t, k in zip(scenes.themes, held_in, strict=True) if k}
    THEMES_SPLIT.write_text("\n".join(sorted(known)) + "\n")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "state": average,
            "config": dataclasses.asdict(EmoshipConfig(vector=kinds[0].shape[1])),
            "settings": dataclasses.asdict(cfg),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
