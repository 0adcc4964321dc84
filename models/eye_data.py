"""Eye images for training: real ones with masks and blinks, and a pool of augmented ones to draw from."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from device.errors import InputError
from models.eye_augment import Augment, Batch, augment

SIZE_PX = 128


@dataclass(frozen=True)
class EyeSet:
    """Labelled eye images in memory."""

    images: Tensor
    """(N, 128, 128) uint8"""
    masks: Tensor
    """(N, 128, 128) uint8, 1 on the pupil"""
    blink: Tensor
    """(N,) bool, as labelled"""
    subject: NDArray[np.str_]
    """(N,)"""
    name: NDArray[np.str_]
    """(N,) file names"""

    def __len__(self) -> int:
        return len(self.images)

    def __add__(self, other: EyeSet) -> EyeSet:
        return EyeSet(
            torch.cat([self.images, other.images]),
            torch.cat([self.masks, other.masks]),
            torch.cat([self.blink, other.blink]),
            np.concatenate([self.subject, other.subject]),
            np.concatenate([self.name, other.name]),
        )

    def take(self, where: NDArray[np.bool_]) -> EyeSet:
        """The part where `where` is true."""
        chosen = torch.from_numpy(where)
        return EyeSet(
            self.images[chosen],
            self.masks[chosen],
            self.blink[chosen],
            self.subject[where],
            self.name[where],
        )


def read_meye(folder: Path) -> EyeSet:
    """`images/`, `masks/` and `labels.csv` (image, mask, subject, blink).

    Raises InputError for a missing table or an unreadable image or mask.
    """
    table = folder / "labels.csv"
    if not table.is_file():
        raise InputError(f"{table}: not there; the folder needs images/, masks/ and labels.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return EyeSet(
        torch.from_numpy(np.stack([read_grey(folder / "images" / r["image"]) for r in rows])),
        torch.from_numpy(np.stack([read_mask(folder / "masks" / r["mask"]) for r in rows])),
        torch.tensor([r["blink"] == "1" for r in rows]),
        np.array([r["subject"] for r in rows]),
        np.array([r["image"] for r in rows]),
    )


def read_grey(path: Path) -> NDArray[np.uint8]:
    """One grey image, (128, 128) uint8. InputError if it cannot be decoded."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise InputError(f"{path}: cannot be read as an image; check the file")
    if image.shape != (SIZE_PX, SIZE_PX):
        image = cv2.resize(image, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
    return image.astype(np.uint8, copy=False)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """One mask, (128, 128) of 0 and 1: any colour channel above 127 is pupil."""
    mask = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if mask is None:
        raise InputError(f"{path}: cannot be read as a mask; check the file")
    return (mask.max(axis=2) > 127).astype(np.uint8)


class Pool:
    """Augmented pictures to draw from: each is used several times, and the oldest give way to new.

    Making a picture costs more than training on it; a pool halves the time at the same result, and
    trainings that leave a person out can share one.
    """

    def __init__(
        self, data: EyeSet, how: Augment, size: int, batch: int, seed: int, even: bool = False
    ) -> None:
        """`even`: every person counts the same, not by the root of their pictures."""
        self._data, self._how, self._batch = data, how, batch
        self._g = torch.Generator().manual_seed(seed)
        self._at = 0
        self._weight = _weights(data, 1.0 if even else 0.5)
        self.source = torch.zeros(size, dtype=torch.int64)
        """(size,) index into `data`"""
        self._stored = Batch(
            torch.zeros(size, 1, SIZE_PX, SIZE_PX, dtype=torch.uint8),
            torch.zeros(size, SIZE_PX // 4, SIZE_PX // 4),
            torch.zeros(size, 5),
            torch.zeros(size, dtype=torch.bool),
            torch.zeros(size),
        )
        for _ in range(size // batch):
            self.renew()

    def renew(self) -> None:
        """Replace the oldest `batch` pictures."""
        index = torch.multinomial(self._weight, self._batch, replacement=True, generator=self._g)
        opened = (~self._data.blink[index]).float()
        new = augment(self._data.images[index], self._data.masks[index], opened, self._how, self._g)
        here = slice(self._at, self._at + self._batch)
        self.source[here] = index
        for old, fresh in zip(vars(self._stored).values(), vars(new).values(), strict=True):
            old[here] = fresh
        self._at = (self._at + self._batch) % (len(self.source) // self._batch * self._batch)

    def draw(self, count: int, allowed: Tensor) -> Batch:
        """`count` pictures whose source is `allowed`, (N,) bool over the data."""
        where = allowed[self.source].nonzero()[:, 0]
        chosen = where[torch.randint(len(where), (count,), generator=self._g)]
        return Batch(*(value[chosen] for value in vars(self._stored).values()))


def _weights(data: EyeSet, power: float, blink_share: float = 0.25) -> Tensor:
    """(N,) chance of each picture: over its person's number of pictures to that power, a quarter blinks."""
    weight = torch.zeros(len(data))
    for blink, share in ((True, blink_share), (False, 1.0 - blink_share)):
        for person in np.unique(data.subject):
            group = torch.from_numpy(data.subject == person) & (data.blink == blink)
            if group.any():
                weight[group] = int(group.sum()) ** -power
        group = data.blink == blink
        weight[group] *= share / weight[group].sum().clamp_min(1e-9)
    return weight
