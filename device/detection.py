"""Objects in a scene frame: the detector's raw maps decoded to named boxes, in numpy.

One set of weights serves every size. The network is fully convolutional, so a thing of 32 pixels
looks the same to it whatever the image's side; anchors therefore keep their size in *pixels* and
their share of the frame grows as the side shrinks. (Kept as shares, boxes come out too small by
side/320, and detections are lost by overlap.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from device.model import Model, fit
from device.types import Pixels, Region

SIZES_PX = (160, 224, 320)
"""Sides the resolution controller chooses from. More than 320 gains nothing with these weights."""

TRAINED_PX = 320
LEVELS = 6
LOWEST_SCALE, HIGHEST_SCALE = 0.2, 0.95
"""Anchor scales of the published configuration (ssd_mobilenet_v3_large, 320x320)."""
CENTRE_VARIANCE, SIZE_VARIANCE = 10.0, 5.0
LARGEST_LOG_SIZE = 4.0
"""Bound on the encoded log size, so that nonsense input cannot overflow."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing found: COCO name, probability (0..1), box as fractions of the frame."""

    name: str
    probability: float
    region: Region


class Detector:
    """The object detector around its network."""

    def __init__(
        self,
        model: Model,
        *,
        min_probability: float = 0.4,
        max_overlap: float = 0.5,
        max_count: int = 20,
    ) -> None:
        """`min_probability` trades missed things for false ones; `max_overlap` is the IoU at which
        two boxes of one class count as one thing."""
        self.model = model
        model.largest = SIZES_PX[-1] ** 2
        self._min_logit = float(np.log(min_probability / (1 - min_probability)))
        self._max_overlap = max_overlap
        self._max_count = max_count

    def detect(self, pixels: Pixels, size_px: int = TRAINED_PX) -> list[Detection]:
        """Things in a BGR image (H, W, 3) uint8, most probable first, computed at `size_px` square."""
        image = fit(pixels, (size_px, size_px))
        maps = self.model.run(image=image[None])
        return self.decode(maps["boxes"][0], maps["logits"][0], size_px)

    def decode(
        self, boxes: NDArray[np.float32], logits: NDArray[np.float32], size_px: int
    ) -> list[Detection]:
        """Raw maps of one image to detections.

        `boxes` (anchors, 4): encoded centre y, x, log height, log width; `logits` (anchors, classes)
        without background.
        """
        best = logits.max(axis=1)
        candidates = np.flatnonzero(best >= self._min_logit)
        # Non-maximum suppression is quadratic; nothing beyond the strongest hundred ever survives it.
        candidates = candidates[np.argsort(-best[candidates], kind="stable")][:100]
        kinds = logits[candidates].argmax(axis=1)
        boxed = decode_boxes(boxes[candidates], anchors(size_px)[candidates])
        kept = suppress(boxed, kinds, self._max_overlap)[: self._max_count]
        probabilities = 1 / (1 + np.exp(-best[candidates].astype(np.float64)))
        return [
            Detection(
                name=self.model.spec.classes[kinds[i]],
                probability=float(probabilities[i]),
                region=Region(
                    left=float(boxed[i, 0]),
                    top=float(boxed[i, 1]),
                    right=float(boxed[i, 2]),
                    bottom=float(boxed[i, 3]),
                ),
            )
            for i in kept
        ]


@lru_cache(maxsize=8)
def anchors(size_px: int) -> NDArray[np.float32]:
    """Default boxes of a square image, (anchors, 4) centre y, x, height, width as fractions of it.

    Three per cell on the finest grid and six on the others; grids are ceil(size/16), then halved.
    """
    scales = [
        LOWEST_SCALE + (HIGHEST_SCALE - LOWEST_SCALE) * level / (LEVELS - 1)
        for level in range(LEVELS)
    ] + [1.0]
    rows = []
    grid = -(-size_px // 16)
    for level in range(LEVELS):
        shapes = _shapes(level, scales) * (TRAINED_PX / size_px)
        centres = (np.arange(grid) + 0.5) / grid
        y, x = np.meshgrid(centres, centres, indexing="ij")
        cell = np.empty((grid, grid, len(shapes), 4))
        cell[..., 0], cell[..., 1] = y[..., None], x[..., None]
        cell[..., 2:] = shapes
        rows.append(cell.reshape(-1, 4))
        grid = -(-grid // 2)
    return np.concatenate(rows).astype(np.float32)


def _shapes(level: int, scales: list[float]) -> NDArray[np.float64]:
    """(per cell, 2) height and width of the anchors of one level at the trained size."""
    scale = scales[level]
    if level == 0:  # the published configuration has a reduced set on the finest grid
        pairs = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
    else:
        pairs = [(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)]
        pairs.append((float(np.sqrt(scale * scales[level + 1])), 1.0))
    return np.array([(s / np.sqrt(ratio), s * np.sqrt(ratio)) for s, ratio in pairs])


def decode_boxes(encoded: NDArray[np.float32], default: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 4) encodings over their anchors to (n, 4) left, top, right, bottom, clipped to 0..1."""
    centre = encoded[:, :2] / CENTRE_VARIANCE * default[:, 2:] + default[:, :2]
    log_size = np.minimum(encoded[:, 2:] / SIZE_VARIANCE, LARGEST_LOG_SIZE)
    half = np.exp(log_size) * default[:, 2:] / 2
    top_left, bottom_right = centre - half, centre + half
    corners = np.stack(
        [top_left[:, 1], top_left[:, 0], bottom_right[:, 1], bottom_right[:, 0]], axis=1
    )
    return corners.clip(0, 1).astype(np.float32)


def suppress(
    corners: NDArray[np.float32], kinds: NDArray[np.int64], max_overlap: float
) -> list[int]:
    """Greedy non-maximum suppression per class; `corners` come strongest first. Returns kept rows."""
    low = np.maximum(corners[:, None, :2], corners[None, :, :2])
    high = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=2)
    areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    shares = common / np.maximum(areas[:, None] + areas - common, 1e-9)
    rivals = (shares > max_overlap) & (kinds[:, None] == kinds)
    kept: list[int] = []
    lost = np.zeros(len(corners), bool)
    for i in range(len(corners)):
        if not lost[i]:
            kept.append(i)
            lost |= rivals[i]
    return kept


def overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of one box (4,) with each of (n, 4), all left, top, right, bottom."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    shares: NDArray[np.float32] = (common / np.maximum(areas - common, 1e-9)).astype(np.float32)
    return shares


def corners(region: Region) -> NDArray[np.float32]:
    """A region as (4,) left, top, right, bottom."""
    return np.array([region.left, region.top, region.right, region.bottom], np.float32)
