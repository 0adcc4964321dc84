"""Two whole-face networks of face-api's, MIT licence, from its npm package: expression, and 68 landmarks.

The first is a teacher: it only labels training faces softly, never runs on the glasses, and its weights are
not part of this project. `python -m models.train_eye_emotion --teacher FOLDER` takes the folder `model/` of
the unpacked package `@vladmandic/face-api` 1.7.15. The second says where a picture's eyes are, and is
exported (`export.eye_places`). Architecture of both: four dense blocks of depthwise-separable convolutions,
average pooling, one linear layer (read off the weight names and shapes).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CLASSES = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
SIDE_PX = 112
FEATURES = 256
"""Length of what the last block gives, pooled over the face."""
MEAN_RGB = (122.782, 117.001, 104.298)


EYES = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47))
"""Landmarks around the image-left eye and the image-right one."""


class _FaceNet:
    """What both networks have in common."""

    def __init__(self, folder: Path, name: str) -> None:
        """Raises FileNotFoundError if the package's files are not in `folder`."""
        manifest = json.loads((folder / f"{name}-weights_manifest.json").read_text())
        content = (folder / f"{name}.bin").read_bytes()
        self._weights: dict[str, Tensor] = {}
        at = 0
        for entry in manifest[0]["weights"]:
            count = int(np.prod(entry["shape"]))
            packed = entry.get("quantization")
            kind = np.dtype(packed["dtype"] if packed else "float32")
            raw = np.frombuffer(content, kind, count, at).astype(np.float32)
            at += count * kind.itemsize
            values = raw * packed["scale"] + packed["min"] if packed else raw
            self._weights[entry["name"]] = torch.from_numpy(values.reshape(entry["shape"]))

    def features(self, faces: Tensor) -> Tensor:
        """Grey faces (B, 1, 112, 112) in 0..255 -> (B, 256)."""
        x = (faces.float().repeat(1, 3, 1, 1) - torch.tensor(MEAN_RGB).view(1, 3, 1, 1)) / 255
        for block in range(4):
            x = self._block(x, f"dense{block}", first=block == 0)
        return F.avg_pool2d(x, 7, 2).flatten(1)

    def _block(self, x: Tensor, name: str, *, first: bool) -> Tensor:
        if first:
            kernel = self._weights[f"{name}/conv0/filters"].permute(3, 2, 0, 1)
            total = F.conv2d(_same(x, 2), kernel, self._weights[f"{name}/conv0/bias"], 2).relu()
        else:
            total = self._separable(x, f"{name}/conv0", 2).relu()
        for number in (1, 2, 3):
            total = total + self._separable(total.relu(), f"{name}/conv{number}", 1)
        return total.relu()

    def _separable(self, x: Tensor, name: str, stride: int) -> Tensor:
        depthwise = self._weights[f"{name}/depthwise_filter"].permute(2, 3, 0, 1)
        pointwise = self._weights[f"{name}/pointwise_filter"].permute(3, 2, 0, 1)
        x = F.conv2d(_same(x, stride), depthwise, stride=stride, groups=x.shape[1])
        return F.conv2d(x, pointwise, self._weights[f"{name}/bias"])


class FaceTeacher(_FaceNet):
    """Expression probabilities of whole grey faces."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError if the package's files are not in `folder`."""
        super().__init__(folder, "face_expression_model")

    @torch.no_grad()
    def opinion(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Grey faces (B, 1, 112, 112) in 0..255 -> probabilities (B, 7) in the order of `CLASSES`, and the
        pooled features (B, 256) they come from."""
        x = self.features(faces)
        return (x @ self._weights["fc/weights"] + self._weights["fc/bias"]).softmax(1), x


class FaceEyes(_FaceNet):
    """Centres of the two eyes in whole grey faces."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError if the package's files are not in `folder`."""
        super().__init__(folder, "face_landmark_68_model")
        for name in ("fc/weights", "fc/bias"):  # the mean of landmarks is one linear layer as well
            points = self._weights[name].unflatten(-1, (68, 2))
            self._weights[name] = torch.stack([points[..., eye, :].mean(-2) for eye in EYES], -2)

    def centres(self, faces: Tensor) -> Tensor:
        """Grey faces (B, 1, 112, 112) in 0..255 -> (B, 2, 2): image-left eye and image-right one, x and y in
        fractions of the side."""
        weights, bias = (self._weights[f"fc/{kind}"].flatten(-2) for kind in ("weights", "bias"))
        return (self.features(faces) @ weights + bias).unflatten(1, (2, 2))


def _same(x: Tensor, stride: int) -> Tensor:
    """TensorFlow's `same` padding of a 3x3 kernel: what is odd goes to the right and the bottom."""
    return F.pad(x, (0, 1, 0, 1)) if stride == 2 else F.pad(x, (1, 1, 1, 1))
