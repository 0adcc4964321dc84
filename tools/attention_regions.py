"""Which part of the scene is meant? What the glasses deliver, the network alone and OS-1's rule.

What is delivered is the region of the scene analysis (`Tags`) from the moment's opening on; before that, and
outside of moments, there is only the network's (`Attention`). All three are judged at the same estimates, on
the same frames and gaze; for the delivered region that is the newest there is by then, carried along by the
optical flow where the resolution controller reused it.

OS-1's rule, as far as it is known (see `docs/models/attention.md`): of class-agnostic region proposals
those that contain the gaze, with 10 px around them; boxes under a tenth of a side of the frame are
dropped; overlapping ones are suppressed at 0.4; the outer rectangle of the 8 smallest, the whole image
if there is none. Its proposals are not known; here they are the shipped detector's boxes whatever their
class, from a probability of 0.1 on, strongest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.detection import Detector, corners, overlaps
from device.geometry import project
from device.model import load
from device.types import (
    Attention,
    Gaze,
    MomentEnd,
    MomentStart,
    Pixels,
    Region,
    SceneFrame,
    Tags,
    Value,
)
from tools.attention_truth import Box, Trial

PADDING_PX = 10.0
SMALLEST_SHARE = 0.1
MAX_OVERLAP = 0.4
COUNT = 8
PROPOSAL_PROBABILITY = 0.1
RIGHT_IOU = 0.5
"""A region is of the right object from this overlap with the object's box on."""

WHOLE = np.array([0.0, 0.0, 1.0, 1.0])


class Proposals:
    """The shipped detector's boxes, whatever their class; a picture shown again is not searched again."""

    def __init__(self, detector: Detector | None = None, most: int = 128) -> None:
        self._detector = detector or Detector(
            load("detector"), min_probability=PROPOSAL_PROBABILITY, max_overlap=1.0, max_count=100
        )
        self._known: dict[int, tuple[Pixels, NDArray[np.float32]]] = {}
        self._most = most

    def boxes(self, pixels: Pixels) -> NDArray[np.float32]:
        """(n, 4) left, top, right, bottom as fractions, strongest first."""
        known = self._known.get(id(pixels))
        if known is not None:
            return known[1]
        rows = [corners(d.region) for d in self._detector.detect(pixels)]
        found = np.array(rows, np.float32).reshape(-1, 4)
        if len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[id(pixels)] = (pixels, found)  # kept alive, so that its id stays its own
        return found


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


def box_iou(a: Box | NDArray[np.float32], b: Box) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    sizes = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return float(both / max(1e-12, sizes - both))


@dataclass
class Regions:
    """A sink: at every estimate while the thing was attended, the regions against its box."""

    trial: Trial
    proposals: Proposals
    """What OS-1's rule chooses from."""
    delivered: list[float] = field(default_factory=list)
    """IoU with the box of the thing's mask: of the scene analysis in a moment, else of the network."""
    network: list[float] = field(default_factory=list)
    os1: list[float] = field(default_factory=list)
    in_moment: list[bool] = field(default_factory=list)
    """Whether a moment was open: only then is a region kept and shown."""
    _gaze: Gaze | None = None
    _frame: SceneFrame | None = None
    _open: bool = False
    _analysed: Region | None = None
    _waiting: Attention | None = None
    """The estimate of the newest frame, whose analysis may still come."""

    def __call__(self, value: Value) -> None:
        match value:
            case Gaze() if np.isfinite(value.azimuth_deg):
                self.close()  # a frame's values come together; this is the next value
                self._gaze = value
            case SceneFrame():
                self.close()
                self._frame = value
            case MomentStart():
                self._open = True
            case MomentEnd():
                self._open, self._analysed = False, None
            case Tags():
                self._analysed = value.region
            case Attention() if self._attended(value.t_ns):
                self._waiting = value

    def close(self) -> None:
        """Judge the estimate that waits."""
        estimate, self._waiting, frame = self._waiting, None, self._frame
        if estimate is None or frame is None or frame.t_ns != estimate.t_ns or self._gaze is None:
            return
        box = self.trial.box(estimate.t_ns)
        if box is None:
            return
        geometry = self.trial.geometry
        x_px, y_px = project(geometry, self._gaze.azimuth_deg, self._gaze.elevation_deg)
        size_px = (geometry.width_px, geometry.height_px)
        gaze = (float(x_px) / size_px[0], float(y_px) / size_px[1])
        self.in_moment.append(self._open)
        self.delivered.append(box_iou(corners(self._analysed or estimate.region), box))
        self.network.append(box_iou(corners(estimate.region), box))
        self.os1.append(box_iou(os1_region(self.proposals.boxes(frame.pixels), gaze, size_px), box))

    def _attended(self, t_ns: int) -> bool:
        return any(a <= t_ns < b for a, b in self.trial.truths[0])


RULES = ("delivered", "network", "os1")


def figures(seen: Sequence[Regions]) -> dict[str, Any]:
    """Mean IoU and share of right objects at all estimates, and at those in an open moment."""
    opened = np.array([is_open for regions in seen for is_open in regions.in_moment], bool)
    ious = {name: np.array([v for r in seen for v in getattr(r, name)]) for name in RULES}
    return {
        "region_iou": mean(ious["delivered"]),
        "region_iou_network": mean(ious["network"]),
        "region_iou_os1": mean(ious["os1"]),
        "right_object": {name: share_right(v) for name, v in ious.items()},
        "in_moment": {
            "share": mean(opened),
            "region_iou": {name: mean(v[opened]) for name, v in ious.items()},
            "right_object": {name: share_right(v[opened]) for name, v in ious.items()},
        },
        "region_estimates": len(opened),
    }


def share_right(ious: Sequence[float] | NDArray[np.float64]) -> float | None:
    """Share of the time the region is of the right object; None where nothing was to be seen."""
    return float(np.mean(np.asarray(ious) >= RIGHT_IOU)) if len(ious) else None


def mean(values: Sequence[float] | NDArray[Any]) -> float | None:
    """None of nothing."""
    return float(np.mean(values)) if len(values) else None
