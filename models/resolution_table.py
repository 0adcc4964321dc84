"""Everything each decision would lead to on one clip, computed once with the pipeline that ships.

For each frame and size the analysis runs (`device.stages.tag.Analysis`), and its result is carried along
the following frames (`device.carry.Carried`). The table then knows, for a run at frame i with size s seen at
frame i + a, what the policy would measure and how good the delivered tags are; for a region embedded at one
frame and size, how good its embedding is at any other frame, and whether the region looks changed there.
Playing a policy is looking things up.

Quality is that of what is delivered, tags and the attended region's embedding, against a run at 320 px on
that very frame: the mean of the two. Tags agree where they bear one name and overlap by half; a tag counts
by its probability, so that what is barely above the threshold, and comes and goes by itself, weighs
little. Embeddings agree by their cosine.

That run is the judge and a contender in one: the detector's own noise counts for always-320 and against
everybody else. So there is a second judge, a run at 320 px on the frame shifted by one pixel. It sees the
same scene with another draw of the noise, and always-320 has to agree with it like everybody else.

The clips bring no gaze. A scripted one stays on a thing for one to three seconds, then moves on.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.backbone import THUMBNAIL_PX
from device.carry import MEASURES, Carried
from device.detection import SIZES_PX
from device.errors import InputError
from device.flow import Motion, TinyFlow
from device.model import Model
from device.resolution_policies import OBSERVATION_VERSION
from device.stages.tag import Analysis, TagSettings
from device.types import Region, SceneFrame, Tags
from models.resolution_clips import Clip

TABLE_VERSION = 2
"""Raised whenever a table holds something else than before."""
HORIZON = 32
"""Most frames a result is carried."""
LONGEST_S = 2.0
"""Longest time a result is carried: the hard bound of the stage."""
OVERLAP = 0.5
OWN, SHIFTED = 0, 1
"""The judges, in the order of the last axis of `tags` and `cosines`."""
EMBEDDING = 1280
"""Length of an embedding."""
RUN = tuple(f"run_{size}" for size in SIZES_PX)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One clip. T frames, S sizes, A ages (1..A are reuse, age 0 is the run itself)."""

    name: str
    fingerprint: str
    rate_hz: float
    measures: NDArray[np.float32]
    """(T, S, A + 1, len(MEASURES)): of a run at frame t with size s, seen a frames later."""
    tags: NDArray[np.float32]
    """(T, S, A + 1, judges): agreement of the tags, 0..1."""
    cosines: NDArray[np.float32]
    """(T, S, T, judges): of what was embedded at frame t with the region of size s, to each frame's own."""
    looks: NDArray[np.float32]
    """(T, S, T, S): how unlike the attended region of (t, s) is to that of each other frame and size."""
    cost_ms: dict[str, float]
    """CPU milliseconds (median over the frames): `run_160`.. without and `embed` for the embedding,
    `flow` (push and carry), `measure`."""

    @property
    def frames(self) -> int:
        return len(self.tags)

    @property
    def ages(self) -> int:
        return self.tags.shape[2] - 1

    def save(self, path: Path) -> None:
        np.savez_compressed(
            path,
            version=[TABLE_VERSION, OBSERVATION_VERSION],
            measures=self.measures,
            tags=self.tags,
            cosines=self.cosines.astype(np.float16),
            looks=self.looks.astype(np.float16),
            cost=np.array(list(self.cost_ms.values())),
            cost_names=np.array(list(self.cost_ms)),
            about=np.array([self.name, self.fingerprint, str(self.rate_hz)]),
        )

    @classmethod
    def read(cls, path: Path) -> Table:
        """Raises InputError for a table that another version of the program made."""
        with np.load(path) as file:
            mine = [TABLE_VERSION, OBSERVATION_VERSION]
            if "version" not in file or file["version"].tolist() != mine:
                raise InputError(f"{path}: made by another version; delete it and it is made again")
            name, fingerprint, rate = file["about"].tolist()
            cost = dict(zip(file["cost_names"].tolist(), file["cost"].tolist(), strict=True))
            cosines, looks = (file[k].astype(np.float32) for k in ("cosines", "looks"))
            tags = file["tags"]
            return cls(name, fingerprint, float(rate), file["measures"], tags, cosines, looks, cost)


class TableBuilder:
    """Builds tables with the shipped detector and backbone."""

    def __init__(self, detector: Model, backbone: Model) -> None:
        self._analysis = Analysis(detector, backbone, TagSettings())
        self._spent: dict[str, list[float]] = {}

    def build(
        self, clip: Clip, done: Callable[[int], None] = lambda n: None, *, twice: bool = True
    ) -> Table:
        """The table of a clip; `done` is told how many frames are ready. Without `twice` there is no
        second judge (his figures are those of the first): enough to train on."""
        self._spent = {}
        ages = min(HORIZON, max(2, round(LONGEST_S * clip.rate_hz)), len(clip.frames) - 1)
        count, sizes = len(clip.frames), len(SIZES_PX)
        measures = np.zeros((count, sizes, ages + 1, len(MEASURES)), np.float32)
        tags = np.zeros((count, sizes, ages + 1, 2), np.float32)
        embedded = np.zeros((count, sizes, EMBEDDING), np.float32)
        wanted = np.zeros((count, 2, EMBEDDING), np.float32)
        shown = np.zeros((count, sizes, THUMBNAIL_PX**2), np.float32)
        motions, frames = self._motions(clip)
        gaze = _Gaze(clip)
        alive: list[tuple[int, int, Carried, Tags]] = []
        for t, frame in enumerate(frames):
            motion = motions[t]
            for _, _, carried, _ in alive:
                self._timed("carry", carried.follow, motion)
            place = gaze.place(t, motion)
            full = self._run(frame, sizes - 1, place)
            place, moved = gaze.settle(t, full[0], place)
            if moved:
                full = self._run(frame, sizes - 1, place)
            again = self._analysis.run(_shifted(frame), SIZES_PX[-1], place) if twice else full[0]
            judges = [_Truth(full[0]), _Truth(again)] if twice else [_Truth(full[0])]
            wanted[t] = full[0].embedding, again.embedding
            for i, s, carried, carries in alive:
                measured = self._timed("measure", carried.measures, frame.t_ns, place)
                measures[i, s, t - i] = measured
                tags[i, s, t - i] = [judge.agreement(carries, carried) for judge in judges]
            alive = [row for row in alive if t - row[0] < ages]
            for s in range(sizes):
                made, shown[t, s] = full if s == sizes - 1 else self._run(frame, s, place)
                carried = _begun(made, SIZES_PX[s], place, motion, frame)
                measures[t, s, 0] = carried.measures(frame.t_ns, place)
                tags[t, s, 0] = [judge.agreement(made, carried) for judge in judges]
                embedded[t, s] = made.embedding
                alive.append((t, s, carried, made))
            done(t + 1)
        cosines = np.einsum("tse,uje->tsuj", embedded, wanted, optimize=True)
        looks = _all_unlike(shown)
        return Table(
            clip.name, clip.fingerprint, clip.rate_hz, measures, tags, cosines, looks, self._costs()
        )

    def _motions(self, clip: Clip) -> tuple[list[Motion], list[SceneFrame]]:
        flow = TinyFlow()
        motions: list[Motion] = []
        frames = []
        for t, pixels in enumerate(clip.frames):
            frames.append(SceneFrame(t_ns=round(t * 1e9 / clip.rate_hz), seq=t, pixels=pixels))
            motion = self._timed("flow", flow.push, pixels)
            motions.append(motion or flow.still())
        return motions, frames

    def _run(self, frame: SceneFrame, size: int, place: Region) -> tuple[Tags, NDArray[np.float32]]:
        """The whole result at a size, and what the attended region looks like."""
        found = self._timed(RUN[size], self._analysis.find, frame, SIZES_PX[size], place)
        view = self._timed("embed", self._analysis.embed, frame, found)
        shown = self._timed("look", self._analysis.shown, frame, found)
        return self._analysis.tags(frame, found, view), shown

    def _timed(self, name: str, work: Callable[..., Any], *given: Any) -> Any:
        started = time.thread_time()
        made = work(*given)
        self._spent.setdefault(name, []).append(time.thread_time() - started)
        return made

    def _costs(self) -> dict[str, float]:
        middle = {name: float(np.median(took)) * 1e3 for name, took in self._spent.items()}
        flow, look = middle.pop("flow") + middle.pop("carry", 0.0), middle.pop("look")
        return {**{n: ms + look * (n in RUN) for n, ms in middle.items()}, "flow": flow}


class _Gaze:
    """Where the scripted wearer looks: on a thing the detector finds, carried along, then on another."""

    def __init__(self, clip: Clip) -> None:
        seed = int(clip.fingerprint, 16) % 2**32 + len(clip.frames)
        self._rng = np.random.default_rng(seed)
        self._rate_hz = clip.rate_hz
        self._until = 0
        self._held = Carried()
        self._held.ran_ns = 0

    def place(self, t: int, motion: Motion) -> Region:
        """Where the thing looked at has gone."""
        if t:
            self._held.follow(motion)
        return self._held.place

    def settle(self, t: int, seen: Tags, place: Region) -> tuple[Region, bool]:
        """Stay, or from this frame on look at another thing of those seen."""
        if t < self._until:
            return place, False
        self._until = t + round(self._rng.uniform(1.0, 3.0) * self._rate_hz)
        things = [tag for tag in seen.tags if tag.probability > 0.5]
        if things:
            odds = np.array([tag.probability for tag in things])
            region = things[int(self._rng.choice(len(things), p=odds / odds.sum()))].region
        else:
            x, y = self._rng.uniform(0.2, 0.6, 2).tolist()
            region = Region(left=x, top=y, right=x + 0.25, bottom=y + 0.3)
        self._held.begin(0, 320, [], [], region=region, place=region)
        return region, True


class _Truth:
    """What a run at 320 px says of a frame."""

    def __init__(self, tags: Tags) -> None:
        self._names = np.array([tag.name for tag in tags.tags])
        self._sure = np.array([tag.probability for tag in tags.tags])
        self._boxes = _boxes([tag.region for tag in tags.tags])

    def agreement(self, tags: Tags, carried: Carried) -> float:
        """Of tags that were carried here, 0..1."""
        rows = [(t, r) for t, r in zip(tags.tags, carried.boxes, strict=True) if r is not None]
        return self._tags([t for t, _ in rows], [r for _, r in rows])

    def _tags(self, tags: list[Any], regions: list[Region]) -> float:
        if not tags or not len(self._names):
            return float(not tags and not len(self._names))
        sure = np.array([tag.probability for tag in tags])
        overlap = _ious(self._boxes, _boxes(regions))
        overlap *= self._names[:, None] == np.array([tag.name for tag in tags])[None]
        shared = 0.0
        while float(overlap.max()) >= OVERLAP:
            i, k = np.unravel_index(int(overlap.argmax()), overlap.shape)
            shared += float(self._sure[i] + sure[k])
            overlap[i, :] = overlap[:, k] = 0.0
        return shared / float(self._sure.sum() + sure.sum())


def _begun(tags: Tags, size_px: int, place: Region, motion: Motion, frame: SceneFrame) -> Carried:
    carried = Carried()
    carried.begin(
        frame.t_ns,
        size_px,
        [tag.region for tag in tags.tags],
        [tag.probability for tag in tags.tags],
        region=tags.region,
        place=place,
        grey=motion.grey,
    )
    return carried


def _shifted(frame: SceneFrame) -> SceneFrame:
    """The same scene, a pixel further right and down."""
    pixels = np.pad(frame.pixels, ((1, 0), (1, 0), (0, 0)), mode="edge")[:-1, :-1]
    return dataclasses.replace(frame, pixels=np.ascontiguousarray(pixels))


def _all_unlike(shown: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, S, T, S) `device.backbone.unlike` of thumbnails (T, S, n)."""
    flat = shown.reshape(-1, shown.shape[-1])
    squares = (flat**2).sum(axis=1)
    half = (squares[:, None] + squares[None] - 2 * flat @ flat.T) / (2 * flat.shape[1])
    return np.maximum(half, 0).reshape(shown.shape[:2] * 2)


def _boxes(regions: list[Region]) -> NDArray[np.float64]:
    return np.array([(r.left, r.top, r.right, r.bottom) for r in regions]).reshape(-1, 4)


def _ious(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    sizes = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (one, other)]
    union = sizes[0][:, None] + sizes[1][None] - both
    return np.asarray(both / np.maximum(union, 1e-12))
