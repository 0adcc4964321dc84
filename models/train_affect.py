"""Fit the scene-affect model: `python -m models.train_affect`.

Reads `scene_oasis_dev`, prints cross-validated figures over themes (each prediction by a model that saw no
picture of that theme, hyperparameters chosen anew inside), then fits on all open themes and writes
`runs/affect.pt` and the list of these themes. Nothing is random; it takes seconds.

The kernel's shares, widths and noise are those under which each training theme is least surprising given
the others, over a small grid: the same for valence and arousal, so both share one set of matrices.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from device.model import load
from models.affect import Affect, AffectConfig
from models.affect_data import (
    SERVED,
    SPLIT,
    Scenes,
    combine,
    read_scenes,
    theme_folds,
    theme_hash,
)
from models.scores import concordance, pearson

EVEN_RIDGE = 0.1
TABLE = Path(__file__).parent / "tables" / "affect_words.npz"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrainAffect:
    widths: tuple[float, ...] = (1.0, 1.5)
    """Of the view's kernel, in units of one over the median squared distance."""
    word_shares: tuple[float, ...] = (0.03, 0.1)
    lexicon_shares: tuple[float, ...] = (0.01, 0.03, 0.1)
    noises: tuple[float, ...] = (0.2, 0.4, 0.8)
    """Noise variance over signal variance."""
    folds: int = 10
    ridge: float = 1.0
    """Of the peer: penalty on the embedding scaled to unit variance, in units of the mean eigenvalue."""


def fit_affect(scenes: Scenes, cfg: TrainAffect | None = None) -> Affect:
    """The Gaussian process of these pictures, ready to predict. Needs at least 40 of them.

    A picture is described by the mean over its looks.
    """
    cfg = cfg or TrainAffect()
    config = AffectConfig(points=len(scenes.themes))
    config = dataclasses.replace(config, doubts=min(config.doubts, config.points))
    net = Affect(config).double()
    table = np.load(TABLE)
    embedding = torch.from_numpy(scenes.embedding).double().mean(1)
    logits = torch.from_numpy(scenes.logits).double().softmax(2).mean(1).clamp(min=1e-12).log()
    net.lexicon = torch.from_numpy(table["lexicon"].astype(float))
    net.words = torch.from_numpy(table["words"].astype(float))
    net.mean, spread = embedding.mean(0), embedding.std(0) + 1e-6
    rank = min(config.axes, len(embedding) - 1)
    axes = torch.linalg.svd((embedding - net.mean) / spread, full_matrices=False)[2][:rank].T
    net.axes[:, :rank] = axes / spread[:, None]
    net.lexicon_scale += 1
    lexicon = net.describe(embedding, logits)[2]
    net.lexicon_mean, net.lexicon_scale = lexicon.mean(0), lexicon.std(0)
    seen = net.describe(embedding, logits)
    net.points_view, net.points_words, net.points_lexicon = seen
    target = torch.from_numpy(scenes.ratings)
    net.middle, scale = target.mean(0), target.var(0)
    y = (target - net.middle) / scale.sqrt()
    themes = np.array(scenes.themes)
    blocks = [torch.from_numpy(np.flatnonzero(themes == t)) for t in sorted(set(themes))]
    medians = [torch.cdist(a, a).square().median() for a in seen[:2]]
    best = None
    for width, words, lex, noise in itertools.product(
        cfg.widths, cfg.word_shares, cfg.lexicon_shares, cfg.noises
    ):
        net.widths = torch.stack([width / medians[0], 1 / medians[1]])
        net.shares = torch.tensor([1.0, words, lex]).double()
        score, signal = _left_out(net.kernel(*seen), y, noise, blocks)
        if best is None or score > best[0]:
            best = (score, net.widths, net.shares, noise, signal)
    assert best is not None
    _, net.widths, net.shares, noise, signal = best
    kernel = net.kernel(*seen)
    values, vectors = torch.linalg.eigh(kernel)
    net.weights = vectors @ ((vectors.T @ y) / (values + noise)[:, None]) * scale.sqrt()
    leading = slice(len(values) - config.doubts, None)
    net.certain = vectors[:, leading] / (values[leading] + noise).sqrt()
    net.noise, net.ratio = noise * signal * scale, torch.tensor([noise]).double()
    net.even, net.even_base = _telling_even(scenes, spread)
    return net.float().eval()


def _telling_even(scenes: Scenes, spread: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (1280,) and base (1,) of a score that is 0 for pictures and 1 for even areas: least squares,
    both kinds counting alike."""
    pictures = torch.from_numpy(scenes.embedding).double().flatten(0, 1)
    x = torch.cat([pictures, torch.from_numpy(scenes.empty).double()]) / spread
    kinds = torch.cat([torch.zeros(len(pictures)), torch.ones(len(scenes.empty))]).double()
    share = torch.where(kinds == 1, 0.5 / len(scenes.empty), 0.5 / len(pictures)).double()
    middle = share @ x
    centred = (x - middle) * share.sqrt()[:, None]
    square = centred.T @ centred
    square += EVEN_RIDGE * square.diagonal().mean() * torch.eye(len(square)).double()
    weights = torch.linalg.solve(square, centred.T @ (share.sqrt() * (kinds - 0.5)))
    return weights / spread, (0.5 - middle @ weights)[None]


def _left_out(
    kernel: torch.Tensor, y: torch.Tensor, noise: float, blocks: list[torch.Tensor]
) -> tuple[float, torch.Tensor]:
    """Log density of each theme given all others, and the signal variance best for each rating.

    In closed form from one inverse (Rasmussen and Williams 2006, section 5.4.2, for blocks). Pictures of
    one theme resemble each other; the marginal likelihood would take that for knowledge of new themes.
    """
    n = len(y)
    inverse = torch.linalg.inv(kernel + noise * torch.eye(n).double())
    weighted = inverse @ y
    residual, variance = torch.zeros_like(y), torch.zeros(n, 1).double()
    for rows in blocks:
        inside = torch.linalg.inv(inverse[rows][:, rows])
        residual[rows] = inside @ weighted[rows]
        variance[rows, 0] = inside.diagonal()
    signal = (residual.square() / variance).mean(0)
    return float(-variance.log().sum() * 2 - n * signal.log().sum()) / 2, signal


@torch.no_grad()
def predict(net: Affect, scenes: Scenes, served: int = SERVED) -> tuple[Floats, Floats]:
    """(N, 2) means and (N, 2) standard deviations from the first `served` looks."""
    looks = range(min(served, scenes.embedding.shape[1]))
    seen = (torch.from_numpy(a) for a in (scenes.embedding, scenes.logits))
    embedding, logits = (a.transpose(0, 1) for a in seen)
    made = [net(embedding[look], logits[look]) for look in looks]
    mean, sd = (torch.stack([m[k] for m in made], 1).double().numpy() for k in ("affect", "sd"))
    return combine(mean, sd)


def cross_validated(
    scenes: Scenes, cfg: TrainAffect | None = None, served: int = SERVED
) -> tuple[Floats, Floats, Floats, Floats]:
    """Means and standard deviations (N, 2) by models that saw no picture of the theme, ridge's means, and by
    how much the deviations are widened (2,): to what the errors of the same folds are, two numbers in all."""
    cfg = cfg or TrainAffect()
    mean, sd, peer = (np.zeros_like(scenes.ratings) for _ in range(3))
    for held in theme_folds(scenes.themes, cfg.folds):
        train, test = scenes.take(~held), scenes.take(held)
        mean[held], sd[held] = predict(fit_affect(train, cfg), test, served)
        peer[held] = ridge(train, test, cfg.ridge, served)
    wider = np.sqrt(((mean - scenes.ratings) ** 2 / sd**2).mean(0))
    return mean, sd * wider, peer, wider


def ridge(train: Scenes, test: Scenes, strength: float, served: int = SERVED) -> Floats:
    """The peer: ridge regression on the same backbone's embedding, mean of the same looks, (N, 2)."""
    seen, given = (s.embedding[:, :served].mean(1) for s in (train, test))
    middle, scale = seen.mean(0), seen.std(0) + 1e-6
    x, z = (seen - middle) / scale, (given - middle) / scale
    kernel = (x @ x.T).astype(float)
    penalty = strength * np.trace(kernel) / len(kernel)
    centre = train.ratings.mean(0)
    weights = np.linalg.solve(kernel + penalty * np.eye(len(kernel)), train.ratings - centre)
    return np.asarray((z @ x.T) @ weights + centre)


def scores(mean: Floats, truth: Floats) -> dict[str, dict[str, float]]:
    """Pearson's r, Lin's concordance and mean absolute error of valence and arousal."""
    return {
        name: {
            "r": pearson(mean[:, k], truth[:, k]),
            "ccc": concordance(mean[:, k], truth[:, k]),
            "mae": float(np.abs(mean[:, k] - truth[:, k]).mean()),
        }
        for k, name in enumerate(("valence", "arousal"))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/affect.pt"))
    options = parser.parse_args()
    default = Path(__file__).parents[2] / "shared" / "data"
    root = options.data or Path(os.environ.get("BEHELD_DATA", default))
    torch.set_num_threads(1)

    scenes = read_scenes(root / "scene_oasis_dev", load("backbone"))
    mean, sd, peer, wider = cross_validated(scenes)
    inside = np.abs(mean - scenes.ratings) < 1.2816 * sd
    figures = {
        "n": len(scenes.themes),
        "themes": len(set(scenes.themes)),
        **scores(mean, scenes.ratings),
        "ridge": {k: v["r"] for k, v in scores(peer, scenes.ratings).items()},
        "raters_sd": [float(v) for v in scenes.spread.mean(0)],
        "in_80_interval": [float(v) for v in inside.mean(0)],
    }
    print(json.dumps(figures, indent=1))

    net = fit_affect(scenes)
    net.noise *= torch.from_numpy(wider**2).float()
    SPLIT.write_text("\n".join(sorted({theme_hash(t) for t in scenes.themes})) + "\n")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "state": net.state_dict(),
            "config": dataclasses.asdict(AffectConfig(points=len(scenes.themes))),
            "settings": dataclasses.asdict(TrainAffect()),
            "figures": figures,
        },
        options.out,
    )


if __name__ == "__main__":
    main()
