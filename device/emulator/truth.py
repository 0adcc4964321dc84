"""What is true of the virtual wearer at any time: asked without drawing anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from device.emulator.motion import GRID_HZ, Floats, Head, Looks, Pose, min_jerk, smooth_noise
from device.emulator.place import Place, make_place
from device.emulator.schedule import ACTIVITIES, BLINK_FACTOR, make_schedule
from device.emulator.settings import EmulatorSettings
from device.geometry import in_frame, pinhole
from device.types import Blink, Movement, Region, Saccade

STARE, ATTEND = ACTIVITIES.index("stare"), ACTIVITIES.index("attend")
SMALLEST_SACCADE_DEG = 0.3
FAR_M = 6.0
"""Distance the eyes converge on in a stare: they relax to behind the wall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttendedInterval:
    """The wearer truly looked at one thing, from its first look to the last one's end."""

    start_ns: int
    end_ns: int
    name: str
    """COCO class name of the thing."""
    thing: int
    """Its index in `Truth.things`."""


@dataclass(frozen=True, slots=True, eq=False)
class EyesAt:
    """Both eyes at n times."""

    azimuth_deg: Floats
    elevation_deg: Floats
    vergence_deg: Floats
    """Angle of each eye towards the nose, from the parallel."""
    openness: Floats
    """0 closed, 1 open."""
    pupil_mm: Floats
    slip_mm: Floats
    """(2, n) creep of the eye cameras, right and down."""


class Truth:
    """The session's truth. Times are ints in ns, one or many."""

    def __init__(self, settings: EmulatorSettings) -> None:
        seed, duration_s = settings.seed, settings.duration_s
        self.place: Place = make_place(seed)
        self.things = self.place.things
        self.geometry = pinhole(
            settings.scene_width_px, settings.scene_height_px, settings.scene_field_deg
        )
        self.duration_ns = round(duration_s * 1e9)
        plan = make_schedule(self.place, settings.scenario, duration_s, seed)
        self._looks = Looks(plan, self.place)
        self.head = Head(plan, self._looks, duration_s, seed)
        self._saccade_s = self._saccades()
        rng = np.random.default_rng([seed, 40])
        self._blinks = self._make_blinks(settings, rng)
        self._make_small(settings, rng)
        self.attended = self._attended(plan.attended)

    # --- where the eyes are -----------------------------------------------------------------------

    def gaze(self, t_ns: ArrayLike) -> tuple[Floats, Floats]:
        """True (azimuth_deg, elevation_deg) in the scene camera's frame."""
        eyes, shape = self.eyes(t_ns), np.shape(t_ns)
        return eyes.azimuth_deg.reshape(shape), eyes.elevation_deg.reshape(shape)

    def eyes(self, t_ns: ArrayLike) -> EyesAt:
        """Everything an eye image shows."""
        t_s = np.atleast_1d(np.asarray(t_ns, np.float64)) / 1e9
        pose = self.head.pose(t_s)
        look = self._looks.index(t_s)
        azimuth, elevation = pose.direction(*self._looks.point(look, t_s))
        since_s = t_s - self._looks.onset_s[look]
        moving = since_s < self._saccade_s[look]
        if moving.any():
            part = Pose(*(getattr(pose, name)[moving] for name in Pose.__slots__))
            before = np.maximum(look[moving] - 1, 0)
            a0, e0 = part.direction(*self._looks.point(before, t_s[moving]))
            done = min_jerk(since_s[moving] / self._saccade_s[look[moving]])
            azimuth[moving] = a0 + (azimuth[moving] - a0) * done
            elevation[moving] = e0 + (elevation[moving] - e0) * done
        stare = self._looks.activity[look] == STARE
        drift = self._at(self._drift_deg, t_s) * np.where(stare, 2.5, 1.0)
        small = self._microsaccades(t_s)
        far_m = np.where(stare, FAR_M, pose.distance_m / np.cos(np.radians(pose.yaw_deg + azimuth)))
        return EyesAt(
            azimuth + drift[0] + small[0],
            elevation + drift[1] + small[1],
            np.degrees(np.arctan2(0.0315, far_m)),
            self._openness(t_s),
            self._at(self._pupil_mm, t_s),
            self._at(self._slip_mm, t_s),
        )

    def movement(self, t_ns: ArrayLike) -> list[Movement]:
        """What the eyes do at each time; a blink hides whatever else is under way."""
        t_s = np.atleast_1d(np.asarray(t_ns, np.float64)) / 1e9
        look = self._looks.index(t_s)
        saccade = t_s - self._looks.onset_s[look] < self._saccade_s[look]
        pursuit = self._looks.thing[look] >= 0
        blink = self._in_blink(t_s)[0]
        names = np.where(pursuit, Movement.PURSUIT, Movement.FIXATION)
        names = np.where(saccade, Movement.SACCADE, names)
        return [Movement(n) for n in np.where(blink, Movement.BLINK, names)]

    def activity(self, t_ns: ArrayLike) -> list[str]:
        """Which of `ACTIVITIES` the wearer is at."""
        t_s = np.atleast_1d(np.asarray(t_ns, np.float64)) / 1e9
        return [ACTIVITIES[k] for k in self._looks.activity[self._looks.index(t_s)]]

    @property
    def blinks(self) -> tuple[Blink, ...]:
        """Every blink of the session, from first to last lid movement."""
        return tuple(
            Blink(start_ns=round(start * 1e9), end_ns=round(end * 1e9), confidence=1.0)
            for start, end in self._blinks
        )

    @property
    def saccades(self) -> tuple[Saccade, ...]:
        """Every saccade but microsaccades; amplitude as at its two ends."""
        some = np.flatnonzero(self._saccade_s > 0)
        onset, end = self._looks.onset_s[some], self._looks.onset_s[some] + self._saccade_s[some]
        a0, e0 = self.head.pose(onset).direction(*self._looks.point(some - 1, onset))
        a1, e1 = self.head.pose(end).direction(*self._looks.point(some, end))
        return tuple(
            Saccade(
                start_ns=round(s * 1e9),
                end_ns=round(f * 1e9),
                amplitude_deg=float(np.hypot(da, de)),
                direction_deg=float(np.degrees(np.arctan2(de, da))),
                peak_speed_deg_s=float(1.875 * np.hypot(da, de) / (f - s)),
            )
            for s, f, da, de in zip(onset, end, a1 - a0, e1 - e0, strict=True)
        )

    # --- what is looked at ------------------------------------------------------------------------

    def box(self, thing: int, t_ns: int) -> Region:
        """Where a thing is in the scene frame; may reach beyond it."""
        place = self.things[thing]
        t_s = np.full(4, t_ns / 1e9)
        x_m, y_m = place.at(t_s)
        half_x, half_y = place.width_m / 2, place.height_m / 2
        corners_x = x_m + np.array([-half_x, half_x, half_x, -half_x])
        corners_y = y_m + np.array([-half_y, -half_y, half_y, half_y])
        azimuth, elevation = self.head.pose(t_s).direction(corners_x, corners_y)
        x, y = in_frame(self.geometry, azimuth, elevation)
        return Region(
            left=float(x.min()), top=float(y.min()), right=float(x.max()), bottom=float(y.max())
        )

    def attended_at(self, t_ns: int) -> AttendedInterval | None:
        """The attended interval under way, if there is one."""
        for interval in self.attended:
            if interval.start_ns <= t_ns < interval.end_ns:
                return interval
        return None

    # --- how it is made ---------------------------------------------------------------------------

    def _saccades(self) -> Floats:
        """Seconds each look's saccade takes; 0 where the eyes need none."""
        looks = self._looks
        number = np.arange(1, len(looks.onset_s))
        onset = looks.onset_s[1:]
        pose = self.head.pose(onset)
        a0, e0 = pose.direction(*looks.point(number - 1, onset))
        a1, e1 = pose.direction(*looks.point(number, onset))
        amplitude = np.hypot(a1 - a0, e1 - e0)
        takes = np.where(amplitude < SMALLEST_SACCADE_DEG, 0.0, 0.021 + 0.0022 * amplitude)
        return np.concatenate([[0.0], takes])

    def _attended(self, things: list[int]) -> tuple[AttendedInterval, ...]:
        looks, found = self._looks, []
        ends = np.append(looks.onset_s[1:], looks.onset_s[-1] + 0.3)
        for number, thing in enumerate(things):
            mine = np.flatnonzero(looks.attended == number)
            start = looks.onset_s[mine[0]] + self._saccade_s[mine[0]]
            end = min(ends[mine[-1]], self.duration_ns / 1e9)
            if end - start < 1.0:  # cut off by the end of the session
                continue
            name = self.things[thing].name
            interval = AttendedInterval(
                start_ns=round(start * 1e9), end_ns=round(end * 1e9), name=name, thing=thing
            )
            found.append(interval)
        return tuple(found)

    def _make_blinks(self, settings: EmulatorSettings, rng: np.random.Generator) -> Floats:
        """(n, 2) start and end in seconds: a Poisson process with a dead time, by activity."""
        blinks: list[tuple[float, float]] = []
        t_s = float(rng.exponential(60 / settings.blinks_per_min))
        while t_s < settings.duration_s - 0.3:
            factor = BLINK_FACTOR[self._looks.activity[self._looks.index(np.array([t_s]))[0]]]
            if rng.random() < factor / max(BLINK_FACTOR):
                blinks.append((t_s, t_s + float(rng.uniform(0.15, 0.3))))
                t_s = blinks[-1][1] + 0.3
            t_s += float(rng.exponential(60 / settings.blinks_per_min / max(BLINK_FACTOR)))
        return np.array(blinks).reshape(-1, 2)

    def _in_blink(self, t_s: Floats) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        if not len(self._blinks):
            return np.zeros(t_s.shape, bool), np.zeros(t_s.shape, np.intp)
        last = np.searchsorted(self._blinks[:, 0], t_s, "right") - 1
        inside = (last >= 0) & (t_s < self._blinks[np.maximum(last, 0), 1])
        return inside, np.maximum(last, 0)

    def _openness(self, t_s: Floats) -> Floats:
        """Lids close in the first third of a blink, rest, and open more slowly than they closed."""
        inside, last = self._in_blink(t_s)
        lid = self._at(self._lid, t_s)
        if not inside.any():
            return lid
        start, end = self._blinks[last[inside]].T
        part = (t_s[inside] - start) / (end - start)
        closed = min_jerk(part / 0.33) - min_jerk((part - 0.48) / 0.52)
        lid[inside] *= 1 - closed
        return lid

    def _make_small(self, settings: EmulatorSettings, rng: np.random.Generator) -> None:
        """Drift, microsaccades, pupil, lids and slippage, on the head's grid."""
        t_s, n = self.head.t_s, len(self.head.t_s)
        self._drift_deg = 0.11 * np.stack([smooth_noise(rng, n, 45), smooth_noise(rng, n, 45)])
        count = int(settings.duration_s * 1.3) + 8
        self._micro_s = np.cumsum(rng.exponential(0.35, count) + 0.45)
        size, turn = rng.uniform(0.2, 0.6, count), rng.uniform(0, 2 * np.pi, count)
        self._micro_deg = np.stack([size * np.cos(turn), 0.6 * size * np.sin(turn)])
        attending = self._looks.activity[self._looks.index(t_s)] == ATTEND
        light = smooth_noise(rng, n, 1500)
        hippus = smooth_noise(rng, n, 55)
        aroused = np.convolve(
            np.concatenate([np.zeros(99), attending]), np.full(100, 0.01), "valid"
        )
        wearer_mm = float(rng.uniform(3.0, 4.4))
        self._pupil_mm = np.clip(
            wearer_mm + 0.35 * light + 0.08 * hippus + 0.25 * aroused, 1.8, 7.5
        )
        self._lid = np.clip(0.9 + 0.06 * smooth_noise(rng, n, 300), 0.6, 1.0)
        creep = np.stack([smooth_noise(rng, n, 4000), smooth_noise(rng, n, 4000)])
        jolt = np.stack([smooth_noise(rng, n, 30), smooth_noise(rng, n, 30)])
        # Creep is counted from the start: that is when the wearer was calibrated.
        self._slip_mm = settings.slippage_mm * (creep - creep[:, :1] + 0.04 * jolt)

    def _microsaccades(self, t_s: Floats) -> Floats:
        """(2, n) degrees: a quick step that drifts back."""
        last = np.searchsorted(self._micro_s, t_s, "right") - 1
        known = last >= 0
        since = np.where(known, t_s - self._micro_s[np.maximum(last, 0)], 0.0)
        course = min_jerk(since / 0.015) * np.exp(-np.maximum(since - 0.015, 0) / 0.15)
        return np.asarray(self._micro_deg[:, np.maximum(last, 0)] * course * known)

    def _at(self, grid: Floats, t_s: Floats) -> Floats:
        at = np.clip(t_s * GRID_HZ, 0, len(self.head.t_s) - 1.001)
        low = at.astype(int)
        part = at - low
        return np.asarray(grid[..., low] * (1 - part) + grid[..., low + 1] * part)
