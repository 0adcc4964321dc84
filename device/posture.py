"""How sparingly the glasses run: from battery and heat to one of three postures, with hysteresis.

A posture gets worse as soon as a threshold is passed, and better only when the value is back beyond it
by a margin and has been for a while: a battery under load swings by a few percent. While charging, the
battery does not count. A posture reaches the loop as a `DeviceEvent` named `posture`, so that it is
recorded and a replay sees what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from device.types import DeviceEvent, Value


class Posture(StrEnum):
    NORMAL = "normal"
    CONSERVE = "conserve"
    RESERVE = "reserve"
    """Little is left, or it is hot: only what the wearer would miss most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostureSettings:
    """When the glasses run more sparingly, and how much."""

    conserve_battery: float = 0.30
    """Charge (0..1) below which the posture is `conserve`."""
    reserve_battery: float = 0.12
    """Charge below which it is `reserve`."""
    battery_margin: float = 0.05
    """How far above the threshold the charge must be again."""
    conserve_heat_c: float = 42.0
    """Temperature of the battery above which the posture is `conserve`."""
    reserve_heat_c: float = 47.0
    """Temperature above which it is `reserve`."""
    heat_margin_c: float = 3.0
    """How far below the threshold the temperature must be again."""
    hold_s: float = 30.0
    """How long things must be better before the posture gets better."""
    conserve_eye_rate: float = 0.5
    """Share of the eye cameras' rate in `conserve`."""
    reserve_eye_rate: float = 0.5
    """The same in `reserve`."""
    conserve_scene_rate: float = 0.5
    """Share of the scene camera's rate in `conserve`."""
    reserve_scene_rate: float = 0.34
    """The same in `reserve`."""

    def __post_init__(self) -> None:
        if not 0 <= self.reserve_battery <= self.conserve_battery <= 1:
            raise ValueError("posture needs 0 <= reserve_battery <= conserve_battery <= 1")
        if self.reserve_heat_c < self.conserve_heat_c:
            raise ValueError("posture.reserve_heat_c must not be below posture.conserve_heat_c")
        rates = (self.conserve_eye_rate, self.reserve_eye_rate)
        if not all(0 < r <= 1 for r in (*rates, self.conserve_scene_rate, self.reserve_scene_rate)):
            raise ValueError("posture's rates must be above 0, at most 1")

    def eye_rate(self, posture: Posture) -> float:
        """Share of the eye cameras' normal rate."""
        return {
            Posture.NORMAL: 1.0,
            Posture.CONSERVE: self.conserve_eye_rate,
            Posture.RESERVE: self.reserve_eye_rate,
        }[posture]

    def scene_rate(self, posture: Posture) -> float:
        """Share of the scene camera's normal rate."""
        return {
            Posture.NORMAL: 1.0,
            Posture.CONSERVE: self.conserve_scene_rate,
            Posture.RESERVE: self.reserve_scene_rate,
        }[posture]


WORSE = (Posture.NORMAL, Posture.CONSERVE, Posture.RESERVE)


class PostureJudge:
    """Follows `battery`, `charging` and `heat`; `step` gives the new posture when it changes."""

    def __init__(self, settings: PostureSettings | None = None) -> None:
        self._set = settings or PostureSettings()
        self.posture = Posture.NORMAL
        self._charge = 1.0
        self._charging = False
        self._heat_c = 0.0
        self._better_ns: int | None = None

    def step(self, value: Value) -> Posture | None:
        """The new posture, if this value changes it."""
        if not isinstance(value, DeviceEvent):
            return None
        match value.name:
            case "battery":
                self._charge = float(value.value)
            case "charging":
                self._charging = bool(value.value)
            case "heat":
                self._heat_c = float(value.value)
            case _:
                return None
        return self._judge(value.t_ns)

    def _judge(self, t_ns: int) -> Posture | None:
        level, calm = self._level(0.0, 0.0), self._level(self._set.battery_margin, 1.0)
        now = WORSE.index(self.posture)
        if level > now:
            return self._go(WORSE[level])
        if calm >= now:
            self._better_ns = None
            return None
        if self._better_ns is None:
            self._better_ns = t_ns
        if t_ns - self._better_ns < self._set.hold_s * 1e9:
            return None
        return self._go(WORSE[calm])

    def _level(self, battery_margin: float, heat_margins: float) -> int:
        """How bad it is, with thresholds moved by the margins: an index into `WORSE`."""
        s, margin_c = self._set, self._set.heat_margin_c * heat_margins
        worst = 0
        for level, charge, heat_c in (
            (1, s.conserve_battery, s.conserve_heat_c),
            (2, s.reserve_battery, s.reserve_heat_c),
        ):
            low = not self._charging and self._charge < charge + battery_margin
            if low or self._heat_c > heat_c - margin_c:
                worst = level
        return worst

    def _go(self, posture: Posture) -> Posture:
        self.posture, self._better_ns = posture, None
        return posture
