"""Expression data: whole faces with labels, and the eye crops that the glasses' network may see.

No near-infrared eye-emotion data can be had; eyes are cut from visible-light faces, turned to grey and
degraded towards an eye camera. That camera is aimed at its eye, sits at one distance of it and turns with the
head; so the eyes of each face are found (face-api's landmarks, MIT licence, `export.eye_places`) and cut out
upright, at one size in distances between the eyes, brow included, because an eye camera on a frame sees the
brow's lower edge and expression lives there. Where what is found cannot be a pair of eyes, the crop is a box
around the mean position of each eye (`emo_lfw_expressions_dev` and `emo_fer2013_dev`, ORIGIN.md).
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.model import Model
from device.types import EMOTIONS

SIDE_PX = 64
NAMES = {
    **{name: name for name in EMOTIONS},
    "anger": "angry",
    "happiness": "happy",
    "sadness": "sad",
}
LEAST_PER_CLASS = 12
"""A class with fewer pictures in a folder is left out of its scores: too few to say anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EyeBoxes:
    """Where the eyes lie in an aligned face, in fractions of its side; the box is square."""

    left_x: float  # of the image, which is the person's right eye
    right_x: float
    y: float
    side: float


PLACES = Path(__file__).parent / "places" / "eye_places.onnx"
CROP_SIDE = 1.08
"""Of a crop, in distances between the eyes: what the fixed boxes have too."""
ABOVE = 0.08
"""The middle of a crop lies so far above the eye, in its sides: the brow is to be in it."""
LEAST_APART, MOST_APART = 0.2, 0.55
"""Distance of two eyes in a face that fills its picture, in the picture's sides."""
MOST_TILTED_DEG = 45.0


LFW = EyeBoxes(left_x=84 / 256, right_x=172 / 256, y=92 / 256, side=96 / 256)
FER = EyeBoxes(left_x=15 / 48, right_x=32.5 / 48, y=16 / 48, side=19 / 48)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expressions:
    """N labelled faces and their two eyes."""

    eyes: NDArray[np.uint8]
    """(N, 2, 64, 64) grey: image-left eye, image-right eye mirrored, so both look alike."""
    labels: NDArray[np.int64]
    """(N,) index into EMOTIONS."""
    people: tuple[str, ...]
    """Identity, or the picture's name where the source has none."""
    faces: NDArray[np.uint8]
    """(N, 112, 112) grey, for a whole-face teacher."""
    has_identities: bool

    def take(self, keep: NDArray[np.bool_]) -> Expressions:
        """The rows where `keep` is true."""
        return Expressions(
            eyes=self.eyes[keep],
            labels=self.labels[keep],
            people=tuple(p for p, k in zip(self.people, keep, strict=True) if k),
            faces=self.faces[keep],
            has_identities=self.has_identities,
        )

    def classes(self) -> list[int]:
        """Classes with at least `LEAST_PER_CLASS` pictures."""
        counts = np.bincount(self.labels, minlength=len(EMOTIONS))
        return [int(c) for c in np.flatnonzero(counts >= LEAST_PER_CLASS)]


def read_folder(folder: Path, *, skip: str = "train") -> Expressions:
    """A folder with `labels.csv` and `images/`, or with `.npz` of `images, labels, classes`.

    Where several `.npz` lie side by side, those whose name begins with `skip` are left out. Raises
    InputError naming the file and what is wrong.
    """
    if (folder / "labels.csv").is_file():
        return read_images(folder)
    found = sorted(folder.glob("*.npz"))
    wanted = [p for p in found if not p.stem.startswith(skip)] or found
    if not wanted:
        raise InputError(f"{folder}: holds neither labels.csv nor an .npz of faces")
    return read_npz(wanted[0])


def read_images(folder: Path) -> Expressions:
    """`labels.csv` (image, emotion[, identity]) and `images/`. Raises InputError."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    if not rows or not {"image", "emotion"} <= set(rows[0]):
        raise InputError(f"{folder / 'labels.csv'}: needs the columns image and emotion")
    faces, labels, people = [], [], []
    for line, row in enumerate(rows, start=2):
        path = folder / "images" / row["image"]
        face = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if face is None:
            raise InputError(f"{path}: cannot be read (labels.csv line {line})")
        labels.append(_label(row["emotion"], f"{folder / 'labels.csv'} line {line}"))
        faces.append(face)
        people.append(row.get("identity") or row["image"])
    return _expressions(faces, labels, people, LFW, has_identities="identity" in rows[0])


def read_npz(path: Path) -> Expressions:
    """An archive with images (N, H, W) uint8, labels (N,) and classes. Raises InputError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"]
            classes = [str(c) for c in archive["classes"]] if "classes" in archive else EMOTIONS
            names = [str(n) for n in archive["names"]] if "names" in archive else None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: is not an archive of images and labels ({error})") from error
    if images.ndim != 3 or len(images) != len(labels) or len(images) == 0:
        raise InputError(f"{path}: images are {images.shape}, labels {labels.shape}")
    indices = [_label(classes[int(label)], str(path)) for label in labels]
    people = names or [str(number) for number in range(len(images))]
    return _expressions(list(images), indices, people, FER, has_identities=False)


def held_out(
    people: tuple[str, ...], share: float = 0.2, salt: str = "beheld"
) -> NDArray[np.bool_]:
    """True for people that training must not see: a fixed choice by hash, whatever else is there."""
    digests = (hashlib.sha256(f"{salt}/{person}".encode()).digest() for person in people)
    return np.array([int.from_bytes(d[:4], "big") < share * 2**32 for d in digests])


SPLIT = Path(__file__).parent / "splits" / "emo_lfw_train.txt"
"""Hashes of the people the shipped network was trained on, one a line; benches leave these out."""


def person_hash(person: str) -> str:
    """A name nobody has to read, for lists of who was trained on."""
    return hashlib.sha256(f"beheld/{person}".encode()).hexdigest()[:12]


def never_seen(data: Expressions, split: Path = SPLIT) -> Expressions:
    """The rows of people the shipped network was not trained on (all, without identities)."""
    if not data.has_identities or not split.is_file():
        return data
    seen = set(split.read_text(encoding="utf-8").split())
    return data.take(np.array([person_hash(p) not in seen for p in data.people]))


def eye_crops(
    face: NDArray[np.uint8], boxes: EyeBoxes, eyes: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """(2, 64, 64): both eyes of a face, upright, the image-right one mirrored.

    `eyes` (2, 2): where they were found, in fractions of the side; where that cannot be, or without it,
    `boxes` holds.
    """
    side = face.shape[0]
    centres = np.array([[boxes.left_x, boxes.y], [boxes.right_x, boxes.y]])
    size, turn = boxes.side, 0.0
    if eyes is not None and _plausible(eyes):
        across = (eyes[1] - eyes[0]).astype(float)
        size, turn = CROP_SIDE * float(np.hypot(*across)), float(np.arctan2(across[1], across[0]))
        centres = eyes + ABOVE * size * np.array([np.sin(turn), -np.cos(turn)])
    scale = SIDE_PX / (size * side)
    linear = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    crops = []
    for centre in centres:
        shift = np.full(2, SIDE_PX / 2) - linear @ (centre * side)
        crops.append(
            cv2.warpAffine(
                face,
                np.column_stack([linear, shift]),
                (SIDE_PX, SIDE_PX),
                flags=cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )
    return np.stack([crops[0], crops[1][:, ::-1]]).astype(np.uint8)


def _plausible(eyes: NDArray[np.float32]) -> bool:
    """Whether two places may be the eyes of a face that fills its picture."""
    (dx, dy), tilt = eyes[1] - eyes[0], np.tan(np.radians(MOST_TILTED_DEG))
    inside = np.isfinite(eyes).all() and (eyes > 0).all() and (eyes < 1).all()
    return bool(
        inside and LEAST_APART <= np.hypot(dx, dy) <= MOST_APART and dx > 0 and abs(dy) < tilt * dx
    )


def _label(name: str, where: str) -> int:
    if name.lower() not in NAMES:
        known = ", ".join(sorted(NAMES))
        raise InputError(f"{where}: unknown expression '{name}'; known: {known}")
    return EMOTIONS.index(NAMES[name.lower()])


def _expressions(
    faces: list[NDArray[np.uint8]],
    labels: list[int],
    people: list[str],
    boxes: EyeBoxes,
    *,
    has_identities: bool,
) -> Expressions:
    small = np.stack([cv2.resize(f, (112, 112), interpolation=cv2.INTER_AREA) for f in faces])
    finder = Model(PLACES)
    eyes = [finder.run(faces=face[None])["eyes"][0] for face in small]
    return Expressions(
        eyes=np.stack([eye_crops(f, boxes, e) for f, e in zip(faces, eyes, strict=True)]),
        labels=np.array(labels),
        people=tuple(people),
        faces=small,
        has_identities=has_identities,
    )
