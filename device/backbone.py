"""The embedding of a region, and the names the backbone has for it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.model import Model, fit
from device.types import Embedding, Pixels, Region

THUMBNAIL_PX = 16
LEAST_CONTRAST = 4.0
"""Grey values. A thumbnail of less contrast is not stretched further: its noise would count as change."""


@dataclass(frozen=True, slots=True, eq=False)
class RegionView:
    """What the backbone says of one region."""

    embedding: Embedding
    """(1280,) float32 of unit length."""
    words: tuple[tuple[str, float], ...]
    """Names with their probabilities, most probable first."""
    logits: Embedding
    """(1000,) float32, one a class of the network."""


class Backbone:
    """The image network around its region crop."""

    def __init__(self, model: Model, *, padding: float = 0.1, smallest: float = 0.08) -> None:
        """`padding` and `smallest` as for `crop`."""
        self._model = model
        self._padding, self._smallest = padding, smallest
        names = model.spec.classes
        self._names = list(dict.fromkeys(names))
        place = {name: number for number, name in enumerate(self._names)}
        self._name_of_class = np.array([place[name] for name in names])

    def view(self, pixels: Pixels, region: Region, *, most_words: int = 3) -> RegionView:
        """Embed a region of a BGR frame (H, W, 3) uint8 and name it.

        ImageNet's classes are finer than a person's words (118 breeds of dog): classes of one name
        add up their probabilities.
        """
        cut = crop(pixels, region, self._padding, self._smallest)
        result = self._model.run(image=fit(cut, self._model.input_size_px)[None])
        logits = result["logits"][0].astype(np.float64)
        shares = np.exp(logits - logits.max())
        by_name = np.bincount(self._name_of_class, shares / shares.sum(), len(self._names))
        order = np.argsort(-by_name, kind="stable")[:most_words]
        return RegionView(
            embedding=np.asarray(result["embedding"][0], np.float32),
            words=tuple((self._names[i], float(by_name[i])) for i in order),
            logits=np.asarray(result["logits"][0], np.float32),
        )


def thumbnail(
    pixels: Pixels, region: Region, padding: float, smallest: float
) -> NDArray[np.float32]:
    """(256,) float32: what a region looks like in 16x16 greys, of mean 0 and of deviation 1 or less.

    Costs a hundredth of an embedding; brightness and contrast as a whole do not count.
    """
    cut = crop(pixels, region, padding, smallest)
    small = cv2.resize(cut, (4 * THUMBNAIL_PX,) * 2, interpolation=cv2.INTER_NEAREST)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    tiny = cv2.resize(grey, (THUMBNAIL_PX,) * 2, interpolation=cv2.INTER_AREA).astype(np.float32)
    tiny -= tiny.mean()
    return np.asarray(tiny / max(LEAST_CONTRAST, float(tiny.std())), np.float32).ravel()


def unlike(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Half the mean squared difference of two thumbnails: 0 the same, 1 unrelated, 2 reversed."""
    away = one - other
    return float(away @ away) / (2 * len(away))


def crop(pixels: Pixels, region: Region, padding: float, smallest: float) -> Pixels:
    """The part of a picture that shows the region with some of its surroundings; never empty.

    `padding` is added on each side as a share of the region's, `smallest` is the least side as a
    share of the frame.
    """
    height, width = pixels.shape[:2]
    x, y = (region.left + region.right) / 2, (region.top + region.bottom) / 2
    half_x = max((region.right - region.left) * (0.5 + padding), smallest / 2)
    half_y = max((region.bottom - region.top) * (0.5 + padding), smallest / 2)
    left, right = (int(np.clip(v * width, 0, width)) for v in (x - half_x, x + half_x))
    top, bottom = (int(np.clip(v * height, 0, height)) for v in (y - half_y, y + half_y))
    left, top = min(left, width - 2), min(top, height - 2)
    return pixels[top : max(bottom, top + 2), left : max(right, left + 2)]
