"""Live input: what is given up, what never is, that every loss is told, and that sensors come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from device.errors import LinkError
from device.live import Boxes, Clock, Live, Sensor, Watch
from device.sources.camera import AlwaysOn
from device.types import DeviceEvent, EyeFrame, Gap, SessionHeader, Value
from device.watchdog import Budget, Life, Vital, WatchdogSettings

HEADER = SessionHeader(session_id="s", source="test", start_utc="unknown", zone="UTC")
QUICK = WatchdogSettings(silent_s=0.3, opening_s=0.6, retry_s=0.02, restarts=50, refill_s=0.2)
S = 1_000_000_000


def eye(t_ns: int) -> EyeFrame:
    return EyeFrame(t_ns=t_ns, eye="left", seq=t_ns, pixels=np.zeros((1, 1), np.uint8))


def button(t_ns: int) -> DeviceEvent:
    return DeviceEvent(t_ns=t_ns, name="button", value=True)


class Scripted:
    """A sensor that does what its function says, one call a read."""

    def __init__(self, step: Callable[[], Sequence[Value] | None]) -> None:
        self._step = step
        self.closed = 0

    def read(self) -> Sequence[Value] | None:
        return self._step()

    def close(self) -> None:
        self.closed += 1


def watch(step: Callable[[], Sequence[Value] | None]) -> Watch:
    return Watch(open=lambda: Scripted(step))


def events(values: Sequence[Value], name: str) -> list[object]:
    return [v.value for v in values if isinstance(v, DeviceEvent) and v.name == name]


def test_frames_give_way_to_fresher_ones_and_events_never_do() -> None:
    boxes = Boxes()
    for t_ns in range(1, 101):
        boxes.put(eye(t_ns))
        boxes.put(button(t_ns))
    taken: list[Value] = []
    while got := boxes.take(timeout_s=0):
        taken += got
    assert [v.t_ns for v in taken if isinstance(v, DeviceEvent)] == list(range(1, 101))
    assert [v.t_ns for v in taken if isinstance(v, EyeFrame)] == [99, 100]
    assert boxes.lost == {"EyeFrame:left": 98}
    (gap,) = [v for v in taken if isinstance(v, Gap)]
    assert (gap.start_ns, gap.end_ns) == (0, 99)
    assert gap.cause.startswith("98 frames")


def test_an_event_that_comes_just_before_its_sensor_ends_is_not_lost() -> None:
    """The loop has found nothing; only then the last value comes and the thread ends."""
    looked, ended = threading.Event(), threading.Event()

    class Slow(Boxes):
        def take(self, timeout_s: float) -> list[Value]:
            values = super().take(timeout_s)
            if not values and not looked.is_set():
                looked.set()
                ended.wait(20)
            return values

    said = iter([[button(1)], None])

    def step() -> Sequence[Value] | None:
        looked.wait(20)
        return next(said)

    class Last(Scripted):
        def close(self) -> None:
            ended.set()

    live = Live(
        HEADER,
        AlwaysOn(),
        {"board": Watch(open=lambda: Last(step))},
        Clock.now(),
        boxes=Slow(),
    )
    assert events(list(live), "button") == [True]


def test_the_oldest_value_of_all_boxes_comes_first() -> None:
    boxes = Boxes()
    boxes.put(button(30))
    boxes.put(eye(20))
    assert [v.t_ns for v in boxes.take(0) + boxes.take(0)] == [20, 30]


def test_an_event_that_comes_late_takes_the_time_of_the_last_and_is_not_lost() -> None:
    boxes = Boxes()
    boxes.put(button(50))
    assert [v.t_ns for v in boxes.take(0)] == [50]
    boxes.put(button(40))  # of another sensor, whose clock was mapped a little earlier
    boxes.put(eye(10))
    assert sorted(v.t_ns for v in boxes.take(0) + boxes.take(0)) == [10, 50]
    assert boxes.restamped == {"DeviceEvent": 1}


@pytest.mark.timeout(30)
def test_a_lost_sensor_is_a_fault_and_comes_back_while_the_others_go_on() -> None:
    clock, opened, buttons = Clock.now(), [], [0]

    def open_eye() -> Sensor:
        opened.append(1)
        left = [5]

        def step() -> Sequence[Value]:
            time.sleep(0.002)
            left[0] -= 1
            if len(opened) == 1 and left[0] < 0:
                raise LinkError("unplugged")
            return (eye(clock.now_ns()),)

        return Scripted(step)

    def press() -> Sequence[Value]:
        time.sleep(0.005)
        buttons[0] += 1
        return (button(clock.now_ns()),)

    sensors = {"left": Watch(open=open_eye), "buttons": watch(press)}
    live = Live(HEADER, AlwaysOn(), sensors, clock, watchdog=QUICK)
    values: list[Value] = []
    for value in live:
        values.append(value)
        if events(values[-1:], "recovered"):
            live.stop()
    assert events(values, "fault") == ["left: unplugged"]
    assert events(values, "recovered") == ["left"]
    assert len(events(values, "button")) == buttons[0]  # none was lost
    assert live.vitals["left"].budget.used == 1


@pytest.mark.timeout(30)
def test_a_frozen_sensor_is_noticed_by_the_age_of_its_last_frame_and_started_again() -> None:
    clock, opened = Clock.now(), []

    def open_eye() -> Sensor:
        opened.append(1)
        first = len(opened) == 1
        left = [3]

        def step() -> Sequence[Value]:
            time.sleep(0.01)
            left[0] -= 1
            return () if first and left[0] < 0 else (eye(clock.now_ns()),)

        return Scripted(step)

    live = Live(HEADER, AlwaysOn(), {"left": Watch(open=open_eye)}, clock, watchdog=QUICK)
    values: list[Value] = []
    for value in live:
        values.append(value)
        if events(values[-1:], "recovered"):
            live.stop()
    (fault,) = events(values, "fault")
    assert str(fault).startswith("left: nothing came for")
    assert len(opened) == 2


@pytest.mark.timeout(30)
def test_a_sensor_that_hangs_in_its_driver_is_left_behind() -> None:
    clock, opened = Clock.now(), []

    def open_eye() -> Sensor:
        opened.append(1)
        first = len(opened) == 1

        def step() -> Sequence[Value]:
            time.sleep(3.0 if first else 0.01)
            return (eye(1 if first else clock.now_ns()),)

        return Scripted(step)

    live = Live(HEADER, AlwaysOn(), {"left": Watch(open=open_eye)}, clock, watchdog=QUICK)
    for value in live:
        if events([value], "recovered"):
            live.stop()
    assert len(opened) == 2


@pytest.mark.timeout(30)
def test_a_fault_of_ours_in_one_sensor_does_not_end_the_session() -> None:
    clock = Clock.now()

    def step() -> Sequence[Value]:
        raise ZeroDivisionError

    live = Live(HEADER, AlwaysOn(), {"left": watch(step)}, clock, watchdog=QUICK)
    faults = []
    for value in live:
        faults += events([value], "fault")
        live.stop()
    assert faults[0] == "left: internal error (ZeroDivisionError)"


def test_a_budget_is_spent_refills_slowly_and_is_no_larger_after_a_quiet_day() -> None:
    budget = Budget(restarts=2, refill_ns=10 * S)
    assert [budget.take(0), budget.take(1 * S), budget.take(2 * S)] == [True, True, False]
    assert not budget.take(9 * S)
    assert budget.take(10 * S) and not budget.take(11 * S)
    later = 86_400 * S
    assert [budget.take(later), budget.take(later), budget.take(later)] == [True, True, False]
    assert budget.used == 5


def test_a_source_that_sleeps_by_right_is_not_frozen_and_has_time_to_wake() -> None:
    settings = WatchdogSettings(silent_s=1.0, opening_s=5.0)
    vital = Vital(settings)
    vital.start(0)
    assert vital.silence(4 * S, True) is None  # still opening
    vital.see(5 * S)
    assert vital.life is Life.LIVE
    assert vital.silence(100 * S, False) is None  # asleep
    assert vital.silence(101 * S, True) is None  # woken just now
    assert vital.silence(105 * S, True) is None
    assert vital.silence(107 * S, True) is not None


@pytest.mark.timeout(30)
def test_a_sensor_that_never_works_spends_its_budget_and_says_so_once() -> None:
    clock = Clock.now()

    def gone() -> Sensor:
        raise LinkError("no such camera")

    settings = WatchdogSettings(retry_s=0.001, restarts=2, refill_s=0.2)
    faults: list[object] = []
    live_for = Clock.now()

    def tick() -> Sequence[Value]:
        time.sleep(0.01)
        return (button(clock.now_ns()),)

    live = Live(
        HEADER,
        AlwaysOn(),
        {"left": Watch(open=gone), "buttons": watch(tick)},
        clock,
        watchdog=settings,
    )
    for value in live:
        faults += events([value], "fault")
        if live_for.now_ns() > S:
            live.stop()
    assert faults[0] == "left: no such camera"
    assert str(faults[1]).startswith("left: budget of restarts is used up")
    assert len(faults) == 2
    assert 3 <= live.vitals["left"].budget.used <= 8


@pytest.mark.timeout(10)
def test_stop_ends_an_endless_session_and_the_sensor_is_closed() -> None:
    clock = Clock.now()

    def endless() -> Sequence[Value]:
        time.sleep(0.001)
        return (button(clock.now_ns()),)

    sensor = Scripted(endless)
    live = Live(HEADER, AlwaysOn(), {"buttons": Watch(open=lambda: sensor)}, clock)
    count = 0
    for _ in live:
        count += 1
        if count == 10:
            live.stop()
    assert count >= 10 and sensor.closed == 1


@pytest.mark.timeout(10)
def test_the_session_ends_when_all_sensors_have() -> None:
    clock, left = Clock.now(), [3]

    def finite() -> Sequence[Value] | None:
        left[0] -= 1
        return None if left[0] < 0 else (button(clock.now_ns()),)

    values = list(Live(HEADER, AlwaysOn(), {"buttons": watch(finite)}, clock))
    assert len(events(values, "button")) == 3
