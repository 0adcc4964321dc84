"""One eye image in, one pupil out: what stands around the eye network on the glasses.

The network sees a square; frames of any size are stretched to it (`device.model.fit`) and the ellipse
is stretched back, which keeps it an ellipse. Nothing here judges: every frame has a `Pupil`, and
`PupilGate` is for those who must decide whether there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import ModelError
from device.model import Model, fit
from device.types import EyeFrame, Pupil


@dataclass(frozen=True, slots=True, kw_only=True)
class PupilGate:
    """When a pupil counts as seen. Both numbers are probabilities.

    A half is the fair line for the lids. That of the confidence is chosen by a stated rule
    (`models/eye_gate.py`) on people whom a network had never seen (docs/models/eye.md).
    """

    min_openness: float = 0.5
    """Below it the eye counts as closed (a blink)."""
    min_confidence: float = 0.5
    """Below it the ellipse counts as not found (no eye, or not to be trusted)."""

    def closed(self, pupil: Pupil) -> bool:
        return pupil.openness < self.min_openness

    def reports(self, pupil: Pupil) -> bool:
        return pupil.openness >= self.min_openness and pupil.confidence >= self.min_confidence


class PupilEstimator:
    """The eye network with what comes before and after it."""

    def __init__(self, model: Model) -> None:
        """Raises ModelError if it is not an eye network (inputs, outputs of its contract)."""
        names = [t.name for t in model.spec.inputs], [t.name for t in model.spec.outputs]
        if names != (["image"], ["ellipse", "openness", "confidence"]):
            raise ModelError(f"{model.path}: {names[0]} -> {names[1]} is not an eye network")
        self.model = model
        self._size_px = model.input_size_px

    def estimate(self, frame: EyeFrame) -> Pupil:
        """The pupil of one frame of any size, in pixels of that frame (centre of a pixel is whole)."""
        image = fit(frame.pixels, self._size_px)
        found = self.model.run(image=image[None, None])
        x, y, major, minor, angle_deg = frame_ellipse(
            found["ellipse"][0], frame.pixels.shape[:2], self._size_px
        )
        return Pupil(
            t_ns=frame.t_ns,
            eye=frame.eye,
            camera=frame.camera,
            x_px=x,
            y_px=y,
            major_px=major,
            minor_px=minor,
            angle_deg=angle_deg,
            openness=float(found["openness"][0]),
            confidence=float(found["confidence"][0]),
        )


def frame_ellipse(
    ellipse: NDArray[np.float32], shape: tuple[int, ...], size_px: tuple[int, int]
) -> tuple[float, float, float, float, float]:
    """The network's (x, y, log E) -> x, y, major, minor axis (px of the frame), angle (deg, 0..180).

    E has the squared semi-axes as eigenvalues; `shape` is the frame's (height, width), `size_px` the
    network's (width, height).
    """
    x, y, log_xx, log_yy, log_xy = (float(v) for v in ellipse)
    (scale_x, first_x), (scale_y, first_y) = _stretch(shape, size_px)
    # exp of a symmetric 2x2 matrix, closed form: mean and deviator.
    mean, half, off = (log_xx + log_yy) / 2, (log_xx - log_yy) / 2, log_xy
    spread = math.hypot(half, off)
    size = math.exp(min(mean, 20.0))
    ratio = math.sinh(min(spread, 20.0)) / spread if spread > 1e-9 else 1.0
    cosh = math.cosh(min(spread, 20.0))
    xx = size * (cosh + ratio * half) * scale_x * scale_x
    yy = size * (cosh - ratio * half) * scale_y * scale_y
    xy = size * ratio * off * scale_x * scale_y
    mean, half = (xx + yy) / 2, (xx - yy) / 2
    spread = math.hypot(half, xy)
    major, minor = math.sqrt(mean + spread), math.sqrt(max(mean - spread, 0.0))
    angle_deg = math.degrees(0.5 * math.atan2(xy, half)) % 180.0
    return x * scale_x + first_x, y * scale_y + first_y, 2 * major, 2 * minor, angle_deg


def _stretch(
    shape: tuple[int, ...], size_px: tuple[int, int]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """What `fit` did, backwards, for x and y: frame pixel = scale * network pixel + first.

    Striding keeps the first pixel where it was; interpolation keeps the outer edges of the image.
    """
    height, width = shape[:2]
    step = 1
    while height >= 2 * size_px[1] and width >= 2 * size_px[0]:
        height, width, step = (height + 1) // 2, (width + 1) // 2, 2 * step
    across, down = width / size_px[0], height / size_px[1]
    return (
        (step * across, step * (across - 1) / 2),
        (step * down, step * (down - 1) / 2),
    )
