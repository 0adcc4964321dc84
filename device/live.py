"""Live input: one thread per sensor, one box per stream, one iterator for the loop.

Frames give way to fresher ones; events and energy never give way. Each loss is counted, and when the
stream goes on it becomes a `Gap` that says how many frames were lost. A sensor that fails becomes a
`DeviceEvent` named `fault`, and the others go on.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from device.errors import LinkError
from device.pipeline import stream_of
from device.sources.camera import SceneCamera
from device.types import (
    DeviceEvent,
    EnergySample,
    EyeFrame,
    Gap,
    Gaze,
    ImuSample,
    SceneFrame,
    ScenePacket,
    SessionHeader,
    Value,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Nanoseconds since session start, on the machine's monotonic clock."""

    start_ns: int

    @classmethod
    def now(cls) -> Clock:
        return cls(start_ns=time.monotonic_ns())

    def now_ns(self) -> int:
        return time.monotonic_ns() - self.start_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """How much of a stream may wait for the loop; `depth` None: nothing is ever given up."""

    hz: float
    depth: int | None


STREAMS: Mapping[type, Stream] = {
    EyeFrame: Stream(hz=60, depth=2),
    SceneFrame: Stream(hz=30, depth=2),
    ScenePacket: Stream(hz=30, depth=None),  # each packet needs the one before it
    Gaze: Stream(hz=200, depth=None),
    ImuSample: Stream(hz=100, depth=None),
    EnergySample: Stream(hz=5, depth=None),
    DeviceEvent: Stream(hz=1, depth=None),
}
"""Every stream a sensor may deliver, with what may be lost of it."""


class Boxes:
    """What waits for the loop: one queue a stream; `put` by the sensors' threads, `take` by the loop."""

    def __init__(self, streams: Mapping[type, Stream] = STREAMS) -> None:
        self._streams = streams
        self._boxes: dict[str, deque[Value]] = {}
        self._changed = threading.Condition()
        self._lost_run: Counter[str] = Counter()
        self._delivered_ns: dict[str, int] = {}
        self.lost: Counter[str] = Counter()
        """Values given up, by stream, over the whole session."""

    def put(self, value: Value) -> None:
        """Never blocks. The oldest of a full box is given up and counted."""
        stream = stream_of(value)
        depth = self._streams[type(value)].depth
        with self._changed:
            box = self._boxes.setdefault(stream, deque())
            if depth is not None and len(box) >= depth:
                box.popleft()
                self.lost[stream] += 1
                self._lost_run[stream] += 1
            box.append(value)
            self._changed.notify()

    def take(self, timeout_s: float) -> list[Value]:
        """The oldest waiting value, after the `Gap` of what was lost before it; empty if none came."""
        with self._changed:
            waiting = [name for name, box in self._boxes.items() if box]
            if not waiting:
                self._changed.wait(timeout_s)
                waiting = [name for name, box in self._boxes.items() if box]
            if not waiting:
                return []
            stream = min(waiting, key=lambda name: self._boxes[name][0].t_ns)
            value = self._boxes[stream].popleft()
            lost = self._lost_run.pop(stream, 0)
            before_ns = self._delivered_ns.get(stream, 0)
            self._delivered_ns[stream] = value.t_ns
        if not lost:
            return [value]
        cause = f"{lost} frames gave way to fresher ones"
        return [Gap(start_ns=before_ns, end_ns=value.t_ns, stream=stream, cause=cause), value]


class Live:
    """Several sensors as one source for the loop. It ends when all sensors have, or after `stop()`."""

    def __init__(
        self,
        header: SessionHeader,
        camera: SceneCamera,
        sensors: Mapping[str, Iterable[Value]],
        clock: Clock,
        boxes: Boxes | None = None,
    ) -> None:
        self.header = header
        self.camera = camera
        self.boxes = boxes or Boxes()
        self._clock = clock
        self._stopping = threading.Event()
        self._threads: Sequence[threading.Thread] = [
            threading.Thread(target=self._pump, args=(name, sensor), name=name, daemon=True)
            for name, sensor in sensors.items()
        ]

    def stop(self) -> None:
        """Ask the sensors' threads to end after their next value."""
        self._stopping.set()

    def __iter__(self) -> Iterator[Value]:
        for thread in self._threads:
            thread.start()
        while True:
            running = any(thread.is_alive() for thread in self._threads)
            values = self.boxes.take(timeout_s=0.05)
            yield from values
            if not values and not running:
                return

    def _pump(self, name: str, sensor: Iterable[Value]) -> None:
        try:
            for value in sensor:
                self.boxes.put(value)
                if self._stopping.is_set():
                    return
        except LinkError as error:
            fault = f"{name}: {error}"
            self.boxes.put(DeviceEvent(t_ns=self._clock.now_ns(), name="fault", value=fault))
