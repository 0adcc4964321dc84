"""A wearer drawn in a few lines: a dark disc moves over a grey picture as the eye turns."""

from __future__ import annotations

import cv2
import numpy as np

from device.eye_view import Observation, observe
from device.types import Eye, EyeFrame, Gaze, Pupil

SIZE_PX = 96
STEP_NS = 20_000_000


class Wearer:
    """Looks at random places within +-`range_deg`, 0.3 s each; frames at 50 Hz."""

    def __init__(
        self, seed: int = 1, *, range_deg: float = 12.0, cameras: int = 1, noise_px: float = 0.5
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.range_deg = range_deg
        self.noise_px = noise_px
        self.eyes: list[tuple[Eye, int]] = [
            (eye, n) for n in range(cameras) for eye in ("left", "right")
        ]

    def gaze_at(self, count: int) -> np.ndarray:
        places = self.rng.uniform(-self.range_deg, self.range_deg, (count // 15 + 1, 2))
        return np.repeat(places, 15, axis=0)[:count]

    def frame(self, eye: Eye, camera: int, t_ns: int, azimuth: float, elevation: float) -> EyeFrame:
        x, y = self.centre(eye, camera, azimuth, elevation)
        pixels = np.full((SIZE_PX, SIZE_PX), 170, np.uint8)
        cv2.circle(pixels, (round(x * 16), round(y * 16)), 20 * 16, 110, -1, cv2.LINE_AA, 4)
        cv2.circle(pixels, (round(x * 16), round(y * 16)), 8 * 16, 30, -1, cv2.LINE_AA, 4)
        cv2.line(pixels, (10, 80), (90, 70 + 5 * camera), 90, 3)
        noisy = pixels + self.rng.normal(0, 3, pixels.shape)
        return EyeFrame(
            t_ns=t_ns,
            eye=eye,
            camera=camera,
            seq=t_ns // STEP_NS,
            pixels=np.clip(noisy, 0, 255).astype(np.uint8),
        )

    def centre(
        self, eye: Eye, camera: int, azimuth: float, elevation: float
    ) -> tuple[float, float]:
        """A ball of 30 px radius, each camera turned a little about its own axis."""
        turn = np.radians({"left": 8.0, "right": -8.0}[eye] + 15.0 * camera)
        across = -30.0 * np.sin(np.radians(azimuth))
        down = -30.0 * np.sin(np.radians(elevation))
        x = 48 + across * np.cos(turn) - down * np.sin(turn)
        y = 48 + across * np.sin(turn) + down * np.cos(turn)
        return float(x), float(y)

    def look(
        self, gaze: np.ndarray, *, start_ns: int = 0, confidence: float = 0.9
    ) -> tuple[list[Observation], list[Gaze]]:
        """Observations of all cameras and the true gaze, sample by sample."""
        observations, gazes = [], []
        for n, (azimuth, elevation) in enumerate(gaze):
            t_ns = start_ns + n * STEP_NS
            for eye, camera in self.eyes:
                frame = self.frame(eye, camera, t_ns, azimuth, elevation)
                x, y = self.centre(eye, camera, azimuth, elevation)
                dx, dy = self.rng.normal(0, self.noise_px, 2)
                pupil = pupil_at(frame, x + dx, y + dy, confidence)
                observations.append(observe(frame, pupil))
            gazes.append(
                Gaze(t_ns=t_ns, azimuth_deg=azimuth, elevation_deg=elevation, confidence=1.0)
            )
        return observations, gazes


def pupil_at(
    frame: EyeFrame, x_px: float, y_px: float, confidence: float = 0.9, openness: float = 0.9
) -> Pupil:
    return Pupil(
        t_ns=frame.t_ns,
        eye=frame.eye,
        camera=frame.camera,
        x_px=x_px,
        y_px=y_px,
        major_px=16.0,
        minor_px=15.0,
        angle_deg=0.0,
        openness=openness,
        confidence=confidence,
    )
