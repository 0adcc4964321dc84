"""Folders of eye images for `beheld bench pupil`, read by what is in them, not by their names.

* `labels.csv` with columns image, blink[, mask]: `images/` and `masks/` (MEYE's layout);
* a video beside `*_pupildata.csv` (frame, x, y, a, b: one ellipse a frame, zeros where none): the
  labelled Pupil Core videos. Where the video's name says `rotated` its labels are turned by 180 degrees;
* a video beside `blinks.csv` (first_frame, last_frame): blinks only;
* any other videos and images: no labels.

Folders are searched to any depth; each folder that holds such files is a part.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from device.errors import InputError
from device.types import Pixels

VIDEOS = (".avi", ".mkv", ".mov", ".mp4")
IMAGES = (".bmp", ".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledEye:
    """One picture and what is known of it; None where the set does not say."""

    pixels: Pixels
    part: str
    """Which video, or which subject."""
    centre_px: tuple[float, float] | None = None
    mask: Pixels | None = None
    """(H, W) of 0 and 1."""
    pupil: bool | None = None
    """Does the label show a pupil?"""
    blink: bool | None = None
    frame: int | None = None
    """Index within a video."""


def read_eyes(folder: Path) -> Iterator[LabelledEye]:
    """Every picture under `folder`. Raises InputError: no folder, nothing in it, unreadable labels."""
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give one with images or videos of eyes")
    found = False
    inside = sorted(
        p for p in folder.rglob("*") if p.is_dir() and p.name not in ("images", "masks")
    )
    for place in [folder, *inside]:
        for eye in _read_part(place, folder):
            found = True
            yield eye
    if not found:
        raise InputError(f"{folder}: holds neither images nor videos of eyes; check the folder")


def blink_intervals(folder: Path) -> dict[str, list[tuple[int, int]]]:
    """First and last frame of each labelled blink, by part, where `blinks.csv` lies beside a video."""
    found = {}
    for table in sorted(folder.rglob("blinks.csv")):
        rows = _rows(table, ("first_frame", "last_frame"))
        spans = [(_int(table, r["first_frame"]), _int(table, r["last_frame"])) for r in rows]
        for video in _files(table.parent, VIDEOS):
            found[_part(video, folder)] = spans
    return found


def _read_part(place: Path, root: Path) -> Iterator[LabelledEye]:
    if (place / "labels.csv").is_file():
        yield from _read_table(place)
        return
    pupils = sorted(place.glob("*_pupildata.csv"))
    blinks = place / "blinks.csv"
    for video in _files(place, VIDEOS):
        part = _part(video, root)
        beside = [t for t in pupils if t.name.split("_")[0] == video.name.split("_")[0]]
        if beside:
            yield from _read_ellipses(video, beside[0], part)
        elif blinks.is_file():
            spans = blink_intervals(place)[video.name]
            for number, pixels in enumerate(grey_frames(video)):
                closed = any(first <= number <= last for first, last in spans)
                yield LabelledEye(pixels=pixels, part=part, blink=closed, frame=number)
        else:
            for number, pixels in enumerate(grey_frames(video)):
                yield LabelledEye(pixels=pixels, part=part, frame=number)
    for path in _files(place, IMAGES):
        yield LabelledEye(pixels=_grey(path), part=_part(path.parent, root))


def _read_table(place: Path) -> Iterator[LabelledEye]:
    table = place / "labels.csv"
    rows = _rows(table, ("image", "blink"))
    if not rows:
        raise InputError(f"{table}: has no rows; label at least one image")
    for row in rows:
        pixels = _grey(place / "images" / row["image"])
        mask, centre = None, None
        if row.get("mask"):
            mask = (_colour(place / "masks" / row["mask"]).max(axis=2) > 127).astype(np.uint8)
            if mask.shape != pixels.shape:
                raise InputError(f"{table}: mask {row['mask']} is not of its image's size")
            if mask.any():
                at_y, at_x = np.nonzero(mask)
                centre = (float(at_x.mean()), float(at_y.mean()))
        yield LabelledEye(
            pixels=pixels,
            part=row.get("subject") or "all",
            centre_px=centre,
            mask=mask,
            pupil=None if mask is None else bool(mask.any()),
            blink=row["blink"].strip() in ("1", "1.0", "true", "True"),
        )


def _read_ellipses(video: Path, table: Path, part: str) -> Iterator[LabelledEye]:
    rows = _rows(table, ("x", "y", "a", "b"))
    for number, pixels in enumerate(grey_frames(video)):
        if number >= len(rows):
            return
        x, y, a = (_float(table, rows[number][name]) for name in ("x", "y", "a"))
        height, width = pixels.shape
        if "rotated" in video.name:
            x, y = width - 1 - x, height - 1 - y
        centre = (x, y) if a > 0 else None
        yield LabelledEye(
            pixels=pixels, part=part, centre_px=centre, pupil=centre is not None, frame=number
        )


def grey_frames(video: Path) -> Iterator[Pixels]:
    """Frames as (H, W) uint8. A damaged end is an end; InputError if no frame can be decoded."""
    count = 0
    try:
        with av.open(str(video)) as container:
            for frame in container.decode(video=0):
                count += 1
                yield frame.to_ndarray(format="gray")
    except (av.error.FFmpegError, IndexError) as error:
        if count == 0:
            raise InputError(
                f"{video}: no frame can be decoded ({error}); check the file"
            ) from error


def _files(place: Path, endings: tuple[str, ...]) -> list[Path]:
    return sorted(p for p in place.iterdir() if p.suffix.lower() in endings and p.is_file())


def _part(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path != root else "images"


def _grey(path: Path) -> Pixels:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise InputError(f"{path}: cannot be read as an image; check the file or its label")
    return np.asarray(image, np.uint8)


def _colour(path: Path) -> Pixels:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path}: cannot be read as a mask; check the file or its label")
    return np.asarray(image, np.uint8)


def _rows(table: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows = list(reader)
            names = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read ({error}); it must be a CSV table") from error
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(f"{table}: has no column {', '.join(missing)}; add it")
    return rows


def _int(table: Path, text: str) -> int:
    return int(_float(table, text))


def _float(table: Path, text: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError) as error:
        raise InputError(f"{table}: {text!r} is not a number; mend the row") from error
