"""The line against the C board: events are confirmed by those only who do something with them, and what the
board switched off by itself is asked for again."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from device.emulator import Emulator, EmulatorSettings
from device.emulator.board import EmulatedBoard
from device.emulator.firmware import PROGRAMS
from device.emulator.switches import BoardSettings as EmulatedSettings
from device.glasses.checks import listen
from device.glasses.session import say_goodbye
from device.glasses.settings import LiveSettings
from device.live import Clock
from device.sources.board import Board, BoardSensor, BoardSettings
from device.types import DeviceEvent
from firmware_bridge import wire_pb2 as wire

pytestmark = pytest.mark.timeout(200)
WEARER = EmulatorSettings(
    seed=3, duration_s=600, eye_px=64, scene_width_px=320, scene_height_px=240
)


@pytest.fixture
def glasses() -> Iterator[EmulatedBoard]:
    """Emulated glasses; the button was pressed while nobody listened."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: gcc make nanopb libnanopb-dev)")
    with EmulatedBoard(Emulator(WEARER), EmulatedSettings(eye_px=32)) as board:
        board.order("button 5")
        until(lambda: len(board.presses) == 2)
        yield board


def test_a_press_during_the_goodbye_is_there_for_the_next_run(glasses: EmulatedBoard) -> None:
    board = Board(BoardSettings(port=str(glasses.port), answer_s=60), Clock.now())
    board.want("indicator", "set_indicator", wire.SetIndicator(indicator=wire.INDICATOR_FAULT))
    say_goodbye(board)
    until(lambda: glasses.indicator == wire.INDICATOR_FAULT)  # the wishes did arrive
    assert presses_heard(glasses) == [True, False]


def test_the_checks_before_a_run_leave_it_its_presses(glasses: EmulatedBoard) -> None:
    settings = LiveSettings(board=BoardSettings(port=str(glasses.port), answer_s=60))
    said, charge = listen(settings, 60)
    assert "answers" in said and charge is not None
    assert presses_heard(glasses) == [True, False]


def test_eyes_that_were_too_hot_are_on_again_when_they_have_cooled(glasses: EmulatedBoard) -> None:
    board = Board(BoardSettings(port=str(glasses.port), answer_s=60), Clock.now())
    eye = wire.SetCamera(camera=wire.CAMERA_EYE_LEFT, mode=wire.CAMERA_FULL, rate_hz=30)
    board.want("eye left", "set_camera", eye)
    with contextlib.closing(board.open()) as sensor:
        listen_until(sensor, lambda: glasses.cameras[1].mode == wire.CAMERA_FULL)
        glasses.order("heat 46")
        listen_until(sensor, lambda: glasses.cameras[1].mode == wire.CAMERA_OFF)
        listen_until(sensor, lambda: board.counts.refused > 0)
        glasses.order("heat 30")
        listen_until(sensor, lambda: glasses.cameras[1].mode == wire.CAMERA_FULL)


def listen_until(sensor: BoardSensor, done: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end_s, "it did not happen"
        sensor.read()


def presses_heard(glasses: EmulatedBoard) -> list[object]:
    """By the program that comes next, within some seconds."""
    sensor = Board(BoardSettings(port=str(glasses.port), answer_s=60), Clock.now()).open()
    end_s, heard = time.monotonic() + 20, list[object]()
    while len(heard) < 2 and time.monotonic() < end_s:
        for value in sensor.read():
            if isinstance(value, DeviceEvent) and value.name == "button":
                heard.append(value.value)
    sensor.close()
    return heard


def until(done: Callable[[], bool]) -> None:
    for _ in range(1000):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")
