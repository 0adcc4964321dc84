"""The pupil's centre to a tenth of a pixel: the darkness where the eye network says the pupil is.

The network works on a small image in eight bits; a tenth of a pixel there is a tenth of a degree of
gaze and more. Given its ellipse, what is darker than the iris is weighed in the frame itself.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from device.types import Pixels, Pupil

ROUNDS = 2
MIN_CONTRAST = 8.0
"""Grey levels between pupil and iris; with less there is nothing to weigh."""
MIN_RADIUS_PX = 6.0
INSIDE = 0.75
"""Within this share of the radius all counts as pupil, so that a reflection in it pulls nothing."""
REACH = 1.5
"""Beyond this share of the radius nothing counts as pupil: lashes are dark as well."""
RING = (1.2, 1.6)
"""Where the iris is measured, as shares of the radius."""


def refine(pixels: Pixels, pupil: Pupil) -> tuple[float, float]:
    """(x_px, y_px) of the centre; the network's own where the frame does not allow a better one.

    `pixels` (H, W) uint8 is the frame of the pupil.
    """
    given = pupil.x_px, pupil.y_px
    if not all(map(math.isfinite, (*given, pupil.major_px, pupil.minor_px))):
        return given
    radius_px = max(MIN_RADIUS_PX, (pupil.major_px + pupil.minor_px) / 4)
    half = math.ceil((RING[1] + 0.3) * radius_px)
    left, top = round(given[0]) - half, round(given[1]) - half
    side = 2 * half + 1
    height_px, width_px = pixels.shape[:2]
    if left < 0 or top < 0 or left + side > width_px or top + side > height_px:
        return given
    patch = cv2.GaussianBlur(pixels[top : top + side, left : left + side], (3, 3), 0)
    dark = patch.astype(np.float32)
    across = np.arange(side, dtype=np.float32)
    x, y = given[0] - left, given[1] - top
    for _ in range(ROUNDS):
        square = (across[None] - x) ** 2 + (across[:, None] - y) ** 2
        share = square / radius_px**2
        inner = dark[share < INSIDE**2]
        ring = dark[(share > RING[0] ** 2) & (share < RING[1] ** 2)]
        low = float(np.partition(inner, len(inner) // 3)[len(inner) // 3])
        high = float(np.partition(ring, len(ring) // 2)[len(ring) // 2])
        if high - low < MIN_CONTRAST:
            return given
        # 1 where as dark as the pupil, 0 from a fifth of the contrast below the iris.
        weight = np.clip((high - dark) * (1.6 / (high - low)) - 0.3, 0.0, 1.0)
        weight[share > REACH**2] = 0.0
        weight[share < INSIDE**2] = 1.0
        total = float(weight.sum())
        x = float(weight.sum(axis=0) @ across) / total
        y = float(weight.sum(axis=1) @ across) / total
    moved_px = math.hypot(x + left - given[0], y + top - given[1])
    return (x + left, y + top) if moved_px < radius_px / 2 else given
