"""The converted networks as shipped: contracts, hard-swish rewriting, plain names, one file a ladder."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

import onnxruntime as ort  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402

from device.detection import SIZES_PX, anchors  # noqa: E402
from device.model import load  # noqa: E402
from export.detector import _hard_swish, parity_image  # noqa: E402
from export.imagenet_names import RANGES, SINGLE  # noqa: E402
from models.mobilenet_v2 import MobileNetV2  # noqa: E402


@pytest.mark.parametrize("size_px", SIZES_PX)
def test_one_detector_serves_every_size(size_px: int) -> None:
    maps = load("detector").run(image=parity_image(size_px))
    assert maps["boxes"].shape == (1, len(anchors(size_px)), 4)
    assert maps["logits"].shape == (1, len(anchors(size_px)), 90)


def test_the_detector_has_a_name_for_every_class_and_stays_small() -> None:
    model = load("detector")
    assert len(model.spec.classes) == 90
    assert {"person", "cat", "cup", "book", "clock"} <= set(model.spec.classes)
    assert model.bytes < 7e6
    assert "Apache-2.0" in model.spec.licence


def test_the_backbone_has_a_thousand_plain_names_and_unit_features() -> None:
    model = load("backbone")
    assert len(model.spec.classes) == 1000
    assert model.spec.classes[281] == model.spec.classes[285] == "cat"
    assert model.bytes < 4e6
    made = model.run(image=parity_image(224))
    assert float(np.linalg.norm(made["embedding"])) == pytest.approx(1, abs=1e-3)


def test_the_network_has_the_parameters_its_contract_counts() -> None:
    net = MobileNetV2()
    learned = sum(p.numel() for p in net.parameters())
    # Batch norms are folded into the convolutions before them: of two numbers a channel one is left.
    norms = sum(
        p.numel()
        for m in net.modules()
        if isinstance(m, torch.nn.BatchNorm2d)
        for p in m.parameters()
    )
    assert load("backbone").spec.params == learned - norms // 2


def test_names_are_merged_inside_the_thousand_and_only_once() -> None:
    in_ranges = [i for first, last in RANGES for i in range(first, last + 1)]
    assert len(in_ranges) == len(set(in_ranges))
    assert set(in_ranges).isdisjoint(SINGLE)
    assert max([*in_ranges, *SINGLE]) < 1000


def test_hard_swish_becomes_two_operations_with_the_same_result() -> None:
    def scalar(name: str, value: float) -> onnx.TensorProto:
        return numpy_helper.from_array(np.float32(value), name)

    nodes = [
        helper.make_node("Add", ["x", "three"], ["a"]),
        helper.make_node("Clip", ["a", "zero", "six"], ["c"]),
        helper.make_node("Mul", ["x", "c"], ["m"]),
        helper.make_node("Mul", ["m", "sixth"], ["y"]),
        helper.make_node("Add", ["y", "three"], ["z"]),  # not one: stays
    ]
    constants = [scalar("three", 3), scalar("zero", 0), scalar("six", 6), scalar("sixth", 1 / 6)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, [7])], [value("z", 1, [7])], constants)
    opset = [helper.make_opsetid("", 17)]
    before = helper.make_model(graph, opset_imports=opset, ir_version=8)
    rewritten = _hard_swish(graph)
    assert [n.op_type for n in rewritten] == ["HardSigmoid", "Mul", "Add"]
    after = onnx.ModelProto()
    after.CopyFrom(before)
    del after.graph.node[:]
    after.graph.node.extend(rewritten)
    x = np.linspace(-5, 5, 7).astype(np.float32)
    results = [
        ort.InferenceSession(m.SerializeToString()).run(None, {"x": x})[0] for m in (before, after)
    ]
    assert results[0] == pytest.approx(results[1], abs=1e-5)
