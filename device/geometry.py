"""Between gaze angles and pixels of the scene frame, in both directions, for any number of points.

Angles follow the vocabulary: azimuth positive to the right, elevation positive upwards. Azimuth is
the longitude and elevation the latitude of the line of sight, as Pupil Labs' exports define them, so
the line is (cos e * sin a, -sin e, cos e * cos a) in OpenCV's axes (x right, y down, z ahead).
Pixels are those of the sensor at its native size; `in_frame` turns them into fractions of the frame,
which hold at any resolution.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from device.errors import ConfigError
from device.types import SceneGeometry

Floats = NDArray[np.float64]

MAX_OFF_AXIS_DEG = 89.0
"""A pinhole has no image of what lies beside or behind it; beyond this angle a point has no pixel."""


def project(
    geometry: SceneGeometry, azimuth_deg: ArrayLike, elevation_deg: ArrayLike
) -> tuple[Floats, Floats]:
    """Angles to (x_px, y_px), float64, of the shape the two arguments broadcast to.

    NaN where an angle is not finite, where the line does not pass in front of the camera, or where
    the distortion model folds back on itself, far outside the frame.
    """
    azimuth, elevation = np.broadcast_arrays(
        np.radians(np.asarray(azimuth_deg, float)), np.radians(np.asarray(elevation_deg, float))
    )
    across = np.cos(elevation) * np.sin(azimuth)
    down = -np.sin(elevation)
    ahead = np.cos(elevation) * np.cos(azimuth)
    seen = np.isfinite(ahead) & (ahead > np.cos(np.radians(MAX_OFF_AXIS_DEG)))
    depth = np.where(seen, ahead, 1.0)
    x = np.where(seen, across / depth, 0.0)
    y = np.where(seen, down / depth, 0.0)
    seen = seen & (np.hypot(x, y) <= _reach(geometry))
    x, y = _distort(geometry.distortion, x, y)
    matrix = geometry.camera_matrix
    x_px = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    y_px = matrix[1, 1] * y + matrix[1, 2]
    return np.where(seen, x_px, np.nan), np.where(seen, y_px, np.nan)


def unproject(geometry: SceneGeometry, x_px: ArrayLike, y_px: ArrayLike) -> tuple[Floats, Floats]:
    """Pixels to (azimuth_deg, elevation_deg), float64, of the shape the two arguments broadcast to.

    NaN in gives NaN out. `project` undoes it to well under a hundredth of a pixel inside the frame.
    """
    x_px, y_px = np.broadcast_arrays(np.asarray(x_px, float), np.asarray(y_px, float))
    known = np.isfinite(x_px) & np.isfinite(y_px)
    if not known.any():
        return np.full(x_px.shape, np.nan), np.full(x_px.shape, np.nan)
    points = np.stack([np.where(known, x_px, 0.0), np.where(known, y_px, 0.0)], axis=-1)
    matrix = geometry.camera_matrix
    exact = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-10)
    straight = cv2.undistortImagePoints(
        points.reshape(-1, 1, 2), matrix, np.asarray(geometry.distortion, float), arg1=exact
    ).reshape(*x_px.shape, 2)
    y = (straight[..., 1] - matrix[1, 2]) / matrix[1, 1]
    x = (straight[..., 0] - matrix[0, 2] - matrix[0, 1] * y) / matrix[0, 0]
    azimuth_deg = np.degrees(np.arctan2(x, 1.0))
    elevation_deg = np.degrees(np.arctan2(-y, np.hypot(x, 1.0)))
    return np.where(known, azimuth_deg, np.nan), np.where(known, elevation_deg, np.nan)


def in_frame(
    geometry: SceneGeometry, azimuth_deg: ArrayLike, elevation_deg: ArrayLike
) -> tuple[Floats, Floats]:
    """Angles to fractions of the scene frame, origin top left; outside 0..1 where out of view."""
    x_px, y_px = project(geometry, azimuth_deg, elevation_deg)
    return (x_px + 0.5) / geometry.width_px, (y_px + 0.5) / geometry.height_px


def from_frame(geometry: SceneGeometry, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Fractions of the scene frame to (azimuth_deg, elevation_deg)."""
    x_px = np.asarray(x, float) * geometry.width_px - 0.5
    y_px = np.asarray(y, float) * geometry.height_px - 0.5
    return unproject(geometry, x_px, y_px)


def pinhole(width_px: int, height_px: int, horizontal_deg: float) -> SceneGeometry:
    """A camera without distortion that sees `horizontal_deg` from its left edge to its right one.

    Raises ConfigError unless 0 < horizontal_deg < 180.
    """
    if not 0.0 < horizontal_deg < 180.0:
        raise ConfigError(
            f"a field of view of {horizontal_deg} deg has no pinhole image; give one between 0 and 180"
        )
    focal_px = width_px / 2 / np.tan(np.radians(horizontal_deg) / 2)
    matrix = np.array(
        [[focal_px, 0, width_px / 2 - 0.5], [0, focal_px, height_px / 2 - 0.5], [0, 0, 1]]
    )
    return SceneGeometry(width_px=width_px, height_px=height_px, camera_matrix=matrix)


def degrees_across(geometry: SceneGeometry) -> tuple[float, float]:
    """(horizontal, vertical) field of view through the middle of the frame, in degrees."""
    azimuth_deg, _ = from_frame(geometry, [0.0, 1.0], [0.5, 0.5])
    _, elevation_deg = from_frame(geometry, [0.5, 0.5], [0.0, 1.0])
    return float(azimuth_deg[1] - azimuth_deg[0]), float(elevation_deg[0] - elevation_deg[1])


def _coefficients(distortion: NDArray[np.float64]) -> list[float]:
    """k1, k2, p1, p2, k3, k4, k5, k6: OpenCV's order, the rest zero."""
    given = [float(c) for c in np.ravel(distortion)[:8]]
    return given + [0.0] * (8 - len(given))


def _distort(distortion: NDArray[np.float64], x: Floats, y: Floats) -> tuple[Floats, Floats]:
    k1, k2, p1, p2, k3, k4, k5, k6 = _coefficients(distortion)
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def _reach(geometry: SceneGeometry) -> float:
    """Radius (tangent of the angle off axis) up to which the radial distortion grows monotonically.

    Beyond it a lens model returns points to the middle of the frame that lie far outside of it.
    """
    k1, k2, _, _, k3, k4, k5, k6 = _coefficients(geometry.distortion)
    if not any((k1, k2, k3, k4, k5, k6)):
        return float(np.tan(np.radians(MAX_OFF_AXIS_DEG)))
    radius = np.tan(np.radians(np.linspace(0.0, MAX_OFF_AXIS_DEG, 512)))
    r2 = radius * radius
    above, below = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    with np.errstate(divide="ignore", invalid="ignore"):
        bent = radius * above / below
    folds = np.flatnonzero(~(np.diff(bent) > 0))
    return float(radius[folds[0]] if folds.size else radius[-1])
