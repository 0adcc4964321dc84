"""What the virtual wearer does: activities in a row, each a series of looks.

Documented: fixations last about 260-330 ms in scene viewing, 225-250 ms in silent reading (Rayner 1998);
reading saccades span about 2 deg (same); the mind that wanders fixates longer and blinks more (Reichle et
al. 2010; Smilek et al. 2010); blinks fall from about 17 to 4-5 a minute in reading (Bentivoglio et al.
1997). Ours: everything else here, above all what counts as attended. A thing is attended from the first
look of an `attend` activity to the last one's end, through short glances away and blinks. Scanning,
walking, reading and staring are never attended, though their looks may rest on things too: a stare
outlasts most of attention's looks, one in six happens to rest on a thing, and a page holds the eyes for
minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from device.emulator.place import Place, Thing

SPEED_M_S = 0.9
"""Walking along a wall one looks at is slower than the usual 1.4 m/s."""
REACH_M = 7.0
"""How far from the middle of the wall the wearer walks."""


@dataclass(slots=True)
class Look:
    """The eyes' next goal, from the saccade that leads there until the next look."""

    onset_s: float
    x_m: float
    y_m: float
    thing: int = -1
    """Index of a thing the goal moves with (x_m, y_m are then relative to it); -1: a point of the wall."""
    gain: float = 1.0
    """Pursuit gain: how much of the thing's speed the eye reaches."""
    attended: int = -1
    """Number of the attended interval it belongs to."""
    activity: int = 0
    """Index in `ACTIVITIES`."""


ACTIVITIES = ("scan", "walk", "read", "stare", "attend", "calibrate")
BLINK_FACTOR = (1.0, 1.0, 0.4, 1.5, 0.8, 0.3)
"""Blink rate by activity as a multiple of the rate at rest."""


@dataclass(slots=True)
class Schedule:
    """The whole session's looks and the places the body passes."""

    looks: list[Look] = field(default_factory=list)
    way: list[tuple[float, float, float]] = field(default_factory=list)
    """(t_s, x_m, distance_m) of the body; straight lines between."""
    attended: list[int] = field(default_factory=list)
    """Index of the thing of every attended interval."""


def make_schedule(place: Place, scenario: str, duration_s: float, seed: int) -> Schedule:
    """A session of at least that length; the last look may reach past its end."""
    day = _Day(place, np.random.default_rng([seed, 20]))
    if scenario == "calibration":
        while day.t_s < duration_s:
            day.calibrate()
        return day.done()
    choose = _demo if scenario == "demo" else _ordinary
    day.scan(float(day.rng.uniform(1.5, 3.0)))
    while day.t_s < duration_s:
        choose(day)()
    return day.done()


def _demo(day: _Day) -> Callable[[], None]:
    """More than half of the session's activities attend to something."""
    draw = day.rng.random()
    if draw < 0.56:
        return day.attend
    if draw < 0.74:
        return lambda: day.scan(float(day.rng.uniform(2.5, 6.0)))
    if draw < 0.82:
        return lambda: day.walk(float(day.rng.uniform(3.0, 7.0)))
    if draw < 0.90:
        return lambda: day.read(float(day.rng.uniform(4.0, 9.0)))
    return day.stare


def _ordinary(day: _Day) -> Callable[[], None]:
    """An ordinary day: long stretches in which nothing is looked at for its own sake."""
    draw = day.rng.random()
    if draw < 0.19:
        return day.attend
    if draw < 0.38:
        return lambda: day.scan(float(day.rng.uniform(8.0, 35.0)))
    if draw < 0.64:
        return lambda: day.walk(float(day.rng.uniform(15.0, 60.0)))
    if draw < 0.82:
        return lambda: day.read(float(day.rng.uniform(40.0, 150.0)))
    return day.stare


class _Day:
    """Writes a schedule from left to right. `t_s` is the onset of the next look."""

    def __init__(self, place: Place, rng: np.random.Generator) -> None:
        self.place, self.rng = place, rng
        self.t_s = 0.0
        self.x_m, self.distance_m = float(rng.uniform(-3, 3)), 1.6
        self._plan = Schedule(way=[(0.0, self.x_m, self.distance_m)])
        self._last_thing = -1
        self._deck: list[int] = []

    def done(self) -> Schedule:
        self._way()
        return self._plan

    def scan(self, for_s: float, activity: int = 0) -> None:
        """Idle looking around from where one stands."""
        until_s = self.t_s + for_s
        while self.t_s < until_s:
            near = [k for k, thing in enumerate(self.place.things) if self._near(thing, 1.2)]
            near = [k for k in near if k != self._last_thing]
            if near and self.rng.random() < 0.4:
                self._glance_at(int(self.rng.choice(near)), activity)
            else:
                x_m, y_m = self._bare(spread_m=0.3)
                long = self.rng.random() < 0.06
                hold_s = float(self.rng.uniform(0.6, 1.3)) if long else self._fixation_s(0.27)
                self._look(hold_s, x_m, y_m, activity=activity)
        self._way()

    def walk(self, for_s: float) -> None:
        """To and fro along the wall, eyes mostly ahead, now and then on what passes."""
        until_s = self.t_s + for_s
        while self.t_s < until_s:
            goal_m = float(self.rng.uniform(-REACH_M, REACH_M))
            reach_m = SPEED_M_S * (until_s - self.t_s)
            self.go_to(float(np.clip(goal_m, self.x_m - reach_m, self.x_m + reach_m)))
            if self.t_s < until_s:
                self.scan(min(0.8, until_s - self.t_s), activity=1)

    def go_to(self, goal_m: float) -> None:
        """Walk there."""
        start_s, start_m = self.t_s, self.x_m
        heading = float(np.sign(goal_m - start_m))
        low, ahead_m, y_m = self.rng.random() < 0.5, 0.7, 0.0
        takes_s = abs(goal_m - start_m) / SPEED_M_S
        while self.t_s < start_s + takes_s:
            here_m = start_m + heading * SPEED_M_S * (self.t_s - start_s)
            passing = [k for k, th in enumerate(self.place.things) if abs(th.x_m - here_m) < 1.0]
            passing = [k for k in passing if k != self._last_thing]
            if passing and self.rng.random() < 0.15:
                self._glance_at(int(self.rng.choice(passing)), 1)
                continue
            if self.rng.random() < 0.12:  # between the floor and eye level every few looks
                low = not low
            ahead_m = float(np.clip(0.7 * ahead_m + self.rng.normal(0.24, 0.15), 0.2, 1.3))
            y_m = 0.6 * y_m + 0.4 * (0.95 if low else -0.1) + float(self.rng.normal(0, 0.12))
            x_m = float(np.clip(here_m + heading * ahead_m, -8.8, 8.8))
            self._look(self._fixation_s(0.28), x_m, y_m, activity=1)
        self.x_m = goal_m
        self.distance_m = float(self.rng.uniform(1.45, 1.9))
        self._way()

    def read(self, for_s: float) -> None:
        """Lines of a page from left to right, with looks down at the hands between."""
        panel = self.place.panels[int(self.rng.integers(len(self.place.panels)))]
        self._approach(panel.x_m, 1.35)
        until_s, line = self.t_s + for_s, 0
        left_m, top_m = panel.x_m - 0.42 * panel.width_m, panel.y_m - 0.4 * panel.height_m
        x_m = left_m
        while self.t_s < until_s:
            y_m = top_m + line * 0.05
            self._look(
                self._fixation_s(0.23), x_m, y_m + float(self.rng.normal(0, 0.005)), activity=2
            )
            back = self.rng.random() < 0.1
            x_m += float(self.rng.normal(-0.03 if back else 0.055, 0.015))
            if x_m > panel.x_m + 0.42 * panel.width_m:
                x_m, line = left_m, (line + 1) % 12
                if self.rng.random() < 0.25:
                    self._look(float(self.rng.uniform(0.3, 0.9)), panel.x_m, 0.75, activity=2)
        self._way()

    def stare(self) -> None:
        """The mind wanders: the eyes rest, drifting, on nothing in particular or past a thing."""
        near = [k for k, thing in enumerate(self.place.things) if self._near(thing, 0.9)]
        on_thing = bool(near) and self.rng.random() < 1 / 6
        for _ in range(int(self.rng.integers(1, 4))):
            x_m, y_m = self._bare(spread_m=0.15)
            if on_thing:
                thing = self.place.things[near[0]]
                x_m = thing.x_m + float(self.rng.normal(0, 0.2)) * thing.width_m
                y_m = thing.y_m + float(self.rng.normal(0, 0.2)) * thing.height_m
            self._look(float(self.rng.uniform(1.5, 5.0)), x_m, y_m, activity=3)
        self._way()

    def attend(self) -> None:
        """Look at one thing for its own sake: refixations or pursuits, short glances away."""
        index = self._next_thing()
        thing = self.place.things[index]
        self._approach(
            thing.x_m + float(self.rng.normal(0, 0.25)), float(self.rng.uniform(1.3, 1.75))
        )
        number = len(self._plan.attended)
        self._plan.attended.append(index)
        lasts_s = float(np.clip(3.6 * np.exp(self.rng.normal(0, 0.55)), 1.4, 12.0))
        start_s = self.t_s
        self._dwell(index, number)
        while self.t_s < start_s + lasts_s:
            left_s = start_s + lasts_s - self.t_s
            if left_s > 1.0 and self.t_s - start_s > 0.6 and self.rng.random() < 0.10:
                x_m, y_m = self._beside(thing)
                away_s = float(self.rng.uniform(0.15, 0.4))
                self._look(away_s, x_m, y_m, attended=number, activity=4)
            self._dwell(index, number)
        if self.rng.random() < 0.5:  # drawn nearer while looking
            self.distance_m -= float(self.rng.uniform(0.05, 0.2))
        self._way()
        self._last_thing = index
        self._look(self._fixation_s(0.3), *self._beside(thing))

    def calibrate(self) -> None:
        """Follow a dot over a grid of five by four, the head held still."""
        grid = [(a, e) for a in (-20, -10, 0, 10, 20) for e in (-13, -5, 4, 12)]
        for k in self.rng.permutation(len(grid)):
            a, e = np.radians(grid[k])
            x_m = self.x_m + self.distance_m * np.tan(a)
            y_m = -self.distance_m / np.cos(a) * np.tan(e)
            self._look(1.5, float(x_m), float(y_m), activity=5)
        self._way()

    def _next_thing(self) -> int:
        """The nearest of three of those not attended lately: every thing has its turn."""
        if len(self._deck) < 3:
            rest = [k for k in range(len(self.place.things)) if k not in self._deck]
            self._deck += [int(k) for k in self.rng.permutation(rest)]
        top = [k for k in self._deck[:4] if k != self._last_thing][:3]
        nearest = min(top, key=lambda k: abs(self.place.things[k].x_m - self.x_m))
        self._deck.remove(nearest)
        return nearest

    def _dwell(self, index: int, number: int) -> None:
        thing = self.place.things[index]
        spread = 0.10 if thing.moves else 0.17
        dx_m, dy_m = (
            float(np.clip(self.rng.normal(0, spread), -0.3, 0.3)) * side
            for side in (thing.width_m, thing.height_m)
        )
        if thing.moves:
            gain = float(np.clip(self.rng.normal(0.93, 0.04), 0.8, 1.0))
            hold_s = float(self.rng.uniform(0.25, 0.8))
            self._look(hold_s, dx_m, dy_m, thing=index, gain=gain, attended=number, activity=4)
            return
        x_m, y_m = thing.x_m + dx_m, thing.y_m + dy_m
        self._look(self._fixation_s(0.33), x_m, y_m, attended=number, activity=4)

    def _glance_at(self, index: int, activity: int) -> None:
        """One or two quick looks at a thing, well under a second in all."""
        thing = self.place.things[index]
        for _ in range(int(self.rng.integers(1, 3))):
            dx_m = float(self.rng.normal(0, 0.2)) * thing.width_m
            dy_m = float(self.rng.normal(0, 0.2)) * thing.height_m
            hold_s = min(self._fixation_s(0.26), 0.42)
            if thing.moves:
                self._look(hold_s, dx_m / 2, dy_m / 2, thing=index, gain=0.9, activity=activity)
            else:
                self._look(hold_s, thing.x_m + dx_m, thing.y_m + dy_m, activity=activity)
        self._last_thing = index

    def _approach(self, x_m: float, distance_m: float) -> None:
        if abs(x_m - self.x_m) > 0.5:
            self.go_to(x_m)
        self.distance_m = distance_m
        self.scan(float(self.rng.uniform(0.4, 1.2)))

    def _look(
        self,
        hold_s: float,
        x_m: float,
        y_m: float,
        *,
        thing: int = -1,
        gain: float = 1.0,
        attended: int = -1,
        activity: int = 0,
    ) -> None:
        self._plan.looks.append(Look(self.t_s, x_m, y_m, thing, gain, attended, activity))
        self.t_s += max(hold_s, 0.09)

    def _way(self) -> None:
        if self.t_s > self._plan.way[-1][0]:
            self._plan.way.append((self.t_s, self.x_m, self.distance_m))

    def _fixation_s(self, median_s: float) -> float:
        return float(np.clip(median_s * np.exp(self.rng.normal(0, 0.42)), 0.1, 1.4))

    def _near(self, thing: Thing, within_m: float) -> bool:
        return abs(thing.x_m - self.x_m) < within_m

    def _bare(self, spread_m: float) -> tuple[float, float]:
        """A point of the wall near the last look that is not on a thing that stands still.

        Looks drift back to straight ahead, so that their chain does not leave the place.
        """
        last = self._plan.looks[-1] if self._plan.looks else None
        from_x_m, from_y_m = (last.x_m, last.y_m) if last and last.thing < 0 else (self.x_m, 0.0)
        from_x_m = 0.65 * float(np.clip(from_x_m, self.x_m - 1.3, self.x_m + 1.3)) + 0.35 * self.x_m
        from_y_m = 0.65 * float(np.clip(from_y_m, -0.9, 0.9))
        for attempt in range(20):
            wider = spread_m * (1 + 0.15 * attempt)
            x_m = float(self.rng.normal(from_x_m, wider))
            y_m = float(self.rng.normal(from_y_m, 0.7 * wider))
            if not _on_any(self.place.things, x_m, y_m):
                return x_m, y_m
        return x_m, 0.95

    def _beside(self, thing: Thing) -> tuple[float, float]:
        side = float(self.rng.choice([-1.0, 1.0]))
        x_m = thing.x_m + side * (0.5 * thing.width_m + float(self.rng.uniform(0.15, 0.35)))
        return x_m, thing.y_m + float(self.rng.normal(0, 0.25))


def _on_any(things: Sequence[Thing], x_m: float, y_m: float) -> bool:
    return any(
        abs(x_m - thing.x_m) < thing.width_m / 2 + 0.05
        and abs(y_m - thing.y_m) < thing.height_m / 2 + 0.05
        for thing in things
    )
