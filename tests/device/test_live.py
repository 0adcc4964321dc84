"""Live input: what is given up, what never is, and that every loss is told."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from device.errors import LinkError
from device.live import Boxes, Clock, Live
from device.sources.camera import AlwaysOn
from device.types import DeviceEvent, EyeFrame, Gap, SessionHeader, Value

HEADER = SessionHeader(session_id="s", source="test", start_utc="unknown", zone="UTC")


def eye(t_ns: int) -> EyeFrame:
    return EyeFrame(t_ns=t_ns, eye="left", seq=t_ns, pixels=np.zeros((1, 1), np.uint8))


def button(t_ns: int) -> DeviceEvent:
    return DeviceEvent(t_ns=t_ns, name="button", value=True)


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


def test_the_oldest_value_of_all_boxes_comes_first() -> None:
    boxes = Boxes()
    boxes.put(button(30))
    boxes.put(eye(20))
    assert [v.t_ns for v in boxes.take(0) + boxes.take(0)] == [20, 30]


def test_sensors_run_side_by_side_and_a_lost_one_is_a_fault_not_an_end() -> None:
    clock = Clock.now()

    def breaks() -> Iterator[Value]:
        yield eye(clock.now_ns())
        raise LinkError("eye camera unplugged")

    def goes_on() -> Iterator[Value]:
        for _ in range(5):
            time.sleep(0.005)
            yield button(clock.now_ns())

    live = Live(HEADER, AlwaysOn(), {"eye": breaks(), "buttons": goes_on()}, clock)
    values = list(live)
    faults = [v for v in values if isinstance(v, DeviceEvent) and v.name == "fault"]
    assert [f.value for f in faults] == ["eye: eye camera unplugged"]
    assert sum(isinstance(v, DeviceEvent) and v.name == "button" for v in values) == 5


@pytest.mark.timeout(10)
def test_stop_ends_an_endless_session() -> None:
    clock = Clock.now()

    def endless() -> Iterator[Value]:
        while True:
            time.sleep(0.001)
            yield button(clock.now_ns())

    live = Live(HEADER, AlwaysOn(), {"buttons": endless()}, clock)
    count = 0
    for _ in live:
        count += 1
        if count == 10:
            live.stop()
    assert count >= 10
