"""How one wearer's eye looks to one camera, drawn from a seed, and all that is drawn of it only once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from device.emulator.motion import Floats
from device.types import Pixels

PAD_PX = 48
"""The skin is drawn larger than the image, so that slipping glasses show more of it."""
LID_DEPTH_MM = 9.5
"""How far the lid margins lie before the eyeball's centre."""


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """A wearer's eye and the camera before it. Greys are 0..255, before light and noise."""

    side_px: int
    seed: int
    camera: Floats
    """(3, 3) turns head axes into camera axes."""
    centre_px: tuple[float, float]
    """Image of the eyeball's centre."""
    px_per_mm: float
    distance_mm: float
    skin_grey: float
    sclera_grey: float
    iris_grey: float
    pupil_grey: int
    fissure_mm: float
    """Length of the opening between the lids."""
    fissure_px: tuple[float, float]
    """Its middle: the lids lie before the eyeball, so an oblique camera sees them shifted against it."""
    lid_mm: float
    """Upper lid above that middle, wide open."""
    lower_lid_mm: float
    tilt: float
    lashes: Floats
    """(n, 4): place along the lid 0..1, length_mm, lean, grey."""
    glints_mm: tuple[tuple[float, float], ...]
    glint_mm: float
    glasses: bool
    defocus_px: float
    noise: float


def make_appearance(
    seed: int, eye: Literal["left", "right"], side_px: int = 192, noise: float = 1.0
) -> Appearance:
    """A wearer of that seed; both eyes are alike and mirrored, their cameras nearly so."""
    rng = np.random.default_rng([seed, 50])
    own = np.random.default_rng([seed, 51 if eye == "left" else 52])
    # In the image of the right eye the temple is on the left; mirrored for the left eye.
    mirror = 1.0 if eye == "right" else -1.0
    field_mm = float(rng.uniform(27, 36))
    px_per_mm = side_px / field_mm
    yaw = mirror * float(rng.uniform(5, 28)) + float(own.normal(0, 1.5))
    pitch = float(rng.uniform(-32, -8)) + float(own.normal(0, 1.5))
    roll = float(own.normal(0, 3))
    iris, skin = float(rng.uniform(60, 125)), float(rng.uniform(95, 190))
    number = int(rng.integers(10, 60))
    dark = float(rng.uniform(0.25, 0.6)) * skin
    lashes = np.stack(
        [
            np.sort(rng.uniform(0.08, 0.97, number)),
            rng.uniform(1.5, 4.5) * rng.uniform(0.7, 1.2, number),
            np.linspace(-0.8, 0.8, number) + rng.normal(0, 0.15, number),
            np.full(number, dark),
        ],
        1,
    )
    camera = _camera(yaw, pitch, roll)
    fissure = side_px / 2 + own.normal(0, 0.05 * side_px, 2)
    centre = fissure - (camera @ (0.0, 0.0, -LID_DEPTH_MM))[:2] * px_per_mm
    fissure[0] -= mirror * float(rng.uniform(-0.5, 1.0)) * px_per_mm
    spread = float(rng.uniform(0.8, 2.2))
    lamps = ((-spread, 0.3), (spread, 0.0)) if rng.random() < 0.6 else ((0.2, -0.4),)
    return Appearance(
        side_px=side_px,
        seed=seed * 2 + (eye == "right"),
        camera=camera,
        centre_px=(float(centre[0]), float(centre[1])),
        px_per_mm=px_per_mm,
        distance_mm=float(rng.uniform(30, 55)),
        skin_grey=skin,
        sclera_grey=float(np.clip(skin * rng.uniform(0.85, 1.2), 110, 205)),
        iris_grey=iris,
        pupil_grey=int(rng.uniform(12, 0.45 * iris)),
        fissure_mm=float(rng.uniform(25, 31)),
        fissure_px=(float(fissure[0]), float(fissure[1])),
        lid_mm=float(rng.uniform(4.3, 6.6)),
        lower_lid_mm=float(rng.uniform(4.4, 6.0)),
        tilt=mirror * float(rng.uniform(-0.02, 0.12)),
        lashes=lashes,
        glints_mm=lamps,
        glint_mm=float(rng.uniform(0.4, 0.9)),
        glasses=bool(rng.random() < 0.25),
        defocus_px=float(rng.uniform(0.6, 1.3)) * max(side_px / 192, 0.6),
        noise=noise * float(rng.uniform(2.0, 4.5)),
    )


def _camera(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Floats:
    """Rotation from the axes of a camera straight before the eye to those of one beside and below it."""
    y, p, r = np.radians([yaw_deg, pitch_deg, roll_deg])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(tilt @ nod @ turn)


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """What of a wearer's eye is drawn only once."""

    skin: Pixels
    eyeball: Pixels
    iris: Pixels
    """Square texture of the flat iris."""
    light: Pixels
    """128 is neutral."""
    reflection: Pixels
    noise: Pixels
    """int16, larger than the image: every frame takes another window."""
    lid_along: Floats

    def skin_at(self, slip_mm: tuple[float, float], px_per_mm: float) -> Pixels:
        """The skin as slipped glasses see it, a fresh copy."""
        side = self.eyeball.shape[0]
        x, y = (int(np.clip(PAD_PX + round(s * px_per_mm), 0, 2 * PAD_PX)) for s in slip_mm)
        return self.skin[y : y + side, x : x + side].copy()

    def noise_at(self, rng: np.random.Generator) -> Pixels:
        """A window of the noise."""
        side = self.eyeball.shape[0]
        x, y = rng.integers(0, self.noise.shape[0] - side, 2)
        return self.noise[y : y + side, x : x + side]


@lru_cache(maxsize=8)
def canvas_of(appearance: Appearance) -> Canvas:
    """Draw it, or take the one drawn before."""
    rng = np.random.default_rng([appearance.seed, 60])
    side = appearance.side_px
    noise = rng.normal(0, appearance.noise, (side + 160, side + 160)).round().astype(np.int16)
    return Canvas(
        skin=_skin(appearance, rng),
        eyeball=_eyeball(appearance, rng),
        iris=_iris(appearance, rng),
        light=_light(appearance, rng),
        reflection=_reflection(appearance, rng),
        noise=noise,  # type: ignore[arg-type]
        lid_along=np.linspace(-1, 1, 33),
    )


def _blotches(rng: np.random.Generator, side: int, cells: int) -> Floats:
    coarse = rng.normal(size=(cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float64)


def _skin(appearance: Appearance, rng: np.random.Generator) -> Pixels:
    """Blotched skin, darker in the socket and by the nose, a brow above, creases along the lid."""
    side = appearance.side_px + 2 * PAD_PX
    y, x = np.mgrid[:side, :side] - PAD_PX
    cx, cy, mm = *appearance.fissure_px, appearance.px_per_mm
    far = np.hypot((x - cx) / 15, (y - cy) / 11) / mm
    grey = appearance.skin_grey * (0.86 + 0.16 * np.clip(far - 0.4, 0, 1))
    grey += 4 * _blotches(rng, side, 9) + 3 * _blotches(rng, side, 40) + rng.normal(0, 2, x.shape)
    depth = float(rng.uniform(6, 22))
    for above_mm in rng.uniform(7.5, 10.5, 2):
        crease = cy - above_mm * mm * np.sqrt(np.clip(1.15 - ((x - cx) / (17 * mm)) ** 2, 0, 1))
        grey -= depth * np.exp(-(((y - crease) / (0.5 * mm)) ** 2))
    bag = cy + 9.5 * mm * np.sqrt(np.clip(1.1 - ((x - cx) / (16 * mm)) ** 2, 0, 1))
    grey -= 0.5 * depth * np.exp(-(((y - bag) / (0.9 * mm)) ** 2))
    skin = np.clip(grey, 0, 255).astype(np.uint8)
    brow = cy - float(rng.uniform(14, 19)) * mm
    for _ in range(140):
        bx, by = rng.uniform(0, side), PAD_PX + brow + rng.normal(0, 1.3 * mm)
        tip = (int(bx + rng.normal(0, 2) * mm), int(by - rng.uniform(0.5, 2.5) * mm))
        cv2.line(skin, (int(bx), int(by)), tip, int(0.4 * appearance.skin_grey), 1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(skin, (3, 3), 0.7), np.uint8)


def _eyeball(appearance: Appearance, rng: np.random.Generator) -> Pixels:
    """The sclera as a lit ball, a few veins, the pink corner by the nose darker."""
    side = appearance.side_px
    y, x = np.mgrid[:side, :side]
    cx, cy, mm = *appearance.centre_px, appearance.px_per_mm
    r2 = ((x - cx) ** 2 + (y - cy) ** 2) / (15 * mm) ** 2
    grey = appearance.sclera_grey * (0.62 + 0.38 * np.sqrt(np.clip(1 - r2, 0, 1)))
    ball = np.clip(grey + 3 * _blotches(rng, side, 24), 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(4, 14))):
        turn, start = rng.choice([0, np.pi]) + rng.normal(0, 0.5), rng.uniform(7, 9)
        reach = np.linspace(start, start + rng.uniform(2, 5), 6) * mm
        wavy = turn + np.cumsum(rng.normal(0, 0.05, 6))
        vein = np.stack([cx + reach * np.cos(wavy), cy + 0.6 * reach * np.sin(wavy)], 1)
        grey_ = int(appearance.sclera_grey * 0.8)
        cv2.polylines(ball, [vein.astype(np.int32)], False, grey_, 1, cv2.LINE_AA)
    return np.asarray(ball, np.uint8)


def _iris(appearance: Appearance, rng: np.random.Generator) -> Pixels:
    """Radial fibres, a collarette, a dark limbus."""
    side = 128
    axis = (np.arange(side) - (side - 1) / 2) / (side / 2)
    x, y = np.meshgrid(axis, axis)
    radius, turn = np.hypot(x, y), np.arctan2(y, x)
    knots = rng.normal(size=(8, 97))
    knots[:, -1] = knots[:, 0]
    polar = cv2.resize(knots.astype(np.float32), (720, 64), interpolation=cv2.INTER_CUBIC)
    at = polar[
        np.clip(radius * 63, 0, 63).astype(int), ((turn + np.pi) / (2 * np.pi) * 719).astype(int)
    ]
    grey = appearance.iris_grey * (1 + float(rng.uniform(0.04, 0.14)) * at)
    grey *= 1 + 0.1 * np.exp(-(((radius - 0.5) / 0.07) ** 2))
    grey *= 1 - float(rng.uniform(0.15, 0.45)) * np.clip((radius - 0.86) / 0.14, 0, 1)
    return np.asarray(np.clip(grey, 0, 255), np.uint8)


def _light(appearance: Appearance, rng: np.random.Generator) -> Pixels:
    """Vignetting and lamps that reach one side better than the other."""
    side = appearance.side_px
    y, x = np.mgrid[:side, :side] / side - 0.5
    slope = rng.normal(0, 0.25, 2)
    fall = float(rng.uniform(0.3, 0.9))
    gain = (1 + slope[0] * x + slope[1] * y) * (1 - fall * (x * x + y * y))
    return np.asarray(np.clip(128 * gain, 20, 255), np.uint8)


def _reflection(appearance: Appearance, rng: np.random.Generator) -> Pixels:
    """What spectacle lenses mirror: a soft bright patch or two."""
    side = appearance.side_px
    image = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(1, 3))):
        place = tuple(int(v) for v in rng.uniform(0.05, 0.95, 2) * side)
        axes = tuple(int(v) for v in rng.uniform(0.02, 0.09, 2) * side + 1)
        grey = int(rng.uniform(25, 130))
        cv2.ellipse(image, place, axes, float(rng.uniform(0, 180)), 0, 360, grey, -1)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), side / 96), np.uint8)
