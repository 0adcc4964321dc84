"""What the attention network sees: the way the gaze went, how the scene moved, two views of it.

Training and the glasses build their inputs here and nowhere else. Everything is causal, of bounded
memory, and free of the resolution of the frame: places are fractions of the scene frame, distances
degrees.

Three ideas carry most of the information. How the eyes moved over the last two seconds (`Trail`).
Whether the thing under the gaze now is the thing that was under it before: earlier gaze points are
carried along with the optical flow of the scene, so a pursued or a head-stabilised thing stays one
place (`SceneMotion`). And what moves against the background, which is a view of its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.model import fit
from device.types import EyeMovement, Movement, Pixels

Floats = NDArray[np.float64]

CROP_PX = 64
"""Side of the gaze-centred crop the network takes."""
CROP_SHARE = 0.4
"""Side of the crop in the scene, as a share of the frame's height."""
COARSE_PX = (64, 48)
"""(width, height) of the view of the whole frame."""
FLOW_PX = (128, 96)
"""(width, height) at which the optical flow is computed."""

LABELS = (Movement.FIXATION, Movement.PURSUIT, Movement.SACCADE, Movement.BLINK, Movement.UNKNOWN)
AGES_S = (0.2, 0.5, 1.0, 1.5)
"""How far back the present place of the gaze is compared with earlier ones."""
SAME_DEG = 1.8
"""Two looks closer than this may be at one thing: about the parafovea's reach, and above the error of
a worn eye tracker."""
TRAIL_STEP_NS = 7_000_000
"""Samples of the trail are thinned to this spacing."""

EYE_FEATURES = 29
SCENE_FEATURES = 20
FEATURES = EYE_FEATURES + SCENE_FEATURES


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """The pictures the network takes, all uint8."""

    crop: Pixels
    """(CROP_PX, CROP_PX, 3) BGR around the gaze."""
    crop_motion: Pixels
    """(CROP_PX // 2, CROP_PX // 2): motion against the background in the same window."""
    coarse: Pixels
    """(48, 64, 3) BGR, the whole frame."""
    coarse_motion: Pixels
    """(48, 64): motion against the background, the whole frame."""


class Trail:
    """The eye movements of the last `history_s` seconds, thinned."""

    def __init__(self, history_s: float) -> None:
        self._history_ns = round(history_s * 1e9)
        self._samples: deque[tuple[float, float, float, float, float]] = deque()
        self._last_ns = -(10**18)
        self._saccades: deque[int] = deque()
        self._since_ns = 0
        self._label = Movement.UNKNOWN
        self.place_deg: tuple[float, float] | None = None
        """Last known gaze (azimuth, elevation)."""
        self.place_ns = 0

    def push(self, value: EyeMovement) -> None:
        """Take one sample; NaN gaze counts as not seen."""
        moving = value.movement in (Movement.SACCADE, Movement.PSO)
        if moving and self._label not in (Movement.SACCADE, Movement.PSO):
            self._saccades.append(value.t_ns)
        self._label, self._since_ns = value.movement, value.since_ns
        known = np.isfinite(value.azimuth_deg) and np.isfinite(value.elevation_deg)
        if known:
            self.place_deg = (value.azimuth_deg, value.elevation_deg)
            self.place_ns = value.t_ns
        if value.t_ns - self._last_ns < TRAIL_STEP_NS:
            return
        self._last_ns = value.t_ns
        label = LABELS.index(Movement.SACCADE if moving else value.movement)
        self._samples.append(
            (value.t_ns, value.azimuth_deg, value.elevation_deg, value.speed_deg_s, label)
        )
        while self._samples[0][0] < value.t_ns - self._history_ns:
            self._samples.popleft()
        while self._saccades and self._saccades[0] < value.t_ns - self._history_ns:
            self._saccades.popleft()

    def features(self, t_ns: int) -> NDArray[np.float32]:
        """(EYE_FEATURES,) float32 about the eyes alone, each roughly within -1..3; zeros if unseen."""
        if not self._samples or self.place_deg is None:
            return np.zeros(EYE_FEATURES, np.float32)
        table = np.array(self._samples)
        age_s = (t_ns - table[:, 0]) / 1e9
        place = table[:, 1:3]
        known = np.isfinite(place).all(axis=1)
        off_deg = np.hypot(*(place - np.array(self.place_deg)).T)
        values: list[float] = []
        for window_s in (0.5, 2.0):
            labels = table[age_s <= window_s, 4].astype(int)
            values += list(np.bincount(labels, minlength=5) / max(1, len(labels)))
        values += [float(self._label in (Movement.FIXATION, Movement.PURSUIT))]
        values += [float(np.tanh((t_ns - self._since_ns) / 1e9))]
        values += [_spread_deg(place[known & (age_s <= w)]) for w in (0.25, 0.5, 1.0, 2.0)]
        values += [_mean_log(table[age_s <= w, 3]) for w in (0.1, 0.3)]
        values += [_drift(place[known & (age_s <= 0.5)], age_s[known & (age_s <= 0.5)])]
        values += [_ago(off_deg, age_s, known, a) for a in (*AGES_S, 1.95)]
        values += [
            float((off_deg < SAME_DEG)[age_s <= w].sum() / max(1, (age_s <= w).sum()))
            for w in (1.0, 2.0)
        ]
        values += [len(self._saccades) / 8.0]
        values += [min(1.0, (t_ns - self.place_ns) / 5e8), float(age_s[0] / 2.0)]
        return np.nan_to_num(np.array(values, np.float32))


class SceneMotion:
    """Optical flow between the frames that were analysed, and earlier gaze points carried along."""

    def __init__(self, degrees_across: tuple[float, float], history_s: float) -> None:
        self._degrees = np.array(degrees_across)
        self._history_s = history_s
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        width, height = FLOW_PX
        rows, columns = np.mgrid[4:height:8, 4:width:8]
        self._grid = (rows.ravel(), columns.ravel())
        self._design = np.stack(
            [np.ones(rows.size), columns.ravel() / width - 0.5, rows.ravel() / height - 0.5], 1
        )
        yy, xx = np.mgrid[0:height, 0:width]
        self._x, self._y = (xx + 0.5) / width - 0.5, (yy + 0.5) / height - 0.5
        self.reset()

    def reset(self) -> None:
        """Forget the scene: after a pause there is nothing to compare with."""
        self._before: Pixels | None = None
        self._t_ns = 0
        self._points: deque[Floats] = deque()  # born_ns, x, y with things, x, y with background
        self._gaze: Floats | None = None
        self.motion = np.zeros((FLOW_PX[1], FLOW_PX[0]), np.uint8)

    def features(self, t_ns: int, pixels: Pixels, gaze: tuple[float, float]) -> NDArray[np.float32]:
        """Take the next frame and the gaze in it (fractions); (SCENE_FEATURES,) float32.

        Afterwards `motion` holds what moves against the background, (96, 128) uint8.
        """
        grey = cv2.cvtColor(fit(pixels, FLOW_PX), cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
        here = np.array(gaze)
        if self._before is None or t_ns <= self._t_ns:
            self._remember(t_ns, grey, here)
            return np.zeros(SCENE_FEATURES, np.float32)
        took_s = (t_ns - self._t_ns) / 1e9
        raw = self._flow.calc(self._before, grey, np.zeros((*grey.shape, 2), np.float32))
        flow = (np.asarray(raw) / np.array(FLOW_PX)).astype(np.float32)
        background = self._background(flow)
        relative = flow - background
        speed = cv2.blur(np.hypot(*np.moveaxis(relative * self._degrees, 2, 0)) / took_s, (3, 3))
        self.motion = np.minimum(255, 50 * np.sqrt(speed)).astype(np.uint8)
        self._carry(flow, background)
        shift = here - self._gaze if self._gaze is not None else np.zeros(2)
        with_thing = _speed(shift - _at(flow, here), self._degrees, took_s)
        with_background = _speed(shift - _at(background, here), self._degrees, took_s)
        moved = np.array(
            [
                1.0,
                np.log1p(_around(speed, here)) / 2,
                np.log1p(float(speed.mean())) / 2,
                np.log1p(_speed(_at(background, here), self._degrees, took_s)) / 3,
                np.log1p(with_thing) / 3,
                np.log1p(with_background) / 3,
                here[0] * 2 - 1,
                here[1] * 2 - 1,
            ]
        )
        values = np.concatenate([moved, self._sameness(t_ns, here)])
        self._remember(t_ns, grey, here)
        return np.asarray(np.nan_to_num(values), np.float32)

    def _remember(self, t_ns: int, grey: Pixels, here: Floats) -> None:
        self._before, self._t_ns, self._gaze = grey, t_ns, here
        self._points.append(np.array([t_ns, *here, *here]))
        while self._points[0][0] < t_ns - self._history_s * 1e9:
            self._points.popleft()

    def _background(self, flow: NDArray[np.float32]) -> NDArray[np.float32]:
        """The affine motion most of the frame shares: least squares, twice re-weighted."""
        sampled = flow[self._grid]
        weight = np.ones(len(sampled))
        for _ in range(3):
            weighted = self._design * weight[:, None]
            fitted = np.linalg.lstsq(weighted, sampled * weight[:, None], rcond=None)[0]
            miss = np.hypot(*((sampled - self._design @ fitted) * np.array(FLOW_PX)).T)
            weight = 1.0 / (1.0 + (miss / max(0.3, float(np.median(miss)))) ** 2)
        across = fitted[0, 0] + fitted[1, 0] * self._x + fitted[2, 0] * self._y
        down = fitted[0, 1] + fitted[1, 1] * self._x + fitted[2, 1] * self._y
        return np.stack([across, down], axis=2).astype(np.float32)

    def _carry(self, flow: NDArray[np.float32], background: NDArray[np.float32]) -> None:
        for point in self._points:
            point[1:3] += _at(flow, point[1:3])
            point[3:5] += _at(background, point[3:5])

    def _sameness(self, t_ns: int, here: Floats) -> Floats:
        """How far the gaze is from where the things it was on have gone: 12 numbers."""
        table = np.array(self._points)
        age_s = (t_ns - table[:, 0]) / 1e9
        known = np.ones(len(table), bool)
        values: list[float] = []
        for columns in (slice(1, 3), slice(3, 5)):
            off_deg = np.hypot(*((table[:, columns] - here) * self._degrees).T)
            values += [_ago(off_deg, age_s, known, age) for age in AGES_S]
            values += [float((off_deg[age_s <= w] < SAME_DEG).sum()) / (w * 10) for w in (1.0, 2.0)]
        return np.array(values)


def crops(pixels: Pixels, motion: Pixels, gaze: tuple[float, float]) -> Views:
    """The two views of a frame (H, W, 3), with what moves in each.

    `gaze` is in fractions of the frame; the part of the crop outside the frame repeats its edge.
    """
    height, width = pixels.shape[:2]
    side = CROP_SHARE * height
    return Views(
        crop=_window(pixels, gaze, (side, side), CROP_PX),
        crop_motion=_window(
            motion,
            gaze,
            (side / width * motion.shape[1], CROP_SHARE * motion.shape[0]),
            CROP_PX // 2,
        ),
        coarse=fit(pixels, COARSE_PX),
        coarse_motion=fit(motion, COARSE_PX),
    )


def _window(
    pixels: Pixels, centre: tuple[float, float], size_px: tuple[float, float], out_px: int
) -> Pixels:
    """The window of `size_px` (width, height) around a place, brought to a square of `out_px`."""
    while min(size_px) >= 2 * out_px:
        pixels = pixels[::2, ::2]
        size_px = (size_px[0] / 2, size_px[1] / 2)
    step_x, step_y = size_px[0] / out_px, size_px[1] / out_px
    left = centre[0] * pixels.shape[1] - size_px[0] / 2
    top = centre[1] * pixels.shape[0] - size_px[1] / 2
    warp = np.array([[step_x, 0, left + step_x / 2 - 0.5], [0, step_y, top + step_y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(
        np.ascontiguousarray(pixels),
        warp,
        (out_px, out_px),
        flags=flags,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return warped.astype(np.uint8, copy=False)


def _at(field: NDArray[np.float32], place: Floats) -> Floats:
    """The vector of a flow field at a place in fractions; the nearest inside where it lies outside."""
    height, width = field.shape[:2]
    column = int(min(max(place[0] * width, 0), width - 1))
    row = int(min(max(place[1] * height, 0), height - 1))
    return np.asarray(field[row, column], np.float64)


def _around(values: NDArray[np.floating], place: Floats) -> float:
    """Mean of a map in a window of a tenth of the frame around a place."""
    height, width = values.shape
    column = int(min(max(place[0] * width, 0), width - 1))
    row = int(min(max(place[1] * height, 0), height - 1))
    return float(values[max(0, row - 5) : row + 6, max(0, column - 6) : column + 7].mean())


def _speed(vector: Floats, degrees: Floats, took_s: float) -> float:
    return float(np.hypot(*(vector * degrees))) / took_s


def _ago(off_deg: Floats, age_s: Floats, known: NDArray[np.bool_], wanted_s: float) -> float:
    """Squashed distance to the place about `wanted_s` ago; 1 (far) where that was not seen."""
    gap = np.where(known, np.abs(age_s - wanted_s), np.inf)
    nearest = int(gap.argmin())
    return float(np.tanh(off_deg[nearest] / 4.0)) if gap[nearest] < 0.12 else 1.0


def _spread_deg(place: Floats) -> float:
    """log(1 + root mean square distance from the median)."""
    if len(place) < 2:
        return 0.0
    off = place - np.median(place, axis=0)
    return float(np.log1p(np.sqrt((off**2).sum(axis=1).mean())))


def _mean_log(speed_deg_s: Floats) -> float:
    known = speed_deg_s[np.isfinite(speed_deg_s)]
    return float(np.log1p(known.mean()) / 3) if known.size else 0.0


def _drift(place: Floats, age_s: Floats) -> float:
    """log(1 + speed of the straight line through the last half second), in deg/s."""
    if len(place) < 5 or age_s[0] - age_s[-1] < 0.1:
        return 0.0
    centred = age_s - age_s.mean()
    slope = centred @ (place - place.mean(axis=0)) / (centred @ centred)
    return float(np.log1p(np.hypot(*slope)) / 2)
