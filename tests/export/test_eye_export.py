"""Exporting the eye network: parity in every storage, budgets of what ships, the card."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402

from device.model import WEIGHTS, Model  # noqa: E402
from device.pupil import PupilEstimator  # noqa: E402
from device.types import EyeFrame  # noqa: E402
from export import eye as export_eye  # noqa: E402
from export.onnx_file import count_params  # noqa: E402
from models.eye import EyeNet  # noqa: E402
from models.train_eye import TrainEye  # noqa: E402

LARGEST_BYTES = 300_000
LARGEST_MACS = 11_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of an untrained network and a small data set in MEYE's layout."""
    import cv2

    root = tmp_path_factory.mktemp("eye")
    torch.manual_seed(0)
    net = EyeNet()
    figures = {"people": ["a"], "labels_dropped": {}}
    figures["loso"] = {"a": {"n_open": 3, "iou_mean": 0.5}, "mean": {"n_open": 3, "iou_mean": 0.5}}
    figures |= {
        "loso_steps": 1,
        "gates": {"chosen over all": 0.2, "0.2, mean": {"within_5px": 0.9}},
    }
    torch.save(
        {
            "state": net.state_dict(),
            "settings": dataclasses.asdict(TrainEye(loso_steps=1)),
            "figures": figures,
        },
        root / "eye.pt",
    )
    for name in ("images", "masks"):
        (root / name).mkdir()
    rng = np.random.default_rng(0)
    rows = ["image,mask,subject,eye_visible,blink,mask_pixels"]
    for number in range(210):
        image = rng.integers(0, 255, (16, 16), dtype=np.uint8)
        cv2.imwrite(str(root / "images" / f"{number}.png"), cv2.resize(image, (128, 128)))
        cv2.imwrite(str(root / "masks" / f"{number}.png"), np.full((128, 128), 255, np.uint8))
        rows.append(f"{number}.png,{number}.png,a,1,0,16384")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def test_the_command_writes_weights_and_card(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(export_eye, "WEIGHTS", tmp_path)
    monkeypatch.setattr(export_eye, "CARD", tmp_path / "eye.md")
    arguments = ["--checkpoint", str(folder / "eye.pt"), "--data", str(folder)]
    done = CliRunner().invoke(export_eye.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    model = Model(tmp_path / "eye.onnx")
    assert model.bytes <= LARGEST_BYTES and model.spec.macs <= LARGEST_MACS
    graph = onnx.load(folder / "eye_float.onnx")
    assert model.spec.params == pytest.approx(count_params(graph), rel=0.03)  # and the grid
    frame = EyeFrame(t_ns=0, eye="left", seq=0, pixels=np.full((192, 192), 90, np.uint8))
    assert 0.0 <= PupilEstimator(model).estimate(frame).openness <= 1.0
    card = (tmp_path / "eye.md").read_text()
    assert "Each person left out in turn (1 steps each)" in card and "| int8 |" in card
    assert "| chosen over all | 0.2 |" in card
    int8 = onnx.load(folder / "eye_int8.onnx")
    assert sum(n.op_type == "QuantizeLinear" for n in int8.graph.node) > 5


def test_tables_that_are_not_measured_anew_stay_in_the_card(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(export_eye, "WEIGHTS", tmp_path)
    monkeypatch.setattr(export_eye, "CARD", tmp_path / "eye.md")
    old = f"# eye\n\n## {export_eye.ABLATIONS}\n\n| plain | 1 |\n\n## Gone\n\nold\n"
    (tmp_path / "eye.md").write_text(old)
    arguments = ["--checkpoint", str(folder / "eye.pt"), "--data", str(folder)]
    CliRunner().invoke(export_eye.main, arguments, catch_exceptions=False)
    card = (tmp_path / "eye.md").read_text()
    assert card.endswith(f"## {export_eye.ABLATIONS}\n\n| plain | 1 |\n")
    assert "Gone" not in card


def test_figures_of_people_left_out_go_into_a_card_that_is_otherwise_kept(tmp_path, monkeypatch):
    card = tmp_path / "eye.md"
    card.write_text(
        "# eye\n\n## Each person left out in turn (9 steps each)\n\nold\n\n## Other\n\nstays\n"
    )
    monkeypatch.setattr(export_eye, "CARD", card)
    found = {
        "loso_steps": 7,
        "loso": {"mean": {"n": 1}},
        "gates": {"0.2, mean": {"within_5px": 0.9}},
    }
    (tmp_path / "a.loso.json").write_text(json.dumps(found))
    arguments = ["--left-out-only", str(tmp_path / "a.loso.json")]
    for _ in range(2):
        assert CliRunner().invoke(export_eye.main, arguments).exit_code == 0
    text = card.read_text()
    assert "old" not in text and text.count("(7 steps each)") == 2
    assert "| 0.2, mean | 0.9 |" in text and text.endswith("## Other\n\nstays\n")


def test_what_ships_is_within_its_budget():
    model = Model(WEIGHTS / "eye.onnx")
    assert model.bytes <= LARGEST_BYTES
    assert model.spec.macs <= LARGEST_MACS


def test_what_ships_was_measured_on_people_left_out():
    figures = Model(WEIGHTS / "eye.onnx").spec.figures["leave_one_person_out"]
    if not figures:
        pytest.skip("the shipped weights were made without leaving people out (docs/models/eye.md)")
    assert figures["within_5px"] > 0.9
