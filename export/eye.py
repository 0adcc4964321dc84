"""Eye network: checkpoint -> `device/weights/eye.onnx` and its card.

`python -m models.train_eye && python -m export.eye` makes both again from shared data.
Float, half-stored and int8 files are exported side by side and measured through `device.model.Model`
in one run; `--precision` says which one ships. All figures of the card come from that run and from
the checkpoint.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from device.model import WEIGHTS, Model, ModelSpec, TensorSpec
from export.card import replace_sections, write_card
from export.compress import store_small
from export.onnx_file import (
    Arrays,
    attach,
    count_macs,
    export_torch,
    parity,
    quantise_int8,
    torch_reference,
)
from models.eye import EyeNet, EyeNetConfig
from models.eye_data import EyeSet, read_meye
from models.eye_render import EMULATED
from models.train_eye import default_data

OUTPUTS = ("ellipse", "openness", "confidence")
CARD = Path(__file__).parents[1] / "docs" / "models" / "eye.md"
TOLERANCE = {"float": 2e-3, "half": 0.1, "int8": 2.0}
"""Largest difference to torch that is accepted, over pixels, log shapes and probabilities alike."""
BENCHES = "Other cameras and people, by `beheld bench pupil` (none of it was trained on)"
LEFT_OUT = "Each person left out in turn"
GATES = "Gate on the confidence, people left out"
CONFIDENCE = "Confidence on people left out, ten bins"
ABLATIONS = "Ablations: the same people left out, the same steps"
COMMAND = "python -m models.train_eye && python -m export.eye"


class Shipped(torch.nn.Module):  # type: ignore[misc]
    """The network with probabilities instead of logits, and the pixel scale inside its weights."""

    def __init__(self, net: EyeNet) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        self.net.fold_scale()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.net(image)
        opened, right = torch.sigmoid(out["open"]), torch.sigmoid(out["right"])
        return {"ellipse": out["ellipse"], "openness": opened, "confidence": right}


def read_checkpoint(path: Path) -> tuple[EyeNet, dict[str, Any]]:
    """The network in evaluation mode, and the whole checkpoint (settings, figures)."""
    checkpoint = torch.load(path, weights_only=True)
    config = dict(checkpoint["settings"]["net"])
    config["channels"] = tuple(config["channels"])
    net = EyeNet(EyeNetConfig(**config))
    net.load_state_dict(checkpoint["state"])
    return net.eval(), checkpoint


def spec_of(
    net: EyeNet, macs: int, path: Path, checkpoint: dict[str, Any], tolerance: float
) -> ModelSpec:
    """The contract of the file at `path`, whose version is the hash of its content."""
    size_px = net.config.size_px
    return ModelSpec(
        name="eye",
        version=hashlib.sha256(path.read_bytes()).hexdigest()[:8],
        inputs=(
            TensorSpec(
                name="image",
                shape=(1, 1, size_px, size_px),
                dtype="uint8",
                meaning="grey infrared image of one eye, 0..255, stretched to the square",
            ),
        ),
        outputs=(
            TensorSpec(
                name="ellipse",
                shape=(1, 5),
                dtype="float32",
                meaning="x, y (input px, centre of the first pixel is 0), log E xx, yy, xy (E in px^2 "
                "has the squared semi-axes as eigenvalues)",
            ),
            TensorSpec(
                name="openness",
                shape=(1,),
                dtype="float32",
                meaning="0 closed, 1 open; a blink is < 0.5",
            ),
            TensorSpec(
                name="confidence",
                shape=(1,),
                dtype="float32",
                meaning="probability: ellipse is right",
            ),
        ),
        colour="grey",
        params=folded_params(net),
        macs=macs,
        licence="Apache-2.0 (weights); training data: see trained_on",
        trained_on="MEYE human part, doi:10.5281/zenodo.4488164, persons "
        + ", ".join(p for p in checkpoint["figures"]["people"] if p.isdigit())
        + (
            "; rendered eyes of the emulator" if EMULATED in checkpoint["figures"]["people"] else ""
        ),
        seed=checkpoint["settings"]["seed"],
        parity_tolerance=tolerance,
        figures={"leave_one_person_out": checkpoint["figures"].get("loso", {}).get("mean", {})},
    )


def folded_params(net: EyeNet) -> int:
    """Learned numbers that stay when batch norms are folded: of each norm's two, one bias a channel."""
    norms: int = sum(m.num_features for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d))
    return int(sum(p.numel() for p in net.parameters())) - norms


def export_float(net: EyeNet, path: Path) -> None:
    """The float graph, without contract."""
    size = net.config.size_px
    image = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    export_torch(Shipped(net), {"image": image}, OUTPUTS, path)


def export_int8(source: Path, path: Path, images: NDArray[np.uint8]) -> None:
    """The float graph quantised between the first convolution and the vote.

    The first convolution has one input channel, which the int8 kernels do worse than the float ones;
    the vote and what follows need the range of floats. `images` (N, S, S) calibrate the activations.
    """
    nodes = onnx.load(source).graph.node
    enlarged = {n.output[0] for n in nodes if n.op_type == "Resize"}
    trunk = [n.name for n in nodes if n.op_type == "Conv"][1:]
    trunk += [n.name for n in nodes if n.op_type in ("Relu", "Resize")][1:]
    trunk += [n.name for n in nodes if n.op_type == "Add" and enlarged & set(n.input)]
    quantise_int8(source, path, calls(images), only=trunk)


def export_half(source: Path, path: Path) -> None:
    """The float graph with its large weights stored as half floats, computed in float as before."""
    graph = onnx.load(source)
    store_small(graph, int8_from=1 << 30)
    onnx.save(graph, path)


def calls(images: NDArray[np.uint8]) -> list[Arrays]:
    """(N, S, S) -> N calls of the network."""
    return [{"image": image[None, None]} for image in images]


def sample(data: EyeSet, count: int, seed: int) -> NDArray[np.uint8]:
    """(count, S, S) pictures drawn without repetition."""
    order = np.random.default_rng(seed).permutation(len(data))[:count]
    chosen: NDArray[np.uint8] = data.images.numpy()[order]
    return chosen


def compare(models: dict[str, Model], data: EyeSet, rounds: int = 5) -> dict[str, dict[str, Any]]:
    """CPU time in one run, interleaved, and how far each is from the first in the ellipse (px)."""
    pictures = calls(sample(data, 200, seed=2))
    spent: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            started = time.thread_time()
            for call in pictures:
                model.run(**call)
            spent[name].append((time.thread_time() - started) / len(pictures))
    first = next(iter(models.values()))
    truth = [first.run(**call)["ellipse"][0] for call in pictures]
    result = {}
    for name, model in models.items():
        apart = [
            float(np.hypot(*(model.run(**call)["ellipse"][0] - want)[:2]))
            for call, want in zip(pictures, truth, strict=True)
        ]
        result[name] = {
            "bytes": model.bytes,
            "cpu_us_hot": 1e6 * float(np.median(spent[name])),
            "centre_from_float_px_median": float(np.median(apart)),
            "centre_from_float_px_p99": float(np.percentile(apart, 99)),
        }
    return result


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), default=Path("build/eye.pt"))
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Folder like MEYE's.")
@click.option("--precision", type=click.Choice(["float", "half", "int8"]), default="int8")
@click.option(
    "--measured",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="What `beheld bench pupil --json` printed, for the card; the file's name is the row's.",
)
@click.option(
    "--ablation",
    multiple=True,
    metavar="NAME=FILE",
    help="A `.loso.json` of `models.train_eye --left-out ... --steps 0`, for the card.",
)
@click.option(
    "--left-out-only",
    type=click.Path(path_type=Path, exists=True),
    help="Only put the figures of this `.loso.json` (`models.train_eye --steps 0`) into the card.",
)
def main(
    checkpoint: Path,
    data: Path | None,
    precision: str,
    measured: tuple[Path, ...],
    ablation: tuple[str, ...],
    left_out_only: Path | None,
) -> None:
    if left_out_only:
        replace_sections(
            CARD, (LEFT_OUT, GATES, CONFIDENCE), left_out(json.loads(left_out_only.read_text()))
        )
        return
    torch.set_num_threads(1)
    people = read_meye(data or default_data())
    net, stored = read_checkpoint(checkpoint)
    build = checkpoint.parent
    paths = {name: build / f"eye_{name}.onnx" for name in ("float", "half", "int8")}
    export_float(net, paths["float"])
    export_half(paths["float"], paths["half"])
    export_int8(paths["float"], paths["int8"], sample(people, 300, seed=1))
    macs = count_macs(onnx.load(paths["float"]))
    reference = torch_reference(Shipped(net), OUTPUTS)
    opened = calls(people.images.numpy()[(people.masks.sum((1, 2)) > 0).numpy()][::40])
    differences: dict[str, dict[str, float]] = {}
    for name, tolerance in TOLERANCE.items():
        spec = spec_of(net, macs, paths[name], stored, tolerance)
        attach(paths[name], spec)
        differences[name] = parity(reference, Model(paths[name]), opened)
        print(f"{name}: largest difference {differences[name]}")
    compared = compare({name: Model(path) for name, path in paths.items()}, people)
    for name, row in compared.items():
        row |= {f"largest difference, {output}": gap for output, gap in differences[name].items()}
        print(f"{name}: {row}")
    WEIGHTS.mkdir(exist_ok=True)
    (WEIGHTS / "eye.onnx").write_bytes(paths[precision].read_bytes())
    shipped = Model(WEIGHTS / "eye.onnx")
    figures = card_figures(stored, compared, precision)
    if measured:
        figures[BENCHES] = benches(measured)
    if ablation:
        figures[ABLATIONS] = ablations(ablation)
    write_card(shipped.spec, figures, CARD, command=COMMAND, keep=(BENCHES, ABLATIONS))
    print(f"{shipped.path}: {shipped.bytes} bytes, {shipped.spec.macs / 1e6:.2f} MMAC")


def ablations(given: tuple[str, ...]) -> dict[str, Any]:
    """A row a variant and person left out, from files of the trainer."""
    rows: dict[str, Any] = {}
    for entry in given:
        name, _, path = entry.partition("=")
        for person, row in json.loads(Path(path).read_text())["loso"].items():
            rows[f"{name}, without {person}" if person != "mean" else f"{name}, mean"] = row
    return rows


def benches(measured: tuple[Path, ...]) -> dict[str, Any]:
    """Rows of the card from the last lines of files, ours and the peer's."""
    rows: dict[str, Any] = {}
    columns = (
        "n",
        "within_5px",
        "median_px",
        "reported",
        "false_pupil_closed",
        "blink_f1",
        "ms_paced",
    )
    for path in measured:
        found = json.loads(path.read_text().strip().splitlines()[-1])
        row = {name: found.get(name) for name in columns}
        for blinks in found.get("blinks", {}).values():
            row["blinks found / labelled / extra"] = (
                f"{blinks['found']} / {blinks['labelled']} / {blinks['extra']}"
            )
        rows[path.stem] = row
        if found.get("peer"):
            peer = found["peer"]
            rows[f"{path.stem}, {peer['name']}"] = {name: peer.get(name) for name in columns}
    return rows


def left_out(found: dict[str, Any]) -> dict[str, Any]:
    """Figures of people the network never saw, and the gate they choose, from the trainer's."""
    steps = f"({found['loso_steps']} steps each)"
    return {
        f"{LEFT_OUT} {steps}": found["loso"],
        f"{GATES} {steps}": found["gates"],
        **({f"{CONFIDENCE} {steps}": found["confidence"]} if "confidence" in found else {}),
    }


def card_figures(
    stored: dict[str, Any], compared: dict[str, dict[str, Any]], precision: str
) -> dict[str, Any]:
    """What the card shows, from what was measured."""
    found = stored["figures"]
    figures = left_out(found) if "loso" in found else {}
    figures["Labels dropped in training, by person"] = found["labels_dropped"] or "none"
    figures[f"Storage and arithmetic, one run (shipped: {precision})"] = compared
    figures["Settings of the training"] = stored["settings"]
    return figures


if __name__ == "__main__":
    main()
