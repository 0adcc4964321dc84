"""Tag: names for what is in the scene, which of them is attended, and an embedding of the attended region.

It runs while a moment is open, on frames the resolution controller wants computed (else at a cadence of
its own). A frame whose result may be reused carries the last one along with the optical flow. Where the
detector has no name for the attended region, the backbone's may serve, if it is sure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.attended import RecentGaze, attended_names
from device.backbone import Backbone, RegionView, thumbnail, unlike
from device.carry import Carried
from device.detection import SIZES_PX, Detection, Detector
from device.model import Model
from device.types import (
    Attention,
    Gaze,
    MomentEnd,
    MomentStart,
    Region,
    ResolutionDecision,
    SceneFrame,
    SceneGeometry,
    Tag,
    Tags,
    Value,
)

MOST_THINGS = 20
"""So many things of a frame are kept, the most probable first."""
MOST_BOXES = 40
"""So many boxes may be the attended region."""


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
    whole_every: int = 0
    """Every so many-th analysis the backbone looks at the whole view in place of the region, which is how
    the scene's affect is known without a second run of it; 0: never. The emotion stage sets it to its own."""
    look_change: float = 0.05
    """Where a resolution controller decides, the attended region is embedded anew only once it has come to
    look so different: half the mean squared difference of thumbnails, 0 to 2. 0: at each analysis."""
    min_probability: float = 0.4
    """Detections less probable get no name and are not kept."""
    region_probability: float = 0.1
    """From here on a detection may be the attended region, named or not."""
    min_word_probability: float = 0.6
    """From here on the backbone's name for the attended region counts, if the detector has none."""

    def __post_init__(self) -> None:
        if self.size_px not in SIZES_PX:
            raise ValueError(f"tag.size_px is {self.size_px}; one of {SIZES_PX}")
        if not self.every_ms > 0:
            raise ValueError("tag.every_ms must be above zero")
        if not 0 < self.region_probability < 1:
            raise ValueError("tag.region_probability must be above 0 and below 1")
        if not 0 <= self.look_change <= 2:
            raise ValueError("tag.look_change must be 0 to 2")


class TagStage:
    """Yields `Tags` for the scene frames it analyses or carries along."""

    name = "tag"
    wants = (Gaze, SceneFrame, Attention, ResolutionDecision, MomentStart, MomentEnd)

    def __init__(
        self,
        detector: Model,
        backbone: Model,
        settings: TagSettings | None = None,
        carried: Carried | None = None,
        geometry: SceneGeometry | None = None,
    ) -> None:
        """`carried` is shared with the resolution stage, whose decisions are then waited for.

        With the scene's `geometry` the gaze has a say in which region is the attended one.
        """
        self._settings = settings or TagSettings()
        self._analysis = Analysis(detector, backbone, self._settings)
        self._controlled = carried is not None
        self._carried = carried or Carried()
        self._gaze = None if geometry is None else RecentGaze(geometry)
        self._open = False
        self._analysed = 0  # in this moment
        self._region: Region | None = None
        self._decision: ResolutionDecision | None = None
        self._last: Tags | None = None
        self._look: Look | None = None  # behind the embedding of the last result
        self._frame: SceneFrame | None = None
        self._waiting = False  # the newest frame has been offered, but not yet judged

    def step(self, value: Value) -> Iterable[Value]:
        # A frame comes before what the stages above made of it: its decision, its attention. One that
        # gets neither is judged when the next one comes.
        match value:
            case Gaze():
                if self._gaze is not None:
                    self._gaze.push(value)
            case SceneFrame():
                yield from self._judge()
                self._frame, self._waiting = value, True
                if self._settings.always or self._decided(value):
                    yield from self._judge()
            case ResolutionDecision():
                self._decision = value
                if self._frame is not None and self._decided(self._frame):
                    yield from self._judge()
            case Attention():
                self._region = value.region
                at_once = not self._controlled and self._frame is not None
                if at_once and self._frame is not None and self._frame.t_ns == value.t_ns:
                    yield from self._judge()
            case MomentStart():
                if not self._open and self._frame is not None and not self._settings.always:
                    # The frame that decided is the one most surely of the thing: it is analysed at once.
                    self._waiting = False
                    yield from self._analyse(self._frame, self._size_px(self._frame))
                self._open = True
            case MomentEnd():
                self._open, self._waiting, self._last, self._look = False, False, None, None
                self._analysed = 0
                self._carried.reset()

    def finish(self, end_ns: int) -> Iterable[Value]:
        return ()

    def _judge(self) -> Iterable[Value]:
        """What is to be done with the newest frame, once."""
        frame = self._frame
        if not self._waiting or frame is None:
            return ()
        self._waiting = False
        if self._settings.always:
            return self._analyse(frame, self._settings.size_px)
        if not self._open:
            return ()
        if self._decided(frame):
            if self._decision and self._decision.reuse and self._last is not None:
                return self._carry(frame, self._last)
            return self._analyse(frame, self._size_px(frame))
        if self._controlled:
            return ()  # a frame the controller passed over
        due_ns = round(self._settings.every_ms * 1e6)
        if self._last is None or frame.t_ns - self._last.t_ns >= due_ns:
            return self._analyse(frame, self._settings.size_px)
        return ()

    def _decided(self, frame: SceneFrame) -> bool:
        return self._decision is not None and self._decision.t_ns == frame.t_ns

    def _size_px(self, frame: SceneFrame) -> int:
        size_px = self._decision.scale_px if self._decision and self._decided(frame) else 0
        return size_px or self._settings.size_px

    def _carry(self, frame: SceneFrame, last: Tags) -> Iterable[Value]:
        """The last result moved to this frame, without the things that left it."""
        self._carried.push(frame)
        moved = zip(last.tags, self._carried.boxes, strict=True)
        return (
            dataclasses.replace(
                last,
                t_ns=frame.t_ns,
                tags=tuple(dataclasses.replace(tag, region=where) for tag, where in moved if where),
                region=self._carried.region,
                reused=True,
            ),
        )

    def _analyse(self, frame: SceneFrame, size_px: int) -> Iterable[Value]:
        place = self._region or Region(left=0.25, top=0.25, right=0.75, bottom=0.75)
        every = self._settings.whole_every
        self._analysed += 1
        # The region comes first: names and search live on it.
        before = self._last if every and self._analysed % every == 2 % every else None
        gaze = None if self._gaze is None else self._gaze.at(frame.t_ns)
        found = self._analysis.find(frame, size_px, place, gaze)
        if before is not None:
            self._last = self._analysis.whole(frame, found, before)
        else:
            self._look = self._analysis.look(frame, found, self._look if self._controlled else None)
            self._last = self._analysis.tags(frame, found, self._look.view)
        self._carried.push(frame)
        self._carried.begin(
            frame.t_ns,
            size_px,
            [tag.region for tag in self._last.tags],
            [tag.probability for tag in self._last.tags],
            region=self._last.region,
            place=place,
        )
        return (self._last,)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the detector says of a frame."""

    things: list[Detection]
    attended: tuple[int, ...]
    """Which of them are attended to."""
    region: Region
    """What is attended to: their box or a nameless one, or the attended place where none fits."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What the backbone says of a region, and what that looked like."""

    view: RegionView
    shown: NDArray[np.float32]


class Analysis:
    """The scene analysis in its parts: things, which of them is attended, the region's embedding."""

    def __init__(self, detector: Model, backbone: Model, settings: TagSettings) -> None:
        self._settings = settings
        self._detector = Detector(
            detector,
            min_probability=min(settings.min_probability, settings.region_probability),
            max_count=MOST_BOXES,
        )
        self._backbone = Backbone(backbone, padding=settings.padding, smallest=settings.smallest)

    def run(self, frame: SceneFrame, size_px: int, place: Region) -> Tags:
        """All of it, nothing kept; `place` is the attended part of the frame."""
        found = self.find(frame, size_px, place)
        return self.tags(frame, found, self.look(frame, found).view)

    def find(
        self,
        frame: SceneFrame,
        size_px: int,
        place: Region,
        gaze: tuple[float, float] | None = None,
    ) -> Found:
        """The detector's part; `gaze` in fractions of the frame."""
        s = self._settings
        seen = self._detector.detect(frame.pixels, size_px)  # the most probable first
        named = min(MOST_THINGS, sum(d.probability >= s.min_probability for d in seen))
        region, attended = attended_names(seen, named, place, s.near, gaze)
        return Found(seen[:named], attended, region)

    def look(self, frame: SceneFrame, found: Found, kept: Look | None = None) -> Look:
        """The backbone's part: `kept` itself where the region still looks as it did then."""
        if kept is None or not self._settings.look_change:
            return Look(self.embed(frame, found), self.shown(frame, found))
        shown = self.shown(frame, found)
        if unlike(shown, kept.shown) < self._settings.look_change:
            return kept
        return Look(self.embed(frame, found), shown)

    def embed(self, frame: SceneFrame, found: Found) -> RegionView:
        """The attended region's embedding and names."""
        return self._backbone.view(frame.pixels, found.region)

    def shown(self, frame: SceneFrame, found: Found) -> NDArray[np.float32]:
        """What the attended region looks like."""
        s = self._settings
        return thumbnail(frame.pixels, found.region, s.padding, s.smallest)

    def tags(self, frame: SceneFrame, found: Found, view: RegionView) -> Tags:
        """The result, with the region's view."""
        tags = _named(found)
        word, probability = view.words[0]
        sure = probability >= self._settings.min_word_probability
        if not found.attended and sure:
            tags.append(Tag(name=word, probability=probability, region=found.region, attended=True))
        return Tags(
            t_ns=frame.t_ns,
            tags=tuple(tags),
            region=found.region,
            embedding=view.embedding,
            logits=view.logits,
            word=word if sure else None,
        )

    def whole(self, frame: SceneFrame, found: Found, before: Tags) -> Tags:
        """The result where the backbone looks at the whole view; the region's embedding is kept."""
        view = self._backbone.view(frame.pixels, Region(left=0.0, top=0.0, right=1.0, bottom=1.0))
        word, probability = view.words[0]
        return Tags(
            t_ns=frame.t_ns,
            tags=tuple(_named(found)),
            region=found.region,
            embedding=before.embedding,
            logits=view.logits,
            whole=view.embedding,
            word=word if probability >= self._settings.min_word_probability else None,
        )


def _named(found: Found) -> list[Tag]:
    return [
        Tag(name=d.name, probability=d.probability, region=d.region, attended=i in found.attended)
        for i, d in enumerate(found.things)
    ]
