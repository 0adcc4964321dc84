"""The live run: replug inside one recording, privacy in hardware order, the wearer told, a clean end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from device.errors import StorageError
from device.glasses.controls import Controls
from device.glasses.session import guarded
from device.glasses.settings import LiveSettings
from device.record import SessionSource
from device.sources.camera import AlwaysOn
from device.types import (
    CameraMode,
    CameraRequest,
    DeviceEvent,
    EyeFrame,
    MomentStart,
    MomentSure,
    SceneFrame,
    ScenePacket,
    Value,
)
from firmware_bridge import wire_pb2 as wire
from tests.glasses.conftest import Running
from tests.glasses.python_board import PythonBoard

Begin = Callable[[LiveSettings], Running]
pytestmark = pytest.mark.timeout(400)


def session_file(run: Running) -> Path:
    folder = run.glasses.data / "sessions" / run.glasses.header.session_id
    return folder / "session.mcap"


def events(values: list[Value], name: str) -> list[object]:
    return [v.value for v in values if isinstance(v, DeviceEvent) and v.name == name]


def test_a_camera_unplugged_and_plugged_again_stays_inside_one_recording(
    begin: Begin, with_board: LiveSettings, board: PythonBoard
) -> None:
    run = begin(with_board)
    run.more_frames()
    (feed,) = run.glasses.feeds.values()
    feed.faults |= {"left": "unplugged", "right": "unplugged"}
    run.until(lambda: len(run.glasses.wearer.failed) == 2, "both losses are noticed")
    run.until(lambda: ("set_indicator", fault()) in board.commands, "the fault light is on")
    run.until(lambda: longest_buzz(board) >= 400, "the wearer feels it")
    run.glasses.controls.wait(0.7)  # longer than what coverage calls a gap
    feed.faults.clear()
    run.until(lambda: not run.glasses.wearer.failed, "both cameras are back")
    run.more_frames()
    outcome = run.end()
    report = outcome.report
    assert report.seen_ns + report.gap_ns == report.session_ns
    assert any("unplugged" in gap.cause for gap in report.gaps)
    values = list(SessionSource(session_file(run)))
    assert len(events(values, "fault")) == 2 and len(events(values, "recovered")) == 2
    assert sum(isinstance(v, EyeFrame) for v in values) == report.counts["EyeFrame"]
    told = json.loads((session_file(run).parent / "session.json").read_text())
    assert any("unplugged" in gap["cause"] for gap in told["gaps"])


def test_the_board_unplugged_comes_back_and_is_told_again_what_is_wanted(
    begin: Begin, with_board: LiveSettings, board: PythonBoard
) -> None:
    run = begin(with_board)
    run.until(lambda: "set_camera" in board.kinds(), "the eye cameras get their power")
    board.quiet = True
    run.until(lambda: "board" in run.glasses.wearer.failed, "the silence is noticed")
    board.commands.clear()
    board.quiet = False
    run.until(lambda: "board" not in run.glasses.wearer.failed, "the board is back")
    run.until(
        lambda: {"set_camera", "set_leds", "set_indicator"} <= set(board.kinds()), "all again"
    )
    board.send(button=wire.Button(pressed=True))
    run.until(lambda: run.glasses.latest.state == "keeping", "the button opens a moment")
    outcome = run.end()
    assert outcome.report.counts["MomentStart"] == 1
    assert len(list((run.glasses.data / "spool").iterdir())) == 1  # closed with the session


def test_the_privacy_switch_stops_in_hardware_order_and_erases_the_moment(
    begin: Begin, with_board: LiveSettings, board: PythonBoard
) -> None:
    run = begin(with_board)
    run.more_frames()
    board.send(button=wire.Button(pressed=True))
    run.until(lambda: run.glasses.latest.scene is not None, "the scene camera runs")
    run.until(lambda: ("set_indicator", recording()) in board.commands, "the light is on")
    board.commands.clear()
    board.send(privacy_switch=wire.PrivacySwitch(on=True))
    run.until(lambda: "set_indicator" in board.kinds(), "the light goes off")
    assert order(board)[:6] == ["scene", "eye", "eye", "leds", "leds", "indicator off"]
    run.until(lambda: run.glasses.latest.events.get("privacy"), "the loop knows")
    assert run.glasses.latest.scene is None and not run.glasses.latest.eyes
    before = run.frames()
    run.glasses.controls.wait(1.0)
    assert run.frames() == before and run.glasses.controls.scene_rate_hz() == 0
    board.send(privacy_switch=wire.PrivacySwitch(on=False))
    run.more_frames()
    outcome = run.end()
    assert not list((run.glasses.data / "spool").iterdir())
    assert outcome.report.counts["Moment"] == 0
    assert any(gap.cause == "the privacy switch was closed" for gap in outcome.report.gaps)
    recorded = list(SessionSource(session_file(run), AlwaysOn()))
    assert not [
        v for v in recorded if isinstance(v, ScenePacket | SceneFrame)
    ]  # gone from there too
    assert events(recorded, "privacy") == [True, False] and events(recorded, "button") == [True]


def test_the_light_is_on_before_the_camera_and_goes_off_after_it(
    begin: Begin, with_board: LiveSettings, board: PythonBoard
) -> None:
    run = begin(with_board)
    run.until(lambda: "set_indicator" in board.kinds(), "the first commands are carried out")
    board.commands.clear()
    for t_ns, mode in ((1, CameraMode.LOW), (2, CameraMode.OFF)):
        run.glasses.wearer(CameraRequest(t_ns=t_ns, mode=mode, why="test"))
        run.until(lambda n=t_ns: len(order(board)) >= 2 * n, "both commands are carried out")
    assert order(board) == ["indicator on", "scene", "scene", "indicator off"]
    run.end()
    assert order(board)[-1] == "indicator off"


def test_a_fault_the_board_reports_is_felt_and_is_not_a_lost_source(
    begin: Begin, with_board: LiveSettings, board: PythonBoard
) -> None:
    run = begin(with_board)
    run.more_frames()
    board.send(fault=wire.Fault(kind=wire.FAULT_BROWN_OUT, text="2.9 V"))
    run.until(lambda: longest_buzz(board) >= 400, "the wearer feels it")
    assert [text for _, text in run.glasses.latest.faults] == ["microcontroller: brown out (2.9 V)"]
    assert not run.glasses.wearer.failed
    run.end()


def test_a_moment_is_felt_when_it_is_sure_and_not_when_it_begins(
    begin: Begin, with_board: LiveSettings, board: PythonBoard
) -> None:
    run = begin(with_board)
    run.until(lambda: board.kinds().count("haptic") == 1, "the start is felt")
    run.glasses.wearer(MomentStart(t_ns=1, reason="attention"))
    run.glasses.wearer(CameraRequest(t_ns=1, mode=CameraMode.FULL, why="test"))
    run.until(lambda: ("set_indicator", recording()) in board.commands, "the light is on")
    assert board.kinds().count("haptic") == 1
    run.glasses.wearer(MomentSure(t_ns=2))
    run.until(lambda: board.kinds().count("haptic") == 2, "the moment is felt")
    run.end()


def test_the_posture_follows_the_battery_and_changes_the_rates(
    begin: Begin, with_board: LiveSettings, board: PythonBoard
) -> None:
    run = begin(with_board)
    run.more_frames()
    board.send(battery=wire.Battery(charge_permille=200))
    run.until(lambda: run.glasses.latest.events.get("posture") == "conserve", "conserve")
    assert run.glasses.controls.eye_rate_hz(60) == 30
    assert run.glasses.controls.posture == "conserve"
    run.until(lambda: 15 in rates(board), "the board is told the rate")
    board.send(battery=wire.Battery(charge_permille=100))
    run.until(lambda: run.glasses.latest.events.get("posture") == "reserve", "reserve")
    run.more_frames()
    run.end()
    recorded = events(list(SessionSource(session_file(run))), "posture")
    assert recorded == ["conserve", "reserve"]


def test_a_full_disk_is_told_and_does_not_end_the_session() -> None:
    told: list[tuple[str, object]] = []

    class Ears:
        def tell(self, name: str, value: object) -> None:
            told.append((name, value))

    full = [True]

    def sink(value: Value) -> None:
        if full[0]:
            raise StorageError("disk is full")

    take = guarded(Ears(), "snippets", sink, DeviceEvent)  # type: ignore[arg-type]
    event = DeviceEvent(t_ns=1, name="button", value=True)
    take(event)
    take(event)
    assert told == [("fault", "snippets: disk is full")]
    full[0] = False
    take(event)
    assert told[-1] == ("recovered", "snippets")

    def buggy(value: Value) -> None:
        raise ZeroDivisionError

    guarded(Ears(), "snippets", buggy)(event)  # type: ignore[arg-type]
    assert told[-1] == ("fault", "snippets: internal error (ZeroDivisionError)")


def rates(board: PythonBoard) -> list[int]:
    return [m.rate_hz for k, m in board.commands if k == "set_camera"]  # type: ignore[attr-defined]


def fault() -> wire.SetIndicator:
    return wire.SetIndicator(indicator=wire.INDICATOR_FAULT)


def recording() -> wire.SetIndicator:
    return wire.SetIndicator(indicator=wire.INDICATOR_RECORDING)


def longest_buzz(board: PythonBoard) -> int:
    return max((m.duration_ms for k, m in board.commands if k == "haptic"), default=0)  # type: ignore[attr-defined]


def order(board: PythonBoard) -> list[str]:
    """The commands in words: which camera, which light."""
    said = []
    for kind, message in board.commands:
        if isinstance(message, wire.SetCamera):
            said.append("scene" if message.camera == wire.CAMERA_SCENE else "eye")
        elif isinstance(message, wire.SetIndicator):
            off = message.indicator == wire.INDICATOR_OFF
            said.append("indicator off" if off else "indicator on")
        elif kind == "set_leds":
            said.append("leds")
    return said


def test_no_frame_from_behind_the_switch_reaches_the_loop_though_it_is_slow(
    settings: LiveSettings,
) -> None:
    """Closed and opened again before the loop comes to what was on its way."""
    controls = Controls(settings)

    def admitted(t_ns: int) -> bool:
        pixels = np.zeros((2, 2), np.uint8)
        return controls.admits(EyeFrame(t_ns=t_ns, eye="left", seq=0, pixels=pixels))

    controls.set_private(False, 5)  # told at the start of a run
    assert admitted(4)
    controls.set_private(True, 10)
    assert not admitted(9) and not admitted(11)
    controls.set_private(False, 20)
    assert not admitted(11) and not admitted(19) and admitted(20)
    assert controls.admits(DeviceEvent(t_ns=11, name="button", value=True))


def test_a_frame_on_its_way_when_the_scene_camera_is_switched_off_is_not_taken(
    settings: LiveSettings,
) -> None:
    camera = Controls(settings).scene
    frame = SceneFrame(t_ns=9 * 10**8, seq=1, pixels=np.zeros((480, 640, 3), np.uint8))
    assert camera.take(frame) is None
    camera(CameraRequest(t_ns=1, mode=CameraMode.FULL, why="test"))
    assert camera.take(frame) is frame
    camera(CameraRequest(t_ns=2, mode=CameraMode.OFF, why="test"))
    assert camera.take(frame) is None
