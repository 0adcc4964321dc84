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
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from device.model import load
from device.types import EMOTIONS
from models.affect_data import read_scenes, theme_hash
from models.emoship import Emoship, EmoshipConfig
from models.emoship_data import (
    AFFECT_OF,
    EYES_SPLIT,
    NEAR,
    THEMES_SPLIT,
    Views,
    blank_views,
    construct,
    degrade,
    eye_hash,
    vectors,
)
from models.emotion_data import Expressions, held_out, read_npz
from models.train_affect import cross_validated


@dataclass(frozen=True)
class TrainEmoship:
    seed: int = 1
    steps: int = 300
    """Few: FER2013's eyes are poorer than an eye camera's, and a long training learns to trust views more."""
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    smoothing: float = 0.05
    told_apart: float = 0.5
    """Standard deviation, as a logit, of the share that the network is told from the one the pairs were made
    with, which is anything between 0 and 1: what is learnt of a wearer is never exact."""
    one_eye_share: float = 0.4
    degraded_share: float = 0.2
    """Of the eyes, hardly seen."""
    no_eye_share: float = 0.1
    """Of the pairs, with no opinion of the eyes at all."""
    blank_share: float = 0.2
    """Of the views, empty."""
    noise: float = 0.6
    """Standard deviation added to valence and arousal: 400 views are few enough to learn by heart."""
    ema: float = 0.995


def features(faces: Expressions, scenes_folder: Path, seed: int) -> dict[str, NDArray[Any]]:
    """What the shipped networks say of all eyes (four ways) and, cross-validated, of all views."""
    eye, backbone = load("eye_emotion"), load("backbone")
    hard = degrade(faces.eyes, np.random.default_rng(seed))
    kinds = [vectors(eye, x) for x in (faces.eyes, faces.eyes[:, :1], faces.eyes[:, 1:], hard)]
    scenes = read_scenes(scenes_folder, backbone)
    mean, sd, *_ = cross_validated(scenes)
    return {
        "vectors": np.stack([kind[0] for kind in kinds]),
        "opinions": np.stack([kind[1] for kind in kinds]),
        "affect": mean.astype(np.float32),
        "sd": sd.astype(np.float32),
        "ratings": scenes.ratings,
        "themes": np.array(scenes.themes),
        "blank": blank_views(backbone, load("affect"), 60, np.random.default_rng(seed + 1)),
    }


def begin(net: Emoship, views: Views) -> None:
    """Where these views put what is usual, and the circumplex the feelings, before anything is learnt."""
    given = np.concatenate([views.affect, views.sd], 1)
    net.usual.copy_(torch.from_numpy(given.mean(0))[None])
    net.spread.copy_(torch.from_numpy(given.std(0))[None])
    places = torch.tensor([AFFECT_OF[name] for name in EMOTIONS])
    squares = (torch.from_numpy(views.ratings)[:, None].float() - places).square().sum(2)
    near = torch.exp(-squares / (2 * NEAR**2)).mean(0)
    with torch.no_grad():
        net.places.copy_(places)
        net.width.fill_(math.log(NEAR))
        net.rarity.copy_(2 * math.log(NEAR) - near.log())


def told(agreement: NDArray[np.float64], apart: float, rng: np.random.Generator) -> torch.Tensor:
    """(B, 1): the share of each pair as the network is told it."""
    logit = np.log((agreement + 0.02) / (1.02 - agreement)) + rng.normal(0, apart, len(agreement))
    return torch.from_numpy(1 / (1 + np.exp(-logit))).float()[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/emoship.pt"))
    parser.add_argument(
        "--features",
        type=Path,
        default=Path("runs/emoship_features.npz"),
        help="what the shipped networks say of eyes and views; made if it is not there",
    )
    options = parser.parse_args()
    default = Path(__file__).parents[2] / "shared" / "data"
    root = options.data or Path(os.environ.get("BEHELD_DATA", default))
    cfg = TrainEmoship()
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(cfg.seed)

    faces = read_npz(root / "emo_fer2013_dev" / "validation.npz")
    scenes_folder = root / "scene_oasis_dev"
    if not options.features.is_file():
        options.features.parent.mkdir(parents=True, exist_ok=True)
        np.savez(options.features, **features(faces, scenes_folder, cfg.seed))
    seen_before = np.load(options.features)
    names = tuple(eye_hash(e) for e in faces.eyes)
    chosen = held_out(names, 0.6, "emoship")
    faces = faces.take(chosen)
    all_vectors = seen_before["vectors"][
        :, chosen
    ]  # (4, N, 96): both eyes, one, the other, hardly seen
    opinions = seen_before["opinions"][:, chosen]  # (4, N, 7)
    themes = seen_before["themes"].tolist()
    held_in = held_out(tuple(theme_hash(t) for t in themes), 0.7, "emoship")
    views = Views(
        affect=seen_before["affect"][held_in],
        sd=seen_before["sd"][held_in],
        ratings=seen_before["ratings"][held_in],
    )
    blank = seen_before["blank"]
    print(f"{len(faces.labels)} eyes, {len(views.ratings)} views")

    net = Emoship(EmoshipConfig(vector=all_vectors.shape[2]))
    every = np.concatenate(all_vectors[:3])
    net.vector_mean.copy_(torch.from_numpy(every.mean(0)))
    net.vector_scale.copy_(torch.from_numpy(every.std(0) + 0.05))
    begin(net, views)
    average = {k: v.clone() for k, v in net.state_dict().items()}
    optimiser = torch.optim.AdamW(
        net.parameters(), cfg.learning_rate, weight_decay=cfg.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, cfg.learning_rate, cfg.steps)
    counts = np.bincount(faces.labels, minlength=len(EMOTIONS)).astype(float)
    weight = 1 / np.maximum(counts, counts.max() / 8)
    share = weight[faces.labels] / weight[faces.labels].sum()
    for step in range(cfg.steps):
        rows = rng.choice(len(faces.labels), cfg.batch, p=share)
        labels = faces.labels[rows]
        draw = rng.random(cfg.batch)
        kind = np.where(draw < cfg.degraded_share, 3, 0)
        one = (kind == 0) & (rng.random(cfg.batch) < cfg.one_eye_share)
        kind[one] = rng.integers(1, 3, int(one.sum()))
        eyes, opinion = all_vectors[kind, rows], opinions[kind, rows]
        agreement = rng.random(cfg.batch)
        shares = told(agreement, cfg.told_apart, rng)
        pick = construct(labels, views.ratings, agreement, rng)
        seen = np.concatenate([views.affect[pick], views.sd[pick]], 1)
        seen[:, :2] += rng.normal(0, cfg.noise, (cfg.batch, 2)).astype(np.float32)
        no_eye = rng.random(cfg.batch) < cfg.no_eye_share
        eyes[no_eye], opinion[no_eye] = net.vector_mean.numpy(), 1 / len(EMOTIONS)
        none = (rng.random(cfg.batch) < cfg.blank_share) & ~no_eye
        seen[none] = blank[rng.integers(len(blank), size=int(none.sum()))]
        x = torch.from_numpy(seen)
        made = net(torch.from_numpy(eyes), torch.from_numpy(opinion), x[:, :2], x[:, 2:], shares)
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
        if step % 100 == 99:
            print(f"step {step + 1} loss {float(loss.detach()):.3f}", flush=True)

    final = Emoship(EmoshipConfig(vector=all_vectors.shape[2]))
    final.load_state_dict(average)
    given = torch.from_numpy(np.concatenate([views.affect, views.sd], 1))
    with torch.no_grad():
        average["ordinary"] = final.near(given).mean(0)

    EYES_SPLIT.write_text("\n".join(sorted(eye_hash(e) for e in faces.eyes)) + "\n")
    known = {theme_hash(t) for t, k in zip(themes, held_in, strict=True) if k}
    THEMES_SPLIT.write_text("\n".join(sorted(known)) + "\n")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "state": average,
            "config": dataclasses.asdict(EmoshipConfig(vector=all_vectors.shape[2])),
            "settings": dataclasses.asdict(cfg),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
