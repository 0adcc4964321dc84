"""Battery, rails and heat of the emulated board, by the coefficients of the energy ledger.

Power comes from `energy.toml` at typical values; the battery empties by just that. Ours: a straight line
from charge to voltage, and one lump of heat that warms by `WARMS_K_W` above its surroundings with a time
constant of `HEAT_S`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from device.emulator.firmware import RAILS
from device.energy import POWERED
from device.energy_table import EnergyTable
from device.types import CameraMode

FJ_PER_MWH = 3.6e15
EMPTY_MV, FULL_MV = 3300, 4200
WARMS_K_W, HEAT_S = 30.0, 240.0
AIR_C, WORN_C = 24.0, 31.0
"""Surroundings on the table and on the face."""
CHARGER_MW = 500.0
LAMP_MA_US = 20 * 1000
"""The strobe that one `eye_light` of the table stands for: 20 mA for 1 ms."""


@dataclass(slots=True)
class Supply:
    """Books energy by rail as time and frames go by; call `rails` to read the meters."""

    table: EnergyTable
    charge: float
    """0 empty, 1 full."""
    capacity_mwh: float
    worn: bool = True
    charging: bool = False
    scene_mode: CameraMode = CameraMode.OFF
    eyes_on: int = 0
    temperature_c: float = WORN_C
    power_mw: float = 0.0
    """Of all rails, over the last reading of the meters."""
    _rails_fj: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _read_ns: int = 0
    _now_ns: int = 0

    def eye_frame(self, pixels: int, lamp_ma_us: float) -> None:
        self._book("eye_camera", "eye_camera_pixel", pixels)
        self._book("eye_light", "eye_light", lamp_ma_us / LAMP_MA_US)

    def scene_frame(self, pixels: int) -> None:
        self._book("scene_camera", "scene_camera_pixel", pixels)

    def pass_to(self, now_ns: int) -> None:
        """Time has passed with the switches as they are."""
        passed_ns = max(0, now_ns - self._now_ns)
        self._now_ns = now_ns
        camera, accelerator, processor = POWERED[self.scene_mode]
        self._book("inertial", "inertial", passed_ns)
        self._book("microcontroller", "microcontroller", passed_ns)
        self._book("scene_camera", camera, passed_ns)
        self._book("accelerator", accelerator, passed_ns)
        self._book("processor", processor, passed_ns)
        self._book("eye_camera", "eye_camera_idle", passed_ns * self.eyes_on)

    def read_meters(self, now_ns: int) -> tuple[dict[str, int], int]:
        """Mean microwatts of each rail since the last reading, and that span in ns."""
        self.pass_to(now_ns)
        span_ns = max(1, now_ns - self._read_ns)
        self._read_ns = now_ns
        spent_fj = {rail: self._rails_fj[rail] for rail in RAILS}
        self._rails_fj.clear()
        self._drain(sum(spent_fj.values()), span_ns)
        return {rail: round(fj / span_ns) for rail, fj in spent_fj.items()}, span_ns

    def battery(self) -> tuple[int, int, int, int, int]:
        """Charge in permille, mV, mA (negative while it empties), hundredths of a degree, charging."""
        voltage_mv = EMPTY_MV + (FULL_MV - EMPTY_MV) * self.charge
        net_mw = (CHARGER_MW if self.charging else 0.0) - self.power_mw
        current_ma = round(1000 * net_mw / voltage_mv)
        return (
            round(1000 * self.charge),
            round(voltage_mv),
            current_ma,
            round(100 * self.temperature_c),
            int(self.charging),
        )

    def _drain(self, spent_fj: float, span_ns: int) -> None:
        self.power_mw = spent_fj / span_ns / 1000
        gained_fj = CHARGER_MW * 1000 * span_ns if self.charging else 0.0
        change = (gained_fj - spent_fj) / (self.capacity_mwh * FJ_PER_MWH)
        self.charge = min(1.0, max(0.0, self.charge + change))
        goal_c = (WORN_C if self.worn else AIR_C) + WARMS_K_W * self.power_mw / 1000
        share = min(1.0, span_ns / 1e9 / HEAT_S)
        self.temperature_c += (goal_c - self.temperature_c) * share

    def _book(self, rail: str, row: str, amount: float) -> None:
        self._rails_fj[rail] += self.table.rows[row][1] * amount
