"""The last result of the scene analysis, carried from frame to frame by optical flow.

The resolution stage looks at it to judge how far the last result may still be trusted; the tag stage
reads its boxes where a result is reused, and begins it anew after each run. What is measured here is
cheap and is known *before* the decision; `MEASURES` names the numbers in their order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device.flow import Motion, TinyFlow, clip_boxes, grey_difference, pulls
from device.types import Pixels, Region, SceneFrame

MEASURES = (
    "age_s",  # since the last run
    "shift",  # way of the boxes since then in their own sizes, mean weighted by probability
    "shift_most",  # the same of the box that went farthest
    "spread",  # how unevenly the flow pulled at the boxes since then, in their sizes: they grow, turn
    "place_shift",  # way of the attended region since then, in its size
    "gaze_off",  # from the region attended then, carried along, to the one attended now, in its size
    "difference",  # of this frame to the one before, grey values 0..1
    "changed",  # of this frame to the one of the last run
    "misfit",  # of this frame to the one before once moved by the flow
    "misfit_sum",  # since the last run
    "residual",  # motion against the background from the frame before, share of the width
    "residual_sum",  # since the last run
    "camera_sum",  # way of the background since the last run, share of the width
    "things",  # boxes of the last run
    "confidence",  # mean probability of them
    "doubtful",  # share of them that are less sure than `DOUBT`
    "lost",  # share of them that have left the frame since
    "last_px",  # side at which the last run was made
)
DOUBT = 0.55
LEAST_SIDE = 0.02
"""Boxes count as at least so large (share of the frame) where ways are measured in box sizes."""


MIDDLE = Region(left=0.25, top=0.25, right=0.75, bottom=0.75)


class Carried:
    """Boxes, attended region and what happened to the picture since the last run."""

    _boxes: NDArray[np.float64]

    def __init__(self) -> None:
        self._flow = TinyFlow()
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame does not follow the last."""
        self._flow.reset()
        self._pushed_ns: int | None = None
        self._motion: Motion | None = None
        self.ran_ns: int | None = None
        """When the analysis last ran; None before it ever did."""
        self._begin([], [], 320, MIDDLE, MIDDLE, None)

    def push(self, frame: SceneFrame) -> None:
        """Take the next scene frame; one that was taken already is passed over."""
        if self._pushed_ns == frame.t_ns:
            return
        self._pushed_ns = frame.t_ns
        self.follow(self._flow.push(frame.pixels))

    def follow(self, motion: Motion | None) -> None:
        """Move everything by a motion that was measured already."""
        self._motion = motion
        if motion is None or self.ran_ns is None:
            return
        self._misfit_sum += motion.misfit
        self._residual_sum += motion.residual
        self._camera_sum += motion.camera
        way, spread = pulls(motion.flow, self._boxes)
        self._ways += way * self._shows[:, None] / self._sizes[:, None]
        self._spreads += spread * self._shows / self._sizes
        moved = self._boxes + np.concatenate([way, way], axis=1) * self._shows[:, None]
        boxes, shows = clip_boxes(moved)
        self._boxes = boxes
        self._shows &= shows
        self._shows[-2:] = True  # the attended places stay at the edge where they left

    def begin(
        self,
        t_ns: int,
        size_px: int,
        boxes: Sequence[Region],
        probabilities: Sequence[float],
        *,
        region: Region,
        place: Region,
        grey: Pixels | None = None,
    ) -> None:
        """The analysis ran on the frame last pushed: this is what will be carried.

        `region` is what was embedded, `place` what was attended; `grey` is that frame (120, 160) where it
        was not pushed here.
        """
        self.ran_ns = t_ns
        self._begin(
            boxes, probabilities, size_px, region, place, self._flow.grey if grey is None else grey
        )

    @property
    def boxes(self) -> list[Region | None]:
        """The boxes of the last run where they are now; None for one that has left the frame."""
        rows = zip(self._boxes[:-2], self._shows, strict=False)
        return [_region(row) if shows else None for row, shows in rows]

    @property
    def region(self) -> Region:
        """The region embedded by the last run, where it is now."""
        return _region(self._boxes[-2])

    @property
    def place(self) -> Region:
        """What was attended at the last run, where it is now."""
        return _region(self._boxes[-1])

    def measures(self, t_ns: int, place: Region) -> NDArray[np.float32]:
        """(len(MEASURES),) float32 at the frame last pushed, with the place attended now."""
        motion, ran_ns = self._motion, self.ran_ns
        if ran_ns is None:
            return np.zeros(len(MEASURES), np.float32)
        ways = np.hypot(self._ways[:, 0], self._ways[:, 1])
        count = len(self._probabilities)
        changed = 0.0
        if motion is not None and self._grey is not None:
            changed = grey_difference(motion.grey, self._grey)
        return np.array(
            [
                (t_ns - ran_ns) / 1e9,
                ways[:-2] @ self._weights,
                ways[:-2].max(initial=0.0),
                self._spreads[:-2] @ self._weights,
                ways[-1],
                apart(self.place, place),
                motion.difference if motion else 0.0,
                changed,
                motion.misfit if motion else 0.0,
                self._misfit_sum,
                motion.residual if motion else 0.0,
                self._residual_sum,
                self._camera_sum,
                count,
                self._confidence,
                self._doubtful,
                1.0 - self._shows[:-2].mean() if count else 0.0,
                self._size_px,
            ],
            np.float32,
        )

    def _begin(
        self,
        boxes: Sequence[Region],
        probabilities: Sequence[float],
        size_px: int,
        region: Region,
        place: Region,
        grey: Pixels | None,
    ) -> None:
        rows = [*boxes, region, place]  # the last two rows move along, but count as no box
        self._boxes = np.array([(r.left, r.top, r.right, r.bottom) for r in rows])
        self._sizes: NDArray[np.float64] = np.array([side(r) for r in rows])
        self._shows: NDArray[np.bool_] = np.ones(len(rows), bool)
        self._ways: NDArray[np.float64] = np.zeros((len(rows), 2))
        self._spreads: NDArray[np.float64] = np.zeros(len(rows))
        sure = self._probabilities = np.array(probabilities, np.float64)
        self._weights = sure / max(1e-9, float(sure.sum()))
        self._confidence = float(sure.mean()) if len(sure) else 0.0
        self._doubtful = float((sure < DOUBT).mean()) if len(sure) else 0.0
        self._size_px, self._grey = size_px, grey
        self._misfit_sum: float = 0.0
        self._residual_sum: float = 0.0
        self._camera_sum: float = 0.0


def side(region: Region) -> float:
    """The side of a square as large as the region, as a share of the frame."""
    width, height = region.right - region.left, region.bottom - region.top
    return max(LEAST_SIDE, math.sqrt(max(0.0, width * height)))


def apart(one: Region, other: Region) -> float:
    """Distance of the middles of two regions, in the mean of their sizes."""
    dx = (one.left + one.right - other.left - other.right) / 2
    dy = (one.top + one.bottom - other.top - other.bottom) / 2
    return math.hypot(dx, dy) / ((side(one) + side(other)) / 2)


def _region(row: NDArray[np.float64]) -> Region:
    left, top, right, bottom = row.tolist()
    return Region(left=left, top=top, right=right, bottom=bottom)
