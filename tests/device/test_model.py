"""The model runner: contract, refusal of what contradicts it, one thread that does not spin."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from device.errors import ModelError
from device.model import METADATA_KEY, Model, ModelSpec, TensorSpec, fit

SPEC = ModelSpec(
    name="double",
    version="1",
    inputs=(TensorSpec(name="x", shape=(None, 2), dtype="float32", meaning="anything"),),
    outputs=(TensorSpec(name="y", shape=(None, 2), dtype="float32", meaning="twice x"),),
    colour="none",
    params=0,
    macs=0,
    licence="Apache-2.0",
    trained_on="nothing",
    seed=None,
    parity_tolerance=0.0,
)


def write(path: Path, text: str | None) -> Path:
    """A network that adds its input to itself, with `text` as its contract."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if text is not None:
        helper.set_model_props(model, {METADATA_KEY: text})
    onnx.save(model, str(path))
    return path


def test_a_model_runs_counts_its_calls_and_knows_its_contract(tmp_path: Path) -> None:
    model = Model(write(tmp_path / "double.onnx", SPEC.to_json()))
    assert model.spec == SPEC
    assert model.run(x=np.array([[1, 2]], np.float32))["y"].tolist() == [[2, 4]]
    assert model.calls == 1 and len(model.sha256) == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "carries no contract"),
        ("{", "contract cannot be used"),
        (json.dumps({"spec_version": 99}), "contract version 99, this program reads 1"),
        (dataclasses.replace(SPEC, inputs=()).to_json(), r"disagree on inputs \['x'\]"),
    ],
)
def test_a_wrong_contract_is_refused_with_its_reason(
    tmp_path: Path, text: str | None, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        Model(write(tmp_path / "double.onnx", text))


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: cannot be read"):
        Model(tmp_path / "none.onnx")
    whole = write(tmp_path / "double.onnx", SPEC.to_json()).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"cut\.onnx: is not a readable ONNX model"):
        Model(tmp_path / "cut.onnx")


def test_a_waiting_session_does_not_spin(tmp_path: Path) -> None:
    """A default session keeps its pool busy for milliseconds after each call."""
    model = Model(write(tmp_path / "double.onnx", SPEC.to_json()))
    x = np.zeros((1, 2), np.float32)
    model.run(x=x)
    before_s = time.process_time()
    for _ in range(10):
        model.run(x=x)
        time.sleep(0.02)
    assert time.process_time() - before_s < 0.1  # 0.2 s of waiting; spinning takes all of it


@pytest.mark.parametrize("size", [(64, 64), (48, 32), (333, 200), (640, 480)])
def test_fit_gives_the_size_asked_for_and_keeps_flat_grey_flat(size: tuple[int, int]) -> None:
    fitted = fit(np.full((480, 640), 77, np.uint8), size)
    assert fitted.shape == (size[1], size[0])
    assert (fitted == 77).all()
