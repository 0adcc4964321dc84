"""The microcontroller as a sensor: values, order of commands, and nothing confirmed is lost."""

from __future__ import annotations

import time

import numpy as np
import pytest

from device.errors import LinkError
from device.live import Clock
from device.sources.board import Board, BoardSensor, BoardSettings
from device.types import DeviceEvent, EnergySample, EyeFrame, ImuSample, Value
from firmware_bridge import wire_pb2 as wire
from tests.glasses.python_board import PythonBoard

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def line(board: PythonBoard) -> tuple[Board, BoardSensor]:
    """The line, ready."""
    host = Board(BoardSettings(port=board.port, answer_s=60), Clock.now())
    sensor = host.open()
    until(sensor, lambda values: any(named(v, "heat") for v in values))  # told at once
    return host, sensor


def until(sensor: BoardSensor, done: object) -> list[Value]:
    values: list[Value] = []
    end_s = time.monotonic() + 60
    while not done(values):  # type: ignore[operator]
        assert time.monotonic() < end_s
        values += sensor.read()
    return values


def named(value: Value, name: str) -> bool:
    return isinstance(value, DeviceEvent) and value.name == name


def test_every_message_becomes_its_value(
    board: PythonBoard, line: tuple[Board, BoardSensor]
) -> None:
    _, sensor = line
    board.send(
        imu_batch=wire.ImuBatch(
            interval_us=10_000, gyro_mdeg_s=[1000, 2000, 3000] * 2, accel_mm_s2=[0, -9810, 0] * 2
        )
    )
    board.send(power=wire.Power(rail="scene_camera", power_uw=95_500, span_us=200_000))
    pixels = bytes(range(200)) * 5
    for offset in (0, 500):
        piece = pixels[offset : offset + 500]
        chunk = wire.EyeChunk(
            eye=wire.EYE_RIGHT, frame=7, width_px=40, height_px=25, offset=offset, pixels=piece
        )
        board.send(eye_chunk=chunk)
    board.send(ambient_light=wire.AmbientLight(illuminance_mlux=250_000))
    board.send(worn=wire.Worn(worn=True))
    values = until(sensor, lambda got: any(named(v, "worn") for v in got))
    first, second = (v for v in values if isinstance(v, ImuSample))
    assert first.gyro_deg_s == (1.0, 2.0, 3.0) and first.accel_m_s2 == (0.0, -9.81, 0.0)
    assert second.t_ns - first.t_ns == 10_000_000
    (power,) = (v for v in values if isinstance(v, EnergySample))
    assert (power.rail, power.power_mw, power.span_ns) == ("scene_camera", 95.5, 200_000_000)
    (frame,) = (v for v in values if isinstance(v, EyeFrame))
    assert frame.eye == "right" and frame.seq == 7
    assert np.array_equal(frame.pixels, np.frombuffer(pixels, np.uint8).reshape(25, 40))
    (light,) = (v for v in values if named(v, "light"))
    assert isinstance(light, DeviceEvent) and light.value == 250.0
    sensor.close()


def test_what_the_board_logs_is_in_the_journal(
    board: PythonBoard, line: tuple[Board, BoardSensor], caplog: pytest.LogCaptureFixture
) -> None:
    _, sensor = line
    board.send(log=wire.Log(level=wire.LOG_WARNING, text="flash is worn out"))
    board.send(worn=wire.Worn(worn=True))
    until(sensor, lambda got: any(named(v, "worn") for v in got))
    (record,) = [r for r in caplog.records if r.message == "microcontroller"]
    assert record.levelname == "WARNING" and record.__dict__["said"] == "flash is worn out"
    sensor.close()


def test_what_came_before_the_line_broke_is_given_before_the_error(
    board: PythonBoard, line: tuple[Board, BoardSensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, sensor = line

    def broken(data: bytes) -> None:
        raise OSError("unplugged")

    board.send(button=wire.Button(pressed=True))
    monkeypatch.setattr(sensor._port, "write", broken)
    time.sleep(0.5)  # the press lies in the line's buffer when it breaks
    host.once("haptic", wire.Haptic(duration_ms=1))
    values = sensor.read()
    assert any(named(v, "button") for v in values)
    with pytest.raises(LinkError, match="unplugged"):
        sensor.read()
    sensor.close()


def test_what_the_board_said_to_nobody_is_not_lost_on_the_line(board: PythonBoard) -> None:
    host = Board(BoardSettings(port=board.port, answer_s=60), Clock.now())
    for _ in range(2):
        sensor = host.open()
        until(sensor, lambda got: any(named(v, "board") for v in got))
        board.send(ambient_light=wire.AmbientLight())
        until(sensor, lambda got: any(named(v, "light") for v in got))
        assert host.counts.lost == 0
        sensor.close()
        for _ in range(50):
            board.send(ambient_light=wire.AmbientLight())
    assert 50 <= host.counts.unheard < 100


def test_what_is_wanted_is_asked_for_once_and_again_after_a_replug(board: PythonBoard) -> None:
    host = Board(BoardSettings(port=board.port, answer_s=60), Clock.now())
    light = wire.SetIndicator(indicator=wire.INDICATOR_RECORDING)
    host.want("indicator", "set_indicator", light)
    host.want("indicator", "set_indicator", light)
    for round_number in (1, 2):
        sensor = host.open()
        end_s = time.monotonic() + 60
        while not sensor.settled():
            sensor.read()
            assert time.monotonic() < end_s
        sensor.close()
        assert board.commands == [("set_indicator", light)] * round_number
