"""Where the virtual wearer is: one long wall with things on it, clutter between them, some in motion.

The place is a plane. So the whole of it is one picture (`wall`), a camera anywhere before it sees a
homography of that picture, exactly, and a frame costs one warp. World axes: x to the right along the wall,
y downwards, z into the wall, metres; the wall is z = 0, the wearer's eyes are near y = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from device.emulator.things import Picture, photograph, pictures
from device.types import Pixels

Floats = NDArray[np.float64]

PX_PER_M = 280.0
WIDTH_M, TOP_M, BOTTOM_M = 18.0, -1.9, 1.9
FLOOR_M = 1.15
"""Where the wall ends and the floor, painted on the same plane, begins."""


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """One thing at one place. A moving one swings about its place on two sines."""

    name: str
    picture: Picture
    x_m: float
    y_m: float
    width_m: float
    height_m: float
    swing_m: tuple[float, float] = (0.0, 0.0)
    period_s: tuple[float, float] = (1.0, 1.0)

    @property
    def moves(self) -> bool:
        return self.swing_m != (0.0, 0.0)

    def at(self, t_s: ArrayLike) -> tuple[Floats, Floats]:
        """Its centre (x_m, y_m) at those times."""
        turn = 2 * np.pi * np.asarray(t_s, float)
        return (
            self.x_m + self.swing_m[0] * np.sin(turn / self.period_s[0]),
            self.y_m + self.swing_m[1] * np.sin(turn / self.period_s[1] + 0.7),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """A page or screen of text: read and typed at, never a thing."""

    x_m: float
    y_m: float
    width_m: float
    height_m: float


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Layout and looks of one wall; `wall` is drawn on first use."""

    things: tuple[Thing, ...]
    panels: tuple[Panel, ...]
    gaps_m: tuple[float, ...]
    """Where along the wall (x_m) there is room for clutter between the things."""
    seed: int

    def draw(self) -> Pixels:
        """The wall with everything on it that stands still, (H, W, 3) uint8 BGR."""
        rng = np.random.default_rng([self.seed, 11])
        wall = _bare_wall(rng)
        for x_m in self.gaps_m:
            _clutter(wall, rng, x_m)
            if rng.random() < 0.5:
                _poster(wall, rng, x_m)
        for panel in self.panels:
            _text_panel(wall, rng, panel)
        for thing in self.things:
            if not thing.moves:
                _paste(wall, thing)
        return wall


def make_place(seed: int) -> Place:
    """Lay the things out along the wall in an order of that seed."""
    rng = np.random.default_rng([seed, 10])
    order = [pictures()[k] for k in rng.permutation(len(pictures()))]
    slots = len(order) + 2
    pitch = WIDTH_M / slots
    panel_slots = set(rng.choice(np.arange(1, slots - 1), 2, replace=False).tolist())
    things: list[Thing] = []
    panels: list[Panel] = []
    gaps_m: list[float] = []
    for slot in range(slots):
        x_m = (slot + 0.5) * pitch - WIDTH_M / 2
        gaps_m.append(x_m + pitch / 2)
        if slot in panel_slots:
            panels.append(Panel(x_m, float(rng.uniform(-0.1, 0.15)), 0.95, 0.75))
            continue
        things.append(_thing(order.pop(), x_m, rng))
    return Place(tuple(things), tuple(panels), tuple(gaps_m[:-1]), seed)


def _thing(picture: Picture, x_m: float, rng: np.random.Generator) -> Thing:
    width_m = picture.width_m * rng.uniform(0.92, 1.08)
    height_m = width_m * picture.pixels.shape[0] / picture.pixels.shape[1]
    y_m = rng.uniform(-0.2, 0.15)
    if not picture.moves:
        return Thing(picture.name, picture, x_m, y_m, width_m, height_m)
    swing_m = (float(rng.uniform(0.7, 0.9)), float(rng.uniform(0.15, 0.25)))
    period_s = (float(rng.uniform(7.0, 9.5)), float(rng.uniform(4.0, 6.0)))
    return Thing(picture.name, picture, x_m, y_m, width_m, height_m, swing_m, period_s)


def _pixel(x_m: float, y_m: float) -> tuple[int, int]:
    return round((x_m + WIDTH_M / 2) * PX_PER_M), round((y_m - TOP_M) * PX_PER_M)


def _bare_wall(rng: np.random.Generator) -> Pixels:
    """Plaster, a stretch of brick, a skirting board and a wooden floor, unevenly lit."""
    w, h = round(WIDTH_M * PX_PER_M), round((BOTTOM_M - TOP_M) * PX_PER_M)
    floor = _pixel(0, FLOOR_M)[1]
    wall = np.empty((h, w, 3), np.uint8)
    wall[:] = rng.integers(150, 215, 3, dtype=np.uint8)
    brick = photograph("brick")[..., :3]
    start = int(rng.integers(0, w - 1400))
    tiled = np.tile(brick, (floor // brick.shape[0] + 1, 5, 1))[:floor, :1400]
    wall[:floor, start : start + 1400] = cv2.addWeighted(tiled, 0.5, tiled, 0.0, 70)
    wall[floor - 34 : floor] = (235, 238, 240)
    planks = (
        rng.normal(0, 9, (8, w // 200 + 1)).repeat(200, 1)[:, :w].repeat((h - floor) // 8 + 1, 0)
    )
    wood = np.array([70, 105, 140.0]) + planks[: h - floor, :, None]
    wall[floor:] = np.clip(wood, 0, 255).astype(np.uint8)
    wall[floor :: (h - floor) // 6 + 1] = (50, 75, 100)
    coarse = rng.normal(0, 5, (h // 80, w // 80)).astype(np.float32)
    light = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.normal(0, 6, (h, 640)).astype(np.float32), (0, 0), 1.2)
    light = light + np.tile(fine, (1, w // 640 + 1))[:, :w]
    shaded: Pixels = np.clip(wall.astype(np.float32) + light[..., None], 0, 255).astype(np.uint8)
    return shaded


def _clutter(wall: Pixels, rng: np.random.Generator, x_m: float) -> None:
    """A shelf of books high up, and a box or a plant pot by the floor: always there, never attended."""
    left, shelf = _pixel(x_m - 0.35, -0.95)
    cv2.rectangle(wall, (left, shelf), (left + 190, shelf + 9), (60, 80, 110), -1)
    x = left + 4
    while x < left + 165 and rng.random() < 0.93:
        width, height = int(rng.integers(9, 24)), int(rng.integers(55, 95))
        colour = [int(c) for c in rng.integers(30, 210, 3)]
        cv2.rectangle(wall, (x, shelf - height), (x + width, shelf), colour, -1)
        cv2.rectangle(wall, (x, shelf - height), (x + width, shelf), (30, 30, 30), 1)
        x += width + 1
    foot = _pixel(0, FLOOR_M)[1]
    if rng.random() < 0.6:
        side = int(rng.integers(60, 130))
        colour = [int(c) for c in rng.integers(70, 190, 3)]
        cv2.rectangle(wall, (left, foot + 20 - side), (left + side, foot + 20), colour, -1)
        cv2.line(wall, (left, foot + 30 - side), (left + side, foot + 30 - side), (40, 50, 60), 2)


def _poster(wall: Pixels, rng: np.random.Generator, x_m: float) -> None:
    """A small abstract print: worth a glance, never a thing."""
    h, w = int(rng.integers(90, 130)), int(rng.integers(70, 110))
    x0, y0 = _pixel(x_m, float(rng.uniform(-0.6, 0.2)))
    x0 -= w // 2
    spots = rng.uniform(30, 230, (int(rng.integers(3, 6)), int(rng.integers(2, 5)), 3))
    print_ = cv2.resize(spots.astype(np.uint8), (w, h), interpolation=cv2.INTER_CUBIC)
    cv2.rectangle(wall, (x0 - 7, y0 - 7), (x0 + w + 7, y0 + h + 7), (225, 230, 232), -1)
    wall[y0 : y0 + h, x0 : x0 + w] = print_


def _text_panel(wall: Pixels, rng: np.random.Generator, panel: Panel) -> None:
    """Lines of grey words on white, in a dark frame."""
    x0, y0 = _pixel(panel.x_m - panel.width_m / 2, panel.y_m - panel.height_m / 2)
    x1, y1 = _pixel(panel.x_m + panel.width_m / 2, panel.y_m + panel.height_m / 2)
    cv2.rectangle(wall, (x0 - 8, y0 - 8), (x1 + 8, y1 + 8), (45, 45, 50), -1)
    cv2.rectangle(wall, (x0, y0), (x1, y1), (238, 240, 240), -1)
    for y in range(y0 + 16, y1 - 10, 14):
        x = x0 + 14
        while x < x1 - 30:
            length = int(rng.integers(8, 38))
            cv2.line(wall, (x, y), (min(x + length, x1 - 14), y), (90, 90, 95), 4)
            x += length + 8


def _paste(wall: Pixels, thing: Thing) -> None:
    x0, y0 = _pixel(thing.x_m - thing.width_m / 2, thing.y_m - thing.height_m / 2)
    size = (round(thing.width_m * PX_PER_M), round(thing.height_m * PX_PER_M))
    scaled = cv2.resize(thing.picture.pixels, size, interpolation=cv2.INTER_AREA)
    target = wall[y0 : y0 + size[1], x0 : x0 + size[0]]
    alpha = scaled[..., 3:].astype(np.float32) / 255
    target[:] = (scaled[..., :3] * alpha + target * (1 - alpha)).astype(np.uint8)
