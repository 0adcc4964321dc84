"""The things a virtual wearer may look at: photographs with their outlines, and a few drawn ones.

Each carries the name a COCO detector gives it. The photographs' sources and licences are in
`photos/NOTICE.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.types import Pixels

PHOTOS = Path(__file__).parent / "photos"
SIDE_PX = 256


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One kind of thing: what it is called, how it looks, how wide it is."""

    name: str
    """COCO class name."""
    pixels: Pixels
    """(H, W, 4) uint8, BGR and alpha."""
    width_m: float
    moves: bool = False


@cache
def photograph(name: str) -> Pixels:
    """One of our photographs, (H, W, 4) BGR + alpha. Raises InputError if the file is not readable."""
    path = PHOTOS / f"{name}.webp"
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{path}: not a readable picture; install beheld again")
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA)
    return np.asarray(pixels, np.uint8)


@cache
def pictures() -> tuple[Picture, ...]:
    """Every kind of thing, each of a different COCO class."""
    return (
        Picture("person", photograph("person"), 0.80),
        Picture("orange", photograph("orange"), 0.60),
        Picture("cat", photograph("cat"), 0.95),
        Picture("cup", photograph("cup"), 0.80),
        Picture("apple", photograph("apple"), 0.62),
        Picture("clock", clock(), 0.70),
        Picture("stop sign", stop_sign(), 0.66),
        Picture("umbrella", umbrella(), 0.80),
        Picture("tv", television(), 1.00),
        Picture("sports ball", tennis_ball(), 0.68, moves=True),
    )


def clock() -> Pixels:
    """A wall clock that says ten past eleven."""
    n, middle = SIDE_PX, (SIDE_PX // 2, SIDE_PX // 2)
    face = np.zeros((n, n, 4), np.uint8)
    cv2.circle(face, middle, n // 2 - 4, (40, 40, 45, 255), -1, cv2.LINE_AA)
    cv2.circle(face, middle, n // 2 - 20, (245, 248, 250, 255), -1, cv2.LINE_AA)
    for hour in range(1, 13):
        angle = hour * np.pi / 6
        (w, h), _ = cv2.getTextSize(str(hour), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 2)
        x = round(middle[0] + np.sin(angle) * (n / 2 - 44) - w / 2)
        y = round(middle[1] - np.cos(angle) * (n / 2 - 44) + h / 2)
        cv2.putText(face, str(hour), (x, y), 0, 0.7, (20, 20, 20, 255), 2, cv2.LINE_AA)
    for angle, reach, thick in ((1.0, 76, 4), (-0.42, 54, 6)):
        tip = (round(n / 2 + np.sin(angle) * reach), round(n / 2 - np.cos(angle) * reach))
        cv2.line(face, middle, tip, (20, 20, 20, 255), thick, cv2.LINE_AA)
    return face


def stop_sign() -> Pixels:
    """A stop sign on its pole."""
    n = SIDE_PX
    sign = np.zeros((n, n, 4), np.uint8)
    cv2.rectangle(sign, (n // 2 - 8, n // 2), (n // 2 + 8, n), (125, 120, 120, 255), -1)
    for radius, colour in ((0.44, (245, 245, 245, 255)), (0.41, (40, 30, 190, 255))):
        turn = np.pi / 8 + np.arange(8) * np.pi / 4
        corners = np.stack(
            [n / 2 + radius * n * np.cos(turn), 0.45 * n + radius * n * np.sin(turn)], 1
        )
        cv2.fillPoly(sign, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    (w, h), _ = cv2.getTextSize("STOP", cv2.FONT_HERSHEY_DUPLEX, 2.2, 6)
    place = (n // 2 - w // 2, int(0.45 * n) + h // 2)
    cv2.putText(sign, "STOP", place, cv2.FONT_HERSHEY_DUPLEX, 2.2, (245,) * 4, 6, cv2.LINE_AA)
    return sign


def umbrella() -> Pixels:
    """An open umbrella from the side."""
    n, red, dark, wood = SIDE_PX, (40, 40, 200, 255), (25, 25, 140, 255), (70, 80, 90, 255)
    drawn = np.zeros((n, n, 4), np.uint8)
    cv2.ellipse(drawn, (128, 130), (122, 110), 0, 180, 360, red, -1, cv2.LINE_AA)
    for k in range(-2, 3):
        cv2.ellipse(drawn, (128 + k * 49, 132), (24, 14), 0, 0, 360, (0, 0, 0, 0), -1)
    for k in (1, 61):
        cv2.ellipse(drawn, (128, 130), (k, 110), 0, 180, 360, dark, 2, cv2.LINE_AA)
    cv2.line(drawn, (128, 20), (128, 225), wood, 5)
    cv2.ellipse(drawn, (116, 225), (12, 16), 0, 0, 180, wood, 5, cv2.LINE_AA)
    return drawn


def television() -> Pixels:
    """A screen on a stand; a rocket is about to start on it."""
    drawn = np.zeros((200, 240, 4), np.uint8)
    cv2.rectangle(drawn, (0, 0), (239, 160), (25, 25, 25, 255), -1)
    show = cv2.resize(photograph("rocket"), (224, 144), interpolation=cv2.INTER_AREA)
    drawn[8:152, 8:232, :3] = cv2.convertScaleAbs(show[..., :3], alpha=1.5, beta=25)
    cv2.rectangle(drawn, (100, 160), (140, 190), (30, 30, 30, 255), -1)
    cv2.rectangle(drawn, (60, 186), (180, 199), (30, 30, 30, 255), -1)
    return drawn


def tennis_ball() -> Pixels:
    """A lit felt ball with its seam."""
    n = SIDE_PX
    x, y, z, inside = sphere(n)
    shade = 0.6 + 0.4 * np.clip(-0.4 * x - 0.6 * y + 0.7 * z, 0, 1)
    colour = np.array([60, 245, 225.0]) * shade[..., None]
    seam = np.abs(y + 0.1 - 0.5 * np.sin(2.2 * x + 0.4)) < 0.05
    colour[seam] = 250 * shade[seam][:, None]
    colour += np.random.default_rng(3).normal(0, 8, (n, n, 1))
    return np.dstack([np.clip(colour, 0, 255), inside * 255]).astype(np.uint8)


def sphere(side_px: int) -> tuple[NDArray[np.float64], ...]:
    """x, y, z of the visible half of a unit sphere that fills a square, and where it is."""
    axis = (np.arange(side_px) - (side_px - 1) / 2) / (side_px / 2 - 4)
    x, y = np.meshgrid(axis, axis)
    r2 = x * x + y * y
    return x, y, np.sqrt(np.clip(1 - r2, 0, 1)), (r2 < 1).astype(np.float64)
