"""The coefficients of the energy ledger: named rows with low, typical and high values and their sources."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from device.errors import ConfigError

SHIPPED = Path(__file__).with_name("energy.toml")
UNITS_FJ = {"mW": 1000, "nJ/px": 10**6, "uJ/frame": 10**9, "pJ/MAC": 10**3, "mJ/wake": 10**12}
UNITS_FJ |= {"uJ/call": 10**9, "nJ/B": 10**6, "nJ/bit": 10**6}
"""Femtojoules in one of the unit; for a power, microwatts (femtojoules a nanosecond)."""
ROWS = {
    "eye_camera_idle": "mW",
    "eye_camera_pixel": "nJ/px",
    "eye_light": "uJ/frame",
    "scene_camera_off": "mW",
    "scene_camera_low": "mW",
    "scene_camera_on": "mW",
    "scene_camera_pixel": "nJ/px",
    "inertial": "mW",
    "microcontroller": "mW",
    "accelerator_idle": "mW",
    "accelerator_awake": "mW",
    "processor_asleep": "mW",
    "processor_awake": "mW",
    "processor_between": "mW",
    "processor_wake": "mJ/wake",
    "network_mac": "pJ/MAC",
    "network_wake": "uJ/call",
    "buffer": "nJ/px",
    "encode": "nJ/px",
    "decode": "nJ/px",
    "storage": "nJ/B",
    "radio": "nJ/bit",
}
MARKS = ("measured", "quoted", "estimated", "derived")

Triple = tuple[int, int, int]
"""Low, typical, high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What stands in for sensors a recording does not bring along."""

    eye_cameras: int
    eye_width_px: int
    eye_height_px: int
    eye_rate_hz: float
    eye_network_share: float
    """Of the eye frames, those on which the eye network runs (`device/pupil_track.py`)."""
    scene_rate_hz: float
    scene_bytes_per_px: float
    encode_mpx_s: float
    """Megapixels a second of the encoder in a burst, for which the main processor is awake."""
    battery_mwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyTable:
    """The coefficients, in whole femtojoules per unit."""

    rows: Mapping[str, Triple]
    assumed: Assumed

    @classmethod
    def shipped(cls) -> EnergyTable:
        return cls.read(SHIPPED)

    @classmethod
    def read(cls, path: Path) -> EnergyTable:
        """Raises ConfigError naming the row for one that is missing, negative or of another unit."""
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (
            OSError,
            ValueError,
        ) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
            raise ConfigError(f"{path}: cannot be read as an energy table ({error})") from error
        rows = {name: _row(path, name, unit, raw.get(name)) for name, unit in ROWS.items()}
        unknown = sorted(set(raw) - set(ROWS) - {"assumed", "version"})
        if unknown:
            raise ConfigError(f"{path}: unknown row '{unknown[0]}'")
        return cls(rows=rows, assumed=_assumed(path, raw.get("assumed")))


def _row(path: Path, name: str, unit: str, raw: Any) -> Triple:
    if not isinstance(raw, Mapping):
        raise ConfigError(
            f"{path}: row [{name}] is missing; take it from the table that ships with beheld"
        )
    if raw.get("unit") != unit:
        raise ConfigError(f"{path}: [{name}] is in {raw.get('unit')!r}, must be in {unit}")
    if raw.get("mark") not in MARKS or not raw.get("source"):
        raise ConfigError(f"{path}: [{name}] needs a source and a mark ({', '.join(MARKS)})")
    values = [raw.get(key) for key in ("low", "typical", "high")]
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < 3 or not 0 <= numbers[0] <= numbers[1] <= numbers[2] < math.inf:
        raise ConfigError(f"{path}: [{name}] needs 0 <= low <= typical <= high, has {values}")
    low, mid, high = (round(v * UNITS_FJ[unit]) for v in numbers)
    return low, mid, high


def _assumed(path: Path, raw: Any) -> Assumed:
    known = {f.name: f.type for f in fields(Assumed)}
    if not isinstance(raw, Mapping) or set(raw) != set(known):
        wrong = sorted(set(known) ^ set(raw if isinstance(raw, Mapping) else ()))
        raise ConfigError(f"{path}: table [assumed] is not complete, or not known: {wrong}")
    for name, value in raw.items():
        kinds = (int,) if known[name] == "int" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
            raise ConfigError(f"{path}: [assumed] {name} is {value!r}, must be above zero")
    return Assumed(**raw)
