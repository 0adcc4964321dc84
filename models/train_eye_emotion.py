"""Train the eye-emotion network: `python -m models.train_eye_emotion [--teacher FOLDER]`.

Reads `emo_lfw_expressions_dev` (people held out by a fixed hash) and `emo_fer2013_dev` (train.npz; the
validation file is held out), writes `runs/eye_emotion.pt` and prints held-out figures. Labels are mixed
with a whole-face teacher's opinion where its files are given: the eyes alone often do not show what the
label says, and a soft target says how much. The packaged teacher hardly knows fear and disgust, so its last
layer is fitted anew on the training labels, each face's opinion by a fit that did not see that person.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from device.types import EMOTIONS
from models.emotion_data import Expressions, held_out, read_images, read_npz
from models.eye_emotion import EyeEmotion, EyeEmotionConfig
from models.face_teacher import FEATURES, FaceTeacher
from models.scores import auc, uar

NEUTRAL = EMOTIONS.index("neutral")


@dataclass(frozen=True)
class TrainEyeEmotion:
    seed: int = 1
    epochs: int = 44
    steps: int = 110
    """Batches an epoch."""
    batch: int = 96
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    teacher_share: float = 0.5
    """Part of the target that is the teacher's opinion."""
    smoothing: float = 0.02
    lfw_share: float = 0.33
    """Part of each batch from the sharper pictures."""
    one_eye_share: float = 0.5
    ema: float = 0.998
    largest_gradient: float = 2.0
    features_weight: float = 1.0
    """Of the error in foretelling the teacher's features of the whole face, where there is a teacher."""
    mixed_share: float = 0.3
    """Part of the batches whose pictures are blended with others, targets alike."""
    folds: int = 5
    """Of people, by which the teacher's last layer is fitted."""
    threads: int = 1


def augment(eyes: Tensor, rng: torch.Generator) -> Tensor:
    """(B, E, 64, 64) in 0..255: small rotation, zoom and shift of each crop, light, blur, noise, cover."""
    B, E, H, W = eyes.shape
    x = eyes.reshape(B * E, 1, H, W).float()
    n = len(x)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=rng) * (high - low) + low

    angle, zoom = uniform(-0.2, 0.2), uniform(0.83, 1.2)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = zoom * angle.cos(), -zoom * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = zoom * angle.sin(), zoom * angle.cos()
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-0.12, 0.12), uniform(-0.12, 0.12)
    grid = F.affine_grid(theta, [n, 1, H, W], align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    blur = torch.rand(n, generator=rng)
    small = F.interpolate(F.avg_pool2d(x, 3, 1, 1), scale_factor=0.5, mode="bilinear")
    soft = F.interpolate(small, (H, W), mode="bilinear")
    amount = (blur * 1.6 - 0.6).clamp(0, 1).view(n, 1, 1, 1)
    x = x * (1 - amount) + soft * amount
    x = 255 * (x / 255).clamp(1e-3, 1) ** uniform(0.6, 1.7).view(n, 1, 1, 1)
    shade = torch.linspace(-1, 1, W).view(1, 1, 1, W) * uniform(-40, 40).view(n, 1, 1, 1)
    x = x + shade + torch.randn(x.shape, generator=rng) * uniform(0, 12).view(n, 1, 1, 1)
    for index in torch.nonzero(torch.rand(n, generator=rng) < 0.25).flatten().tolist():
        top, left = (int(torch.randint(0, 48, (1,), generator=rng)) for _ in "ab")
        x[index, :, top : top + 16, left : left + 20] = float(torch.rand(1, generator=rng) * 255)
    return x.clamp(0, 255).reshape(B, E, H, W)


def targets(data: Expressions, teacher: FaceTeacher | None, cfg: TrainEyeEmotion) -> Tensor:
    """(N, 7 + 256): soft labels, then the teacher's features of the whole face, each of unit spread."""
    hard = F.one_hot(torch.from_numpy(data.labels), len(EMOTIONS)).float()
    hard = hard * (1 - cfg.smoothing) + cfg.smoothing / len(EMOTIONS)
    if teacher is None:
        return torch.cat([hard, torch.zeros(len(hard), FEATURES)], 1)
    faces = torch.from_numpy(data.faces)[:, None]
    made = [teacher.opinion(part) for part in faces.split(128)]
    opinion, features = (torch.cat(parts) for parts in zip(*made, strict=True))
    features = ((features - features.mean(0)) / (features.std(0) + 1e-3)).clamp(-4, 4)
    known = torch.cat([features, opinion.clamp_min(1e-3).log()], 1).numpy()
    taught = torch.from_numpy(refitted(known, data, cfg.folds))
    soft = hard * (1 - cfg.teacher_share) + taught * cfg.teacher_share
    return torch.cat([soft, features], 1)


def refitted(known: NDArray[np.float32], data: Expressions, folds: int) -> NDArray[np.float32]:
    """(N, 7): what a linear layer on `known` (N, F), fitted on the other folds' people, says of each face.

    Classes count alike, as they do in the batches.
    """
    from sklearn.linear_model import LogisticRegression  # here: only a teacher needs it

    digests = [hashlib.sha256(f"fold/{p}".encode()).digest()[0] for p in data.people]
    fold = np.array(digests) % folds
    said = np.zeros((len(known), len(EMOTIONS)), np.float32)
    for number in range(folds):
        mine = fold == number
        fitted = LogisticRegression(C=0.01, class_weight="balanced", max_iter=300)
        fitted.fit(known[~mine], data.labels[~mine])
        said[np.ix_(mine, fitted.classes_)] = fitted.predict_proba(known[mine])
    print(f"teacher: balanced accuracy {uar(said, data.labels, data.classes()):.3f}", flush=True)
    return said


def blend(x: Tensor, y: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Each row with the one before it, by one common share (Zhang et al. 2018, mixup)."""
    share = float(rng.beta(0.4, 0.4))
    return x * share + x.roll(1, 0) * (1 - share), y * share + y.roll(1, 0) * (1 - share)


@torch.no_grad()
def predict(net: EyeEmotion, eyes: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    """(N, E, 64, 64) -> probabilities (N, 7) and gate probabilities (N,)."""
    net.eval()
    made = [net(part) for part in torch.from_numpy(eyes).split(256)]
    logits = torch.cat([m["logits"] for m in made])
    gate = torch.cat([m["gate"] for m in made]).sigmoid()[:, 0]
    return logits.softmax(1).numpy(), gate.numpy()


def figures(net: EyeEmotion, data: Expressions) -> dict[str, float]:
    """Held-out scores; `one_eye` is the mean over left and right."""
    classes = data.classes()
    both, gate = predict(net, data.eyes)
    left, _ = predict(net, data.eyes[:, :1])
    right, _ = predict(net, data.eyes[:, 1:])
    one = (uar(left, data.labels, classes) + uar(right, data.labels, classes)) / 2
    return {
        "one_eye_uar": one,
        "two_eyes_uar": uar(both, data.labels, classes),
        "gate_auc": auc(gate, data.labels != NEUTRAL),
        "n": len(data.labels),
    }


def sample(labels: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices with every class about equally often; the rarest at most eight times its share."""
    counts = np.bincount(labels, minlength=len(EMOTIONS)).astype(float)
    weight = 1 / np.maximum(counts, counts.max() / 8)
    p = weight[labels]
    return rng.choice(len(labels), count, p=p / p.sum())


def train(
    pools: list[Expressions],
    tests: dict[str, Expressions],
    teacher: FaceTeacher | None,
    cfg: TrainEyeEmotion,
) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """Averaged weights after all epochs, and their scores on `tests` (nothing is chosen by these)."""
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(cfg.threads)
    rng, torch_rng = np.random.default_rng(cfg.seed), torch.Generator().manual_seed(cfg.seed)
    eyes = [torch.from_numpy(pool.eyes) for pool in pools]
    wanted = [targets(pool, teacher, cfg) for pool in pools]
    from_lfw = round(cfg.batch * cfg.lfw_share)

    net = EyeEmotion(EyeEmotionConfig()).to(memory_format=torch.channels_last)
    foretell = nn.Linear(EyeEmotionConfig.vector, FEATURES)  # thrown away after training
    average = {k: v.clone() for k, v in net.state_dict().items()}
    parameters = [*net.parameters(), *foretell.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": cfg.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=cfg.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, cfg.learning_rate, cfg.epochs * cfg.steps
    )
    started = time.monotonic()
    shown: dict[str, dict[str, float]] = {}
    for epoch in range(cfg.epochs):
        net.train()
        mean_loss = 0.0
        for _ in range(cfg.steps):
            rows = [
                torch.from_numpy(sample(pool.labels, count, rng))
                for pool, count in zip(pools, (from_lfw, cfg.batch - from_lfw), strict=True)
            ]
            x = augment(torch.cat([e[r] for e, r in zip(eyes, rows, strict=True)]), torch_rng)
            y = torch.cat([w[r] for w, r in zip(wanted, rows, strict=True)])
            if rng.random() < cfg.one_eye_share:
                x = x[:, int(rng.integers(2))][:, None]
            if rng.random() < cfg.mixed_share:
                x, y = blend(x, y, rng)
            soft, features = y[:, : len(EMOTIONS)], y[:, len(EMOTIONS) :]
            with torch.autocast("cpu", torch.bfloat16):
                made = {k: v.float() for k, v in net(x).items()}
            loss = F.cross_entropy(made["logits"], soft)
            loss = loss + 0.3 * F.binary_cross_entropy_with_logits(
                made["gate"], 1 - soft[:, NEUTRAL : NEUTRAL + 1]
            )
            if teacher is not None and cfg.features_weight:
                loss = loss + cfg.features_weight * F.mse_loss(foretell(made["vector"]), features)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, cfg.largest_gradient)
            optimiser.step()
            schedule.step()
            mean_loss += float(loss.detach()) / cfg.steps
            with torch.no_grad():
                for key, value in net.state_dict().items():
                    if value.dtype.is_floating_point:
                        average[key].lerp_(value, 1 - cfg.ema)
                    else:
                        average[key].copy_(value)
        if epoch % 5 == 4 or epoch == cfg.epochs - 1:
            smooth = EyeEmotion(EyeEmotionConfig())
            smooth.load_state_dict(average)
            shown = {name: figures(smooth, data) for name, data in tests.items()}
            print(
                f"epoch {epoch + 1} loss {mean_loss:.3f} {time.monotonic() - started:.0f} s "
                + json.dumps({k: {n: round(v, 3) for n, v in s.items()} for k, s in shown.items()}),
                flush=True,
            )
    return average, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets")
    parser.add_argument("--teacher", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/eye_emotion.pt"))
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="keep a part of the training people aside and score on these: for choosing settings",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    default = Path(__file__).parents[2] / "shared" / "data"
    root = options.data or Path(os.environ.get("BEHELD_DATA", default))
    changed = dict(pair.split("=", 1) for pair in options.set)
    cfg = dataclasses.replace(
        TrainEyeEmotion(), **{k: type(getattr(TrainEyeEmotion, k))(v) for k, v in changed.items()}
    )

    lfw = read_images(root / "emo_lfw_expressions_dev")
    aside = held_out(lfw.people)
    pools = [lfw.take(~aside), read_npz(root / "emo_fer2013_dev" / "train.npz")]
    if options.rehearse:
        inner = [held_out(pool.people, 0.25, "rehearsal") for pool in pools]
        tests = dict(
            zip(("lfw", "fer"), (p.take(i) for p, i in zip(pools, inner, strict=True)), strict=True)
        )
        pools = [p.take(~i) for p, i in zip(pools, inner, strict=True)]
    else:
        validation = read_npz(root / "emo_fer2013_dev" / "validation.npz")
        tests = {"lfw": lfw.take(aside), "fer": validation}
    print(f"train {[len(p.labels) for p in pools]}, test {[len(t.labels) for t in tests.values()]}")
    teacher = FaceTeacher(options.teacher) if options.teacher else None
    state, shown = train(pools, tests, teacher, cfg)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "state": state,
            "config": dataclasses.asdict(EyeEmotionConfig()),
            "settings": dataclasses.asdict(cfg),
            "figures": shown,
            "trained_people": sorted(set(pools[0].people)),
            "teacher": options.teacher is not None,
        },
        options.out,
    )


if __name__ == "__main__":
    main()
