"""Which part of the scene is meant? The network's region against the rule of OS-1, on the same frames.

OS-1's rule, as far as it is known (see `docs/models/attention.md`): of class-agnostic region proposals
those that contain the gaze, with 10 px around them; boxes under a tenth of a side of the frame are
dropped; overlapping ones are suppressed at 0.4; the outer rectangle of the 8 smallest, the whole image
if there is none. Its proposals are not known; here they are the shipped detector's boxes whatever their
class, from a probability of 0.1 on, strongest first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from device.detection import Detector, overlaps
from device.geometry import project
from device.model import load
from device.types import Attention, Gaze, SceneFrame, Value
from tools.attention_truth import Box, Trial

PADDING_PX = 10.0
SMALLEST_SHARE = 0.1
MAX_OVERLAP = 0.4
COUNT = 8
PROPOSAL_PROBABILITY = 0.1
RIGHT_IOU = 0.5
"""A region is of the right object from this overlap with the object's box on."""

WHOLE = np.array([0.0, 0.0, 1.0, 1.0])


def proposals(detector: Detector, frame: SceneFrame) -> NDArray[np.float32]:
    """(n, 4) left, top, right, bottom as fractions, strongest first, classes forgotten."""
    found = [d.region for d in detector.detect(frame.pixels)]
    rows = [(r.left, r.top, r.right, r.bottom) for r in found]
    return np.array(rows, np.float32).reshape(-1, 4)


def os1_region(
    boxes: NDArray[np.float32], gaze: tuple[float, float], size_px: tuple[int, int]
) -> Box:
    """The rule of this file's head. `gaze` in fractions of a frame of `size_px` (width, height)."""
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes[(sides >= SMALLEST_SHARE).all(axis=1)]
    kept: list[int] = []
    for i in range(len(boxes)):
        if not kept or overlaps(boxes[i], boxes[kept]).max() <= MAX_OVERLAP:
            kept.append(i)
    boxes = boxes[kept]
    padding = PADDING_PX / np.array(size_px)
    here = np.array(gaze)
    within = (boxes[:, :2] - padding <= here).all(1) & (here <= boxes[:, 2:] + padding).all(1)
    boxes = boxes[within]
    if not len(boxes):
        return WHOLE
    size = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    boxes = boxes[np.argsort(size, kind="stable")[:COUNT]].astype(np.float64)
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    sizes = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return float(both / max(1e-12, sizes - both))


def proposer() -> Detector:
    """The shipped detector as a source of proposals: all its boxes, whatever their class."""
    return Detector(
        load("detector"), min_probability=PROPOSAL_PROBABILITY, max_overlap=1.0, max_count=100
    )


@dataclass
class Regions:
    """A sink: at every estimate while the thing was attended, both regions against its box."""

    trial: Trial
    detector: Detector
    fused: list[float] = field(default_factory=list)
    """IoU of the network's region with the box of the thing's mask."""
    os1: list[float] = field(default_factory=list)
    _gaze: Gaze | None = None
    _frame: SceneFrame | None = None

    def __call__(self, value: Value) -> None:
        match value:
            case Gaze() if np.isfinite(value.azimuth_deg):
                self._gaze = value
            case SceneFrame():
                self._frame = value
            case Attention() if self._attended(value.t_ns):
                self._compare(value)

    def _attended(self, t_ns: int) -> bool:
        return any(a <= t_ns < b for a, b in self.trial.truths[0])

    def _compare(self, estimate: Attention) -> None:
        box, r, frame = self.trial.box(estimate.t_ns), estimate.region, self._frame
        if box is None or frame is None or frame.t_ns != estimate.t_ns or self._gaze is None:
            return
        geometry = self.trial.geometry
        x_px, y_px = project(geometry, self._gaze.azimuth_deg, self._gaze.elevation_deg)
        size_px = (geometry.width_px, geometry.height_px)
        gaze = (float(x_px) / size_px[0], float(y_px) / size_px[1])
        self.fused.append(box_iou(np.array([r.left, r.top, r.right, r.bottom]), box))
        self.os1.append(box_iou(os1_region(proposals(self.detector, frame), gaze, size_px), box))


def share_right(ious: list[float]) -> float | None:
    """Share of the time the region is of the right object; None where nothing was to be seen."""
    return float(np.mean(np.array(ious) >= RIGHT_IOU)) if ious else None


def mean(ious: list[float]) -> float | None:
    return float(np.mean(ious)) if ious else None
