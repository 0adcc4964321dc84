"""face-api's landmark network to `models/places/`: `python -m export.eye_places --package FOLDER`.

It finds the eyes in whole faces, so that `models.emotion_data` cuts them out as an eye camera, which is aimed
at its eye and turns with the head, would see them. It never runs on the glasses. FOLDER is `model/` of the
unpacked npm package `@vladmandic/face-api` 1.7.15 (MIT licence).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization.shape_inference import quant_pre_process

from device.model import ModelSpec, TensorSpec
from export.onnx_file import attach, count_macs, count_params, export_torch
from models.emotion_data import PLACES
from models.face_teacher import SIDE_PX, FaceEyes


class Places(torch.nn.Module):  # type: ignore[misc]
    """uint8 faces in, places of the eyes out."""

    def __init__(self, net: FaceEyes) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"eyes": self.net.centres(faces[:, None])}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--package", type=Path, required=True, help="folder of the network's files")
    options = parser.parse_args()
    faces = torch.zeros(1, SIDE_PX, SIDE_PX, dtype=torch.uint8)
    export_torch(Places(FaceEyes(options.package)), {"faces": faces}, ("eyes",), PLACES)
    quant_pre_process(str(PLACES), str(PLACES), skip_symbolic_shape=True)  # folds what padding left
    graph = onnx.load(PLACES)
    attach(
        PLACES,
        ModelSpec(
            name="eye_places",
            version="1.0.0",
            inputs=(
                TensorSpec(
                    name="faces",
                    shape=(1, SIDE_PX, SIDE_PX),
                    dtype="uint8",
                    meaning="grey face that fills the picture",
                ),
            ),
            outputs=(
                TensorSpec(
                    name="eyes",
                    shape=(1, 2, 2),
                    dtype="float32",
                    meaning="centres of the image-left and image-right eye, x and y, fractions of the side",
                ),
            ),
            colour="grey",
            params=count_params(graph),
            macs=count_macs(graph),
            licence="MIT (face-api.js, Copyright Vincent Muehler)",
            trained_on="not by us: 68 landmarks of faces, see the package",
            seed=None,
            parity_tolerance=1e-3,
        ),
    )
    print(PLACES, PLACES.stat().st_size)


if __name__ == "__main__":
    main()
