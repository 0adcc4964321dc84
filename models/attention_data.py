"""Sessions to train and to test attention on: scenes with a known thing in them, gaze with a known aim.

The gaze over scenes that nobody watched is *generated*, and whatever is reported on it says so. Its
noise and the lengths of its fixations are those of real gaze; what it aims at and for
how long is a script: attended stretches on one thing (refixations, pursuit, glances away, blinks),
in between scanning of the background, idle stares at nothing, and brief looks at the thing that are
too short to count. A dwell is therefore not enough to tell attention, as in life.

Scenes: folders in DAVIS layout (a mask a frame, short sequences played back and forth), and composites
(pieces of pictures moving over other pictures). numpy and OpenCV only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.geometry import from_frame, pinhole
from device.types import Gaze, Pixels, SceneGeometry

GAZE_HZ = 120.0
MASK_PX = (128, 96)
"""(width, height) masks are kept at."""
ASSUMED_FIELD_DEG = 60.0
"""Horizontal field of view assumed of videos whose camera is not known; near a phone's main camera."""
FIELDS_DEG = (28.0, 85.0)
"""From a film on a desk to a wide scene camera: training takes any field of view between."""
PICTURES_TRAINED = 400
"""Of the pictures in their seeded order: the others are left for choosing thresholds."""
MIN_ATTENDED_S = 1.0
"""What counts as attending: at least a second on one thing, through glances away and blinks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GazeStatistics:
    """Of real gaze. The defaults are those of the fixations both raters of gaze_lund2013_dev saw in
    pictures and films, rounded; a test measures them again."""

    noise_deg: float = 0.02
    """Root mean square from sample to sample within fixations, divided by the square root of two."""
    wander_deg: float = 0.15
    """Median root mean square distance from the mean within a fixation (noise and drift)."""
    fixation_log_mean: float = 5.53
    """Mean of the natural logarithm of the fixation's length in ms."""
    fixation_log_std: float = 0.62


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[start, stop) of every stretch of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A short video with one thing in it."""

    name: str
    frames: Sequence[Pixels]
    """(H, W, 3) BGR."""
    masks: NDArray[np.bool_]
    """(T, 96, 128): where the thing is."""
    rate_hz: float
    field_deg: float = ASSUMED_FIELD_DEG
    """Horizontal field of view."""

    @property
    def geometry(self) -> SceneGeometry:
        height, width = self.frames[0].shape[:2]
        return pinhole(width, height, self.field_deg)

    def index(self, t_s: float) -> int:
        """The frame shown at a time: forth, back, forth, without end."""
        last = len(self.frames) - 1
        step = round(t_s * self.rate_hz) % max(1, 2 * last)
        return step if step <= last else 2 * last - step

    def box(self, t_s: float) -> NDArray[np.float64] | None:
        """left, top, right, bottom of the thing in fractions; None where it is not in view."""
        return box_of(self.masks[self.index(t_s)])


def box_of(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """The box of a mask in fractions of the frame."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    height, width = mask.shape
    edges = (columns[0] / width, rows[0] / height, columns[-1] + 1, rows[-1] + 1)
    return np.array([edges[0], edges[1], edges[2] / width, edges[3] / height])


def davis_scenes(folder: Path) -> list[Scene]:
    """Every sequence of a folder in DAVIS layout. Raises InputError where there is none."""
    pictures = folder / "JPEGImages" / "480p"
    if not pictures.is_dir():
        raise InputError(f"{folder}: has no JPEGImages/480p; give a folder in DAVIS layout")
    scenes = []
    for sequence in sorted(p for p in pictures.iterdir() if p.is_dir()):
        frames, masks = [], []
        for path in sorted(sequence.glob("*.jpg")):
            beside = folder / "Annotations" / "480p" / sequence.name / f"{path.stem}.png"
            frame, mask = cv2.imread(str(path)), cv2.imread(str(beside), cv2.IMREAD_GRAYSCALE)
            if frame is None or mask is None:
                raise InputError(
                    f"{path if frame is None else beside}: cannot be read as a picture"
                )
            frames.append(np.asarray(frame, np.uint8))
            small = cv2.resize(mask, MASK_PX, interpolation=cv2.INTER_AREA)
            masks.append(np.asarray(small) > 100)
        if len(frames) > 5:
            scenes.append(Scene(sequence.name, frames, np.array(masks), 24.0))
    if not scenes:
        raise InputError(f"{pictures}: holds no sequence of pictures with masks")
    return scenes


# --- composites ----------------------------------------------------------------------------------


def composite(pictures: Sequence[Pixels], rng: np.random.Generator, seconds: float = 5.0) -> Scene:
    """Pieces of pictures moving over another picture that pans: no two alike, the thing known.

    One piece is the thing, up to two others are clutter. In one of four nothing moves at all: things that
    stand still before a camera at rest are attended as well. 320x240, 25 fps.
    """
    rate_hz, width, height = 25.0, 320, 240
    still = rng.random() < 0.25
    count = round(seconds * rate_hz)
    ground = cv2.resize(_pick(pictures, rng), (560, 420))
    if rng.random() < 0.4:
        ground = cv2.GaussianBlur(ground, (0, 0), rng.uniform(1, 4))
    pan = _smooth_path(rng, count, 0.0 if still else rng.uniform(0, 50))
    pieces = [_piece(_pick(pictures, rng), rng) for _ in range(rng.integers(1, 4))]
    paths = [
        _smooth_path(rng, count, 0.0 if still else rng.choice([0.0, 30.0, 90.0])) for _ in pieces
    ]
    starts = [rng.uniform((50, 50), (width - 50, height - 50)) for _ in pieces]
    bound = rng.random(len(pieces)) < 0.5  # at rest in the world, not in the frame
    frames, masks = [], np.zeros((count, MASK_PX[1], MASK_PX[0]), bool)
    gain = 1 + 0.15 * np.sin(np.arange(count) * rng.uniform(0, 0.1))
    for i in range(count):
        x, y = np.clip(np.array([120, 90]) + pan[i], 0, [239, 179])
        frame = ground[int(y) : int(y) + height, int(x) : int(x) + width].astype(np.float32)
        for k in range(len(pieces) - 1, -1, -1):
            place = starts[k] + paths[k][i] - (pan[i] if bound[k] else 0)
            place = np.clip(place, (20, 20), (width - 20, height - 20))
            alpha = _paste(frame, *pieces[k], place)
            if k == 0:
                masks[i] = cv2.resize(alpha, MASK_PX) > 0.5
        noise = rng.integers(-6, 7, (60, 80, 1))
        frame = frame * gain[i] + cv2.resize(noise.astype(np.float32), (width, height))[..., None]
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return Scene("composite", frames, masks, rate_hz)


def seen_otherwise(
    scene: Scene, rng: np.random.Generator, mirrored: bool = False
) -> tuple[Scene, GazeStatistics]:
    """The same scene through another camera and tracker: field of view, pace, mirror image, noise."""
    changed = replace(
        scene,
        field_deg=float(rng.uniform(*FIELDS_DEG)),
        rate_hz=scene.rate_hz * float(rng.choice([0.6, 1.0, 1.0, 1.2])),
    )
    if mirrored:
        frames = [np.ascontiguousarray(f[:, ::-1]) for f in scene.frames]
        changed = replace(changed, frames=frames, masks=scene.masks[:, :, ::-1])
    noise_deg, wander_deg = rng.choice([0.02, 0.05, 0.15, 0.3]), rng.uniform(0.12, 0.5)
    return changed, GazeStatistics(noise_deg=float(noise_deg), wander_deg=float(wander_deg))


def _pick(pictures: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
    return pictures[int(rng.integers(len(pictures)))]


def _smooth_path(rng: np.random.Generator, count: int, reach_px: float) -> NDArray[np.float64]:
    """(count, 2): a few slow sines of random phase."""
    t = np.arange(count)[:, None] / 25.0
    path = np.zeros((count, 2))
    for hz in (0.15, 0.4, 0.9):
        path += np.sin(2 * np.pi * (hz * t + rng.random(2))) * rng.normal(0, 1, 2) / (1 + 3 * hz)
    return path * reach_px


def _piece(
    picture: Pixels, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A part of a picture under a blob: (h, w, 3) and its alpha (h, w)."""
    side = np.exp(rng.uniform(np.log(16), np.log(120)))  # px of 320: small things as often as large
    w, h = (int(v) for v in np.clip(side * np.exp(rng.normal(0, 0.25, 2)), 12, 140))
    top = int(rng.integers(0, max(1, picture.shape[0] - 2 * h)))
    left = int(rng.integers(0, max(1, picture.shape[1] - 2 * w)))
    part = cv2.resize(picture[top : top + 2 * h, left : left + 2 * w], (w, h)).astype(np.float32)
    part = np.clip(part * rng.uniform(0.7, 1.3) + rng.normal(0, 25, 3), 0, 255).astype(np.float32)
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    angle = np.arctan2(y, x)
    edge = 0.8 + sum(rng.normal(0, 0.06) * np.cos(n * angle + rng.uniform(0, 6)) for n in (2, 3, 4))
    power = rng.choice([2.0, 2.0, 6.0])
    radius = (np.abs(x) ** power + np.abs(y) ** power) ** (1 / power)
    return part, np.clip((edge - radius) * 12 + 0.5, 0, 1).astype(np.float32)


def _paste(
    frame: NDArray[np.float32],
    part: NDArray[np.float32],
    alpha: NDArray[np.float32],
    centre: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Draw into the frame; return the alpha of the whole frame."""
    shift = np.array([[1, 0, centre[0] - part.shape[1] / 2], [0, 1, centre[1] - part.shape[0] / 2]])
    size = (frame.shape[1], frame.shape[0])
    whole = cv2.warpAffine(alpha, shift, size).astype(np.float32)
    drawn = cv2.warpAffine(part, shift, size)
    frame += whole[..., None] * (drawn - frame)
    return whole


# --- the generated gaze --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """Generated gaze over a scene, with its truth."""

    scene: Scene
    gaze: list[Gaze]
    attended_ns: list[tuple[int, int]]
    duration_ns: int


def generate(
    scene: Scene,
    seed: int,
    duration_s: float,
    statistics: GazeStatistics | None = None,
) -> Session:
    """Write a script for the scene and let eyes follow it. Deterministic in its arguments."""
    writer = _Script(scene, np.random.default_rng(seed), statistics or GazeStatistics())
    while writer.t_s < duration_s:
        for _ in range(writer.rng.integers(1, 3)):
            writer.rng.choice([writer.scan, writer.idle], p=[0.55, 0.45])()
        writer.attend()
    count = int(duration_s * GAZE_HZ)
    place = np.array(writer.place[:count])
    open_eye = np.array(writer.open_eye[:count])
    place = _saccades(place, np.array(writer.aim[:count]), scene.field_deg)
    azimuth, elevation = from_frame(scene.geometry, place[:, 0], place[:, 1])
    s, rng = writer.statistics, writer.rng
    slow = np.cumsum(rng.normal(0, 1, (count, 2)), axis=0)
    slow -= _running_mean(slow, int(0.5 * GAZE_HZ))
    slow *= s.wander_deg / max(1e-9, float(np.sqrt((slow**2).sum(1).mean())))
    jitter = rng.normal(0, s.noise_deg, (count, 2)) + slow
    step_ns = round(1e9 / GAZE_HZ)
    gaze = [
        Gaze(
            t_ns=i * step_ns,
            azimuth_deg=float(azimuth[i] + jitter[i, 0]) if open_eye[i] else float("nan"),
            elevation_deg=float(elevation[i] + jitter[i, 1]) if open_eye[i] else float("nan"),
            confidence=0.95 if open_eye[i] else 0.0,
        )
        for i in range(count)
    ]
    end_ns = round(duration_s * 1e9)
    attended = [(a, min(b, end_ns)) for a, b in writer.attended_ns if a < end_ns - 1_000_000_000]
    return Session(scene, gaze, attended, end_ns)


class _Script:
    """Aim of the eyes, sample by sample, in fractions of the frame."""

    def __init__(self, scene: Scene, rng: np.random.Generator, statistics: GazeStatistics) -> None:
        self.scene, self.rng, self.statistics = scene, rng, statistics
        self.place: list[NDArray[np.float64]] = []
        self.aim: list[int] = []
        self.open_eye: list[bool] = []
        self.attended_ns: list[tuple[int, int]] = []
        self._aims = 0
        self._next_blink_s = rng.exponential(4.0)
        self._drift = _background_path(scene)

    @property
    def t_s(self) -> float:
        return len(self.place) / GAZE_HZ

    def attend(self) -> None:
        """Look at the thing for a while: refixations on it, it may move; glances away."""
        box = self.scene.box(self.t_s)
        if box is None:
            return self.scan()
        start_s = self.t_s
        until_s = start_s + float(np.clip(self.rng.lognormal(0.95, 0.5), 1.2, 8.0))
        glance_s = start_s + 0.6 + self.rng.exponential(3.0)
        while self.t_s < until_s:
            if self.t_s > glance_s and until_s - self.t_s > 1.0:
                self._hold_world(self._elsewhere(), self.rng.uniform(0.15, 0.45))
                glance_s = self.t_s + 0.8 + self.rng.exponential(3.0)
            self._hold_thing(min(self._fixation_s() * 1.4, max(0.1, until_s - self.t_s)))
        self.attended_ns.append((round(start_s * 1e9), round(self.t_s * 1e9)))
        return None

    def scan(self) -> None:
        """Look around, at the thing too, but never for long."""
        until_s = self.t_s + self.rng.uniform(1.5, 5.0)
        while self.t_s < until_s:
            if self.rng.random() < 0.15:
                self._hold_thing(min(self._fixation_s(), 0.6))
            self._hold_world(self._elsewhere(), min(self._fixation_s(), 0.6))

    def idle(self) -> None:
        """Stare at nothing: the eyes rest on some place of the background or of the frame."""
        seconds = float(np.clip(self.rng.lognormal(0.6, 0.5), 0.8, 5.0))
        place = self._elsewhere()
        pieces = self.rng.integers(1, 4)
        for _ in range(pieces):
            if self.rng.random() < 0.5:
                self._hold_world(place, seconds / pieces)
            else:
                self._hold_frame(place, seconds / pieces)
            place = self.place[-1] + self.rng.normal(0, 0.012, 2)

    def _fixation_s(self) -> float:
        s = self.statistics
        return (
            float(
                np.clip(np.exp(self.rng.normal(s.fixation_log_mean, s.fixation_log_std)), 100, 1500)
            )
            / 1e3
        )

    def _elsewhere(self) -> NDArray[np.float64]:
        """A place that is not on the thing."""
        mask = cv2.dilate(
            self.scene.masks[self.scene.index(self.t_s)].astype(np.uint8), np.ones((9, 9))
        )
        for _ in range(30):
            x, y = np.clip(self.rng.normal(0.5, 0.25, 2), 0.03, 0.97)
            if not mask[int(y * mask.shape[0]), int(x * mask.shape[1])]:
                return np.array([x, y])
        return np.array([0.04, 0.04])

    def _hold_thing(self, seconds: float) -> None:
        """Fixate or pursue one part of the thing."""
        mask = self.scene.masks[self.scene.index(self.t_s)]
        box = self.scene.box(self.t_s)
        rows, columns = np.nonzero(mask)
        if box is None or not rows.size:
            return self._hold_world(self._elsewhere(), seconds)
        centre = np.array([columns.mean() / mask.shape[1], rows.mean() / mask.shape[0]])
        k = int(self.rng.integers(rows.size))
        part = np.array([(columns[k] + 0.5) / mask.shape[1], (rows[k] + 0.5) / mask.shape[0]])
        part = centre + 0.6 * (
            part - centre
        )  # people look at the middle of things more than at rims
        inside = (part - box[:2]) / np.maximum(box[2:] - box[:2], 1e-6)
        here = part
        self._aims += 1
        for _ in range(max(1, int(seconds * GAZE_HZ))):
            box = self.scene.box(self.t_s)
            if box is not None:
                wanted = box[:2] + inside * (box[2:] - box[:2])
                here = here + 0.15 * (wanted - here)  # about 55 ms behind, as pursuit is
            self._push(here)
        return None

    def _hold_world(self, place: NDArray[np.float64], seconds: float) -> None:
        start = self._drift[self.scene.index(self.t_s)]
        self._aims += 1
        for _ in range(max(1, int(seconds * GAZE_HZ))):
            self._push(np.clip(place + self._drift[self.scene.index(self.t_s)] - start, 0, 1))

    def _hold_frame(self, place: NDArray[np.float64], seconds: float) -> None:
        self._aims += 1
        for _ in range(max(1, int(seconds * GAZE_HZ))):
            self._push(place)

    def _push(self, place: NDArray[np.float64]) -> None:
        if self.t_s > self._next_blink_s + 0.2:
            self._next_blink_s = self.t_s + 0.5 + self.rng.exponential(4.0)
        self.open_eye.append(self.t_s < self._next_blink_s)
        self.place.append(place)
        self.aim.append(self._aims)


def _background_path(scene: Scene) -> NDArray[np.float64]:
    """(T, 2): where a place of the background has gone since the first frame, in fractions."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    small = [cv2.cvtColor(cv2.resize(f, MASK_PX), cv2.COLOR_BGR2GRAY) for f in scene.frames]
    path = np.zeros((len(small), 2))
    for i in range(1, len(small)):
        moved = flow.calc(small[i - 1], small[i], None)
        rest = moved[~scene.masks[i]] if (~scene.masks[i]).any() else moved.reshape(-1, 2)
        path[i] = path[i - 1] + np.median(rest, axis=0) / np.array(MASK_PX)
    return path


def _saccades(
    place: NDArray[np.float64], aim: NDArray[np.int64], field_deg: float
) -> NDArray[np.float64]:
    """Between two aims the eye travels: 2.2 ms a degree and 21 ms, along a half cosine."""
    place = place.copy()
    for i in np.flatnonzero(np.diff(aim)) + 1:
        size_deg = float(np.hypot(*(place[i] - place[i - 1]))) * field_deg
        count = min(max(2, round((2.2 * size_deg + 21) / 1e3 * GAZE_HZ)), len(place) - i)
        share = (1 - np.cos(np.pi * np.arange(1, count + 1) / count)) / 2
        place[i : i + count] = place[i - 1] + share[:, None] * (place[i : i + count] - place[i - 1])
    return place


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    kernel = np.ones(width) / width
    return np.stack([np.convolve(column, kernel, "same") for column in values.T], 1)


def pictures_of(folder: Path, limit: int, seed: int) -> Iterator[Pixels]:
    """Pictures below a folder, in a seeded order."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    order = np.random.default_rng(seed).permutation(len(paths))
    for k in order[:limit]:
        picture = cv2.imread(str(paths[k]))
        if picture is not None:
            yield np.asarray(cv2.resize(picture, (500, 400)), np.uint8)
