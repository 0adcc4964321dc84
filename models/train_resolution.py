"""Train everything the resolution controller ships: `python -m models.train_resolution --data DIR`.

Tables of the open videos (and of variants of them) are made once and kept in `--cache`. Three sets are
trained: one on all videos, which ships, and two on half each, by which the figures on open videos are
measured (`beheld bench resolution`). `python -m export.resolution RUNS` writes them where they belong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from device.model import load
from device.resolution_policies import Rule
from models.resolution import Both
from models.resolution_clips import Clip, clip_paths, read_clip, varied
from models.resolution_fit import FitSettings, fit_policy
from models.resolution_rules import FAMILIES, tune
from models.resolution_scheduler import train_scheduler
from models.resolution_set import rules_text
from models.resolution_table import Table, TableBuilder
from models.resolution_world import Costs, World

VIDEOS = (
    "scene_davis16_dev",
    "scene_sam2_gallery",
    "scene_opencv_doc",
    "face_intel_samples",
    "/usr/share/doc/opencv-doc/examples/data/vtest.avi",
)
"""Split between the folds; what figures are measured on."""
MORE = (
    "/usr/share/doc/opencv-doc/examples/data/tree.avi",
    "/usr/share/doc/opencv-doc/examples/data/Megamind.avi",
    "gaze_lund2013_dev",
    "rec_pupilcore_vedb_capture/world.mp4",
    "scene_gaze_mobilegazemapping/worldCamera.mp4",
)
"""Only ever trained on, in every set."""
FRAMES, VARIANT_FRAMES = 150, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResolution:
    seed: int = 0
    variants: int = 1
    """Of each clip, besides itself."""
    scheduler_steps: int = 80_000
    fit: FitSettings = field(default_factory=FitSettings)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    rules: Mapping[str, Mapping[float, Rule]]
    both: Both
    videos: tuple[str, ...]
    settings: TrainResolution

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(
            {
                "rules": rules_text(self.rules, self.videos),
                "net": self.both.state_dict(),
                "settings": asdict(self.settings),
            },
            path,
        )


def train_set(
    tables: Sequence[Table],
    costs: Costs,
    settings: TrainResolution,
    done: Callable[[str, int], None] = lambda what, n: None,
) -> Trained:
    """Rules, learned policy and key scheduler on these tables and no others."""
    world = World(tables)
    rules = {}
    for family in FAMILIES:
        rules[family] = tune(
            family, world, costs, seed=settings.seed, done=lambda n, f=family: done(f, n)
        )
    learned = fit_policy(
        tables, costs, rules["trigger"], settings.fit, lambda n: done("learned", n)
    )
    scheduler = train_scheduler(
        tables,
        costs,
        seed=settings.seed,
        steps=settings.scheduler_steps,
        done=lambda n: done("scheduler", n),
    )
    videos = tuple(sorted({t.fingerprint for t in tables}))
    return Trained(rules, Both(learned, scheduler), videos, settings)


def tables_of(paths: Iterable[Path], cache: Path, variants: int) -> Iterator[Table]:
    """Tables of clips and of their variants, from the cache where they are there already."""
    builder: TableBuilder | None = None
    cache.mkdir(parents=True, exist_ok=True)
    for path in paths:
        clip: Clip | None = None
        for number in range(variants + 1):
            kept = cache / f"{path.stem}{'~' * (number > 0)}{number or ''}.npz"
            if not kept.exists():
                builder = builder or TableBuilder(load("detector"), load("backbone"))
                clip = clip or read_clip(path, FRAMES * 2)
                table = builder.build(_variant(clip, number))
                table.save(kept)
                print(f"{kept.stem}: {table.frames} frames", flush=True)
            yield Table.read(kept)


def _variant(clip: Clip, number: int) -> Clip:
    """The clip itself, or its n-th variant: the same whenever it is made."""
    if number == 0:
        return Clip(clip.name, clip.fingerprint, clip.rate_hz, clip.frames[:FRAMES])
    rng = np.random.default_rng([int(clip.fingerprint, 16) % 2**32, number])
    other = varied(clip, rng)
    start = int(rng.integers(0, max(1, len(other.frames) - VARIANT_FRAMES)))
    frames = other.frames[start : start + VARIANT_FRAMES]
    return Clip(other.name, other.fingerprint, other.rate_hz, frames)


def places(names: Iterable[str], data: Path) -> list[Path]:
    """Every clip of the named places that is there."""
    found = []
    for name in names:
        place = data / name  # an absolute name stays what it is
        if place.exists():
            found += clip_paths(place)
        else:
            print(f"{place}: not there, left out", file=sys.stderr)
    return found


def folds(tables: Sequence[Table]) -> dict[str, frozenset[str]]:
    """Fold -> the fingerprints it must not see: every second video, in the order of their names."""
    videos = sorted({(t.name.rstrip("~"), t.fingerprint) for t in tables})
    order = [fingerprint for _, fingerprint in videos]
    return {"fold_a": frozenset(order[0::2]), "fold_b": frozenset(order[1::2])}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("BEHELD_DATA", "../shared/data"))
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/resolution_tables"))
    parser.add_argument("--out", type=Path, default=Path("runs/resolution"))
    parser.add_argument("--variants", type=int, default=TrainResolution.variants)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="train this set alone: shipped, fold_a or fold_b")
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = TrainResolution(
        seed=given.seed, variants=given.variants, fit=FitSettings(seed=given.seed)
    )
    judged = list(tables_of(places(VIDEOS, given.data), given.cache, given.variants))
    more = list(tables_of(places(MORE, given.data), given.cache, given.variants))
    costs = Costs.of([t for t in judged if not t.name.endswith("~")])
    apart: dict[str, frozenset[str]] = {"shipped": frozenset(), **folds(judged)}
    for name, unseen in apart.items():
        if given.only in (None, name):
            mine = [t for t in (*judged, *more) if t.fingerprint not in unseen]
            print(f"{name}: {len(mine)} clips", flush=True)
            trained = train_set(mine, costs, settings)
            trained.save(given.out / f"{name}-{given.seed}.pt")


if __name__ == "__main__":
    main()
