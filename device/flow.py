"""Optical flow of a tiny frame: what moved, and where a region went, for a fiftieth of a detection."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.types import Pixels

SIZE_PX = (160, 120)
"""(width, height). Below this DIS falls back to a finer scale and gets slower."""
SAMPLES = 9
GRID = np.s_[4::8, 4::8]
"""Where the flow is sampled for its statistics: 300 places."""


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """One frame against the one before it."""

    grey: Pixels
    """(120, 160) uint8: the frame itself."""
    flow: NDArray[np.float32]
    """(120, 160, 2) right and down, in pixels of the tiny frame."""
    difference: float
    """Mean absolute difference of grey values (0..1)."""
    misfit: float
    """The same after the flow has been undone: what is new, or what the flow got wrong."""
    camera: float
    """Length of the median flow, as a share of the frame's width: the head moved."""
    residual: float
    """Mean length of the flow against its median, as a share of the width: things moved."""


class TinyFlow:
    """Takes the scene frames one after the other and says what moved between them."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._before: Pixels | None = None
        width, height = SIZE_PX
        across, down = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
        self._x, self._y = np.meshgrid(across, down)

    def push(self, pixels: Pixels) -> Motion | None:
        """The motion from the frame before to this one, BGR (H, W, 3) uint8; None for a first frame."""
        grey = _tiny(pixels)
        before, self._before = self._before, grey
        if before is None:
            return None
        room = np.zeros((*grey.shape, 2), np.float32)
        flow = np.asarray(self._dis.calc(before, grey, room), np.float32)
        sampled = flow[GRID].reshape(-1, 2)
        middle = np.median(sampled, axis=0)
        away = sampled - middle
        # The flow says where each pixel of the frame before went; to first order the same vector, taken
        # at the new place, says where it came from.
        came = cv2.remap(
            before,
            self._x - flow[..., 0],
            self._y - flow[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return Motion(
            grey=grey,
            flow=flow,
            difference=grey_difference(grey, before),
            misfit=grey_difference(grey, np.asarray(came, np.uint8)),
            camera=float(np.hypot(*middle)) / SIZE_PX[0],
            residual=float(np.sqrt((away**2).sum(axis=1)).mean()) / SIZE_PX[0],
        )

    def still(self) -> Motion:
        """The motion of a first frame: none. Raises ValueError before it."""
        if self._before is None:
            raise ValueError("no frame has been pushed")
        room = np.zeros((*self._before.shape, 2), np.float32)
        return Motion(self._before, room, 0.0, 0.0, 0.0, 0.0)

    @property
    def grey(self) -> Pixels | None:
        """The last frame, (120, 160) uint8."""
        return self._before

    def reset(self) -> None:
        """Forget the last frame: the next one does not follow it."""
        self._before = None


def _tiny(pixels: Pixels) -> Pixels:
    """A BGR frame as (120, 160) greys: as `device.model.fit` would bring it there, at half the cost.

    Every pixel of a frame is dear: those that halving by strides keeps are picked in one step, and made grey
    before they are interpolated.
    """
    width, height = SIZE_PX
    step = 1
    while pixels.shape[0] >= 2 * step * height and pixels.shape[1] >= 2 * step * width:
        step *= 2
    if pixels.shape[0] % step or pixels.shape[1] % step:
        picked = np.ascontiguousarray(pixels[::step, ::step])
    else:
        size = (pixels.shape[1] // step, pixels.shape[0] // step)
        picked = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    grey = cv2.cvtColor(picked, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, SIZE_PX, interpolation=cv2.INTER_LINEAR), np.uint8)


def grey_difference(one: Pixels, other: Pixels) -> float:
    """Mean absolute difference of two grey pictures of one size (0..1)."""
    return float(cv2.norm(one, other, cv2.NORM_L1)) / (255.0 * one.size)


def pulls(
    flow: NDArray[np.float32], boxes: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Median (n, 2) and standard deviation (n,) of the flow inside boxes (n, 4), as shares of the frame.

    Each box is sampled at `SAMPLES` squared places: plenty for a median, and one step for all boxes.
    """
    height, width = flow.shape[:2]
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    x = boxes[:, :1] + (boxes[:, 2:3] - boxes[:, :1]) * steps
    y = boxes[:, 1:2] + (boxes[:, 3:] - boxes[:, 1:2]) * steps
    columns = np.clip(x * width, 0, width - 1).astype(np.intp)
    rows = np.clip(y * height, 0, height - 1).astype(np.intp)
    inside = flow[rows[:, :, None], columns[:, None, :]].reshape(len(boxes), -1, 2)
    inside = inside / np.array(SIZE_PX, np.float32)
    middle = inside.shape[1] // 2
    median = np.partition(inside, middle, axis=1)[:, middle]
    return median, np.sqrt(inside.var(axis=1).sum(axis=1))


def clip_boxes(
    boxes: NDArray[np.float64], least_showing: float = 0.25
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The parts of boxes (n, 4) inside the frame, and which of them still show.

    One of which less than `least_showing` is inside has left; it is returned as it came.
    """
    inner = np.clip(boxes, 0.0, 1.0)
    sides, whole = inner[:, 2:] - inner[:, :2], boxes[:, 2:] - boxes[:, :2]
    shows = (sides.min(axis=1) > 0) & (sides.prod(axis=1) >= least_showing * whole.prod(axis=1))
    return np.where(shows[:, None], inner, boxes), shows
