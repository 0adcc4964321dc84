"""Everything tuned on one set of videos: rules in a TOML file, networks in an ONNX file beside it.

The shipped set (`device/resolution.toml`, `device/weights/resolution.onnx`) has seen every open video.
The fold sets (`models/folds/FOLD-SEED`) have seen half each, once a seed. A set lists the fingerprints of its
videos, so a bench can ask for one that has never seen a clip.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from device.errors import ModelError
from device.model import WEIGHTS, Model
from device.resolution_policies import OBSERVATION_VERSION, RULES, Rule, read_rules

FOLDS = Path(__file__).with_name("folds")
HEAD = """\
# The rules of the resolution controller, each from dearest (weight 0) to cheapest (weight 1).
# A rule runs the scene analysis when the sum of (measure / limit) reaches 1; the limits stand under the
# names of `device.carry.MEASURES`. `size_px` is the side at which it runs. Written by
# `python -m models.train_resolution`; `videos` are the fingerprints of what it was tuned on.
"""


@dataclass(frozen=True, slots=True, eq=False)
class PolicySet:
    name: str
    rules: Mapping[str, Mapping[float, Rule]]
    """Family -> weight of energy -> rule."""
    network: Model | None
    videos: frozenset[str]


def read_set(name: str, rules: Path, network: Path) -> PolicySet:
    """Raises ConfigError for rules that cannot be used; networks may be missing."""
    families = {f: read_rules(f, rules) for f in ("trigger", "heuristic", "difference")}
    videos = frozenset(tomllib.loads(rules.read_text(encoding="utf-8")).get("videos", ()))
    try:
        model: Model | None = Model(network)
    except ModelError:
        model = None
    return PolicySet(name, families, model, videos)


def sets() -> list[PolicySet]:
    """The shipped set first, then the folds."""
    found = [read_set("shipped", RULES, WEIGHTS / "resolution.onnx")]
    folds = sorted(FOLDS.glob("*.toml"))
    return [*found, *(read_set(path.stem, path, path.with_suffix(".onnx")) for path in folds)]


def by_seed(known: Iterable[PolicySet]) -> list[list[PolicySet]]:
    """For each seed the shipped set and the folds of that seed."""
    shipped, *folds = known
    seeds = sorted({s.name.rpartition("-")[2] for s in folds})
    return [[shipped, *(s for s in folds if s.name.endswith(f"-{seed}"))] for seed in seeds]


def unseen_by(fingerprint: str, known: Iterable[PolicySet]) -> PolicySet | None:
    """The first set that was not tuned on that clip; None if all were."""
    return next((s for s in known if fingerprint not in s.videos), None)


def rules_text(
    rules: Mapping[str, Mapping[float, Rule]], videos: Iterable[str], head: str = HEAD
) -> str:
    """A rules file."""
    listed = ", ".join(f'"{v}"' for v in sorted(set(videos)))
    parts = [f"{head}observation = {OBSERVATION_VERSION}\nvideos = [{listed}]"]
    for family, levels in rules.items():
        for weight, rule in sorted(levels.items()):
            rows = [f"[[{family}]]", f"weight = {weight:.4g}", f"size_px = {rule.size_px}"]
            rows += [f"{name} = {limit:.4g}" for name, limit in rule.limits]
            parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"
