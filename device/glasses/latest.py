"""The newest of everything, for those who look in from another thread: page, metrics, bench."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.live import Clock
from device.types import (
    Attention,
    CameraRequest,
    Capture,
    DeviceEvent,
    EnergySample,
    EyeFrame,
    Gap,
    Gaze,
    Pixels,
    Pupil,
    SceneFrame,
    Value,
    WakeChange,
    WakeState,
)

FAULTS, MOMENTS = 20, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LastMoment:
    """A moment as the page lists it."""

    id: str
    start_ns: int
    end_ns: int
    names: tuple[str, ...]
    reasons: tuple[str, ...]
    thumbnail: Pixels | None


class Latency:
    """How old things are when the loop is done with them: a fixed set of bins, 2 % wide each.

    Percentiles are read off the bins, so an hour costs no more memory than a minute.
    """

    LEAST_MS, STEP, BINS = 0.1, 1.02, 700  # 0.1 ms to 100 s

    def __init__(self) -> None:
        self.bins: NDArray[np.int64] = np.zeros(self.BINS, np.int64)
        self.worst_ms = 0.0
        self.sum_ms = 0.0

    def add(self, ms: float) -> None:
        """Count one."""
        at = int(np.log(max(ms, self.LEAST_MS) / self.LEAST_MS) / np.log(self.STEP))
        self.bins[min(at, self.BINS - 1)] += 1
        self.worst_ms = max(self.worst_ms, ms)
        self.sum_ms += ms

    @property
    def count(self) -> int:
        return int(self.bins.sum())

    def percentile_ms(self, share: float) -> float:
        """The value that `share` (0..1) of all do not exceed; 0 if there are none."""
        total = self.bins.sum()
        if not total:
            return 0.0
        at = int(np.searchsorted(np.cumsum(self.bins), share * total))
        return min(float(self.LEAST_MS * self.STEP ** (at + 1)), self.worst_ms)


class Latest:
    """A sink; attributes are replaced whole, so a reader never sees half of one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.eyes: dict[str, EyeFrame] = {}
        self.pupils: dict[str, Pupil] = {}
        self.scene: SceneFrame | None = None
        self.gaze: Gaze | None = None
        self.attention: Attention | None = None
        self.state = WakeState.WATCHING
        self.camera_mode = "off"
        self.events: dict[str, float | str | bool] = {}
        self.rails_mw: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.faults: deque[tuple[int, str]] = deque(maxlen=FAULTS)
        self.moments: deque[LastMoment] = deque(maxlen=MOMENTS)
        self.moment_count = 0
        self.eye_latency = Latency()
        """From the light in the eye camera to the loop being done with that frame."""
        self.decision_latency = Latency()
        """From the light that a state change came from to its being carried out."""

    def __call__(self, value: Value) -> None:
        match value:
            case EyeFrame():
                self.eyes[value.eye] = value
                self.eye_latency.add((self._clock.now_ns() - value.t_ns) / 1e6)
            case Pupil():
                self.pupils[value.eye] = value
            case SceneFrame():
                self.scene = value
            case Gaze():
                self.gaze = value
            case Attention():
                self.attention = value
            case WakeChange():
                self.state = value.after
                self.decision_latency.add((self._clock.now_ns() - value.t_ns) / 1e6)
            case CameraRequest():
                self.camera_mode = value.mode.value
            case EnergySample():
                self.rails_mw[value.rail] = value.power_mw
            case DeviceEvent():
                self._event(value)
            case Gap():
                self.counts["gaps"] += 1
            case Capture():
                self._moment(value)

    def _event(self, event: DeviceEvent) -> None:
        if event.name == "fault":
            self.faults.append((event.t_ns, str(event.value)))
            self.counts["faults"] += 1
        else:
            self.events = {**self.events, event.name: event.value}
            self.counts["button"] += event.name == "button"
        if event.name == "privacy" and event.value:
            self.eyes, self.pupils, self.scene, self.gaze = {}, {}, None, None

    def _moment(self, capture: Capture) -> None:
        moment = capture.moment
        names = tuple(dict.fromkeys(t.name for t in moment.tags if t.attended))[:3]
        self.moment_count += 1
        self.moments.append(
            LastMoment(
                id=moment.id,
                start_ns=moment.start_ns,
                end_ns=moment.end_ns,
                names=names,
                reasons=moment.reasons,
                thumbnail=capture.thumbnail,
            )
        )
