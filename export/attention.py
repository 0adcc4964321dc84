"""`python -m export.attention CHECKPOINT`: the trained attention network as the file the glasses run.

Writes `device/weights/attention.onnx` with its contract and checks it against torch through the runner
that ships. Figures are added by `beheld bench attention --card`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from device.model import WEIGHTS, Model, ModelSpec, TensorSpec
from device.stages.attention import SHAPES
from export.onnx_file import attach, count_macs, count_params, export_torch, parity, torch_reference
from models.attention import STATE, AttentionNet

OUTPUTS = ("probability", "region", "embedding", "next_state")
TRAINED_ON = (
    "composites of OASIS pictures and DAVIS 2016 sequences (scene_davis16_dev) with generated gaze, "
    "sessions of the emulator; DAVIS and OASIS: research use"
)
MEANING = {
    "crop": "BGR around the gaze, 0..255, side 0.4 of the frame's height",
    "crop_motion": "motion against the background in the crop, 50 sqrt(deg/s)",
    "coarse": "BGR of the whole frame, 0..255",
    "coarse_motion": "motion against the background, whole frame, 50 sqrt(deg/s)",
    "features": "gaze dynamics and gaze against scene motion, see device.attention_inputs",
    "gaze": "gaze as fractions of the frame (x, y)",
    "state": "memory of the last step, zeros at first",
    "probability": "that the wearer attends to one thing",
    "region": "attended region, fractions of the frame: left, top, right, bottom",
    "embedding": "of the attended thing, unit length",
    "next_state": "memory for the next step",
}


def export(checkpoint: Path, path: Path, version: str) -> Model:
    """Write, sign and check. Raises ModelError if the file differs from the network."""
    saved = torch.load(checkpoint, weights_only=True)
    net = AttentionNet()
    net.load_state_dict(saved["net"])
    net.eval()
    shapes = {**SHAPES, "state": (1, STATE)}
    example = next(_calls(shapes, 1))
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "attention.onnx"
        tensors = {name: torch.from_numpy(value) for name, value in example.items()}
        export_torch(net, tensors, OUTPUTS, draft)
        graph = onnx.load(draft)
        results = {"probability": (1, 1), "region": (1, 4), "embedding": (1, 64)}
        spec = ModelSpec(
            name="attention",
            version=version,
            inputs=tuple(_tensor(n, s) for n, s in shapes.items()),
            outputs=tuple(_tensor(n, s) for n, s in {**results, "next_state": (1, STATE)}.items()),
            colour="bgr",
            params=count_params(graph),
            macs=count_macs(graph),
            licence="Apache-2.0",
            trained_on=_trained_on(saved),
            seed=int(saved["settings"]["seed"]),
            parity_tolerance=1e-3,
        )
        attach(draft, spec)
        worst = parity(torch_reference(net, OUTPUTS), Model(draft), _calls(shapes, 20))
        print("largest difference to torch:", {k: float(f"{v:.2g}") for k, v in worst.items()})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draft.read_bytes())
    return Model(path)


def _trained_on(saved: dict[str, Any]) -> str:
    left_out = ", ".join(saved["left_out"])
    return TRAINED_ON + (f"; without {left_out}" if left_out else "")


def _tensor(name: str, shape: tuple[int, ...]) -> TensorSpec:
    pixels = name in ("crop", "crop_motion", "coarse", "coarse_motion")
    return TensorSpec(
        name=name, shape=shape, dtype="uint8" if pixels else "float32", meaning=MEANING[name]
    )


def _calls(shapes: dict[str, tuple[int, ...]], count: int) -> Iterator[dict[str, NDArray[Any]]]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        call: dict[str, NDArray[Any]] = {}
        for name, shape in shapes.items():
            if _tensor(name, shape).dtype == "uint8":
                call[name] = rng.integers(0, 256, shape, dtype=np.uint8)
            else:
                call[name] = rng.uniform(0 if name == "gaze" else -1, 1, shape).astype(np.float32)
        yield call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS / "attention.onnx")
    parser.add_argument("--version", default="1.2.0")
    given = parser.parse_args()
    model = export(given.checkpoint, given.out, given.version)
    print(f"{given.out}: {model.bytes} bytes, {model.spec.macs / 1e6:.2f} MMAC a step")


if __name__ == "__main__":
    main()
