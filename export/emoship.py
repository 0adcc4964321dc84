"""The fusion's checkpoint to `device/weights/emoship.onnx`: `python -m export.emoship`.

The card's figures are those of `beheld bench emoship` on LFW's eyes, given as its JSON: `--figures FILE`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from device.model import WEIGHTS, Model, ModelSpec, TensorSpec
from device.types import EMOTIONS
from export.card import write_card
from export.onnx_file import (
    attach,
    count_macs,
    count_params,
    export_torch,
    parity,
    torch_reference,
)
from models.emoship import Emoship, EmoshipConfig

OUTPUTS = ("probabilities", "influence", "likelihood")
TOLERANCE = 3e-3
"""The influence is a ratio of roots: where neither view nor eyes move anything, rounding shows in it."""
COMMAND = (
    "python -m models.train_emoship && python -m export.emoship && beheld bench emoship --eyes DIR "
    "--scenes DIR --json > FILE && python -m export.emoship --figures FILE` and, for other eyes, `beheld "
    "bench emoship --eyes DIR --scenes DIR --page CARD"
)
CARD = Path(__file__).parents[1] / "docs" / "models" / "emoship.md"


class Shipped(torch.nn.Module):  # type: ignore[misc]
    """The network with probabilities for outputs."""

    def __init__(self, net: Emoship) -> None:
        super().__init__()
        self.net = net

    def forward(
        self,
        vector: torch.Tensor,
        eye: torch.Tensor,
        affect: torch.Tensor,
        sd: torch.Tensor,
        share: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        made = self.net(vector, eye, affect, sd, share)
        return {
            "probabilities": made["logits"].softmax(1),
            "influence": made["influence"],
            "likelihood": made["likelihood"],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/emoship.pt"))
    parser.add_argument("--figures", type=Path, help="what the bench printed")
    options = parser.parse_args()
    saved = torch.load(options.checkpoint, weights_only=True)
    config = EmoshipConfig(**saved["config"])
    net = Emoship(config).eval()
    net.load_state_dict(saved["state"])
    lines = options.figures.read_text().strip().splitlines() if options.figures else ["{}"]
    figures = json.loads(lines[-1])
    rng = np.random.default_rng(0)
    calls = [_call(rng, config) for _ in range(40)]
    path, shipped = WEIGHTS / "emoship.onnx", Shipped(net).eval()
    export_torch(shipped, {k: torch.from_numpy(v) for k, v in calls[0].items()}, OUTPUTS, path)
    contract = spec(onnx.load(path), saved, figures)
    attach(path, contract)
    gaps = parity(torch_reference(shipped, OUTPUTS), Model(path), calls)
    measured = sections(figures, "emo_lfw_expressions_dev") if figures else {}
    write_card(
        contract,
        {**measured, "Largest difference to the training framework": gaps},
        CARD,
        command=COMMAND,
    )
    print(path.stat().st_size, gaps)


def _call(rng: np.random.Generator, config: EmoshipConfig) -> dict[str, Any]:
    return {
        "vector": np.abs(rng.normal(0, 1, (1, config.vector))).astype(np.float32),
        "eye": rng.dirichlet(np.ones(len(EMOTIONS)), 1).astype(np.float32),
        "affect": rng.uniform(1, 7, (1, 2)).astype(np.float32),
        "sd": rng.uniform(0.5, 1.5, (1, 2)).astype(np.float32),
        "share": rng.uniform(0, 1, (1, 1)).astype(np.float32),
    }


def sections(found: dict[str, Any], eyes: str) -> dict[str, Any]:
    """The card's sections of what `beheld bench emoship` found with one folder of eyes."""
    of = f"`beheld bench emoship --eyes {eyes}`"
    rows = {}
    for degree, row in found["by_agreement"].items():
        learnt = sorted(row["learnt"].items(), key=lambda item: int(item[0]))
        rows[degree] = {
            **{k: row[k] for k in ("eye", "scene", "fused")},
            "told 0.8": row["told"],
            **{f"after {n}": x["fused"] for n, x in learnt},
            **{f"share after {n}": x["share"] for n, x in learnt},
        }
    rest = {k: v for k, v in found.items() if k not in ("by_agreement", "uar_learnt")}
    return {of: rest, f"{of}: by the share of views that agree (rows)": rows}


def spec(graph: onnx.ModelProto, saved: dict[str, Any], figures: dict[str, Any]) -> ModelSpec:
    """The contract of the exported file."""
    length = saved["config"]["vector"]
    return ModelSpec(
        name="emoship",
        version="1.3.0",
        inputs=(
            TensorSpec(
                name="vector", shape=(1, length), dtype="float32", meaning="of the eye network"
            ),
            TensorSpec(
                name="eye", shape=(1, 7), dtype="float32", meaning="its class probabilities"
            ),
            TensorSpec(
                name="affect",
                shape=(1, 2),
                dtype="float32",
                meaning="valence and arousal of the view, 1 to 7",
            ),
            TensorSpec(
                name="sd", shape=(1, 2), dtype="float32", meaning="standard deviation of each"
            ),
            TensorSpec(
                name="share",
                shape=(1, 1),
                dtype="float32",
                meaning="of this wearer's views that agree with what is felt, 0 to 1",
            ),
        ),
        outputs=(
            TensorSpec(
                name="probabilities", shape=(1, 7), dtype="float32", meaning="of the seven classes"
            ),
            TensorSpec(
                name="influence",
                shape=(1, 1),
                dtype="float32",
                meaning="how much the view moves the classes, as a share of view and eyes, 0 to 1",
            ),
            TensorSpec(
                name="likelihood",
                shape=(1, 7),
                dtype="float32",
                meaning="of the view if it agrees with each feeling, beside 1 for an average view",
            ),
        ),
        colour="none",
        params=count_params(graph),
        macs=count_macs(graph),
        licence="Apache-2.0 for the code; trained on research-only pictures (FER2013)",
        trained_on=(
            "constructed pairs: eyes of 60 % of emo_fer2013_dev/validation.npz with views of 70 % of "
            "the themes of scene_oasis_dev"
        ),
        seed=saved["settings"]["seed"],
        parity_tolerance=TOLERANCE,
        figures=figures,
        classes=EMOTIONS,
    )


if __name__ == "__main__":
    main()
