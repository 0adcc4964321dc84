"""Live input: one thread per sensor, one box per stream, one iterator for the loop.

Frames give way to fresher ones; events, motion and energy never give way. Each loss is counted, and
when the stream goes on it becomes a `Gap` that says how many frames were lost. A sensor that fails or
falls silent becomes a `DeviceEvent` named `fault` and is started again by the watchdog
(`device/watchdog.py`); the others go on, and when it delivers again an event named `recovered` says so.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

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
    Timed,
    Value,
)
from device.watchdog import Life, Vital, WatchdogSettings

log = logging.getLogger(__name__)


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
    """What waits for the loop: one queue a stream; `put` by the sensors' threads, `take` by the loop.

    The loop drops a value that is older than the last of its stream. In a stream that must not lose
    anything, where several sensors or a clock just fitted may disagree by a little, such a value takes
    the time of the last one instead, and `restamped` counts it.
    """

    def __init__(self, streams: Mapping[type, Stream] = STREAMS) -> None:
        self._streams = streams
        self._boxes: dict[str, deque[Value]] = {}
        self._changed = threading.Condition()
        self._lost_run: Counter[str] = Counter()
        self._delivered_ns: dict[str, int] = {}
        self.lost: Counter[str] = Counter()
        """Values given up, by stream, over the whole session."""
        self.restamped: Counter[str] = Counter()

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
            value = self._in_time(stream, self._boxes[stream].popleft())
            lost = self._lost_run.pop(stream, 0)
            before_ns = self._delivered_ns.get(stream, 0)
            self._delivered_ns[stream] = value.t_ns
        if not lost:
            return [value]
        cause = f"{lost} frames gave way to fresher ones"
        return [Gap(start_ns=before_ns, end_ns=value.t_ns, stream=stream, cause=cause), value]

    def waiting(self) -> int:
        """Values that wait for the loop."""
        with self._changed:
            return sum(len(box) for box in self._boxes.values())

    def _in_time(self, stream: str, value: Value) -> Value:
        last_ns = self._delivered_ns.get(stream, 0)
        if value.t_ns >= last_ns or self._streams[type(value)].depth is not None:
            return value
        self.restamped[stream] += 1
        return dataclasses.replace(cast(Timed, value), t_ns=last_ns)


class Sensor(Protocol):
    """A camera or the microcontroller while it is open."""

    def read(self) -> Sequence[Value] | None:
        """Wait a fraction of a second for values; empty if none came, None if none will ever come.

        Raises LinkError if the sensor is gone.
        """
        ...

    def close(self) -> None:
        """Let go of the hardware; never raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a sensor is opened, and whether it should be delivering now."""

    open: Callable[[], Sensor]
    """Raises LinkError if the sensor is not there."""
    expected: Callable[[], bool] = lambda: True


class _Pump:
    """One source: its thread, which is replaced when the source is started again."""

    def __init__(self, name: str, watch: Watch, vital: Vital) -> None:
        self.name, self.watch, self.vital = name, watch, vital
        self.generation = 0
        self.thread: threading.Thread | None = None


class Live:
    """Several sensors as one source for the loop. It ends when all sensors have, or after `stop()`."""

    def __init__(
        self,
        header: SessionHeader,
        camera: SceneCamera,
        sensors: Mapping[str, Watch],
        clock: Clock,
        *,
        boxes: Boxes | None = None,
        watchdog: WatchdogSettings | None = None,
        admit: Callable[[Value], bool] = lambda value: True,
    ) -> None:
        """What `admit` refuses never reaches the loop: frames taken while nothing may be seen."""
        self.header = header
        self.camera = camera
        self.boxes = boxes or Boxes()
        self._clock = clock
        self._admit = admit
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        settings = watchdog or WatchdogSettings()
        self._pumps = {n: _Pump(n, watch, Vital(settings)) for n, watch in sensors.items()}

    @property
    def vitals(self) -> Mapping[str, Vital]:
        """How every source stands, by name."""
        return {name: pump.vital for name, pump in self._pumps.items()}

    def stop(self) -> None:
        """Ask the sensors' threads to end after their next value. Safe in a signal handler."""
        self._stopping.set()

    def tell(self, name: str, value: float | str | bool) -> None:
        """Put an event of the program's own among those of the sensors."""
        self.boxes.put(DeviceEvent(t_ns=self._clock.now_ns(), name=name, value=value))

    def __iter__(self) -> Iterator[Value]:
        for pump in self._pumps.values():
            self._start(pump)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        patience_ns: int | None = None
        while True:
            running = self._running()  # asked first: what comes before a thread ends is taken
            values = self.boxes.take(timeout_s=0.05)
            yield from filter(self._admit, values)
            if values:
                continue
            if self._stopping.is_set() and patience_ns is None:
                patience_ns = self._clock.now_ns() + 2_000_000_000
            hung = patience_ns is not None and self._clock.now_ns() > patience_ns
            if hung or not running:
                self._stopping.set()
                return

    def _running(self) -> bool:
        threads = [p.thread for p in self._pumps.values()]
        if self._stopping.is_set():
            return any(thread is not None and thread.is_alive() for thread in threads)
        return any(p.vital.life is not Life.ENDED for p in self._pumps.values())

    # --- the sensors' threads ---------------------------------------------------------------------

    def _start(self, pump: _Pump) -> None:
        with self._lock:
            pump.generation += 1
            pump.vital.start(self._clock.now_ns())
        pump.thread = threading.Thread(
            target=self._pump, args=(pump, pump.generation), name=pump.name, daemon=True
        )
        pump.thread.start()

    def _pump(self, pump: _Pump, generation: int) -> None:
        sensor: Sensor | None = None
        try:
            sensor = pump.watch.open()
            while not self._stopping.is_set() and pump.generation == generation:
                values = sensor.read()
                if values is None:
                    pump.vital.life = Life.ENDED
                    return
                if pump.generation != generation:
                    return  # it hung, and another thread has taken its place
                if values:
                    self._seen(pump)
                for value in values:
                    self.boxes.put(value)
        except LinkError as error:
            self._lost(pump, generation, str(error))
        except Exception as error:  # a fault of ours in one sensor must not end the session
            log.exception("fault in the thread of a sensor", extra={"sensor": pump.name})
            self._lost(pump, generation, f"internal error ({type(error).__name__})")
        finally:
            if sensor is not None:
                sensor.close()

    def _seen(self, pump: _Pump) -> None:
        if pump.vital.see(self._clock.now_ns()):
            self.tell("recovered", pump.name)

    def _lost(self, pump: _Pump, generation: int, why: str) -> None:
        """Once a generation: the first to notice says so."""
        with self._lock:
            if pump.generation != generation or self._stopping.is_set():
                return
            pump.generation += 1  # the old thread, wherever it hangs, is no longer listened to
            news = pump.vital.lose(why, self._clock.now_ns())
        if news:
            self.tell("fault", f"{pump.name}: {why}")

    # --- the watchdog -----------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.wait(0.05):
            for pump in self._pumps.values():
                self._look_after(pump)

    def _look_after(self, pump: _Pump) -> None:
        now_ns, vital = self._clock.now_ns(), pump.vital
        silent = vital.silence(now_ns, pump.watch.expected())
        if silent is not None:
            self._lost(pump, pump.generation, silent)
        if vital.may_start(now_ns):
            self._start(pump)
        elif vital.life is Life.SPENT and not vital.complained:
            vital.complained = True
            every_s = vital.settings.refill_s
            why = f"budget of restarts is used up; tried every {every_s:.0f} s from now on"
            self.tell("fault", f"{pump.name}: {why}")
