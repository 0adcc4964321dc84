"""Training and export of the attention network, in small."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from device.attention_inputs import FEATURES  # noqa: E402
from export.attention import export  # noqa: E402
from models.attention import AttentionNet  # noqa: E402
from models.attention_data import composite, generate  # noqa: E402
from models.train_attention import (  # noqa: E402
    Settings,
    Steps,
    giou,
    record_session,
    tensors,
    train,
)


@pytest.fixture(scope="module")
def steps() -> Steps:
    rng = np.random.default_rng(1)
    pictures = [
        cv2.blur(rng.integers(0, 256, (400, 500, 3), dtype=np.uint8), (k, k)) for k in (9, 25)
    ]
    made = Steps.empty()
    for seed in range(2):
        record_session(generate(composite(pictures, rng, 3.0), seed, 25.0), made, seed, seed)
    return made


def test_steps_carry_both_answers_and_boxes_where_attended(steps: Steps) -> None:
    data = tensors(steps)
    assert data["features"].shape[1] == FEATURES and data["restart"][0]
    assert 0.1 < float(data["attending"].mean()) < 0.95
    known = torch.isfinite(data["box"]).all(1)
    assert known.any() and not (known & (data["attending"] < 0.5)).any()


def test_a_sequence_is_its_steps_one_after_the_other(steps: Steps) -> None:
    net = AttentionNet().eval()
    data = {k: v[:12] for k, v in tensors(steps).items()}
    names = ("crop", "crop_motion", "coarse", "coarse_motion", "features", "gaze")
    restart = data["restart"].clone()
    restart[0] = restart[7] = True
    with torch.no_grad():
        logit, box, _ = net.sequence({n: data[n][None] for n in names}, restart[None])
        state = torch.zeros(1, 64)
        for k in range(12):
            state = torch.zeros(1, 64) if restart[k] else state
            one, region, _, state = net(*(data[n][k : k + 1] for n in names), state)
            assert one.item() == pytest.approx(torch.sigmoid(logit[0, k]).item(), abs=1e-5)
            assert torch.allclose(region[0], box[0, k], atol=1e-5)


def test_training_is_seeded_and_its_export_says_what_torch_says(
    steps: Steps, tmp_path: Path
) -> None:
    settings = Settings(epochs=1, batch=4)
    first, second = (train(tensors(steps), settings).state_dict() for _ in range(2))
    assert all(torch.equal(first[k], second[k]) for k in first)
    torch.save({"net": first, "settings": asdict(settings), "left_out": ["dog"]}, tmp_path / "a.pt")
    model = export(tmp_path / "a.pt", tmp_path / "attention.onnx", "0.0.1")
    assert "without dog" in model.spec.trained_on and model.spec.seed == 0


def test_overlap_of_boxes() -> None:
    a = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.2, 0.2]])
    b = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.8, 0.8, 1.0, 1.0]])
    same, apart = giou(a, b).tolist()
    assert same == pytest.approx(1.0, abs=1e-3) and apart < -0.5
