"""Weights stored small, computed in float: a quarter or half of the bytes, the speed unchanged.

ONNX Runtime folds `Cast` and `Mul` of constants when it opens the file, so what runs is the float
network. `DequantizeLinear` would say the same, but is left in the graph and computed at every call.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

HALF_FROM = 1024
"""Tensors of fewer numbers stay float: biases and norms weigh nothing and matter most."""
INT8_FROM = 30_000
"""Tensors of fewer numbers become half floats: the thin early, depthwise and gating layers hold a
twentieth of the weights and most of the rounding harm."""


def store_small(model: onnx.ModelProto, int8_from: int = INT8_FROM) -> None:
    """Store large float weights as int8 (one scale per output channel), middling ones as half floats.

    In place. With `int8_from` beyond every size, all become half floats.
    """
    for tensor in list(model.graph.initializer):
        count = int(np.prod(tensor.dims))
        matrix = tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1
        if matrix and count >= int8_from:
            _store_int8(model, tensor)
        elif matrix and count >= HALF_FROM:
            _store_half(model, tensor)


def channel_scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale per output channel that loses least by rounding to int8, shaped to multiply `weight`.

    The full range is not always best: a channel with one outlier gains by clipping it. The squared
    error is compared over a few fractions of the range.
    """
    flat = weight.reshape(len(weight), -1)
    full = np.maximum(np.abs(flat).max(axis=1, keepdims=True), 1e-12) / 127
    best, least = full, np.full_like(full, np.inf)
    for fraction in np.linspace(0.7, 1.0, 13):
        scale = full * fraction
        rounded = np.rint(flat / scale).clip(-127, 127) * scale
        error = np.square(rounded - flat).sum(axis=1, keepdims=True)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    shape = (-1, *[1] * (weight.ndim - 1))
    return np.asarray(best.reshape(shape), dtype=np.float32)


def _store_int8(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    weight, name = numpy_helper.to_array(tensor), tensor.name
    scale = channel_scales(weight)
    small = np.rint(weight / scale).clip(-127, 127).astype(np.int8)
    tensor.CopyFrom(numpy_helper.from_array(small, f"{name}/int8"))
    model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}/scale"))
    cast = onnx.helper.make_node("Cast", [f"{name}/int8"], [f"{name}/cast"], to=1)
    _put_first(model, cast, onnx.helper.make_node("Mul", [cast.output[0], f"{name}/scale"], [name]))


def _store_half(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    small, name = numpy_helper.to_array(tensor).astype(np.float16), tensor.name
    tensor.CopyFrom(numpy_helper.from_array(small, f"{name}/half"))
    _put_first(model, onnx.helper.make_node("Cast", [f"{name}/half"], [name], to=1))


def _put_first(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
