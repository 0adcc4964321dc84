"""Train the eye-emotion network: `python -m models.train_eye_emotion [--teacher FOLDER]`.

Reads `emo_lfw_expressions_dev` (people held out by a fixed hash) and `emo_fer2013_dev` (train.npz; the
validation file is held out), writes `runs/eye_emotion.pt` and prints held-out figures. Labels are mixed
with a whole-face teacher's opinion where its files are given: the eyes alone often do not show what the
label says, and a soft target says how much.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from device.types import EMOTIONS
from models.emotion_data import Expressions, held_out, read_images, read_npz
from models.eye_emotion import EyeEmotion, EyeEmotionConfig
from models.face_teacher import CLASSES, FaceTeacher
from models.scores import auc, uar

NEUTRAL = EMOTIONS.index("neutral")


@dataclass(frozen=True)
class TrainEyeEmotion:
    seed: int = 1
    epochs: int = 40
    steps: int = 110
    """Batches an epoch."""
    batch: int = 96
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    teacher_share: float = 0.4
    """Part of the target that is the teacher's opinion."""
    smoothing: float = 0.05
    lfw_share: float = 0.4
    """Part of each batch from the sharper pictures."""
    one_eye_share: float = 0.5
    ema: float = 0.998
    threads: int = 1


def augment(eyes: Tensor, rng: torch.Generator) -> Tensor:
    """(B, E, 64, 64) in 0..255: small rotation, zoom and shift of each crop, light, blur, noise, cover."""
    B, E, H, W = eyes.shape
    x = eyes.reshape(B * E, 1, H, W).float()
    n = len(x)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=rng) * (high - low) + low

    angle, zoom = uniform(-0.25, 0.25), uniform(0.8, 1.2)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = zoom * angle.cos(), -zoom * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = zoom * angle.sin(), zoom * angle.cos()
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-0.18, 0.18), uniform(-0.18, 0.18)
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


def targets(data: Expressions, teacher: FaceTeacher | None, share: float, smooth: float) -> Tensor:
    """(N, 7) soft labels."""
    hard = F.one_hot(torch.from_numpy(data.labels), len(EMOTIONS)).float()
    hard = hard * (1 - smooth) + smooth / len(EMOTIONS)
    if teacher is None:
        return hard
    order = [CLASSES.index(name) for name in EMOTIONS]
    faces = torch.from_numpy(data.faces)[:, None]
    opinion = torch.cat([teacher.probabilities(part)[:, order] for part in faces.split(128)])
    return hard * (1 - share) + opinion * share


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets")
    parser.add_argument("--teacher", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/eye_emotion.pt"))
    parser.add_argument("--epochs", type=int, default=TrainEyeEmotion.epochs)
    options = parser.parse_args()
    import os

    data_root = options.data or Path(
        os.environ.get("BEHELD_DATA", Path(__file__).parents[2] / "shared" / "data")
    )
    cfg = TrainEyeEmotion(epochs=options.epochs)
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(cfg.threads)
    rng, torch_rng = np.random.default_rng(cfg.seed), torch.Generator().manual_seed(cfg.seed)

    lfw = read_images(data_root / "emo_lfw_expressions_dev")
    aside = held_out(lfw.people)
    lfw_train, lfw_test = lfw.take(~aside), lfw.take(aside)
    fer_train = read_npz(data_root / "emo_fer2013_dev" / "train.npz")
    fer_test = read_npz(data_root / "emo_fer2013_dev" / "validation.npz")
    teacher = FaceTeacher(options.teacher) if options.teacher else None
    pools = [
        (torch.from_numpy(d.eyes), d, targets(d, teacher, cfg.teacher_share, cfg.smoothing))
        for d in (lfw_train, fer_train)
    ]
    print(
        f"train {len(lfw_train.labels)} + {len(fer_train.labels)}, held out {len(lfw_test.labels)}"
    )

    net = EyeEmotion(EyeEmotionConfig())
    average = {k: v.clone() for k, v in net.state_dict().items()}
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": cfg.weight_decay},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=cfg.learning_rate)
    total = cfg.epochs * cfg.steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, cfg.learning_rate, total)
    started, from_lfw = time.monotonic(), round(cfg.batch * cfg.lfw_share)
    for epoch in range(cfg.epochs):
        net.train()
        mean_loss = 0.0
        for _ in range(cfg.steps):
            eyes, target = [], []
            for (pool, data, soft), count in zip(
                pools, (from_lfw, cfg.batch - from_lfw), strict=True
            ):
                index = torch.from_numpy(sample(data.labels, count, rng))
                eyes.append(pool[index])
                target.append(soft[index])
            x, y = augment(torch.cat(eyes), torch_rng), torch.cat(target)
            if rng.random() < cfg.one_eye_share:
                x = x[:, int(rng.integers(2))][:, None]
            made = net(x)
            gate_target = 1 - y[:, NEUTRAL : NEUTRAL + 1]
            loss = F.cross_entropy(made["logits"], y)
            loss = loss + 0.3 * F.binary_cross_entropy_with_logits(made["gate"], gate_target)
            optimiser.zero_grad()
            loss.backward()
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
            shown = {"lfw": figures(smooth, lfw_test), "fer": figures(smooth, fer_test)}
            print(
                f"epoch {epoch + 1} loss {mean_loss:.3f} {time.monotonic() - started:.0f} s "
                + json.dumps(shown, default=lambda v: round(v, 3)),
                flush=True,
            )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "state": average,
            "config": dataclasses.asdict(EyeEmotionConfig()),
            "settings": dataclasses.asdict(cfg),
            "figures": shown,
            "trained_people": sorted(set(lfw_train.people)),
            "teacher": options.teacher is not None,
        },
        options.out,
    )


if __name__ == "__main__":
    main()
