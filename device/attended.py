"""Which part of the scene is meant: the attention network's rough place against the detector's boxes.

The network knows where the eyes were, not where things end; the detector knows where things end, not which is
meant. Of the boxes around the middle of the place or around the gaze, named or not, the one that is most like
the place is taken. Two things that reach into each other, such as a rider and his horse, may be meant as one.
Where nothing fits, the place itself stands.

The rule's numbers were chosen by `python -m tools.tune_region emulator:9200 composites`, on seeds and
pictures that no network was trained on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.detection import Detection, corners, overlaps
from device.geometry import in_frame
from device.types import Gaze, Region, SceneGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRule:
    """How like the attended place a box must be."""

    power: float = 1.0
    """A box's worth is its overlap with the place times its probability to this power."""
    least: float = 0.02
    """A box worth less is not meant."""
    unions: bool = True
    """Whether two things may be meant as one."""


RULE = MatchRule()
GAZE_NS = 150_000_000
"""The gaze is the median of so long: about a short fixation, nine samples at 60 Hz."""
GAZE_CONFIDENCE = 0.3
TOGETHER = (0.05, 0.8)
"""Share of the smaller of two things of different names that lies in the other, for both to be meant as one:
below they only touch, above one is on, or part of, the other."""
SAME_IOU = 0.5
"""A named thing that overlaps the attended region so much gives it its name."""


class RecentGaze:
    """Where the eyes are in the scene, a median against their noise; constant memory."""

    def __init__(self, geometry: SceneGeometry) -> None:
        self._geometry = geometry
        self._seen: deque[Gaze] = deque()

    def push(self, value: Gaze) -> None:
        """Take one sample; an eye that is lost has none."""
        self._forget(value.t_ns)
        if value.confidence >= GAZE_CONFIDENCE:
            self._seen.append(value)

    def at(self, t_ns: int) -> tuple[float, float] | None:
        """(x, y) in fractions of the frame; None where the eyes have not been seen lately."""
        self._forget(t_ns)
        places = np.array(
            [in_frame(self._geometry, g.azimuth_deg, g.elevation_deg) for g in self._seen]
        ).reshape(-1, 2)
        places = places[np.isfinite(places).all(axis=1)]
        if not len(places):
            return None
        x, y = np.median(places, axis=0)
        return float(x), float(y)

    def _forget(self, t_ns: int) -> None:
        while self._seen and self._seen[0].t_ns < t_ns - GAZE_NS:
            self._seen.popleft()


def attended_region(
    found: Sequence[Detection],
    place: Region,
    near: float,
    rule: MatchRule = RULE,
    gaze: tuple[float, float] | None = None,
) -> tuple[Region, tuple[int, ...]]:
    """The attended region, and which of `found` it is made of; `place` and nothing where none fits.

    `near`: how far outside a box, as a share of the frame, the middle of the place, or the gaze (in fractions
    of the frame), may lie.
    """
    holds = around(found, near, _middle(place), *(() if gaze is None else (gaze,)))
    if not holds:
        return place, ()
    boxes = np.array([corners(d.region) for d in found])
    sure = np.array([d.probability for d in found])
    sets: list[tuple[int, ...]] = [(i,) for i in holds]
    for i in holds if rule.unions else ():
        sets += [(i, j) for j in _partners(i, boxes) if found[i].name != found[j].name]
    outer = [_outer([found[k].region for k in s]) for s in sets]
    shared = overlaps(corners(place), np.array([corners(r) for r in outer]))
    match = shared * np.array([sure[list(s)].min() for s in sets]) ** rule.power
    best = int(match.argmax())
    if match[best] < rule.least:
        return place, ()
    return outer[best], sets[best]


def attended_names(
    found: Sequence[Detection],
    named: int,
    place: Region,
    near: float,
    gaze: tuple[float, float] | None = None,
) -> tuple[Region, tuple[int, ...]]:
    """The attended region, and which of the first `named` of `found` give it their names.

    A box too doubtful for a name may be the region; a thing with a name that is nearly the same box names it.
    Where no box fits, the thing around the middle of the place that fits best gives its name, not its box.
    """
    region, parts = attended_region(found, place, near, gaze=gaze)
    names = tuple(i for i in parts if i < named)
    if names:
        return region, names
    holds = around(found[:named], near, _middle(place))
    if not holds:
        return region, ()
    boxes = np.array([corners(found[i].region) for i in holds])
    shared = overlaps(corners(region), boxes)
    if parts:
        best = int(shared.argmax())
        return region, (holds[best],) if shared[best] >= SAME_IOU else ()
    sure = np.array([found[i].probability for i in holds]) ** RULE.power
    return region, (holds[int((sure * (shared + 1e-4)).argmax())],)


def around(found: Sequence[Detection], near: float, *points: tuple[float, float]) -> list[int]:
    """Those of `found` whose box holds one of the points, give or take `near`."""
    return [i for i, d in enumerate(found) if any(_holds(d, point, near) for point in points)]


def _middle(place: Region) -> tuple[float, float]:
    return (place.left + place.right) / 2, (place.top + place.bottom) / 2


def _holds(thing: Detection, point: tuple[float, float], near: float) -> bool:
    x, y = point
    box = thing.region
    return box.left - near <= x <= box.right + near and box.top - near <= y <= box.bottom + near


def _partners(i: int, boxes: NDArray[np.float32]) -> list[int]:
    """Boxes that may be one thing together with box `i`."""
    sides = np.minimum(boxes[i, 2:], boxes[:, 2:]) - np.maximum(boxes[i, :2], boxes[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    sizes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    share = shared / np.maximum(np.minimum(sizes, sizes[i]), 1e-9)
    fits = (share >= TOGETHER[0]) & (share <= TOGETHER[1])
    fits[i] = False
    return [int(j) for j in np.flatnonzero(fits)]


def _outer(regions: Sequence[Region]) -> Region:
    return Region(
        left=min(r.left for r in regions),
        top=min(r.top for r in regions),
        right=max(r.right for r in regions),
        bottom=max(r.bottom for r in regions),
    )
