"""The scene camera of a recording: read, fitted to the recording's own 3-D gaze, or assumed and said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.geometry import pinhole
from device.types import SceneGeometry

ASSUMED_FIELD_DEG = 80.0
"""Horizontal field of a wide scene camera where the recording does not say: what Tobii Pro Glasses 2's
own 3-D gaze gives for its camera (see `fit_camera`)."""

MIN_SPREAD = 0.05
"""Least spread of the gaze, as a fraction of the frame, from which a focal length can be fitted."""

Floats = NDArray[np.float64]


def read_camera(path: Path, width_px: int, height_px: int) -> SceneGeometry:
    """`scene_camera.json` as Pupil Cloud writes it. Raises InputError if it holds no camera."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        matrix = np.array(raw["camera_matrix"], np.float64).reshape(3, 3)
        given = raw.get("dist_coefs", raw.get("distortion_coefficients", [0.0] * 5))
        distortion = np.ravel(np.array(given, np.float64))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: holds no camera_matrix of 3 x 3 numbers ({error!r})") from error
    return SceneGeometry(
        width_px=width_px, height_px=height_px, camera_matrix=matrix, distortion=distortion
    )


def fit_camera(
    right: Floats, down: Floats, x: Floats, y: Floats, width_px: int, height_px: int
) -> SceneGeometry | None:
    """Pinhole camera from directions (tangents to the right and down) and the frame fractions they hit.

    None where the gaze moved too little to tell, or the fit is no camera.
    """
    known = np.isfinite(right + down + x + y)
    if known.sum() < 20:
        return None
    lines = []
    for tangent, fraction, size in ((right, x, width_px), (down, y, height_px)):
        if np.ptp(np.percentile(fraction[known], [5, 95])) < MIN_SPREAD:
            return None
        slope, offset = np.polyfit(tangent[known], fraction[known], 1)
        if not 0.2 < slope < 5 or not 0 < offset < 1:
            return None
        lines.append((slope * size, offset * size - 0.5))
    (fx, cx), (fy, cy) = lines
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return SceneGeometry(width_px=width_px, height_px=height_px, camera_matrix=matrix)


def assumed_camera(width_px: int, height_px: int) -> tuple[SceneGeometry, str]:
    """A pinhole of the assumed field of view, and the note that says so."""
    note = (
        "the recording has no scene camera intrinsics: a horizontal field of view of "
        f"{ASSUMED_FIELD_DEG:g} deg without distortion is assumed for angles"
    )
    return pinhole(width_px, height_px, ASSUMED_FIELD_DEG), note
