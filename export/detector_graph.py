"""Frozen TensorFlow graph of the SSD -> ONNX, with free image size. Runs where TensorFlow is.

    python detector_graph.py GRAPH.pb OUT.onnx IMAGES.npz REFERENCE.npz

`export.detector` calls it in an environment of its own, because TensorFlow of that time needs
numpy 1. Nothing of ours is imported. IMAGES holds arrays (1, S, S, 3) in the graph's own scaling;
REFERENCE receives the raw head maps that TensorFlow computes for each, and the graph's anchors.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

IMAGE = "normalized_input_image_tensor"
HEADS = [
    f"BoxPredictor_{level}/{kind}/BiasAdd"
    for kind in ("BoxEncodingPredictor", "ClassPredictor")
    for level in range(6)
]


def main(graph_path: str, onnx_path: str, images_path: str, reference_path: str) -> None:
    frozen = tf.compat.v1.GraphDef.FromString(Path(graph_path).read_bytes())
    graph = tf.compat.v1.GraphDef()
    graph.versions.CopyFrom(frozen.versions)
    # The last node is the phone's own non-maximum suppression; ours is in device/detection.py.
    graph.node.extend(n for n in frozen.node if n.op != "TFLite_Detection_PostProcess")
    anchors = next(n for n in graph.node if n.name == "anchors")
    for node in graph.node:
        if node.name == IMAGE:
            for axis in (1, 2):
                node.attr["shape"].shape.dim[axis].size = -1

    reference = {"anchors": tf.make_ndarray(anchors.attr["value"].tensor)}
    with tf.Graph().as_default() as g, tf.compat.v1.Session(graph=g) as session:
        tf.import_graph_def(graph, name="")
        for name, image in np.load(images_path).items():
            maps = session.run([f"{h}:0" for h in HEADS], {f"{IMAGE}:0": image})
            reference.update({f"{name}/{level}": m for level, m in enumerate(maps)})
    np.savez(reference_path, **reference)

    model, _ = tf2onnx.convert.from_graph_def(
        graph,
        input_names=[f"{IMAGE}:0"],
        output_names=[f"{h}:0" for h in HEADS],
        opset=17,
        shape_override={f"{IMAGE}:0": [1, None, None, 3]},
    )
    onnx.save(model, onnx_path)


if __name__ == "__main__":
    main(*sys.argv[1:5])
