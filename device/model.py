"""The one place where networks run on the glasses: ONNX files that carry their own contract.

A model file has, in its ONNX metadata under the key `beheld`, a JSON document (`ModelSpec`): version,
inputs and outputs with shapes and dtypes, colour order, what it was trained on, held-out figures,
parity tolerance, licence. The graph takes uint8 pixels and scales them itself; bringing an image to
the size the graph wants is `fit`, here and nowhere else.

Sessions have one thread and do not spin: a default session of ONNX Runtime keeps a whole core busy
at 30 Hz.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from device.errors import ModelError
from device.types import Pixels

METADATA_KEY = "beheld"
SPEC_VERSION = 1
WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name, shape (None where free) and numpy dtype of one input or output."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    meaning: str
    """What the numbers are, with units: `grey eye image 0..255`, `logit of non-neutral`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The contract between the one who exports a network and the one who runs it."""

    name: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    colour: str
    """`grey`, `bgr`, `rgb` or `none`."""
    params: int
    macs: int
    """Multiply-accumulates of one call at the shapes above (at the largest size if shapes are free)."""
    licence: str
    trained_on: str
    seed: int | None
    parity_tolerance: float
    """Largest absolute difference to the training framework that export accepts, over all outputs."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Held-out figures, written by the bench that measured them."""
    classes: tuple[str, ...] = ()
    spec_version: int = SPEC_VERSION

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Raises ValueError, KeyError or TypeError for anything that is not a spec of this version."""
        raw = json.loads(text)
        if raw.get("spec_version") != SPEC_VERSION:
            raise ValueError(
                f"contract version {raw.get('spec_version')}, this program reads {SPEC_VERSION}"
            )
        for side in ("inputs", "outputs"):
            raw[side] = tuple(TensorSpec(**{**t, "shape": tuple(t["shape"])}) for t in raw[side])
        raw["classes"] = tuple(raw.get("classes", ()))
        return cls(**raw)


class Model:
    """One network, ready to run.

    `calls`, `macs_done` and `busy_s` (CPU seconds of this thread) feed the energy ledger. Where the first
    input has free axes, `largest` is their product at `spec.macs`: who knows the sizes sets it, and a
    smaller call counts in proportion.
    """

    def __init__(self, path: Path) -> None:
        """Raises ModelError if the file is missing, damaged, or contradicts its contract."""
        self.path = path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(
                f"{path}: cannot be read ({error.strerror}); "
                "reinstall beheld or export the model again"
            ) from error
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.bytes = len(content)
        self._session = _open_session(path, content)
        self.spec = _read_spec(path, self._session)
        self._output_names = [t.name for t in self.spec.outputs]
        self.calls = 0
        self.macs_done = 0
        self.largest: int | None = None
        self.busy_s = 0.0

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run once. Keyword names are the input names of the contract."""
        started = time.thread_time()
        values = self._session.run(self._output_names, inputs)
        self.busy_s += time.thread_time() - started
        self.calls += 1
        self.macs_done += self._macs(inputs)
        return dict(zip(self._output_names, values, strict=True))

    def _macs(self, inputs: Mapping[str, NDArray[Any]]) -> int:
        """Multiply-accumulates of a call on these inputs."""
        if self.largest is None:
            return self.spec.macs
        first = self.spec.inputs[0]
        shape = inputs[first.name].shape
        free = [n for n, fixed in zip(shape, first.shape, strict=True) if fixed is None]
        return int(self.spec.macs * math.prod(free) // self.largest)

    @property
    def input_size_px(self) -> tuple[int, int]:
        """(width, height) of the first image input; ModelError if its shape is free."""
        shape = self.spec.inputs[0].shape
        plane = shape[1:3] if shape[-1] in (1, 3) else shape[-2:]
        if plane[0] is None or plane[1] is None:
            raise ModelError(f"{self.path}: input {self.spec.inputs[0].name} has no fixed size")
        return plane[1], plane[0]


def load(name: str, folder: Path = WEIGHTS) -> Model:
    """The shipped model of that name (`folder/name.onnx`)."""
    return Model(folder / f"{name}.onnx")


def installed(folder: Path = WEIGHTS) -> Iterable[Model]:
    """Every model in the folder, in the order of their names."""
    for path in sorted(folder.glob("*.onnx")):
        yield Model(path)


def fit(pixels: Pixels, size_px: tuple[int, int]) -> Pixels:
    """Bring an image to (width, height) by linear interpolation.

    Area interpolation at odd ratios costs 8 to 220 times as much; where an image is more than twice
    too large, it is first halved by striding, which keeps the aliasing of linear sampling in bounds.
    """
    width_px, height_px = size_px
    while pixels.shape[0] >= 2 * height_px and pixels.shape[1] >= 2 * width_px:
        pixels = pixels[::2, ::2]
    if pixels.shape[:2] == (height_px, width_px):
        return np.ascontiguousarray(pixels)
    resized = cv2.resize(pixels, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    return resized.astype(np.uint8, copy=False)


def _open_session(path: Path, content: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own unexported classes
        raise ModelError(
            f"{path}: is not a readable ONNX model ({str(error).splitlines()[0]}); "
            "reinstall beheld or export the model again"
        ) from error


def _read_spec(path: Path, session: ort.InferenceSession) -> ModelSpec:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"{path}: carries no contract (metadata '{METADATA_KEY}'); export it again"
        )
    try:
        spec = ModelSpec.from_json(text)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: contract cannot be used ({error}); export it again") from error
    for side, wanted, real in (
        ("input", spec.inputs, session.get_inputs()),
        ("output", spec.outputs, session.get_outputs()),
    ):
        missing = {t.name for t in wanted} ^ {r.name for r in real}
        if missing:
            raise ModelError(
                f"{path}: contract and graph disagree on {side}s {sorted(missing)}; export it again"
            )
    return spec
