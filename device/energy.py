"""The energy ledger: what a session costs, by component, stage and state, and what each moment had of it.

First principles: sensors by mode (idle power and energy per pixel), networks by multiply-accumulates and
calls, encoding and decoding per pixel, storage per byte, radio per bit, processors by state. Every
coefficient is a row of `energy.toml` with a low, a typical and a high value and its source. A measured
rail (`EnergySample`) replaces the estimate of its component over its span.

Everything is booked as whole femtojoules (one microwatt for one nanosecond), so sums are exact: the
components add up to the total, and the moments plus the time between them to the session.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from device.energy_table import EnergyTable, Triple
from device.model import Model
from device.types import (
    CameraMode,
    CameraRequest,
    Capture,
    EnergySample,
    EyeFrame,
    Moment,
    ResolutionDecision,
    SceneFrame,
    ScenePacket,
    SessionHeader,
    Value,
)

POWERED = {
    CameraMode.OFF: ("scene_camera_off", "accelerator_idle", "processor_asleep"),
    CameraMode.LOW: ("scene_camera_low", "accelerator_awake", "processor_asleep"),
    CameraMode.FULL: ("scene_camera_on", "accelerator_awake", "processor_awake"),
}
"""What draws in each mode of the scene camera: the camera, the networks' accelerator, the main processor."""
STATES = {CameraMode.OFF: "watching", CameraMode.LOW: "checking", CameraMode.FULL: "keeping"}

STAGES = {
    "network.eye": "gaze",
    "network.attention": "attention",
    "network.resolution": "resolution",
    "network.detector": "tag",
    "network.backbone": "tag",
    "encode": "encode",
    "decode": "encode",
    "storage": "capture",
    "radio": "capture",
    "eye_camera": "sensors",
    "eye_light": "sensors",
    "scene_camera": "sensors",
    "inertial": "sensors",
}
"""Component -> stage of the loop (or `sensors`); networks not named here are emotion's, the rest `base`."""
WHOLE = "system"
"""A rail of this name feeds everything: what it draws beyond the estimates is booked as `unexplained`."""
EYE = "eye"
SIDE_FILES_BYTES = 30_000
"""Thumbnail, record and manifest of a snippet, about."""
HISTORY_NS = 120_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReport:
    """Joules of a session. Mappings and `total_j` are typical values; each mapping adds up to the total."""

    session_s: float
    total_j: float
    total_j_low: float
    total_j_high: float
    by_component_j: Mapping[str, float]
    by_stage_j: Mapping[str, float]
    by_state_j: Mapping[str, float]
    """By what the scene camera was told: watching (off), checking (low), keeping (full)."""
    by_state_s: Mapping[str, float]
    moments_j: float
    between_moments_j: float
    always_on_j: float
    always_on_j_low: float
    always_on_j_high: float
    measured: tuple[str, ...]
    """Components for which a power rail was measured, wholly or in part."""
    unknown_rails: tuple[str, ...]
    """Rails that were measured and belong to no component: not counted."""
    assumed: tuple[str, ...]
    """Components that the recording does not bring along and the table's rig stands in for."""
    scene_camera_on_s: float
    """How long the scene camera was powered, in either mode."""
    battery_mwh: float
    battery_h: float
    """Hours on that battery at this session's mean power."""

    @property
    def ratio(self) -> float:
        """Share of what always-on recording and analysis would have cost, at typical values."""
        return self.total_j / self.always_on_j if self.always_on_j else 0.0


Account = dict[str, list[int]]


@dataclass(slots=True)
class EnergyLedger:
    """A sink. `models` are the networks of the loop: their work counters are read as time goes on."""

    table: EnergyTable
    models: Mapping[str, Model]
    header: SessionHeader
    _estimate: Account = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))
    _corrected: Account = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))
    """What measured rails add to the estimates, and take from them."""
    _corrections: deque[tuple[int, str, Triple]] = field(default_factory=deque)
    _moments: dict[str, Account] = field(default_factory=dict)
    _history: deque[tuple[int, dict[str, Triple]]] = field(default_factory=deque)
    _now_ns: int = 0
    _mode: CameraMode = CameraMode.OFF
    _since: tuple[int, int] = (0, 0)
    """When the present mode began, and the typical total then."""
    _state_ns: Counter[str] = field(default_factory=Counter)
    _state_fj: Counter[str] = field(default_factory=Counter)
    _work: dict[str, tuple[int, int]] = field(default_factory=dict)
    _frame: tuple[int, int] = (-1, 0)
    """Time of the newest scene frame, and what the networks drew for it."""
    _decisions: deque[tuple[int, str, int]] = field(default_factory=deque)
    _of_moments: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    _eyes: set[str] = field(default_factory=set)
    _measured: set[str] = field(default_factory=set)
    _unknown: set[str] = field(default_factory=set)
    _unencoded: deque[tuple[int, int]] = field(default_factory=deque)
    """Packets a camera's encoder brought while it was on trial: (t_ns, pixels)."""
    _unlooked: int = 0
    """Eye frames since the network's last call."""
    _packets: int = 0
    _packet_bytes: int = 0

    def __post_init__(self) -> None:
        self._work = {name: (model.calls, model.macs_done) for name, model in self.models.items()}

    def __call__(self, value: Value) -> None:
        self._advance(value.t_ns)
        drawn_fj = self._book_calls()
        match value:
            case EyeFrame():
                self._eyes.add(f"{value.eye}{value.camera}")
                self._book_carried()
                self._unlooked += 1
                self._book("eye_camera", "eye_camera_pixel", value.pixels.size)
                self._book("eye_light", "eye_light", 1)
            case SceneFrame():
                pixels = value.pixels.shape[0] * value.pixels.shape[1]
                self._book("scene_camera", "scene_camera_pixel", pixels)
                if self.header.brings_packets:
                    self._book("decode", "decode", pixels)
                self._frame = (value.t_ns, drawn_fj)
            case ScenePacket():
                self._book_packet(value)
            case CameraRequest():
                self._switch(value)
            case ResolutionDecision():
                self._decide(value)
            case EnergySample():
                self._measure(value)
            case Moment():
                self._moments[value.id] = self._of(value)
                self._of_moments[value.id] = self._decided(value)
            case Capture():
                self._book_snippet(value)

    @property
    def total(self) -> Account:
        """Femtojoules until now by component: low, typical, high."""
        account: Account = defaultdict(lambda: [0, 0, 0])
        for part in (self._estimate, self._corrected):
            for name, fj in part.items():
                _add(account[name], fj)
        return account

    def moment(self, moment: Moment) -> dict[str, float]:
        """Millijoules of a moment by component at typical values, `total`, and its low and high."""
        account = self._moments.get(moment.id, {})
        typical = {name: fj[1] / 1e12 for name, fj in sorted(account.items()) if fj[1]}
        low, mid, high = (sum(fj[i] for fj in account.values()) / 1e12 for i in range(3))
        return {**typical, "total": mid, "total_low": low, "total_high": high}

    def decisions(self, moment: Moment) -> dict[str, dict[str, float]]:
        """The resolution controller's decisions in a moment: `{"reuse" | side in px: {frames, mj}}`.

        `mj` is what the networks drew for these frames, typical.
        """
        return self._of_moments.get(moment.id, {})

    def close(self, end_ns: int) -> EnergyReport:
        """The session is over at `end_ns`."""
        self._advance(end_ns)
        assumed = self._book_assumed(end_ns)
        self._close_state()
        account = self.total
        total = _sum(account)
        moments = sum(_sum(of_moment)[1] for of_moment in self._moments.values())
        always = self._always_on(end_ns)
        mean_mw = total[1] / end_ns / 1000 if end_ns else 0.0
        battery_mwh = self.table.assumed.battery_mwh
        by_stage: Counter[str] = Counter()
        for name, fj in account.items():
            by_stage[stage_of(name)] += fj[1]
        return EnergyReport(
            session_s=end_ns / 1e9,
            total_j=total[1] / 1e15,
            total_j_low=total[0] / 1e15,
            total_j_high=total[2] / 1e15,
            by_component_j={name: fj[1] / 1e15 for name, fj in sorted(account.items())},
            by_stage_j={name: fj / 1e15 for name, fj in sorted(by_stage.items())},
            by_state_j={name: self._state_fj[name] / 1e15 for name in STATES.values()},
            by_state_s={name: self._state_ns[name] / 1e9 for name in STATES.values()},
            moments_j=moments / 1e15,
            between_moments_j=(total[1] - moments) / 1e15,
            always_on_j=always[1] / 1e15,
            always_on_j_low=always[0] / 1e15,
            always_on_j_high=always[2] / 1e15,
            measured=tuple(sorted(self._measured)),
            unknown_rails=tuple(sorted(self._unknown)),
            assumed=assumed,
            scene_camera_on_s=(self._state_ns["checking"] + self._state_ns["keeping"]) / 1e9,
            battery_mwh=battery_mwh,
            battery_h=battery_mwh / mean_mw if mean_mw else 0.0,
        )

    # --- booking ----------------------------------------------------------------------------------

    def _advance(self, t_ns: int) -> None:
        """Time has passed: everything that is powered has drawn."""
        passed_ns = t_ns - self._now_ns
        if passed_ns <= 0:
            return
        camera, accelerator, processor = POWERED[self._mode]
        self._book("inertial", "inertial", passed_ns)
        self._book("microcontroller", "microcontroller", passed_ns)
        self._book("scene_camera", camera, passed_ns)
        self._book("accelerator", accelerator, passed_ns)
        self._book("processor", processor, passed_ns)
        if self._eyes:
            self._book("eye_camera", "eye_camera_idle", passed_ns * len(self._eyes))
        self._now_ns = t_ns
        if not self._history or t_ns - self._history[-1][0] >= 20_000_000:
            self._history.append((t_ns, self._snapshot()))
            while len(self._history) > 1 and self._history[1][0] < t_ns - HISTORY_NS:
                self._history.popleft()

    def _book(self, component: str, row: str, amount: int) -> None:
        account = self._estimate[component]
        low, mid, high = self.table.rows[row]
        account[0] += low * amount
        account[1] += mid * amount
        account[2] += high * amount

    def _book_calls(self) -> int:
        """Book what the networks did since last asked; returns the typical femtojoules."""
        mac_fj, wake_fj = (self.table.rows[row][1] for row in ("network_mac", "network_wake"))
        drawn_fj = 0
        for name, model in self.models.items():
            calls, macs = self._work[name]
            if model.calls != calls:
                made, done = model.calls - calls, model.macs_done - macs
                self._work[name] = (model.calls, model.macs_done)
                self._book(f"network.{name}", "network_mac", done)
                self._book(f"network.{name}", "network_wake", made)
                drawn_fj += done * mac_fj + made * wake_fj
                if name == EYE:
                    self._unlooked = max(0, self._unlooked - made)
        return drawn_fj

    def _book_carried(self) -> None:
        """An eye frame on which the network did not run was moved to the accelerator and looked at."""
        if EYE in self.models and self._unlooked:
            self._book(f"network.{EYE}", "network_wake", self._unlooked)
        self._unlooked = 0

    def _book_packet(self, packet: ScenePacket) -> None:
        """Encoding. A camera on trial does not encode: its packets count if a moment takes them."""
        self._packets += 1
        self._packet_bytes += len(packet.data)
        pixels = packet.width_px * packet.height_px
        if self._mode is CameraMode.FULL or not self.header.brings_packets:
            self._book("encode", "encode", pixels)
            return
        self._unencoded.append((packet.t_ns, pixels))
        while self._unencoded[0][0] < packet.t_ns - HISTORY_NS:
            self._unencoded.popleft()

    def _book_snippet(self, capture: Capture) -> None:
        """Storing and later sending a snippet belongs to its moment."""
        size = sum(len(p.data) for p in capture.packets) + SIDE_FILES_BYTES
        pixels = sum(p for t, p in self._unencoded if capture.start_ns <= t <= capture.end_ns)
        while self._unencoded and self._unencoded[0][0] <= capture.end_ns:
            self._unencoded.popleft()
        account = self._moments.setdefault(capture.moment.id, defaultdict(lambda: [0, 0, 0]))
        for component, amount in (("encode", pixels), ("storage", size), ("radio", size * 8)):
            for index, coefficient in enumerate(self.table.rows[component]):
                self._estimate[component][index] += coefficient * amount
                account[component][index] += coefficient * amount

    def _switch(self, request: CameraRequest) -> None:
        """A new mode; the main processor is woken for the full one."""
        self._close_state()
        if request.mode is CameraMode.FULL and self._mode is not CameraMode.FULL:
            self._book("processor", "processor_wake", 1)
        self._mode = request.mode

    def _close_state(self) -> None:
        """What was drawn since the mode began belongs to it."""
        since_ns, then_fj = self._since
        total_fj = _sum(self._estimate)[1] + _sum(self._corrected)[1]
        self._state_ns[STATES[self._mode]] += self._now_ns - since_ns
        self._state_fj[STATES[self._mode]] += total_fj - then_fj
        self._since = (self._now_ns, total_fj)

    def _decide(self, decision: ResolutionDecision) -> None:
        drawn_fj = self._frame[1] if self._frame[0] == decision.t_ns else 0
        action = "reuse" if decision.reuse else str(decision.scale_px)
        self._decisions.append((decision.t_ns, action, drawn_fj))
        while self._decisions[0][0] < decision.t_ns - HISTORY_NS:
            self._decisions.popleft()

    def _decided(self, moment: Moment) -> dict[str, dict[str, float]]:
        frames: Counter[str] = Counter()
        drawn_fj: Counter[str] = Counter()
        for t_ns, action, fj in self._decisions:
            if moment.start_ns <= t_ns <= moment.end_ns:
                frames[action] += 1
                drawn_fj[action] += fj
        return {
            action: {"frames": frames[action], "mj": drawn_fj[action] / 1e12}
            for action in sorted(frames)
        }

    def _measure(self, sample: EnergySample) -> None:
        """Put the measured energy of a component in place of its estimate over the sample's span."""
        if sample.rail != WHOLE and sample.rail not in self._estimate:
            self._unknown.add(sample.rail)
            return
        estimates = self._between(sample.t_ns - sample.span_ns, sample.t_ns)
        low, mid, high = _sum(estimates) if sample.rail == WHOLE else estimates[sample.rail]
        component = "unexplained" if sample.rail == WHOLE else sample.rail
        real = round(sample.power_mw * 1000) * sample.span_ns
        correction = (real - low, real - mid, real - high)
        _add(self._corrected[component], correction)
        self._corrections.append((sample.t_ns, component, correction))
        while self._corrections[0][0] < sample.t_ns - HISTORY_NS:
            self._corrections.popleft()
        self._measured.add(sample.rail)

    def _of(self, moment: Moment) -> Account:
        """What was drawn in a moment, with what was measured in it."""
        account = self._between(moment.start_ns, moment.end_ns)
        for t_ns, component, correction in self._corrections:
            if moment.start_ns < t_ns <= moment.end_ns:
                _add(account[component], correction)
        return account

    def _between(self, start_ns: int, end_ns: int) -> Account:
        before, after = self._at(start_ns), self._at(end_ns)
        account: Account = defaultdict(lambda: [0, 0, 0])
        for name, fj in after.items():
            was = before.get(name, (0, 0, 0))
            account[name] = [a - b for a, b in zip(fj, was, strict=True)]
        return account

    def _at(self, t_ns: int) -> dict[str, Triple]:
        """What was estimated until `t_ns`, to a fiftieth of a second; equal times give equal accounts."""
        if t_ns >= self._now_ns:
            return self._snapshot()
        for at_ns, account in reversed(self._history):
            if at_ns <= t_ns:
                return account
        oldest_ns, oldest = self._history[0] if self._history else (0, {})
        return (
            oldest if oldest_ns > HISTORY_NS else {}
        )  # longer ago than is remembered, or the start

    def _snapshot(self) -> dict[str, Triple]:
        return {name: (fj[0], fj[1], fj[2]) for name, fj in self._estimate.items()}

    # --- what is not in the recording ---------------------------------------------------------------

    def _book_assumed(self, end_ns: int) -> tuple[str, ...]:
        """A recording that brings gaze alone was made by eye cameras and a network all the same."""
        if self._eyes:
            return ()
        rig = self.table.assumed
        frames = round(end_ns / 1e9 * rig.eye_rate_hz) * rig.eye_cameras
        before_fj = _sum(self._estimate)[1]
        self._book("eye_camera", "eye_camera_idle", end_ns * rig.eye_cameras)
        self._book("eye_camera", "eye_camera_pixel", frames * rig.eye_width_px * rig.eye_height_px)
        self._book("eye_light", "eye_light", frames)
        if EYE in self.models:
            runs = round(frames * rig.eye_network_share)
            self._book("network.eye", "network_mac", runs * self.models[EYE].spec.macs)
            self._book("network.eye", "network_wake", frames)
        self._share_out(_sum(self._estimate)[1] - before_fj, end_ns)
        return ("eye_camera", "eye_light", "network.eye")

    def _share_out(self, fj: int, end_ns: int) -> None:
        """What is drawn all day long falls on the states by their time."""
        self._close_state()
        mode = STATES[self._mode]
        self._state_fj[mode] -= fj
        given = 0
        for name in STATES.values():
            part = fj * self._state_ns[name] // end_ns if end_ns else 0
            self._state_fj[name] += part
            given += part
        self._state_fj[mode] += fj - given

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
        drawn = self.total
        eyes = [drawn.get(n, [0, 0, 0]) for n in ("eye_camera", "eye_light", "network.eye")]
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


def stage_of(component: str) -> str:
    """The stage of the loop a component works for, `sensors` or `base`."""
    return STAGES.get(component, "emotion" if component.startswith("network.") else "base")


def _add(account: list[int], fj: Sequence[int]) -> None:
    for index in range(3):
        account[index] += fj[index]


def _sum(account: Mapping[str, Any]) -> Triple:
    low, mid, high = (sum(fj[i] for fj in account.values()) for i in range(3))
    return low, mid, high
