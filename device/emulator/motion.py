"""Head and eye kinematics: from looks to where head and eyes point at any time, vectorised.

Documented: saccade duration 2.2 ms/deg x amplitude + 21 ms (Carpenter 1988); the eye keeps its goal while
the head moves (vestibulo-ocular reflex, here of gain 1); microsaccades of 0.2-0.6 deg, one to two a second
(Martinez-Conde et al. 2004). Ours: the minimum-jerk course of a saccade, the head as a slow follower of
60 % of the gaze shift, drift as smooth noise, steps as two sines. Tremor (under 0.01 deg) is left out: no
sensor of ours sees it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.emulator.place import Place
from device.emulator.schedule import ACTIVITIES, SPEED_M_S, Schedule

Floats = NDArray[np.float64]

GRID_HZ = 100.0
"""The head moves slowly enough for this; between its points everything is linear."""


def min_jerk(x: Floats) -> Floats:
    """0 to 1 with zero speed and acceleration at both ends."""
    x = np.clip(x, 0, 1)
    return x * x * x * (10 - 15 * x + 6 * x * x)


def smooth_noise(rng: np.random.Generator, n: int, samples: float) -> Floats:
    """Unit-variance noise of n samples with a Gaussian correlation of that many samples."""
    reach = int(4 * samples)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / samples) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    if samples <= 60:
        return np.convolve(rng.normal(size=n + 2 * reach), kernel, "valid")
    step = samples / 8  # slow noise is made coarse and interpolated
    coarse = smooth_noise(rng, int(n / step) + 3, 8.0)
    return np.interp(np.arange(n), np.arange(len(coarse)) * step, coarse)


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """Head in the world at n times: position in metres, angles in degrees (yaw right, pitch up)."""

    x_m: Floats
    y_m: Floats
    distance_m: Floats
    yaw_deg: Floats
    pitch_deg: Floats
    roll_deg: Floats

    def rotation(self) -> Floats:
        """(n, 3, 3): columns are the head's x (right), y (down), z (ahead) in world axes."""
        yaw, pitch, roll = (np.radians(a) for a in (self.yaw_deg, self.pitch_deg, self.roll_deg))
        zero, one = np.zeros_like(yaw), np.ones_like(yaw)
        cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
        turn = np.array([[cy, zero, sy], [zero, one, zero], [-sy, zero, cy]])
        nod = np.array([[one, zero, zero], [zero, cp, -sp], [zero, sp, cp]])
        tilt = np.array([[cr, -sr, zero], [sr, cr, zero], [zero, zero, one]])
        together: Floats = np.einsum("ijn,jkn,kln->nil", turn, nod, tilt)
        return together

    def direction(self, x_m: Floats, y_m: Floats) -> tuple[Floats, Floats]:
        """(azimuth_deg, elevation_deg) in the head's frame of points of the wall."""
        offset = np.stack([x_m - self.x_m, y_m - self.y_m, self.distance_m], -1)
        seen = np.einsum("nij,ni->nj", self.rotation(), offset)
        azimuth = np.arctan2(seen[:, 0], seen[:, 2])
        elevation = np.arctan2(-seen[:, 1], np.hypot(seen[:, 0], seen[:, 2]))
        return np.degrees(azimuth), np.degrees(elevation)


class Head:
    """The head's pose on a grid of `GRID_HZ`, from the schedule's way and looks."""

    def __init__(self, plan: Schedule, looks: Looks, duration_s: float, seed: int) -> None:
        rng = np.random.default_rng([seed, 30])
        self.t_s = np.arange(0, duration_s + 1.0, 1 / GRID_HZ)
        n = len(self.t_s)
        way = np.array(plan.way)
        body = follow(np.interp(self.t_s, way[:, 0], way[:, 1]), 0.25)
        distance = follow(np.interp(self.t_s, way[:, 0], way[:, 2]), 0.3)
        walking = np.clip(np.abs(np.gradient(body, 1 / GRID_HZ)) / SPEED_M_S, 0, 1)
        step = 2 * np.pi * np.cumsum(1.75 + 0.05 * smooth_noise(rng, n, 100)) / GRID_HZ
        goal_x, goal_y = looks.point(looks.index(self.t_s), self.t_s)
        share = 0.0 if looks.activity[0] == ACTIVITIES.index("calibrate") else 0.6
        yaw = follow(np.degrees(np.arctan2(goal_x - body, distance)), 0.22) * share
        pitch = (
            follow(-np.degrees(np.arctan2(goal_y, np.hypot(goal_x - body, distance))), 0.22) * share
        )
        self._grid = np.stack(
            [
                body + 0.008 * smooth_noise(rng, n, 90) + 0.01 * walking * np.sin(step / 2),
                0.004 * smooth_noise(rng, n, 90) + 0.018 * walking * np.sin(step),
                distance + 0.006 * smooth_noise(rng, n, 90),
                yaw + 0.35 * smooth_noise(rng, n, 40) + 0.5 * walking * np.sin(step / 2 + 1),
                pitch + 0.3 * smooth_noise(rng, n, 40) + 0.5 * walking * np.sin(step + 2),
                0.6 * smooth_noise(rng, n, 80) + 0.4 * walking * np.sin(step / 2),
            ]
        )

    def pose(self, t_s: Floats) -> Pose:
        """Poses at those times."""
        at = np.clip(t_s * GRID_HZ, 0, len(self.t_s) - 1.001)
        low = at.astype(int)
        part = at - low
        return Pose(*(row[low] * (1 - part) + row[low + 1] * part for row in self._grid))


def follow(goal: Floats, tau_s: float) -> Floats:
    """A follower that lags by about `tau_s`: three equal low-pass filters in a row."""
    t = np.arange(0, 5 * tau_s, 1 / GRID_HZ)
    kernel = t**2 * np.exp(-3 * t / tau_s)
    kernel /= kernel.sum()
    padded = np.concatenate([np.full(len(kernel) - 1, goal[0]), goal])
    return np.convolve(padded, kernel, "valid")


class Looks:
    """The schedule's looks as arrays, and the saccades between them."""

    def __init__(self, plan: Schedule, place: Place) -> None:
        rows = plan.looks
        self.onset_s = np.array([k.onset_s for k in rows])
        self.x_m = np.array([k.x_m for k in rows])
        self.y_m = np.array([k.y_m for k in rows])
        self.thing = np.array([k.thing for k in rows])
        self.gain = np.array([k.gain for k in rows])
        self.attended = np.array([k.attended for k in rows])
        self.activity = np.array([k.activity for k in rows])
        self.things = place.things

    def index(self, t_s: Floats) -> NDArray[np.intp]:
        """Which look is under way at each time (its saccade included)."""
        return np.clip(np.searchsorted(self.onset_s, t_s, "right") - 1, 0, len(self.onset_s) - 1)

    def point(self, look: NDArray[np.intp], t_s: Floats) -> tuple[Floats, Floats]:
        """Goal of each look on the wall at its time: a fixed point, or one that a thing carries."""
        x_m, y_m = self.x_m[look].copy(), self.y_m[look].copy()
        for index in np.unique(self.thing[look]):
            if index < 0:
                continue
            mine = self.thing[look] == index
            now, then = t_s[mine], self.onset_s[look[mine]]
            gain = self.gain[look[mine]]
            for goal, here, start in zip(
                (x_m, y_m), self.things[index].at(now), self.things[index].at(then), strict=True
            ):
                goal[mine] += start + gain * (here - start)
        return x_m, y_m
