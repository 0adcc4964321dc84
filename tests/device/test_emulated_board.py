"""The emulated glasses: the C reference on a terminal, the virtual wearer behind it, faults on request."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest

from device.emulator import Emulator, EmulatorSettings
from device.emulator.board import EmulatedBoard
from device.emulator.firmware import PROGRAMS, Reading, build, reading
from device.emulator.line import GONE_NS, Line
from device.emulator.supply import FJ_PER_MWH, Supply
from device.emulator.switches import BoardSettings, CameraSwitch
from device.energy import POWERED
from device.energy_table import EnergyTable
from device.errors import ConfigError, LinkError
from device.sources.frame_socket import FrameSocket
from device.sources.video_camera import Shot
from device.types import CameraMode
from firmware_bridge import wire_pb2 as wire
from firmware_bridge.link import State, Telemetry
from tests.firmware_bridge.host import Port, Talk

WEARER = EmulatorSettings(
    seed=3, duration_s=600, eye_px=64, scene_width_px=320, scene_height_px=240
)


@pytest.fixture(scope="session")
def compiler() -> None:
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: gcc make nanopb libnanopb-dev)")


@pytest.fixture
def glasses(compiler: None) -> Iterator[EmulatedBoard]:
    with EmulatedBoard(Emulator(WEARER), BoardSettings(eye_px=32, drift_ppm=50)) as board:
        yield board


def host(glasses: EmulatedBoard) -> Talk:
    talk = Talk(Port(glasses.port))
    talk.until_ready()
    return talk


def eyes_on(talk: Talk) -> None:
    for camera in (wire.CAMERA_EYE_LEFT, wire.CAMERA_EYE_RIGHT):
        setting = wire.SetCamera(camera=camera, mode=wire.CAMERA_FULL, rate_hz=60)
        assert talk.command(set_camera=setting).result == wire.RESULT_OK
    for eye in (wire.EYE_LEFT, wire.EYE_RIGHT):
        lamp = wire.SetLeds(eye=eye, current_ma=20, strobe_us=1000)
        assert talk.command(set_leds=lamp).result == wire.RESULT_OK


def test_the_line_carries_eyes_motion_power_and_battery(glasses: EmulatedBoard) -> None:
    talk = host(glasses)
    eyes_on(talk)
    talk.until(lambda: len(talk.said("eye_chunk")) > 60 and len(talk.said("battery")) > 1)
    chunks = talk.said("eye_chunk")
    assert {(c.eye, c.width_px, c.height_px) for c in chunks} == {(0, 32, 32), (1, 32, 32)}
    assert max(max(c.pixels) for c in chunks) > 120  # the lamps are on
    rails: dict[str, int] = {}
    for power in talk.said("power"):
        rails[power.rail] = max(power.power_uw, rails.get(power.rail, 0))
    assert set(rails) == {
        "eye_camera", "eye_light", "scene_camera", "inertial", "microcontroller", "processor",
        "accelerator",
    }  # fmt: skip
    assert rails["eye_light"] > 500 > rails["scene_camera"]
    assert talk.said("imu_batch")[-1].interval_us > 0
    assert [w.worn for w in talk.said("worn")][-1] is True
    assert talk.link.damaged == 0


def test_the_scene_camera_gives_frames_while_its_rail_is_on(glasses: EmulatedBoard) -> None:
    camera, talk = FrameSocket(glasses.camera), host(glasses)
    on = wire.SetCamera(camera=wire.CAMERA_SCENE, mode=wire.CAMERA_LOW, width_px=160, height_px=120)
    talk.command(set_camera=on)
    frames = list(islice(grabbed(camera), 5))
    assert {f.pixels.shape for f in frames} == {(120, 160, 3)}
    assert [b.seq > a.seq for a, b in pairwise(frames)] == [True] * 4
    assert 0 <= time.monotonic_ns() - frames[-1].monotonic_ns < 10e9
    assert glasses.supply.scene_mode is CameraMode.LOW
    glasses.order("privacy on")
    talk.until(lambda: [p.on for p in talk.said("privacy_switch")][-1:] == [True])
    talk.until(lambda: glasses.cameras[0].mode == wire.CAMERA_OFF)
    assert glasses.supply.scene_mode is CameraMode.OFF
    glasses.order("camera-unplug")
    with pytest.raises(LinkError, match="hung up"):
        list(grabbed(camera))  # what was on its way, then the end
    with pytest.raises(LinkError, match="no emulated camera answers"):
        FrameSocket(glasses.folder / "nowhere")


def grabbed(camera: FrameSocket) -> Iterator[Shot]:
    for _ in range(200):
        shot = camera.grab()
        if shot is not None:
            yield shot


def test_a_replug_is_the_same_board_under_the_same_path(glasses: EmulatedBoard) -> None:
    talk = host(glasses)
    glasses.order("unplug 0.5")
    with pytest.raises(OSError):
        talk.until(lambda: False)
    glasses.order("button 4")  # nobody hears it now
    talk.link.close()
    for _ in range(400):
        if glasses.port.exists():
            break
        time.sleep(0.05)
    again = Talk(Port(glasses.port), link=talk.link)
    again.until_ready()
    again.until(lambda: len(again.said("button")) == 2)
    assert [(b.button, b.pressed) for b in again.said("button")] == [(4, True), (4, False)]
    assert again.link.counts.restarts == 0


@pytest.mark.parametrize(
    ("order", "fault"),
    [("brown-out", wire.FAULT_BROWN_OUT), ("reboot", None), ("freeze 2.1", wire.FAULT_WATCHDOG)],
)
def test_a_board_that_restarts_says_why(
    glasses: EmulatedBoard, order: str, fault: int | None
) -> None:
    talk = host(glasses)
    eyes_on(talk)
    glasses.order(order)
    talk.until(lambda: talk.link.counts.restarts == 1)
    talk.until(lambda: talk.link.state is State.READY and len(talk.said("worn")) > 1)
    talk.until(lambda: [f.kind for f in talk.said("fault")] == ([] if fault is None else [fault]))
    talk.until(lambda: all(camera.mode == wire.CAMERA_OFF for camera in glasses.cameras))
    talk.until(lambda: glasses.counts.restarts == 1)


def test_the_clock_is_fitted_and_no_stamp_lies_in_the_future(glasses: EmulatedBoard) -> None:
    talk = host(glasses)
    talk.until(lambda: talk.link.clock.fit is not None and talk.link.clock.fit.exchanges == 16)
    talk.seen.clear()
    talk.until(lambda: len(talk.said("imu_batch")) > 3)
    stamps = [e.t_ns for e in talk.seen if isinstance(e, Telemetry) and e.stamped]
    assert glasses.start_ns < min(stamps) and max(stamps) < time.monotonic_ns()


def test_noise_on_the_line_loses_no_event(glasses: EmulatedBoard) -> None:
    talk = host(glasses)
    eyes_on(talk)
    glasses.order("noise 0.01")
    for number in range(8):
        glasses.order(f"button {number}")
        list(talk.run(0.05))
    talk.until(lambda: len(talk.said("button")) == 16)
    assert [b.button for b in talk.said("button")] == [n // 2 for n in range(16)]
    talk.until(lambda: talk.link.damaged > 0)


def test_taken_off_put_on_and_what_is_no_order(glasses: EmulatedBoard) -> None:
    talk = host(glasses)
    for word in ("off", "on"):
        glasses.order(f"worn {word}")
    talk.until(lambda: [w.worn for w in talk.said("worn")][-2:] == [False, True])
    with pytest.raises(ConfigError, match="'explode' is no order; known here: unplug"):
        glasses.order("explode")
    with pytest.raises(ConfigError, match=r"write: privacy on\|off"):
        glasses.order("privacy maybe")


def test_an_empty_battery_silences_the_board_until_it_is_charged(compiler: None) -> None:
    settings = BoardSettings(eye_px=32, charge=1e-6, battery_mwh=0.01)
    with EmulatedBoard(Emulator(WEARER), settings) as glasses:
        for _ in range(400):
            if glasses.flat:
                break
            time.sleep(0.05)
        assert glasses.flat
        glasses.order("battery 50")
        talk = host(glasses)
        talk.until(lambda: [f.kind for f in talk.said("fault")] == [wire.FAULT_BROWN_OUT])


def test_the_battery_empties_by_what_the_rails_drew() -> None:
    table = EnergyTable.shipped()
    supply = Supply(table=table, charge=0.5, capacity_mwh=100.0, eyes_on=2)
    supply.scene_mode = CameraMode.FULL
    total_uw_ns = 0
    for second in range(1, 61):
        for _ in range(120):
            supply.eye_frame(192 * 192, 20_000)
        rails_uw, span_ns = supply.read_meters(second * 10**9)
        total_uw_ns += sum(rails_uw.values()) * span_ns
    drained = (0.5 - supply.charge) * 100.0 * FJ_PER_MWH
    assert drained == pytest.approx(total_uw_ns, rel=1e-3)
    assert rails_uw["scene_camera"] == table.rows["scene_camera_on"][1]
    assert supply.temperature_c > 31.0 and supply.battery()[2] < 0
    supply.charging = True
    supply.read_meters(61 * 10**9)
    assert supply.battery()[2] > 0


@pytest.mark.parametrize("mode", list(CameraMode))
def test_the_rails_draw_by_the_scene_camera_s_mode(mode: CameraMode) -> None:
    table = EnergyTable.shipped()
    supply = Supply(table=table, charge=0.5, capacity_mwh=100.0, scene_mode=mode)
    rails_uw, _ = supply.read_meters(10**9)
    drawn = [rails_uw[rail] for rail in ("scene_camera", "accelerator", "processor")]
    assert drawn == [round(table.rows[row][1]) for row in POWERED[mode]]


def test_the_low_mode_of_the_scene_camera_skips_rows_and_columns(glasses: EmulatedBoard) -> None:
    camera, talk = FrameSocket(glasses.camera), host(glasses)
    low = wire.SetCamera(
        camera=wire.CAMERA_SCENE, mode=wire.CAMERA_LOW, width_px=640, height_px=480
    )
    talk.command(set_camera=low)
    assert next(grabbed(camera)).pixels.shape == (240, 320, 3)


@pytest.mark.parametrize(("rate_hz", "frames"), [(0, 60), (60, 60), (30, 30), (20, 20), (7, 7)])
def test_a_camera_set_to_a_rate_keeps_it(rate_hz: int, frames: int) -> None:
    camera = CameraSwitch(mode=wire.CAMERA_FULL, rate_hz=rate_hz)
    taken = sum(camera.wants(round(k * 1e9 / 60)) for k in range(60))
    assert abs(taken - frames) <= 1
    assert not replace(camera, mode=wire.CAMERA_OFF).wants(10**12)


def test_without_a_compiler_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "gcc" else name)
    with pytest.raises(ConfigError, match=r"gcc is missing; on Debian: apt install gcc make"):
        build(tmp_path)


def test_a_program_that_reads_too_slowly_makes_the_board_wait_and_one_that_is_gone_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = 10**9
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns)
    line = Line(tmp_path / "port")
    port = os.open(line.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    line.pump(now_ns)
    said = 0
    while line.wants() and said < 1 << 20:
        line.send(bytes(1000))
        line.pump(now_ns)
        said += 1000
    assert said < 1 << 16 and line.overrun_bytes == 0  # the terminal's own room, and ours
    read = 0
    while read < said:
        with contextlib.suppress(BlockingIOError):
            read += len(os.read(port, 4096))
        line.pump(now_ns)
    assert line.wants() and read == said
    while line.wants():
        line.send(bytes(1000))
        line.pump(now_ns)
    now_ns += GONE_NS + 1
    assert line.wants()  # nobody has read for three seconds
    line.send(bytes(1000))
    assert line.overrun_bytes == 1000
    os.close(port)
    line.unplug()


def test_a_board_that_is_behind_misses_pictures_and_no_press(glasses: EmulatedBoard) -> None:
    talk = host(glasses)
    eyes_on(talk)
    talk.until(lambda: len(talk.said("eye_chunk")) > 10)
    before, pid = glasses.counts.dropped, glasses.firmware.process.pid
    os.kill(pid, signal.SIGSTOP)  # not the emulator's own fault, of which its sensors know
    try:
        until(lambda: glasses.counts.dropped > before)
        assert glasses.firmware.behind() < 200_000
        glasses.order("button 6")
        until(lambda: len(glasses.presses) == 2)
    finally:
        os.kill(pid, signal.SIGCONT)
    talk.until(lambda: [b.button for b in talk.said("button")] == [6, 6])


def test_a_board_without_time_reads_a_level_later(glasses: EmulatedBoard) -> None:
    """Readings may be missed, a press too; the switch still stands where it was put."""
    talk = host(glasses)
    pid = glasses.firmware.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        lux = reading(Reading.AMBIENT, value=1)
        while glasses.firmware.sense(lux):
            pass
        glasses.order("privacy on")
        until(lambda: "private" in [what for _, what in glasses.marks])
    finally:
        os.kill(pid, signal.SIGCONT)
    talk.until(lambda: [p.on for p in talk.said("privacy_switch")][-1:] == [True])


def until(done: Callable[[], bool]) -> None:
    for _ in range(1000):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")
