"""The scene-affect checkpoint to `device/weights/affect.onnx`: `python -m export.affect`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from device.model import WEIGHTS, Model, ModelSpec, TensorSpec
from export.card import write_card
from export.compress import store_small
from export.onnx_file import (
    attach,
    count_macs,
    count_params,
    export_torch,
    parity,
    torch_reference,
)
from models.affect import Affect, AffectConfig

OUTPUTS = ("affect", "sd")
TOLERANCE = 0.05
"""Of a rating from 1 to 7: what storing the matrices as half floats may cost."""
COMMAND = (
    "python -m export.affect_words && python -m models.train_affect && python -m export.affect"
)
CARD = Path(__file__).parents[1] / "docs" / "models" / "affect.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/affect.pt"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    saved = torch.load(options.checkpoint, weights_only=True)
    config = AffectConfig(**saved["config"])
    net = Affect(config).eval()
    net.load_state_dict(saved["state"])
    example = {k: torch.from_numpy(v) for k, v in _call(np.random.default_rng(0), config).items()}
    path = WEIGHTS / "affect.onnx"
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "affect.onnx"
        export_torch(net, example, OUTPUTS, plain)
        graph = onnx.load(plain)
        contract = spec(graph, saved)
        store_small(graph, int8_from=10**9)
        onnx.save(graph, path)
        attach(path, contract)
    rng = np.random.default_rng(1)
    gaps = parity(
        torch_reference(net, OUTPUTS), Model(path), [_call(rng, config) for _ in range(40)]
    )
    figures = saved["figures"]
    scored = {k: figures[k] for k in ("valence", "arousal")}
    peers = {k: {**scored[k], "ridge r": figures["ridge"][k]} for k in scored}
    for column, k in enumerate(peers):
        peers[k] |= {
            "raters' own sd": figures["raters_sd"][column],
            "share in 80 % interval": figures["in_80_interval"][column],
        }
    write_card(
        contract,
        {
            f"Cross-validated over {figures['themes']} themes, {figures['n']} pictures": peers,
            "Largest difference to the training framework": gaps,
        },
        CARD,
        command=COMMAND,
    )
    print(path.stat().st_size, peers, gaps)


def _call(rng: np.random.Generator, config: AffectConfig) -> dict[str, Any]:
    """A made-up view: an embedding of unit length and logits of their usual size."""
    embedding = np.maximum(rng.normal(0, 1, (1, config.embedding)), 0).astype(np.float32)
    logits = rng.normal(0, 2, (1, config.classes)).astype(np.float32)
    return {"embedding": embedding / np.linalg.norm(embedding), "logits": logits}


def spec(graph: onnx.ModelProto, saved: dict[str, Any]) -> ModelSpec:
    """The contract of the exported file."""
    return ModelSpec(
        name="affect",
        version="1.2.0",
        inputs=(
            TensorSpec(
                name="embedding", shape=(1, 1280), dtype="float32", meaning="of the backbone, unit"
            ),
            TensorSpec(name="logits", shape=(1, 1000), dtype="float32", meaning="of the backbone"),
        ),
        outputs=(
            TensorSpec(
                name="affect",
                shape=(1, 2),
                dtype="float32",
                meaning="valence and arousal as people rate pictures, 1 to 7",
            ),
            TensorSpec(
                name="sd", shape=(1, 2), dtype="float32", meaning="standard deviation of each"
            ),
        ),
        colour="none",
        params=count_params(graph),
        macs=count_macs(graph),
        licence="Apache-2.0; lexicon after VADER (MIT) and all-MiniLM-L6-v2 (Apache-2.0)",
        trained_on="scene_oasis_dev, all its themes; the figures are cross-validated over themes",
        seed=None,
        parity_tolerance=TOLERANCE,
        figures=saved["figures"],
    )


if __name__ == "__main__":
    main()
