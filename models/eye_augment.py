"""One eye picture made into many: other cameras, lids, lamps, lashes, noise, and no eye at all.

All of it happens in batches of torch tensors, so that one core spends its time on the network. Labels
follow the picture: the mask is warped with the image and cut by what is drawn over it, and the ellipse
is computed from what remains, so no label ever describes a pupil that cannot be seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.eye import log_shape


@dataclass(frozen=True)
class Augment:
    """How far pictures are changed. Probabilities are per picture, lengths in pixels of 128."""

    zoom: tuple[float, float] = (0.45, 2.1)
    """Other cameras stand nearer or farther than MEYE's; drawn evenly in the logarithm."""
    stretch: float = 0.2
    """Standard deviation of log(width / height): 4:3 frames are squeezed to a square."""
    shear: float = 0.08
    turn_deg: float = 20.0
    any_turn_p: float = 0.15
    """Share of pictures turned by any angle (cameras mounted upside down)."""
    shift_px: float = 22.0
    lid_p: float = 0.25
    """A lid drawn down over the eye. It counts as half closed when it hides a third of the pupil,
    which is about where the set's labels begin to say `blink`."""
    glints: int = 4
    pupil_glint_p: float = 0.3
    """A lamp reflected on the pupil itself, as cameras near the optical axis see it."""
    wide_glint_p: float = 0.15
    """Share of those that are as large as a pupil: spectacles, windows, bright lamps close by."""
    pale_p: float = 0.3
    pale: float = 0.75
    """The dark of the pupil lifted up to this share of its distance to the iris: dark irises, haze."""
    lashes: int = 3
    lashes_p: float = 0.3
    noise_p: float = 0.5
    noise: float = 8.0
    """Largest standard deviation of sensor noise, of 255."""
    blur_p: float = 0.4
    blur_px: float = 1.6
    nothing_p: float = 0.06
    """Share of pictures without any eye: flat, gradients, textures, parts of skin."""


@dataclass
class Batch:
    """What one step of training sees. B pictures."""

    image: Tensor
    """(B, 1, 128, 128) uint8"""
    coverage: Tensor
    """(B, 32, 32) float, share of each 4x4 cell that is visible pupil"""
    ellipse: Tensor
    """(B, 5) as the network's; zeros without a pupil"""
    pupil: Tensor
    """(B,) bool: a pupil of some size is visible"""
    open: Tensor
    """(B,) float 0..1: how open the eye is"""


def augment(
    images: Tensor, masks: Tensor, opened: Tensor, how: Augment, g: torch.Generator
) -> Batch:
    """(B, 128, 128) uint8 images and masks, (B,) openness -> a batch drawn with generator `g`.

    What changes few pictures is done on those alone; it halves the time.
    """
    B = len(images)
    pair = torch.stack([images.float(), masks.float() * 255.0], 1)  # (B, 2, S, S)
    picture, mask = _warp(pair, how, g)
    opened = opened.clone()

    some = _some((how.lid_p * (mask.sum((1, 2)) > 20.0)), g)
    picture[some], mask[some], hidden = _lid(picture[some], mask[some], g)
    opened[some] = opened[some] * (1.0 - 1.5 * hidden).clamp_min(0.0)
    some = _some(torch.full((B,), how.nothing_p), g)
    picture[some], mask[some], opened[some] = _nothing_to_see(picture[some], g), 0.0, 0.0

    if how.pale_p:
        some = _some(how.pale_p * (mask.sum((1, 2)) > 20.0), g)
        picture[some] = _pale(picture[some], mask[some], how, g)
    some = _some(torch.full((B,), how.lashes_p), g)
    picture[some] = _lashes(picture[some], how, g)
    picture = _glints(_light(picture, g), mask, how, g)
    some = _some(torch.full((B,), how.blur_p), g)
    picture[some] = _blur(picture[some], how, g)
    some = _some(torch.full((B,), how.noise_p), g)
    sigma = torch.rand(len(some), 1, 1, generator=g) ** 2 * how.noise
    picture[some] += sigma * torch.randn(picture[some].shape, generator=g)
    ellipse, area = ellipses(mask)
    image = picture.clamp_(0, 255).to(torch.uint8)[:, None]
    return Batch(image, F.avg_pool2d(mask, 4), ellipse, area >= 8.0, opened)


def _some(probability: Tensor, g: torch.Generator) -> Tensor:
    """Indices drawn with these probabilities, (n,) int64."""
    return (torch.rand(len(probability), generator=g) < probability).nonzero()[:, 0]


def ellipses(mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, S, S) coverage 0..1 -> (B, 5) ellipse of the same moments, (B,) area in px."""
    S = mask.shape[-1]
    at = torch.arange(S, dtype=torch.float32)
    area = mask.sum((1, 2))
    total = area.clamp_min(1e-3)
    across, down = mask.sum(1), mask.sum(2)  # (B, S) over x, over y
    x, y = (across @ at) / total, (down @ at) / total
    xx = (across @ at.square()) / total - x.square()
    yy = (down @ at.square()) / total - y.square()
    xy = torch.einsum("byx,y,x->b", mask, at, at) / total - x * y
    covariance = torch.stack([xx, xy, xy, yy], 1).reshape(-1, 2, 2) + 0.02 * torch.eye(2)
    ellipse = torch.cat([torch.stack([x, y], 1), log_shape(covariance)], 1)
    return torch.where(area[:, None] >= 1.0, ellipse, torch.zeros_like(ellipse)), area


def _between(low: float, high: float, B: int, g: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(B, generator=g)


def _warp(pair: Tensor, how: Augment, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Zoom, stretch, shear, turn, mirror, shift. Returns pictures, and masks of 0..1."""
    B, S = len(pair), pair.shape[-1]
    zoom = torch.exp(_between(math.log(how.zoom[0]), math.log(how.zoom[1]), B, g))
    aspect = torch.exp(how.stretch * torch.randn(B, generator=g) / 2)
    turn = torch.deg2rad(how.turn_deg * torch.randn(B, generator=g))
    free = torch.rand(B, generator=g) < how.any_turn_p
    turn = torch.where(free, _between(-math.pi, math.pi, B, g), turn)
    mirror = torch.where(torch.rand(B, generator=g) < 0.5, -1.0, 1.0)
    shear = how.shear * torch.randn(B, generator=g)
    cos, sin = torch.cos(turn), torch.sin(turn)
    # From output to input coordinates (-1..1), so sizes are divided by the zoom.
    a, b = cos * mirror / (zoom * aspect), (-sin + shear) / zoom * aspect
    c, d = sin * mirror / (zoom * aspect), cos / zoom * aspect
    shift = how.shift_px * 2.0 / S * torch.randn(B, 2, generator=g) * 0.6
    theta = torch.stack(
        [torch.stack([a, b, shift[:, 0]], 1), torch.stack([c, d, shift[:, 1]], 1)], 1
    )
    grid = F.affine_grid(theta, [B, 1, S, S], align_corners=False)
    warped = F.grid_sample(pair, grid, padding_mode="border", align_corners=False)
    # Beyond the picture: its border drawn out, or one flat grey.
    outside = (grid.abs() > 1.0).any(3)
    flat = _between(0, 200, B, g)[:, None, None]
    filled = outside & (torch.rand(B, generator=g) < 0.4)[:, None, None]
    picture = torch.where(filled, flat, warped[:, 0])
    return picture, warped[:, 1].masked_fill(outside, 0.0) / 255.0


def _coordinates(B: int, S: int) -> tuple[Tensor, Tensor]:
    at = torch.arange(S, dtype=torch.float32)
    return at[None, None, :].expand(B, 1, S), at[None, :, None].expand(B, S, 1)


def _lid(picture: Tensor, mask: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a lid over part of the pupil; returns also the share of the pupil it hides, (B,)."""
    B, S = len(picture), picture.shape[-1]
    area = mask.sum((1, 2))
    total = area.clamp_min(1.0)
    at = torch.arange(S, dtype=torch.float32)
    x0, y0 = (mask.sum(1) @ at) / total, (mask.sum(2) @ at) / total
    radius = (total / math.pi).sqrt()
    depth = _between(-1.6, 2.2, B, g) * radius
    tilt, bend = 0.25 * torch.randn(B, generator=g), _between(-0.004, 0.012, B, g)
    X, Y = _coordinates(B, S)
    dx = X - x0[:, None, None]
    edge = (y0 + depth)[:, None, None] + tilt[:, None, None] * dx - bend[:, None, None] * dx**2
    below = torch.rand(B, generator=g) < 0.2  # the lower lid, seldom
    signed = torch.where(below[:, None, None], Y - 2 * y0[:, None, None] + edge, edge - Y)
    cover = torch.sigmoid(signed / 0.7)
    skin = _between(60, 190, B, g)[:, None, None] + 0.25 * (Y - 64.0) * torch.randn(
        B, 1, 1, generator=g
    )
    rim = torch.exp(-(((signed - 2.0) / _between(1.0, 4.0, B, g)[:, None, None]) ** 2))
    skin = skin * (1.0 - _between(0.0, 0.7, B, g)[:, None, None] * rim)
    picture = picture * (1.0 - cover) + skin * cover
    left = mask * (1.0 - cover)
    return picture, left, (1.0 - left.sum((1, 2)) / total).clamp(0.0, 1.0)


def _pale(picture: Tensor, mask: Tensor, how: Augment, g: torch.Generator) -> Tensor:
    """Less contrast between pupil and iris; what is darker than a floor loses three quarters of it.

    The floor lies between the mean of the pupil and that of a ring two to four pixels around it.
    """
    inner, outer = (F.max_pool2d(mask[:, None], k, 1, k // 2)[:, 0] for k in (5, 9))
    ring = outer - inner
    pupil = (picture * mask).sum((1, 2)) / mask.sum((1, 2)).clamp_min(1.0)
    iris = (picture * ring).sum((1, 2)) / ring.sum((1, 2)).clamp_min(1.0)
    share = _between(0.0, how.pale, len(picture), g)
    floor = (pupil + share * (iris - pupil).clamp_min(0.0))[:, None, None]
    return torch.where(picture < floor, floor - 0.25 * (floor - picture), picture)


def _lashes(picture: Tensor, how: Augment, g: torch.Generator) -> Tensor:
    """Dark lines of any direction. They do not hide the pupil from the label: labels ignore lashes."""
    B, S = len(picture), picture.shape[-1]
    X, Y = _coordinates(B, S)
    for _ in range(how.lashes):
        angle = _between(0, math.pi, B, g)[:, None, None]
        px, py = _between(0, S, B, g)[:, None, None], _between(0, S, B, g)[:, None, None]
        width = _between(0.4, 1.5, B, g)[:, None, None]
        length = _between(5, 25, B, g)[:, None, None]
        along = (X - px) * torch.cos(angle) + (Y - py) * torch.sin(angle)
        off = (Y - py) * torch.cos(angle) - (X - px) * torch.sin(angle)
        dark = torch.exp(-((off / width) ** 2) - (along / length) ** 4)
        strength = _between(-0.6, 0.6, B, g).clamp_min(0.0)[:, None, None]
        picture = picture * (1.0 - strength * dark)
    return picture


def _light(picture: Tensor, g: torch.Generator) -> Tensor:
    """Gamma, contrast, brightness, and a gradient or vignette over the frame."""
    B, S = len(picture), picture.shape[-1]
    X, Y = _coordinates(B, S)
    gamma = torch.exp(0.3 * torch.randn(B, generator=g))[:, None, None]
    value = (picture.clamp(0, 255) / 255.0 + 1e-4) ** gamma
    centre = value.mean((1, 2), keepdim=True)
    contrast = torch.exp(_between(-0.5, 0.9, B, g))[:, None, None]
    value = (value - centre) * contrast + centre + (0.12 * torch.randn(B, 1, 1, generator=g))
    slope = 0.35 * torch.randn(B, 2, 1, 1, generator=g)
    value = value * (1.0 + slope[:, 0] * (X / S - 0.5) + slope[:, 1] * (Y / S - 0.5))
    ring = ((X - S / 2) ** 2 + (Y - S / 2) ** 2).sqrt() / S
    dark = (torch.rand(B, generator=g) < 0.1)[:, None, None] * _between(0, 1.5, B, g)[:, None, None]
    return value * (1.0 - dark * (ring - 0.35).clamp_min(0.0)).clamp_min(0.0) * 255.0


def _glints(picture: Tensor, mask: Tensor, how: Augment, g: torch.Generator) -> Tensor:
    """Bright spots: the reflections of other lamps, and now and then a large one (a window)."""
    B, S, K = len(picture), picture.shape[-1], how.glints
    at = torch.arange(S, dtype=torch.float32)
    centre = S / 2 + 0.2 * S * torch.randn(2, B, K, 1, generator=g)
    area = mask.sum((1, 2)).clamp_min(1e-3)
    middle = torch.stack([mask.sum(1) @ at, mask.sum(2) @ at]) / area  # (2, B)
    beside = 0.5 * (area / math.pi).sqrt()[None] * torch.randn(2, B, generator=g)
    on_pupil = (torch.rand(B, generator=g) < how.pupil_glint_p) & (area > 20.0)
    centre[:, :, 0, 0] = torch.where(on_pupil, middle + beside, centre[:, :, 0, 0])
    size = torch.rand(B, K, 1, generator=g)
    size[:, 0, 0] = torch.where(on_pupil, size[:, 0, 0] * 0.9, size[:, 0, 0])
    radius = torch.where(size > 0.95, 3.0 + 120.0 * (size - 0.95), 0.7 + 1.8 * size)
    if how.wide_glint_p:
        wide = on_pupil & (torch.rand(B, generator=g) < how.wide_glint_p)
        radius[:, 0, 0] = torch.where(wide, _between(2.5, 6.0, B, g), radius[:, 0, 0])
    strength = 1.6 * (400.0 * torch.rand(B, K, 1, generator=g) - 150.0).clamp_min(0.0)
    across = torch.exp(-(((at - centre[0]) / radius) ** 2)) * strength
    down = torch.exp(-(((at - centre[1]) / radius) ** 2))
    spots = (
        down.transpose(1, 2) @ across
    )  # Gaussians are separable; over 255 they saturate to discs
    return picture + spots


def _blur(picture: Tensor, how: Augment, g: torch.Generator) -> Tensor:
    """Defocus: each picture its own Gaussian, separable."""
    B = len(picture)
    if B == 0:
        return picture
    sigma = (_between(0.2, 1.0, B, g) * how.blur_px)[:, None]
    at = torch.arange(-3, 4, dtype=torch.float32)[None]
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    stacked = F.pad(picture[None], (3, 3, 3, 3), mode="replicate")
    stacked = F.conv2d(stacked, kernel[:, None, None, :], groups=B)
    return F.conv2d(stacked, kernel[:, None, :, None], groups=B)[0]


def _nothing_to_see(picture: Tensor, g: torch.Generator) -> Tensor:
    """Pictures without an eye: smooth random textures of several scales, flat greys, gradients."""
    B, S = len(picture), picture.shape[-1]
    value = _between(0, 220, B, g)[:, None, None].expand(B, S, S).clone()
    for cells in (2, 4, 8, 16, 32):
        rough = torch.randn(B, 1, cells, cells, generator=g)
        strength = 70.0 * torch.rand(B, 1, 1, generator=g) ** 3
        value = value + strength * F.interpolate(rough, (S, S), mode="bilinear")[:, 0]
    return value
