"""Photographs for the figures of converted networks, and the CPU time of a call."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.model import Model, fit
from device.types import Pixels

KINDS = (".jpg", ".jpeg", ".png", ".webp")


def photographs(folder: Path, size_px: tuple[int, int], most: int = 200) -> NDArray[np.uint8]:
    """Up to `most` photographs anywhere under the folder, evenly picked, (n, H, W, 3) BGR uint8.

    Raises InputError if there is none.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in KINDS)
    picked = paths[:: max(1, len(paths) // most)][:most]
    found = [p for p in (cv2.imread(str(path)) for path in picked) if p is not None]
    if not found:
        raise InputError(f"{folder}: no photographs ({', '.join(KINDS)})")
    return np.stack([fit(p.astype(np.uint8, copy=False), size_px) for p in found])


def cpu_ms(model: Model, image: Pixels, calls: int = 30) -> float:
    """Median CPU milliseconds of one call of the thread that runs it."""
    took = []
    for _ in range(calls):
        started = time.thread_time()
        model.run(image=image[None])
        took.append(time.thread_time() - started)
    return float(np.median(took)) * 1e3
