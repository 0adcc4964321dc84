"""The energy ledger: what a session costs, by component, stage and state, and what each moment had of it.

First principles: sensors by mode (idle power and energy per pixel), networks by multiply-accumulates and
calls, encoding and decoding per pixel, storage per byte, radio per bit, processors by state. Every
coefficient is a row of `energy.toml` with a low, a typical and a high value and its source. A measured
rail (`EnergySample`) replaces the estimate of its component over its span.

Everything is booked as whole femtojoules (one microwatt for one nanosecond), so sums are exact: the
components add up to the total, and the moments plus the time between them to the session.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from device.energy_books import HISTORY_NS, Account, Books, add, difference, empty, summed
from device.energy_report import EnergyReport, always_on
from device.energy_table import EnergyTable, Triple
from device.model import Model
from device.types import (
    CameraMode,
    CameraRequest,
    Capture,
    EncodeBurst,
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
EYE = "eye"
SIDE_FILES_BYTES = 30_000
"""Thumbnail, record and manifest of a snippet, about."""


@dataclass(slots=True)
class EnergyLedger:
    """A sink. `models` are the networks of the loop: their work counters are read as time goes on.

    With `buffered_px`, so many pixels of frames wait in a memory of their own and the main processor is awake
    in the loop's `EncodeBurst`s alone; with 0, as long as the scene camera is in its full mode.
    """

    table: EnergyTable
    models: Mapping[str, Model]
    header: SessionHeader
    buffered_px: int = 0
    books: Books = field(init=False)
    _moments: dict[str, Account] = field(default_factory=dict)
    _burst: tuple[int, dict[str, Triple]] = (-1, {})
    """When the last burst was, and what had been drawn before it."""
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
    _unencoded: deque[tuple[int, int]] = field(default_factory=deque)
    """Packets a camera's encoder brought while it was on trial: (t_ns, pixels)."""
    _unlooked: int = 0
    """Eye frames since the network's last call."""
    _packets: int = 0
    _packet_bytes: int = 0

    def __post_init__(self) -> None:
        self.books = Books(self.table)
        self._work = {name: (model.calls, model.macs_done) for name, model in self.models.items()}

    def __call__(self, value: Value) -> None:
        self._advance(value.t_ns)
        drawn_fj = self._book_calls()
        match value:
            case EyeFrame():
                self._eyes.add(f"{value.eye}{value.camera}")
                self._book_carried()
                self._unlooked += 1
                self.books.book("eye_camera", "eye_camera_pixel", value.pixels.size)
                self.books.book("eye_light", "eye_light", 1)
            case SceneFrame():
                pixels = value.pixels.shape[0] * value.pixels.shape[1]
                self.books.book("scene_camera", "scene_camera_pixel", pixels)
                if self.header.brings_packets:
                    self.books.book("decode", "decode", pixels)
                if self.buffered_px:
                    self.books.book("buffer", "buffer", pixels)
                self._frame = (value.t_ns, drawn_fj)
            case ScenePacket():
                self._book_packet(value)
            case EncodeBurst():
                self._wake(value)
            case CameraRequest():
                self._switch(value)
            case ResolutionDecision():
                self._decide(value)
            case EnergySample():
                self.books.measure(value)
            case Moment():
                self._moments[value.id] = self._of(value)
                self._of_moments[value.id] = self._decided(value)
            case Capture():
                self._book_snippet(value)

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
        account = self.books.total
        total = summed(account)
        moments = sum(summed(of_moment)[1] for of_moment in self._moments.values())
        frame_bytes = self._packet_bytes / self._packets if self._packets else None
        macs = sum(m.spec.macs for n, m in self.models.items() if n in ("attention", "detector"))
        alike = (self.table, account, end_ns, self.header.scene, frame_bytes, macs)
        always = always_on(*alike)
        bursts = always_on(*alike, self.buffered_px)[1] if self.buffered_px else 0
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
            always_on_bursts_j=bursts / 1e15,
            measured=tuple(sorted(self.books.measured)),
            unknown_rails=tuple(sorted(self.books.unknown)),
            assumed=assumed,
            scene_camera_on_s=(self._state_ns["checking"] + self._state_ns["keeping"]) / 1e9,
            battery_mwh=battery_mwh,
            battery_h=battery_mwh / mean_mw if mean_mw else 0.0,
        )

    # --- booking ----------------------------------------------------------------------------------

    def _advance(self, t_ns: int) -> None:
        """Time has passed: everything that is powered has drawn."""
        passed_ns = t_ns - self.books.now_ns
        if passed_ns <= 0:
            return
        camera, accelerator, processor = POWERED[self._mode]
        if self.buffered_px and self._mode is CameraMode.FULL:
            processor = "processor_between"
        self.books.book("inertial", "inertial", passed_ns)
        self.books.book("microcontroller", "microcontroller", passed_ns)
        self.books.book("scene_camera", camera, passed_ns)
        self.books.book("accelerator", accelerator, passed_ns)
        self.books.book("processor", processor, passed_ns)
        if self._eyes:
            self.books.book("eye_camera", "eye_camera_idle", passed_ns * len(self._eyes))
        self.books.pass_to(t_ns)

    def _book_calls(self) -> int:
        """Book what the networks did since last asked; returns the typical femtojoules."""
        mac_fj, wake_fj = (self.table.rows[row][1] for row in ("network_mac", "network_wake"))
        drawn_fj = 0
        for name, model in self.models.items():
            calls, macs = self._work[name]
            if model.calls != calls:
                made, done = model.calls - calls, model.macs_done - macs
                self._work[name] = (model.calls, model.macs_done)
                self.books.book(f"network.{name}", "network_mac", done)
                self.books.book(f"network.{name}", "network_wake", made)
                drawn_fj += done * mac_fj + made * wake_fj
                if name == EYE:
                    self._unlooked = max(0, self._unlooked - made)
        return drawn_fj

    def _book_carried(self) -> None:
        """An eye frame on which the network did not run was moved to the accelerator and looked at."""
        if EYE in self.models and self._unlooked:
            self.books.book(f"network.{EYE}", "network_wake", self._unlooked)
        self._unlooked = 0

    def _book_packet(self, packet: ScenePacket) -> None:
        """Encoding. A camera on trial does not encode: its packets count if a moment takes them."""
        self._packets += 1
        self._packet_bytes += len(packet.data)
        pixels = packet.width_px * packet.height_px
        if self._mode is CameraMode.FULL or not self.header.brings_packets:
            self.books.book("encode", "encode", pixels)
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
        before, typical_fj = self.books.snapshot(), self.books.typical_fj
        for row, amount in (("encode", pixels), ("storage", size), ("radio", size * 8)):
            if amount:
                self.books.book(row, row, amount)
        account = self._moments.setdefault(capture.moment.id, empty())
        for name, fj in difference(before, self.books.snapshot()).items():
            add(account[name], fj)
        # The camera has been told what comes next by now, but it was the keeping that cost this.
        drawn_fj = self.books.typical_fj - typical_fj
        self._state_fj[STATES[CameraMode.FULL]] += drawn_fj
        self._since = (self._since[0], self._since[1] + drawn_fj)

    def _wake(self, burst: EncodeBurst) -> None:
        """The main processor wakes, is awake for as long as the encoder takes, and sleeps again."""
        self._burst = (self.books.now_ns, self.books.snapshot())
        self.books.book("processor", "processor_wake", 1)
        took_ns = round(burst.pixels / self.table.assumed.encode_mpx_s * 1000)
        self.books.book("processor", "processor_awake", took_ns)

    def _switch(self, request: CameraRequest) -> None:
        """A new mode; without a buffer the main processor is woken for the full one."""
        self._close_state()
        woken = request.mode is CameraMode.FULL and self._mode is not CameraMode.FULL
        if woken and not self.buffered_px:
            self.books.book("processor", "processor_wake", 1)
        self._mode = request.mode

    def _close_state(self) -> None:
        """What was drawn since the mode began belongs to it."""
        since_ns, then_fj = self._since
        total_fj = self.books.typical_fj
        self._state_ns[STATES[self._mode]] += self.books.now_ns - since_ns
        self._state_fj[STATES[self._mode]] += total_fj - then_fj
        self._since = (self.books.now_ns, total_fj)

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

    def _of(self, moment: Moment) -> Account:
        """What was drawn in a moment, with the burst that encoded its end."""
        account = self.books.between(moment.start_ns, moment.end_ns)
        began_ns, before = self._burst
        if moment.end_ns < began_ns == self.books.now_ns:
            for name, fj in difference(before, self.books.snapshot()).items():
                add(account[name], fj)
        return account

    # --- what is not in the recording ---------------------------------------------------------------

    def _book_assumed(self, end_ns: int) -> tuple[str, ...]:
        """A recording that brings gaze alone was made by eye cameras and a network all the same."""
        if self._eyes:
            return ()
        rig = self.table.assumed
        frames = round(end_ns / 1e9 * rig.eye_rate_hz) * rig.eye_cameras
        before_fj = self.books.typical_fj
        self.books.book("eye_camera", "eye_camera_idle", end_ns * rig.eye_cameras)
        self.books.book(
            "eye_camera", "eye_camera_pixel", frames * rig.eye_width_px * rig.eye_height_px
        )
        self.books.book("eye_light", "eye_light", frames)
        if EYE in self.models:
            runs = round(frames * rig.eye_network_share)
            self.books.book("network.eye", "network_mac", runs * self.models[EYE].spec.macs)
            self.books.book("network.eye", "network_wake", frames)
        self._share_out(self.books.typical_fj - before_fj, end_ns)
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


def stage_of(component: str) -> str:
    """The stage of the loop a component works for, `sensors` or `base`."""
    return STAGES.get(component, "emotion" if component.startswith("network.") else "base")
