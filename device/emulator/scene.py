"""The scene camera's picture: one warp of the wall, the moving things over it, light, blur and noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.emulator.motion import Floats, Pose
from device.emulator.place import PX_PER_M, TOP_M, WIDTH_M, Place, Thing
from device.types import Pixels, SceneGeometry

EXPOSURE_S = 0.008
NOISE_POOL = 24
"""Offsets of the noise window: enough that no eye and no codec sees it repeat."""


class SceneRenderer:
    """Draws what a camera at a pose before the place sees."""

    def __init__(self, place: Place, geometry: SceneGeometry, seed: int, noise: float) -> None:
        self._place, self._geometry = place, geometry
        self._wall = place.draw()
        rng = np.random.default_rng([seed, 70])
        h, w = geometry.height_px + 2 * NOISE_POOL, geometry.width_px + 2 * NOISE_POOL
        grain = rng.normal(0, 2.2 * noise, (h, w, 3)) + rng.normal(0, 1.2 * noise, (h, w, 1))
        self._noise = np.clip(grain + 128, 0, 255).astype(np.uint8)
        self._windows = rng.integers(0, 2 * NOISE_POOL, (997, 2))
        self._light = rng.uniform(0, 2 * np.pi, 3)

    def render(self, pose: Pose, t_s: float, seq: int, speed_deg_s: tuple[float, float]) -> Pixels:
        """One frame, (H, W, 3) uint8 BGR; the same whatever was drawn before it.

        `pose` holds one instant; `speed_deg_s` is the head's (yaw, pitch), for the blur.
        """
        size = (self._geometry.width_px, self._geometry.height_px)
        to_wall = wall_homography(pose, self._geometry)
        frame: Pixels = np.asarray(
            cv2.warpPerspective(
                self._wall,
                to_wall,
                size,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.uint8,
        )
        from_wall: Floats = np.asarray(np.linalg.inv(to_wall), np.float64)
        for thing in self._place.things:
            if thing.moves:
                _overlay(frame, thing, t_s, from_wall)
        per_px = (
            2 * np.degrees(np.arctan(size[0] / 2 / self._geometry.camera_matrix[0, 0])) / size[0]
        )
        blur = [max(1, round(abs(s) * EXPOSURE_S / per_px)) for s in speed_deg_s]
        if max(blur) > 2:
            frame = np.asarray(cv2.blur(frame, (min(blur[0], 25), min(blur[1], 25))), np.uint8)
        x, y = self._windows[seq % len(self._windows)]
        noise = self._noise[y : y + size[1], x : x + size[0]]
        return np.asarray(cv2.addWeighted(frame, self._gain(t_s), noise, 1.0, -128.0), np.uint8)

    def _gain(self, t_s: float) -> float:
        """Slow changes of the light, and the flicker that a camera at 30 fps sees of mains lamps."""
        slow = 0.10 * np.sin(t_s / 17 + self._light[0]) + 0.05 * np.sin(t_s / 5.3 + self._light[1])
        return float(0.97 + slow + 0.012 * np.sin(2 * np.pi * 0.8 * t_s + self._light[2]))


def wall_homography(pose: Pose, geometry: SceneGeometry) -> Floats:
    """(3, 3): pixels of the scene frame to pixels of the wall's picture."""
    ray = pose.rotation()[0] @ np.linalg.inv(geometry.camera_matrix)
    x_m, y_m, far_m = pose.x_m[0], pose.y_m[0], pose.distance_m[0]
    metres = np.stack([far_m * ray[0] + x_m * ray[2], far_m * ray[1] + y_m * ray[2], ray[2]])
    to_px = np.array(
        [
            [PX_PER_M, 0, WIDTH_M / 2 * PX_PER_M - 0.5],
            [0, PX_PER_M, -TOP_M * PX_PER_M - 0.5],
            [0, 0, 1],
        ]
    )
    return np.asarray(to_px @ metres)


def _overlay(frame: Pixels, thing: Thing, t_s: float, from_wall: Floats) -> None:
    """Draw a moving thing where it is now; nothing where it is out of view."""
    x_m, y_m = (float(v) for v in thing.at(t_s))
    height, width = thing.picture.pixels.shape[:2]
    left = (x_m - thing.width_m / 2 + WIDTH_M / 2) * PX_PER_M
    top = (y_m - thing.height_m / 2 - TOP_M) * PX_PER_M
    place = np.array(
        [
            [thing.width_m * PX_PER_M / width, 0, left],
            [0, thing.height_m * PX_PER_M / height, top],
            [0, 0, 1],
        ]
    )
    matrix = from_wall @ place
    corners = matrix @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1.0]])
    if (corners[2] * np.sign(matrix[2, 2]) <= 0.05).any():  # beside or behind the camera
        return
    xy: NDArray[np.float64] = corners[:2] / corners[2]
    x0, y0 = np.maximum(np.floor(xy.min(1)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(xy.max(1)).astype(int) + 1, (frame.shape[1], frame.shape[0]))
    if x1 <= x0 or y1 <= y0:
        return
    shift = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.0]])
    part = cv2.warpPerspective(thing.picture.pixels, shift @ matrix, (int(x1 - x0), int(y1 - y0)))
    alpha = cv2.cvtColor(part[..., 3], cv2.COLOR_GRAY2BGR)
    under = frame[y0:y1, x0:x1]
    over = cv2.multiply(part[..., :3], alpha, scale=1 / 255)
    under[:] = cv2.add(over, cv2.multiply(under, cv2.bitwise_not(alpha), scale=1 / 255))
