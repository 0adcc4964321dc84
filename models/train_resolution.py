"""Train everything the resolution controller ships: `python -m models.train_resolution --data DIR`.

Tables of the open videos (and of variants of them) are made once and kept in `--cache`. Three sets are
trained: one on all videos, which ships, and two on half each, by which the figures on open videos are
measured (`beheld bench resolution`). `python -m export.resolution RUNS` writes them where they belong.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from device.model import load
from device.resolution_policies import Rule
from models.resolution import Both
from models.resolution_clips import Clip, clip_paths, emulated, read_clip, varied
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
    "rec_neon_pupillabs/Neon Scene Camera v1 ps1.mp4",
)
"""Only ever trained on, in every set."""
EMULATED = (9300, 9301, 9302, 9303)
"""Seeds of the virtual wearer, trained on in every set as well."""
FRAMES, VARIANT_FRAMES = 120, 60
VIRTUAL = "emulator"
SEEDS = 3
VARIANTS = 1
"""Of the sets by which figures on open videos are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResolution:
    seed: int = 0
    variants: int = VARIANTS
    """Of each clip, besides itself."""
    scheduler_steps: int = 250_000
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
    """Tables of clips and of their variants, from the cache where they are there already.

    Those of the clips themselves are what `beheld bench resolution --tables CACHE` would make.
    """
    builder: TableBuilder | None = None
    cache.mkdir(parents=True, exist_ok=True)
    for path in paths:
        virtual = path.name.startswith(VIRTUAL)
        clip = emulated(int(path.suffix[1:])) if virtual else read_clip(path, FRAMES * 2)
        for number in range(variants + 1):
            made = _variant(clip, number)
            mark = f"~{number}" if number else ""
            kept = cache / f"{clip.fingerprint}-{len(made.frames)}{mark}.npz"
            if not kept.exists():
                builder = builder or TableBuilder(load("detector"), load("backbone"))
                table = builder.build(made, twice=number == 0)
                table.save(kept)
                print(f"{made.name}: {table.frames} frames", flush=True)
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
    parser.add_argument("--variants", type=int, default=VARIANTS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", help="train this set alone: shipped, fold_a or fold_b; or tables")
    given = parser.parse_args()
    torch.set_num_threads(1)
    judged = list(tables_of(places(VIDEOS, given.data), given.cache, given.variants))
    others = [*places(MORE, given.data), *(Path(f"{VIRTUAL}.{seed}") for seed in EMULATED)]
    more = list(tables_of(others, given.cache, given.variants))
    costs = Costs.of([t for t in judged if not t.name.endswith("~")])
    apart: dict[str, frozenset[str]] = {"shipped": frozenset(), **folds(judged)}
    for seed in range(given.seeds):
        settings = TrainResolution(seed=seed, variants=given.variants, fit=FitSettings(seed=seed))
        for name, unseen in apart.items():
            if given.only not in (None, name) or (name == "shipped" and seed):
                continue
            mine = [t for t in (*judged, *more) if t.fingerprint not in unseen]
            started = time.monotonic()
            trained = train_set(mine, costs, settings)
            trained.save(given.out / f"{name}-{seed}.pt")
            took_s = time.monotonic() - started
            print(f"{name}, seed {seed}: {len(mine)} clips, {took_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
