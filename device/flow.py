"""Optical flow of a tiny frame: where a region went, for the price of a hundredth of a detection."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.model import fit
from device.types import Pixels, Region

SIZE_PX = (160, 120)
"""(width, height). Below this DIS falls back to a finer scale and gets slower."""


class RegionFlow:
    """Follows regions from one scene frame to the next by the median flow inside them."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._before: Pixels | None = None
        self._flow: NDArray[np.float32] | None = None

    def push(self, pixels: Pixels) -> None:
        """Take the next scene frame, BGR (H, W, 3) uint8."""
        grey = np.asarray(cv2.cvtColor(fit(pixels, SIZE_PX), cv2.COLOR_BGR2GRAY), np.uint8)
        if self._before is not None:
            room = np.zeros((*grey.shape, 2), np.float32)
            self._flow = np.asarray(self._dis.calc(self._before, grey, room), np.float32)
        self._before = grey

    def reset(self) -> None:
        """Forget the last frame: the next one does not follow it."""
        self._before = self._flow = None

    def move(self, region: Region) -> Region:
        """The region one frame later; unchanged while there is no flow."""
        if self._flow is None:
            return region
        width, height = SIZE_PX
        left, right = (int(np.clip(v * width, 0, width - 1)) for v in (region.left, region.right))
        top, bottom = (int(np.clip(v * height, 0, height - 1)) for v in (region.top, region.bottom))
        inside = self._flow[top : bottom + 1, left : right + 1].reshape(-1, 2)
        dx, dy = np.median(inside, axis=0)
        return shifted(region, float(dx) / width, float(dy) / height)


def shifted(region: Region, right: float, down: float) -> Region:
    """The region moved by fractions of the frame, kept of its size."""
    return Region(
        left=region.left + right,
        top=region.top + down,
        right=region.right + right,
        bottom=region.bottom + down,
    )


def clipped(region: Region, least_showing: float = 0.25) -> Region | None:
    """The part of a region inside the frame; None if less than `least_showing` of it is."""
    left, right = max(region.left, 0.0), min(region.right, 1.0)
    top, bottom = max(region.top, 0.0), min(region.bottom, 1.0)
    whole = (region.right - region.left) * (region.bottom - region.top)
    if (
        min(right - left, bottom - top) <= 0
        or (right - left) * (bottom - top) < least_showing * whole
    ):
        return None
    return Region(left=left, top=top, right=right, bottom=bottom)
