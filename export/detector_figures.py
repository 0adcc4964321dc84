"""What the shipped detector is worth: against its float original, on annotated video, per size.

    python -m export.detector --photos FOLDER --davis FOLDER

`--photos` is any folder of photographs: agreement of the detections with those of the float network at
the same size. `--davis` has DAVIS' layout (JPEGImages and Annotations with one object mask a frame): the
share of frames in which some box covers the annotated object, beside that of a box around the middle.
Neither set was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.detection import SIZES_PX, Detection, Detector, corners, overlaps
from device.errors import InputError
from device.model import Model, fit
from device.types import Region
from export.photos import cpu_ms, photographs

PHOTO_PX = (640, 480)
SAME = 0.5
"""IoU from which on two boxes are one."""
EVERY = 3
"""Of a DAVIS sequence each third frame is looked at: neighbours differ little."""
CALIBRATE_EVERY = 4
"""Each fourth photograph calibrates the int8 variant."""
MIDDLE = Region(left=0.25, top=0.25, right=0.75, bottom=0.75)
"""The baseline that sees nothing."""

Row = dict[str, float]


def figures(plain: Model, shipped: Model, photos: Path, davis: Path) -> dict[str, Row]:
    """One row a size, and the baseline. Raises InputError if a folder has nothing to look at."""
    pictures = photographs(photos, PHOTO_PX)
    frames = annotated(davis)
    original, stored = Detector(plain), Detector(shipped)
    rows: dict[str, Row] = {}
    full = [original.detect(p) for p in pictures]
    for size_px in SIZES_PX:
        want = [original.detect(p, size_px) for p in pictures]
        got = [stored.detect(p, size_px) for p in pictures]
        covered = [any(near(d.region, box) for d in stored.detect(p, size_px)) for p, box in frames]
        rows[f"{size_px} px"] = {
            "F1 to float": agreement(got, want),
            "F1 to float at 320 px": agreement(got, full),
            "objects covered": float(np.mean(covered)),
            "objects covered, float": float(
                np.mean(
                    [any(near(d.region, b) for d in original.detect(p, size_px)) for p, b in frames]
                )
            ),
            "ms": cpu_ms(shipped, fit(pictures[0], (size_px, size_px))),
            "ms, float": cpu_ms(plain, fit(pictures[0], (size_px, size_px))),
        }
    middle = float(np.mean([near(MIDDLE, box) for _, box in frames]))
    rows["middle of the frame"] = {"objects covered": middle}
    return rows


def storing(plain: Model, variants: Mapping[str, Path], photos: Path) -> dict[str, Row]:
    """Other ways to store or compute the network: size, agreement with float at 320 px, time.

    The photographs that calibrated int8 arithmetic (`calibration`) are left out.
    """
    pictures = [p for i, p in enumerate(photographs(photos, PHOTO_PX)) if i % CALIBRATE_EVERY]
    want = [Detector(plain).detect(p) for p in pictures]
    image = fit(pictures[0], (320, 320))
    rows: dict[str, Row] = {"float": {"bytes": plain.bytes, "ms": cpu_ms(plain, image)}}
    for name, path in variants.items():
        model = Model(path)
        got = [Detector(model).detect(p) for p in pictures]
        rows[name] = {
            "bytes": model.bytes,
            "F1 to float": agreement(got, want),
            "ms": cpu_ms(model, image),
        }
    return rows


def calibration(photos: Path) -> list[dict[str, NDArray[np.uint8]]]:
    """Calls for the int8 variant."""
    return [{"image": p[None]} for p in photographs(photos, (320, 320))[::CALIBRATE_EVERY]]


def agreement(got: Sequence[list[Detection]], want: Sequence[list[Detection]]) -> float:
    """F1 of detections against others: same name, boxes overlapping by `SAME`, each used once."""
    hits = 0
    for mine, theirs in zip(got, want, strict=True):
        free = list(theirs)
        for d in mine:
            match = next((t for t in free if t.name == d.name and near(t.region, d.region)), None)
            if match is not None:
                free.remove(match)
                hits += 1
    total = sum(map(len, got)) + sum(map(len, want))
    return 2 * hits / total if total else 1.0


def annotated(davis: Path) -> list[tuple[NDArray[np.uint8], Region]]:
    """Frames with the box around the object's mask."""
    found = []
    for mask_path in sorted((davis / "Annotations").rglob("*.png")):
        if int(mask_path.stem) % EVERY:
            continue
        image_path = Path(str(mask_path).replace("Annotations", "JPEGImages")).with_suffix(".jpg")
        mask, image = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE), cv2.imread(str(image_path))
        if mask is None or image is None or not mask.any():
            continue
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        height, width = mask.shape
        box = Region(
            left=float(columns[0]) / width,
            top=float(rows[0]) / height,
            right=float(columns[-1] + 1) / width,
            bottom=float(rows[-1] + 1) / height,
        )
        found.append((image.astype(np.uint8, copy=False), box))
    if not found:
        raise InputError(f"{davis}: no frames with masks (Annotations/*/*/*.png)")
    return found


def near(a: Region, b: Region) -> bool:
    return bool(overlaps(corners(a), corners(b)[None])[0] >= SAME)
