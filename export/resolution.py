"""`python -m export.resolution RUNS`: trained resolution policies as the files the glasses run.

`RUNS/shipped-0.pt` becomes `device/resolution.toml` and `device/weights/resolution.onnx`, the folds of
every seed go to `models/folds`. Each file is checked against torch through the runner that ships.
"""

from __future__ import annotations

import argparse
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from device.model import WEIGHTS, Model, ModelSpec, TensorSpec
from device.resolution_policies import (
    LADDER,
    LARGEST,
    OBSERVATION_VERSION,
    OBSERVED,
    RULES,
)
from export.onnx_file import attach, count_macs, count_params, export_torch, parity, torch_reference
from models.resolution import Both, Flat, Policy, Scheduler
from models.resolution_set import FOLDS

OUTPUTS = ("learned", "scheduler")
VERSION = "1.1.0"


def rebuilt(saved: Mapping[str, Any]) -> Both:
    """The networks of a checkpoint."""
    members = len(saved["net"]["learned.parameters_of"])
    both = Both(Policy(members), Scheduler())
    both.load_state_dict(saved["net"])
    return both.eval()


def export(checkpoint: Path, rules: Path, path: Path, figures: Mapping[str, Any]) -> Model:
    """Write rules and networks, sign and check them. Raises ModelError if the file differs from torch."""
    saved = torch.load(checkpoint, weights_only=True)
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text(saved["rules"], encoding="utf-8")
    both = rebuilt(saved)
    videos = tomllib.loads(saved["rules"])["videos"]
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "resolution.onnx"
        example = {"observation": torch.zeros(2, len(OBSERVED))}
        free = {name: {0: "frames"} for name in ("observation", *OUTPUTS)}
        export_torch(Flat(both), example, OUTPUTS, draft, dynamic_axes=free)
        graph = onnx.load(draft)
        spec = ModelSpec(
            name="resolution",
            version=VERSION,
            inputs=(
                TensorSpec(
                    name="observation",
                    shape=(None, len(OBSERVED)),
                    dtype="float32",
                    meaning=f"device.resolution_policies.observe, version {OBSERVATION_VERSION}",
                ),
            ),
            outputs=tuple(
                TensorSpec(
                    name=name,
                    shape=(None, len(LADDER)),
                    dtype="float32",
                    meaning=f"preference of each action: {', '.join(map(str, LADDER))} px (0: reuse)",
                )
                for name in OUTPUTS
            ),
            colour="none",
            params=count_params(graph),
            macs=count_macs(graph, {"frames": 1}),
            licence="Apache-2.0",
            trained_on=f"tables of {len(videos)} videos (docs/models/resolution.md)",
            seed=int(saved["settings"]["seed"]),
            parity_tolerance=1e-3,
            figures={"observation_version": OBSERVATION_VERSION, **figures},
        )
        attach(draft, spec)
        rng = np.random.default_rng(0)
        calls = [
            {"observation": rng.uniform(0, LARGEST / 2, (n, len(OBSERVED))).astype(np.float32)}
            for n in (1, 64)
        ]
        worst = parity(torch_reference(both, OUTPUTS), Model(draft), calls)
        print(f"{path.name}: largest difference to torch", worst)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draft.read_bytes())
    return Model(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path)
    given = parser.parse_args()
    export(given.runs / "shipped-0.pt", RULES, WEIGHTS / "resolution.onnx", {})
    for path in sorted(given.runs.glob("fold_*.pt")):
        export(path, FOLDS / f"{path.stem}.toml", FOLDS / f"{path.stem}.onnx", {})


if __name__ == "__main__":
    main()
