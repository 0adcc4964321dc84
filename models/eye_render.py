"""Eye images of the emulator's virtual wearers as a training set: other irises, pupils, cameras, lamps.

Only pictures whose pupil is whole or wholly hidden are taken, because then the mask is exactly the
ellipse or empty; half-hidden pupils come from the lids that `models.eye_data` draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from device.emulator.eye import EyeState, render_eye
from device.emulator.eye_looks import make_appearance
from models.eye_data import SIZE_PX, EyeSet

EMULATED = "emulator"
"""Their `subject`: nobody to be left out."""


@dataclass(frozen=True)
class Renders:
    """How many, and how the eyes look about."""

    wearers: int = 120
    each: int = 10
    azimuth_deg: float = 13.0
    elevation_deg: float = 10.0
    """Standard deviations of the line of sight."""
    pupil_mm: tuple[float, float] = (2.0, 7.5)
    closed: float = 0.12
    """Share of closed eyes."""


def render_people(how: Renders, seed: int) -> EyeSet:
    """At most `wearers * each` pictures, 128x128, with masks."""
    rng = np.random.default_rng([seed, 7])
    images, masks, blinks = [], [], []
    for wearer in range(how.wearers):
        looks = make_appearance(wearer + 1000 * seed, "right" if wearer % 2 else "left", SIZE_PX)
        for _ in range(how.each):
            closed = rng.random() < how.closed
            state = EyeState(
                azimuth_deg=float(rng.normal(0, how.azimuth_deg)),
                elevation_deg=float(rng.normal(0, how.elevation_deg)),
                openness=0.0 if closed else float(rng.uniform(0.75, 1.0)),
                pupil_mm=float(rng.uniform(*how.pupil_mm)),
                slip_mm=(float(rng.normal(0, 1)), float(rng.normal(0, 1))),
                light=float(rng.uniform(0.7, 1.3)),
            )
            image, truth = render_eye(looks, state, rng)
            if 0.01 < truth.visible < 0.99:
                continue
            mask = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
            if truth.visible >= 0.99:
                place = ((truth.x_px, truth.y_px), (truth.major_px, truth.minor_px))
                cv2.ellipse(mask, (*place, truth.angle_deg), 1, -1)
            images.append(image)
            masks.append(mask)
            blinks.append(truth.visible <= 0.01)
    return EyeSet(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(masks)),
        torch.tensor(blinks),
        np.full(len(images), EMULATED),
        np.array([f"{EMULATED}:{number}" for number in range(len(images))]),
    )
