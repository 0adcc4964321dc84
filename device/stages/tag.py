"""Tag: names for what is in the scene, which of them is attended, and an embedding of the attended region.

It runs while a moment is open, on frames the resolution controller wants computed (else at a cadence of
its own). A frame whose result may be reused carries the last one along with the optical flow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from device.detection import Detection, Detector
from device.flow import RegionFlow
from device.model import Model, fit
from device.types import (
    Attention,
    MomentEnd,
    MomentStart,
    Pixels,
    Region,
    ResolutionDecision,
    SceneFrame,
    Tag,
    Tags,
    Value,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagSettings:
    every_ms: float = 500.0
    """Time between two analyses in a moment while no resolution controller decides."""
    size_px: int = 320
    """Side of the detector's input while no resolution controller decides: 160, 224 or 320."""
    always: bool = False
    """Analyse every scene frame, moment or none: the always-on variant of comparisons."""
    near: float = 0.03
    """How far outside a box, as a share of the frame, the attended place may lie and still mean it."""
    padding: float = 0.1
    """Added around the attended region before it is embedded, as a share of its size."""
    smallest: float = 0.08
    """Least side of the region that is embedded, as a share of the frame."""


class TagStage:
    """Yields `Tags` for the scene frames it analyses or carries along."""

    name = "tag"
    wants = (SceneFrame, Attention, ResolutionDecision, MomentStart, MomentEnd)

    def __init__(
        self, detector: Model, backbone: Model, settings: TagSettings | None = None
    ) -> None:
        self._settings = settings or TagSettings()
        self._detector = Detector(detector)
        self._backbone = backbone
        self._flow = RegionFlow()
        self._open = False
        self._region: Region | None = None
        self._decision: ResolutionDecision | None = None
        self._last: Tags | None = None
        self._frame: SceneFrame | None = None

    def step(self, value: Value) -> Iterable[Value]:
        match value:
            case Attention():
                self._region = value.region
            case MomentStart():
                self._open = True
                # The frame that decided is the one most surely of the thing: it is analysed at once.
                if self._frame is not None and not self._settings.always:
                    yield from self._analyse(self._frame, self._settings.size_px)
            case MomentEnd():
                self._open, self._last = False, None
                self._flow.reset()
            case ResolutionDecision():
                self._decision = value
            case SceneFrame():
                self._frame = value
                if self._open or self._settings.always:
                    yield from self._frame_in_moment(value)

    def finish(self, end_ns: int) -> Iterable[Value]:
        return ()

    def _frame_in_moment(self, frame: SceneFrame) -> Iterable[Value]:
        decision = self._decision
        if decision is not None and decision.t_ns == frame.t_ns and not self._settings.always:
            if decision.reuse and self._last is not None:
                return self._carry(frame)
            self._flow.reset()
            return self._analyse(frame, decision.scale_px or self._settings.size_px)
        due_ns = round(self._settings.every_ms * 1e6)
        if self._last is None or frame.t_ns - self._last.t_ns >= due_ns or self._settings.always:
            return self._analyse(frame, self._settings.size_px)
        return ()

    def _carry(self, frame: SceneFrame) -> Iterable[Value]:
        assert self._last is not None
        self._flow.push(frame.pixels)
        moved = tuple(
            dataclasses.replace(tag, region=self._flow.move(tag.region)) for tag in self._last.tags
        )
        self._last = dataclasses.replace(
            self._last,
            t_ns=frame.t_ns,
            tags=moved,
            region=self._flow.move(self._last.region),
            reused=True,
        )
        return (self._last,)

    def _analyse(self, frame: SceneFrame, size_px: int) -> Iterable[Value]:
        found = self._detector.detect(frame.pixels, size_px)
        place = self._region or Region(left=0.25, top=0.25, right=0.75, bottom=0.75)
        attended = attended_thing(found, place, self._settings.near)
        region = found[attended].region if attended is not None else place
        self._flow.push(frame.pixels)
        self._last = Tags(
            t_ns=frame.t_ns,
            tags=tuple(
                Tag(
                    name=d.name,
                    probability=d.probability,
                    region=d.region,
                    attended=number == attended,
                )
                for number, d in enumerate(found)
            ),
            region=region,
            embedding=self._embed(frame.pixels, region),
        )
        return (self._last,)

    def _embed(self, pixels: Pixels, region: Region) -> np.ndarray:
        """(1280,) float32 of unit length."""
        cut = crop(pixels, region, self._settings.padding, self._settings.smallest)
        image = fit(cut, self._backbone.input_size_px)
        return np.asarray(self._backbone.run(image=image[None])["embedding"][0], np.float32)


def attended_thing(found: list[Detection], place: Region, near: float) -> int | None:
    """Index of the smallest thing whose box holds the middle of the attended place, give or take `near`.

    The smallest, because a cup on a table is looked at more often than the table is.
    """
    x, y = (place.left + place.right) / 2, (place.top + place.bottom) / 2
    holding = [
        ((d.region.right - d.region.left) * (d.region.bottom - d.region.top), number)
        for number, d in enumerate(found)
        if d.region.left - near <= x <= d.region.right + near
        and d.region.top - near <= y <= d.region.bottom + near
    ]
    return min(holding)[1] if holding else None


def crop(pixels: Pixels, region: Region, padding: float, smallest: float) -> Pixels:
    """The part of a picture that shows the region with some of its surroundings; never empty."""
    height, width = pixels.shape[:2]
    x, y = (region.left + region.right) / 2, (region.top + region.bottom) / 2
    half_x = max((region.right - region.left) * (0.5 + padding), smallest / 2)
    half_y = max((region.bottom - region.top) * (0.5 + padding), smallest / 2)
    left, right = (int(np.clip(v * width, 0, width)) for v in (x - half_x, x + half_x))
    top, bottom = (int(np.clip(v * height, 0, height)) for v in (y - half_y, y + half_y))
    left, top = min(left, width - 2), min(top, height - 2)
    return pixels[top : max(bottom, top + 2), left : max(right, left + 2)]
