"""The energy ledger: what a session costs, by component, and what each moment had of it.

First principles: sensors by mode (idle power and energy per pixel), networks by multiply-accumulates and
calls, encoding per pixel, storage per byte, radio per bit, processors by state. Every coefficient is a
row of `energy.toml` with a low, a typical and a high value and its source. A measured rail
(`EnergySample`) replaces the estimate of its component over its span.

Everything is booked as whole femtojoules (one microwatt for one nanosecond), so sums are exact: the
components add up to the total, and the moments plus the time between them to the session.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device.errors import ConfigError
from device.model import Model
from device.types import (
    CameraMode,
    CameraRequest,
    Capture,
    EnergySample,
    EyeFrame,
    Moment,
    SceneFrame,
    ScenePacket,
    SessionHeader,
    Value,
)

SHIPPED = Path(__file__).with_name("energy.toml")
UNITS_FJ = {"mW": 1000, "nJ/px": 10**6, "uJ/frame": 10**9, "pJ/MAC": 10**3}
UNITS_FJ |= {"uJ/call": 10**9, "nJ/B": 10**6, "nJ/bit": 10**6}
"""Femtojoules in one of the unit; for a power, microwatts (femtojoules a nanosecond)."""
ROWS = {
    "eye_camera_idle": "mW",
    "eye_camera_pixel": "nJ/px",
    "eye_light": "uJ/frame",
    "scene_camera_off": "mW",
    "scene_camera_on": "mW",
    "scene_camera_pixel": "nJ/px",
    "inertial": "mW",
    "microcontroller": "mW",
    "processor_asleep": "mW",
    "processor_awake": "mW",
    "network_mac": "pJ/MAC",
    "network_wake": "uJ/call",
    "encode": "nJ/px",
    "storage": "nJ/B",
    "radio": "nJ/bit",
}
MARKS = ("measured", "quoted", "estimated", "derived")
SIDE_FILES_BYTES = 30_000
"""Thumbnail, record and manifest of a snippet, about."""

Triple = tuple[int, int, int]
"""Low, typical, high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What stands in for sensors a recording does not bring along."""

    eye_cameras: int
    eye_width_px: int
    eye_height_px: int
    eye_rate_hz: float
    scene_rate_hz: float
    scene_bytes_per_px: float
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
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as an energy table ({error})") from error
        rows = {name: _row(path, name, unit, raw.get(name)) for name, unit in ROWS.items()}
        unknown = sorted(set(raw) - set(ROWS) - {"assumed", "version"})
        if unknown:
            raise ConfigError(f"{path}: unknown row '{unknown[0]}'")
        try:
            assumed = Assumed(**raw["assumed"])
        except (KeyError, TypeError) as error:
            raise ConfigError(f"{path}: table [assumed] is not complete ({error})") from error
        return cls(rows=rows, assumed=assumed)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReport:
    """Joules of a session. `by_component_j` and `total_j` are typical values."""

    session_s: float
    total_j: float
    total_j_low: float
    total_j_high: float
    by_component_j: Mapping[str, float]
    moments_j: float
    between_moments_j: float
    always_on_j: float
    always_on_j_low: float
    always_on_j_high: float
    measured: tuple[str, ...]
    """Components for which a power rail was measured, wholly or in part."""
    assumed: tuple[str, ...]
    """Components that the recording does not bring along and the table's rig stands in for."""
    scene_camera_on_s: float
    """How long the scene camera was powered: what the whole ratio hangs on."""
    battery_h: float
    """Hours on the table's battery at this session's mean power."""

    @property
    def ratio(self) -> float:
        """Share of what always-on recording and analysis would have cost, at typical values."""
        return self.total_j / self.always_on_j if self.always_on_j else 0.0


Account = dict[str, list[int]]


@dataclass(slots=True)
class EnergyLedger:
    """A sink. `models` are the networks of the loop: their call counters are read as time goes on."""

    table: EnergyTable
    models: Mapping[str, Model]
    header: SessionHeader
    _total: Account = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))
    _moments: dict[str, Account] = field(default_factory=dict)
    _history: deque[tuple[int, dict[str, Triple]]] = field(default_factory=deque)
    _now_ns: int = 0
    _scene_on_ns: int = 0
    _mode: CameraMode = CameraMode.OFF
    _calls: dict[str, int] = field(default_factory=dict)
    _eyes: set[str] = field(default_factory=set)
    _measured: set[str] = field(default_factory=set)
    _packets: int = 0
    _packet_bytes: int = 0

    def __post_init__(self) -> None:
        self._calls = {name: model.calls for name, model in self.models.items()}

    def __call__(self, value: Value) -> None:
        self._advance(value.t_ns)
        match value:
            case EyeFrame():
                self._eyes.add(f"{value.eye}{value.camera}")
                self._book("eye_camera", "eye_camera_pixel", value.pixels.size)
                self._book("eye_light", "eye_light", 1)
            case SceneFrame():
                pixels = value.pixels.shape[0] * value.pixels.shape[1]
                self._book("scene_camera", "scene_camera_pixel", pixels)
            case ScenePacket():
                self._book("encode", "encode", value.width_px * value.height_px)
                self._packets += 1
                self._packet_bytes += len(value.data)
            case CameraRequest():
                self._mode = value.mode
            case EnergySample():
                self._measure(value)
            case Moment():
                self._moments[value.id] = self._between(value.start_ns, value.end_ns)
            case Capture():
                self._book_snippet(value)
        self._book_calls()

    def moment(self, moment: Moment) -> dict[str, float]:
        """Millijoules of a moment by component at typical values, `total`, and its low and high."""
        account = self._moments.get(moment.id, {})
        typical = {name: fj[1] / 1e12 for name, fj in sorted(account.items()) if fj[1]}
        low, mid, high = (sum(fj[i] for fj in account.values()) / 1e12 for i in range(3))
        return {**typical, "total": mid, "total_low": low, "total_high": high}

    def close(self, end_ns: int) -> EnergyReport:
        """The session is over at `end_ns`."""
        self._advance(end_ns)
        assumed = self._book_assumed(end_ns)
        total = _sum(self._total)
        moments = [_sum(account)[1] for account in self._moments.values()]
        always = self._always_on(end_ns)
        hours = end_ns / 3.6e12
        mean_mw = total[1] / end_ns / 1000 if end_ns else 0.0
        return EnergyReport(
            session_s=end_ns / 1e9,
            total_j=total[1] / 1e15,
            total_j_low=total[0] / 1e15,
            total_j_high=total[2] / 1e15,
            by_component_j={name: fj[1] / 1e15 for name, fj in sorted(self._total.items())},
            moments_j=sum(moments) / 1e15,
            between_moments_j=(total[1] - sum(moments)) / 1e15,
            always_on_j=always[1] / 1e15,
            always_on_j_low=always[0] / 1e15,
            always_on_j_high=always[2] / 1e15,
            measured=tuple(sorted(self._measured)),
            assumed=assumed,
            scene_camera_on_s=self._scene_on_ns / 1e9,
            battery_h=self.table.assumed.battery_mwh / mean_mw if mean_mw and hours else 0.0,
        )

    # --- booking ----------------------------------------------------------------------------------

    def _advance(self, t_ns: int) -> None:
        """Time has passed: everything that is powered has drawn."""
        passed_ns = t_ns - self._now_ns
        if passed_ns <= 0:
            return
        on = self._mode is not CameraMode.OFF
        self._scene_on_ns += passed_ns if on else 0
        self._book("inertial", "inertial", passed_ns)
        self._book("microcontroller", "microcontroller", passed_ns)
        self._book("scene_camera", "scene_camera_on" if on else "scene_camera_off", passed_ns)
        self._book("processor", "processor_awake" if on else "processor_asleep", passed_ns)
        if self._eyes:
            self._book("eye_camera", "eye_camera_idle", passed_ns * len(self._eyes))
        self._now_ns = t_ns
        if not self._history or t_ns - self._history[-1][0] >= 20_000_000:
            self._history.append((t_ns, self._snapshot()))
            while self._history[0][0] < t_ns - 120_000_000_000:
                self._history.popleft()

    def _book(self, component: str, row: str, amount: int) -> None:
        account = self._total[component]
        for index, coefficient in enumerate(self.table.rows[row]):
            account[index] += coefficient * amount

    def _book_calls(self) -> None:
        for name, model in self.models.items():
            made = model.calls - self._calls[name]
            if made:
                self._calls[name] = model.calls
                self._book(f"network.{name}", "network_mac", made * model.spec.macs)
                self._book(f"network.{name}", "network_wake", made)

    def _book_snippet(self, capture: Capture) -> None:
        """Storing and later sending a snippet belongs to its moment."""
        size = sum(len(p.data) for p in capture.packets) + SIDE_FILES_BYTES
        account = self._moments.setdefault(capture.moment.id, defaultdict(lambda: [0, 0, 0]))
        for component, amount in (("storage", size), ("radio", size * 8)):
            for index, coefficient in enumerate(self.table.rows[component]):
                self._total[component][index] += coefficient * amount
                account[component][index] += coefficient * amount

    def _measure(self, sample: EnergySample) -> None:
        """Put the measured energy of a component in place of its estimate over the sample's span."""
        if sample.rail not in self._total:
            return
        estimate = self._between(sample.t_ns - sample.span_ns, sample.t_ns)[sample.rail]
        real = round(sample.power_mw * 1000) * sample.span_ns
        for index in range(3):
            self._total[sample.rail][index] += real - estimate[index]
        self._measured.add(sample.rail)

    def _between(self, start_ns: int, end_ns: int) -> Account:
        before, after = self._at(start_ns), self._at(end_ns)
        account: Account = defaultdict(lambda: [0, 0, 0])
        for name, fj in after.items():
            was = before.get(name, (0, 0, 0))
            account[name] = [a - b for a, b in zip(fj, was, strict=True)]
        return account

    def _at(self, t_ns: int) -> dict[str, Triple]:
        """What was booked until `t_ns`, to a fiftieth of a second; equal times give equal accounts."""
        if t_ns >= self._now_ns:
            return self._snapshot()
        found: dict[str, Triple] = {}
        for at_ns, account in reversed(self._history):
            if at_ns <= t_ns:
                found = account
                break
        return found

    def _snapshot(self) -> dict[str, Triple]:
        return {name: (fj[0], fj[1], fj[2]) for name, fj in self._total.items()}

    # --- what is not in the recording ---------------------------------------------------------------

    def _book_assumed(self, end_ns: int) -> tuple[str, ...]:
        """A recording that brings gaze alone was made by eye cameras and a network all the same."""
        if self._eyes:
            return ()
        rig = self.table.assumed
        frames = round(end_ns / 1e9 * rig.eye_rate_hz) * rig.eye_cameras
        self._book("eye_camera", "eye_camera_idle", end_ns * rig.eye_cameras)
        self._book("eye_camera", "eye_camera_pixel", frames * rig.eye_width_px * rig.eye_height_px)
        self._book("eye_light", "eye_light", frames)
        if "eye" in self.models:
            self._book("network.eye", "network_mac", frames * self.models["eye"].spec.macs)
            self._book("network.eye", "network_wake", frames)
        return ("eye_camera", "eye_light", "network.eye")

    def _always_on(self, end_ns: int) -> Triple:
        """The same session with the scene camera always on, every frame encoded, kept and analysed."""
        rig, rows = self.table.assumed, self.table.rows
        scene = self.header.scene
        pixels = scene.width_px * scene.height_px if scene else 640 * 480
        frames = round(end_ns / 1e9 * rig.scene_rate_hz)
        if self._packets:
            size = frames * self._packet_bytes // self._packets
        else:
            size = round(frames * pixels * rig.scene_bytes_per_px)
        macs = sum(m.spec.macs for n, m in self.models.items() if n in ("attention", "detector"))
        eyes = [self._total[n] for n in ("eye_camera", "eye_light", "network.eye")]
        amounts = {
            "inertial": end_ns,
            "microcontroller": end_ns,
            "processor_awake": end_ns,
            "scene_camera_on": end_ns,
            "scene_camera_pixel": frames * pixels,
            "encode": frames * pixels,
            "network_mac": frames * macs,
            "network_wake": frames * 2,
            "storage": size,
            "radio": size * 8,
        }
        low, mid, high = (
            sum(rows[row][i] * amount for row, amount in amounts.items()) + sum(e[i] for e in eyes)
            for i in range(3)
        )
        return low, mid, high


def _row(path: Path, name: str, unit: str, raw: Any) -> Triple:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{path}: row [{name}] is missing")
    if raw.get("unit") != unit:
        raise ConfigError(f"{path}: [{name}] is in {raw.get('unit')!r}, must be in {unit}")
    if raw.get("mark") not in MARKS or not raw.get("source"):
        raise ConfigError(f"{path}: [{name}] needs a source and a mark ({', '.join(MARKS)})")
    values = [raw.get(key) for key in ("low", "typical", "high")]
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < 3 or not 0 <= numbers[0] <= numbers[1] <= numbers[2]:
        raise ConfigError(f"{path}: [{name}] needs 0 <= low <= typical <= high, has {values}")
    low, mid, high = (round(v * UNITS_FJ[unit]) for v in numbers)
    return low, mid, high


def _sum(account: Mapping[str, list[int]]) -> Triple:
    low, mid, high = (sum(fj[i] for fj in account.values()) for i in range(3))
    return low, mid, high
