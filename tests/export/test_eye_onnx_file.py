"""The pieces every exporter shares: counting, quantising, contract, parity, card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from device.errors import ModelError  # noqa: E402
from device.model import Model, ModelSpec, TensorSpec  # noqa: E402
from export import card, onnx_file  # noqa: E402


class Net(torch.nn.Module):
    """Conv 1 -> 4 (3x3) on 8x8, then linear 256 -> 2; takes uint8."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.linear = torch.nn.Linear(256, 2)

    def forward(self, image):
        x = torch.relu(self.conv(image.float() / 255.0))
        return {"answer": self.linear(x.flatten(1))}


SPEC = ModelSpec(
    name="tiny",
    version="1",
    inputs=(TensorSpec(name="image", shape=(1, 1, 8, 8), dtype="uint8", meaning="grey"),),
    outputs=(TensorSpec(name="answer", shape=(1, 2), dtype="float32", meaning="two numbers"),),
    colour="grey",
    params=4 * 9 + 4 + 512 + 2,
    macs=64 * 36 + 512,
    licence="Apache-2.0",
    trained_on="nothing",
    seed=0,
    parity_tolerance=1e-5,
)


@pytest.fixture
def exported(tmp_path: Path):
    torch.manual_seed(0)
    net = Net().eval()
    path = tmp_path / "tiny.onnx"
    image = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    onnx_file.export_torch(net, {"image": image}, ["answer"], path)
    return net, path


def calls(count: int = 8):
    rng = np.random.default_rng(0)
    return [{"image": rng.integers(0, 255, (1, 1, 8, 8), dtype=np.uint8)} for _ in range(count)]


def test_counts(exported):
    _, path = exported
    model = onnx.load(path)
    assert onnx_file.count_params(model) == SPEC.params
    assert onnx_file.count_macs(model) == SPEC.macs


def test_contract_and_parity(exported):
    net, path = exported
    onnx_file.attach(path, SPEC)
    model = Model(path)
    assert model.spec == SPEC
    gaps = onnx_file.parity(onnx_file.torch_reference(net, ["answer"]), model, calls())
    assert gaps["answer"] <= 1e-5


def test_parity_refuses_another_network(exported):
    net, path = exported
    onnx_file.attach(path, SPEC)
    with torch.no_grad():
        net.linear.bias += 0.1
    with pytest.raises(ModelError, match="differs"):
        onnx_file.parity(onnx_file.torch_reference(net, ["answer"]), Model(path), calls())


def test_attach_refuses_other_names(exported):
    _, path = exported
    wrong = TensorSpec(name="picture", shape=(1, 1, 8, 8), dtype="uint8", meaning="grey")
    spec = ModelSpec.from_json(SPEC.to_json())
    object.__setattr__(spec, "inputs", (wrong,))
    with pytest.raises(ModelError, match="picture"):
        onnx_file.attach(path, spec)


def test_int8_is_close_and_counts_the_same(exported, tmp_path):
    net, path = exported
    out = tmp_path / "tiny_int8.onnx"
    onnx_file.quantise_int8(path, out, calls(32))
    model = onnx.load(out)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {n.op_type for n in model.graph.node}
    assert onnx_file.count_macs(model) == SPEC.macs
    assert onnx_file.count_params(model) == SPEC.params
    loose = ModelSpec.from_json(SPEC.to_json().replace("1e-05", "0.05"))
    onnx_file.attach(out, loose)
    gaps = onnx_file.parity(onnx_file.torch_reference(net, ["answer"]), Model(out), calls())
    assert 0 < gaps["answer"] < 0.05


def test_card_keeps_the_prose(tmp_path):
    path = tmp_path / "tiny.md"
    figures = {"Held out": {"subject 1": {"n": 3, "error_px": 0.25}}, "Also": {"speed_ms": 0.5}}
    card.write_card(SPEC, figures, path, command="make it")
    text = path.read_text().replace(card.EMPTY_PROSE, "It cannot fly.")
    path.write_text(text)
    card.write_card(SPEC, figures, path, command="make it")
    again = path.read_text()
    assert "It cannot fly." in again and card.EMPTY_PROSE not in again
    assert "| subject 1 | 3 | 0.25 |" in again and "| speed_ms | 0.5 |" in again
