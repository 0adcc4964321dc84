"""Near-infrared images of one eye, drawn from a three-dimensional eyeball, with the exact pupil ellipse.

Documented: eyeball radius 12 mm, iris radius 5.9 mm; the cornea shows the pupil about 1.13 times larger
than it is. Simplified: refraction is that factor alone, perspective is scaling with depth (the pupil is
small against its distance), the iris is flat, glints move half as far as the pupil. Drawing order:
eyeball, iris, pupil, glints, lids, lashes, then light, blur and noise. What does not change within a
wearer is drawn once (`Canvas`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from device.emulator.eye_looks import Appearance, Canvas, canvas_of
from device.emulator.motion import Floats
from device.types import Pixels

EYEBALL_MM, IRIS_MM = 12.0, 5.9
IRIS_DEPTH_MM = float(np.sqrt(EYEBALL_MM**2 - IRIS_MM**2))
CORNEA_ZOOM = 1.13
SHIFT = 5
"""Binary digits of a pixel that OpenCV's drawing takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EyeState:
    """One eye at one instant."""

    azimuth_deg: float
    """Of the line of sight in the head's frame, right positive."""
    elevation_deg: float
    openness: float
    pupil_mm: float
    slip_mm: tuple[float, float] = (0.0, 0.0)
    light: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PupilTruth:
    """The whole pupil's ellipse as drawn, hidden or not; full axes; angle of the major one."""

    x_px: float
    y_px: float
    major_px: float
    minor_px: float
    angle_deg: float
    """Clockwise from x, 0 to 180."""
    visible: float
    """Share of the ellipse that no lid covers, 0 to 1."""
    openness: float


def render_eye(
    appearance: Appearance, state: EyeState, rng: np.random.Generator
) -> tuple[Pixels, PupilTruth]:
    """One grey image, (H, W) uint8, and its truth. `rng` draws the sensor's noise only."""
    canvas = canvas_of(appearance)
    axis, centre = _eyeball(appearance, state)
    upper, lower = _lids(appearance, canvas, state)
    image = canvas.eyeball.copy()
    pupil = _draw_iris(image, appearance, canvas, state, axis, centre)
    aperture = np.zeros_like(image)
    outline = np.concatenate([upper, lower[::-1]])
    _fill(aperture, outline, 255)
    disc = np.zeros_like(image)
    _ellipse(disc, pupil, 255)
    whole = cv2.countNonZero(disc)
    seen = cv2.countNonZero(cv2.bitwise_and(disc, aperture))
    _draw_glints(image, appearance, axis, centre)
    _shade_under_lid(image, upper, appearance)
    face = canvas.skin_at(state.slip_mm, appearance.px_per_mm)
    cv2.copyTo(image, aperture, face)
    _draw_lids_edges(face, appearance, upper, lower, state)
    cv2.multiply(face, canvas.light, face, state.light / 128)
    cv2.GaussianBlur(face, (5, 5), appearance.defocus_px, face)
    if appearance.glasses:
        cv2.add(face, canvas.reflection, face)
    cv2.add(face, canvas.noise_at(rng), face, dtype=cv2.CV_8U)
    return face, PupilTruth(
        **_named(pupil), visible=seen / max(whole, 1), openness=float(state.openness)
    )


def pupil_ellipse(appearance: Appearance, state: EyeState) -> PupilTruth:
    """The ellipse alone, without drawing; `visible` is then 1 minus the lids' rough cover."""
    axis, centre = _eyeball(appearance, state)
    ellipse = _disc(appearance, axis, centre, state.pupil_mm / 2 * CORNEA_ZOOM)
    return PupilTruth(
        **_named(ellipse), visible=float(np.clip(state.openness, 0, 1)), openness=state.openness
    )


Ellipse = tuple[float, float, float, float, float]
"""x_px, y_px, major_px, minor_px, angle_deg"""


def _named(ellipse: Ellipse) -> dict[str, float]:
    names = ("x_px", "y_px", "major_px", "minor_px", "angle_deg")
    return dict(zip(names, ellipse, strict=True))


def _eyeball(appearance: Appearance, state: EyeState) -> tuple[Floats, Floats]:
    """The line of sight in camera axes (x right, y down, z away from the camera) and the eyeball's
    centre in px."""
    a, e = np.radians(state.azimuth_deg), np.radians(state.elevation_deg)
    # A camera that faces the wearer sees their right on its left.
    ahead = np.array([-np.cos(e) * np.sin(a), -np.sin(e), -np.cos(e) * np.cos(a)])
    centre = np.asarray(appearance.centre_px) - np.asarray(state.slip_mm) * appearance.px_per_mm
    return appearance.camera @ ahead, centre


def _disc(appearance: Appearance, axis: Floats, centre: Floats, radius_mm: float) -> Ellipse:
    """A disc on the iris plane as the camera sees it."""
    nearer = 1 / (1 + axis[2] * IRIS_DEPTH_MM / appearance.distance_mm)
    scale = appearance.px_per_mm * nearer
    x, y = centre + axis[:2] * IRIS_DEPTH_MM * scale
    minor_turn = np.degrees(np.arctan2(axis[1], axis[0]))
    major = 2 * radius_mm * scale
    return (
        float(x),
        float(y),
        float(major),
        float(major * abs(axis[2])),
        float((minor_turn + 90) % 180),
    )


def _draw_iris(
    image: Pixels,
    appearance: Appearance,
    canvas: Canvas,
    state: EyeState,
    axis: Floats,
    centre: Floats,
) -> Ellipse:
    x, y, major, minor, angle = _disc(appearance, axis, centre, IRIS_MM)
    turn = np.radians(angle)
    side = canvas.iris.shape[0]
    along = np.array([np.cos(turn), np.sin(turn)]) * major / side
    across = np.array([-np.sin(turn), np.cos(turn)]) * minor / side
    # The texture is turned back, so that foreshortening does not roll the iris.
    c, s = np.cos(-turn), np.sin(-turn)
    matrix = np.stack([along, across], 1) @ np.array([[c, -s], [s, c]])
    reach = int(major / 2) + 2
    x0, y0 = max(int(x) - reach, 0), max(int(y) - reach, 0)
    x1, y1 = min(int(x) + reach + 1, image.shape[1]), min(int(y) + reach + 1, image.shape[0])
    if x1 - x0 > 1 and y1 - y0 > 1:
        shift = np.array([x - x0, y - y0]) - matrix @ np.full(2, (side - 1) / 2)
        affine = np.column_stack([matrix, shift])
        part = cv2.warpAffine(canvas.iris, affine, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        mask = np.zeros(part.shape, np.uint8)
        _ellipse(mask, (x - x0, y - y0, major, minor, angle), 255)
        cv2.copyTo(part, mask, image[y0:y1, x0:x1])
    pupil = _disc(appearance, axis, centre, state.pupil_mm / 2 * CORNEA_ZOOM)
    _ellipse(image, pupil, appearance.pupil_grey)
    return pupil


def _draw_glints(image: Pixels, appearance: Appearance, axis: Floats, centre: Floats) -> None:
    straight = np.array([0.0, 0.0, -1.0])
    half = axis + straight
    half /= np.linalg.norm(half)
    for dx_mm, dy_mm in appearance.glints_mm:
        spot = centre + (half[:2] * 11.0 + (dx_mm, dy_mm)) * appearance.px_per_mm
        size = appearance.glint_mm * appearance.px_per_mm
        _ellipse(image, (float(spot[0]), float(spot[1]), size, size, 0.0), 255)


def _lids(appearance: Appearance, canvas: Canvas, state: EyeState) -> tuple[Floats, Floats]:
    """Upper and lower lid margins, (n, 2) px. The upper one follows the gaze up and down."""
    along = canvas.lid_along
    bow = np.sqrt(np.clip(1 - np.abs(along) ** 2.2, 0, 1))
    width = appearance.fissure_mm / 2 * appearance.px_per_mm
    open_ = float(np.clip(state.openness, 0, 1))
    raised = appearance.lid_mm * open_ + 0.07 * state.elevation_deg * open_
    sunk = appearance.lower_lid_mm - 0.025 * state.elevation_deg * open_
    meet = appearance.lower_lid_mm * 0.75  # a closed lid meets the lower one below the middle
    upper_mm = -raised + (1 - open_) * meet
    lower_mm = sunk * open_ + (1 - open_) * meet
    slip = np.asarray(state.slip_mm) * appearance.px_per_mm
    x = appearance.fissure_px[0] - slip[0] + along * width
    base = appearance.fissure_px[1] - slip[1] + along * width * appearance.tilt
    upper = base + bow * min(upper_mm, lower_mm - 0.05) * appearance.px_per_mm
    lower = base + bow * lower_mm * appearance.px_per_mm
    return np.stack([x, upper], 1), np.stack([x, lower], 1)


def _shade_under_lid(image: Pixels, upper: Floats, appearance: Appearance) -> None:
    """The upper lid and its lashes keep the lamp's light from the top of the eyeball."""
    rows = np.round((upper + np.array([0.0, 0.5 * appearance.px_per_mm])) * (1 << SHIFT)).astype(
        np.int32
    )
    thick = max(1, round(1.1 * appearance.px_per_mm))
    shade = np.zeros_like(image)
    cv2.polylines(shade, [rows], False, 34, thick, cv2.LINE_8, SHIFT)
    cv2.subtract(image, shade, image)


def _draw_lids_edges(
    face: Pixels, appearance: Appearance, upper: Floats, lower: Floats, state: EyeState
) -> None:
    scale = 1 << SHIFT
    edge = [np.round(lid * scale).astype(np.int32) for lid in (upper, lower)]
    thick = max(1, round(0.35 * appearance.px_per_mm))
    cv2.polylines(
        face, edge[1:], False, int(appearance.skin_grey * 1.12), thick, cv2.LINE_AA, SHIFT
    )
    cv2.polylines(face, edge[:1], False, int(appearance.skin_grey * 0.5), thick, cv2.LINE_AA, SHIFT)
    if not len(appearance.lashes):
        return
    where, length_mm, lean, grey = appearance.lashes.T
    roots = upper[np.round(where * (len(upper) - 1)).astype(int)]
    up = 1.0 if state.openness > 0.35 else -1.0  # closed lids point their lashes down
    length = length_mm * appearance.px_per_mm
    tips = roots + np.stack([lean * length, -up * length * 0.55], 1)
    bend = roots + np.stack([lean * length * 0.35, 0.12 * length], 1)
    strokes = np.round(np.stack([roots, bend, tips], 1) * scale).astype(np.int32)
    cv2.polylines(face, list(strokes), False, int(grey[0]), 1, cv2.LINE_AA, SHIFT)


def _fill(image: Pixels, outline: Floats, grey: int) -> None:
    cv2.fillPoly(
        image, [np.round(outline * (1 << SHIFT)).astype(np.int32)], grey, cv2.LINE_8, SHIFT
    )


def _ellipse(image: Pixels, ellipse: Ellipse, grey: int) -> None:
    x, y, major, minor, angle = ellipse
    scale = 1 << SHIFT
    place = (round(x * scale), round(y * scale))
    axes = (max(round(major / 2 * scale), 1), max(round(minor / 2 * scale), 1))
    cv2.ellipse(image, place, axes, angle, 0, 360, grey, -1, cv2.LINE_AA, SHIFT)
