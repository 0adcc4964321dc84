"""Weights stored small: fewer bytes, nearly the same sums, nothing left to do at run time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import onnxruntime as ort  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402

from export.compress import HALF_FROM, INT8_FROM, channel_scales, store_small  # noqa: E402


def network(outputs: int, inside: int = 256) -> onnx.ModelProto:
    """y = W x with channels of very different size, and a bias."""
    rng = np.random.default_rng(0)
    sizes = np.logspace(-3, 1, outputs)[:, None]
    weight = (rng.normal(size=(outputs, inside)) * sizes).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        "gemm",
        [helper.make_tensor_value_info("x", 1, [1, inside])],
        [helper.make_tensor_value_info("y", 1, [1, outputs])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.ones(outputs, np.float32), "b"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("outputs", "bytes_per_weight", "tolerance"),
    [(HALF_FROM // 256, 2, 1e-3), (INT8_FROM // 256 + 1, 1, 2e-2)],
)
def test_a_layer_shrinks_and_each_channel_keeps_its_precision(
    outputs: int, bytes_per_weight: int, tolerance: float
) -> None:
    x = np.random.default_rng(1).normal(size=(1, 256)).astype(np.float32)
    model = network(outputs)
    before = run(model, x)
    store_small(model)
    onnx.checker.check_model(model, full_check=True)
    weights = outputs * 256
    assert len(model.SerializeToString()) < weights * bytes_per_weight + 40 * outputs + 2000
    spread = np.abs(before - 1).max(axis=0) + 16 * np.logspace(-3, 1, outputs)
    assert (np.abs(run(model, x) - before)[0] / spread).max() < tolerance


def test_small_layers_stay_as_they_are() -> None:
    model = network(HALF_FROM // 256 - 1)
    before = model.SerializeToString()
    store_small(model)
    assert model.SerializeToString() == before


def test_the_runner_folds_the_storage_away(tmp_path: Path) -> None:
    model = network(INT8_FROM // 256 + 1)
    store_small(model)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(model.SerializeToString(), options)
    ran = [n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert ran == ["Gemm"]


def test_an_outlier_is_clipped_where_that_loses_less() -> None:
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(2, 4000)).astype(np.float32)
    weight[0, 0] = 5.0
    scale = channel_scales(weight)
    assert scale.shape == (2, 1)
    assert scale[0, 0] * 127 <= 5.0 + 1e-6
    for row, s in zip(weight, scale[:, 0], strict=True):
        full = np.abs(row).max() / 127
        error = [np.square(np.rint(row / q).clip(-127, 127) * q - row).sum() for q in (s, full)]
        assert error[0] <= error[1] * (1 + 1e-6)
