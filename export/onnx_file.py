"""What every exporter does with an ONNX file: write it, count it, quantise it, sign its contract, check it.

The order is always the same: `export_torch`, perhaps `quantise_int8`, `attach` the contract, then
`parity` through `device.model.Model`, the runner that ships. An export is finished when that agrees.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from device.errors import ModelError
from device.model import METADATA_KEY, Model, ModelSpec

OPSET = 17
"""Old enough for every ONNX Runtime the `device` extra allows, new enough for all we use."""

Arrays = Mapping[str, NDArray[Any]]


def export_torch(
    net: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    path: Path,
    *,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Trace `net(*inputs.values())` into an ONNX file with these input and output names.

    `net` returns one tensor, a tuple in the order of `outputs`, or a dict with exactly these keys.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but writes the plain graph the int8 kernels recognise.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Tuple(net, tuple(outputs)).eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamic_axes={name: dict(axes) for name, axes in (dynamic_axes or {}).items()},
            do_constant_folding=True,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(path), full_check=True)


def attach(path: Path, spec: ModelSpec) -> None:
    """Write the contract into the file's metadata, in place. Raises ModelError if names disagree."""
    model = onnx.load(path)
    initial = {tensor.name for tensor in model.graph.initializer}
    for side, wanted, real in (
        ("input", spec.inputs, [v.name for v in model.graph.input if v.name not in initial]),
        ("output", spec.outputs, [v.name for v in model.graph.output]),
    ):
        if (names := [t.name for t in wanted]) != real:
            raise ModelError(f"{path}: {side}s of the contract are {names}, of the graph {real}")
    kept = {p.key: p.value for p in model.metadata_props if p.key != METADATA_KEY}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**kept, METADATA_KEY: spec.to_json()})
    onnx.save(model, path)


def parity(
    reference: Callable[[Arrays], Arrays], model: Model, batch: Iterable[Arrays]
) -> dict[str, float]:
    """Largest absolute difference per output between `reference` and the runner that ships.

    `batch` is a sequence of calls, each a mapping of input names to arrays of the dtype and shape of
    the contract. Every output of every call is compared (names, then shapes, then values) before
    anything is raised: ModelError if the contract's `parity_tolerance` is exceeded.
    """
    worst = {t.name: 0.0 for t in model.spec.outputs}
    for call in batch:
        want, got = reference(call), model.run(**call)
        if want.keys() != got.keys():
            raise ModelError(f"{model.path}: outputs {sorted(got)}, reference {sorted(want)}")
        for name in worst:
            if want[name].shape != got[name].shape:
                raise ModelError(
                    f"{model.path}: {name} is {got[name].shape}, reference {want[name].shape}"
                )
            gap = np.abs(want[name].astype(np.float64) - got[name].astype(np.float64)).max()
            worst[name] = max(worst[name], float(gap))
    tolerance = model.spec.parity_tolerance
    bad = {name: gap for name, gap in worst.items() if not gap <= tolerance}
    if bad:
        raise ModelError(
            f"{model.path}: differs from the reference by {bad}, tolerance {tolerance}"
        )
    return worst


def torch_reference(net: torch.nn.Module, outputs: Sequence[str]) -> Callable[[Arrays], Arrays]:
    """`net` as a reference for `parity`: arrays in (in the order of the call), arrays out."""
    named = _Tuple(net, tuple(outputs)).eval()

    def run(call: Arrays) -> Arrays:
        with torch.no_grad():
            values = named(*(torch.from_numpy(np.ascontiguousarray(a)) for a in call.values()))
        return {name: value.numpy() for name, value in zip(outputs, values, strict=True)}

    return run


def quantise_int8(
    path_in: Path,
    path_out: Path,
    calibration: Iterable[Arrays],
    *,
    exclude: Sequence[str] = (),
    only: Sequence[str] = (),
    method: CalibrationMethod = CalibrationMethod.MinMax,
) -> None:
    """Static int8 in QDQ form: uint8 activations, int8 weights, one scale per output channel.

    `calibration` is calls as for `parity`; `exclude` names nodes kept in float (a last regression
    layer often pays for it), `only` the nodes to quantise where most stay in float: preparing fuses
    nodes and names the new ones, which no `exclude` can know.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(path_in), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path_out),
            _Calls(calibration),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=list(exclude),
            nodes_to_quantize=list(only),
            calibrate_method=method,
        )


def count_params(model: onnx.ModelProto) -> int:
    """Learned numbers: initializers that are not shapes, indices, lone constants or scales."""
    scales = {
        name
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        for name in node.input[1:]
    }
    return sum(
        prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.dims and tensor.data_type != onnx.TensorProto.INT64 and tensor.name not in scales
    )


def count_macs(model: onnx.ModelProto, free_dims: Mapping[str, int] | None = None) -> int:
    """Multiply-accumulates of one call: convolutions, matrix products, recurrent layers.

    `free_dims` gives numbers to named free dimensions. Raises ModelError where a shape that is
    needed stays unknown.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param and dim.dim_param in (free_dims or {}):
                dim.dim_value = (free_dims or {})[dim.dim_param]
    shapes = _shapes(onnx.shape_inference.infer_shapes(model, data_prop=True))
    return sum(_MACS[n.op_type](n, shapes) for n in model.graph.node if n.op_type in _MACS)


class _Tuple(torch.nn.Module):  # type: ignore[misc]
    """A network whose outputs are a tuple in a given order."""

    def __init__(self, net: torch.nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.net = net
        self.outputs = outputs

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = self.net(*inputs)
        if isinstance(result, dict):
            return tuple(result[name] for name in self.outputs)
        return (result,) if isinstance(result, torch.Tensor) else tuple(result)


class _Calls(CalibrationDataReader):  # type: ignore[misc]
    """Calibration calls in the form ONNX Runtime asks for."""

    def __init__(self, calls: Iterable[Arrays]) -> None:
        self._calls: Iterator[Arrays] = iter(calls)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        call = next(self._calls, None)
        return None if call is None else dict(call)


class _Shapes(dict[str, tuple[int | None, ...]]):
    """Shape of every named tensor; a missing or free one is our error, said plainly."""

    def size(self, name: str) -> tuple[int, ...]:
        shape = self.get(name)
        if shape is None or any(d is None for d in shape):
            raise ModelError(f"tensor {name}: shape {shape} is not known; give free_dims")
        return tuple(d for d in shape if d is not None)


def _shapes(model: onnx.ModelProto) -> _Shapes:
    found = _Shapes({t.name: tuple(t.dims) for t in model.graph.initializer})
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        found[value.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    found[node.output[0]] = tuple(attribute.t.dims)
    return found


def _conv(node: onnx.NodeProto, shapes: _Shapes) -> int:
    weight = shapes.size(node.input[1])  # (out, in / groups, kernel...)
    return prod(shapes.size(node.output[0])) * prod(weight[1:])


def _conv_transpose(node: onnx.NodeProto, shapes: _Shapes) -> int:
    weight = shapes.size(node.input[1])  # (in, out / groups, kernel...)
    return prod(shapes.size(node.input[0])) * prod(weight[1:])


def _gemm(node: onnx.NodeProto, shapes: _Shapes) -> int:
    a = shapes.size(node.input[0])
    transposed = any(attr.name == "transA" and attr.i for attr in node.attribute)
    return prod(shapes.size(node.output[0])) * (a[0] if transposed else a[1])


def _matmul(node: onnx.NodeProto, shapes: _Shapes) -> int:
    return prod(shapes.size(node.output[0])) * shapes.size(node.input[0])[-1]


def _recurrent(node: onnx.NodeProto, shapes: _Shapes) -> int:
    steps, batch, _ = shapes.size(node.input[0])
    return steps * batch * (prod(shapes.size(node.input[1])) + prod(shapes.size(node.input[2])))


_MACS: Mapping[str, Callable[[onnx.NodeProto, _Shapes], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "RNN": _recurrent,
}
