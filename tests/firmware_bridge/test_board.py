"""The C reference, under sanitizers, in conversation with Python: every message both ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.emulator.firmware import Deed, Reading, reading
from firmware_bridge import wire_pb2 as wire
from firmware_bridge.link import Changed, EventsLost, Restarted, State, Telemetry
from tests.firmware_bridge.host import Host

SIDE = 48
PICTURE = bytes((7 * i) % 256 for i in range(SIDE * SIDE))
EYE_ON = wire.SetCamera(camera=wire.CAMERA_EYE_RIGHT, mode=wire.CAMERA_FULL, rate_hz=60)


def test_every_telemetry_of_the_board_reaches_python(c_reference: Path) -> None:
    with Host(c_reference / "board", drift_ppm=50) as host:
        host.until_ready()
        assert host.command(set_camera=EYE_ON).result == wire.RESULT_OK
        sense = host.board.sense
        sense(reading(Reading.EYE, SIDE, SIDE, 900, which=1, data=PICTURE))
        sense(reading(Reading.EYE, SIDE, SIDE, 900, which=0, data=PICTURE))  # its rail is off
        for n in range(20):
            sense(reading(Reading.IMU, n, -n, 2 * n, 9810, -9810, n))
        sense(reading(Reading.POWER, 200_000, which=2, value=63_000))
        sense(reading(Reading.BATTERY, 870, 4021, -63, 3312, 1))
        sense(reading(Reading.AMBIENT, value=320_000))
        sense(reading(Reading.WORN, value=1))
        sense(reading(Reading.BUTTON, which=3, value=1))
        sense(reading(Reading.FAULT, which=wire.FAULT_CAMERA_LOST))
        sense(reading(Reading.PRIVACY, value=1))
        assert host.command(get_info=wire.GetInfo()).result == wire.RESULT_OK
        host.until(lambda: bool(host.said("info") and host.said("button")))
        chunks = host.said("eye_chunk")
        assert {c.eye for c in chunks} == {wire.EYE_RIGHT}
        assert b"".join(c.pixels for c in sorted(chunks, key=lambda c: c.offset)) == PICTURE
        motion = host.said("imu_batch")
        assert [v for b in motion for v in b.gyro_mdeg_s[::3]] == list(range(20))
        power, battery = host.said("power")[0], host.said("battery")[0]
        assert (power.rail, power.power_uw, power.span_us) == ("scene_camera", 63_000, 200_000)
        numbers = (battery.charge_permille, battery.voltage_mv, battery.current_ma)
        assert (*numbers, battery.temperature_cdeg, battery.charging) == (
            870,
            4021,
            -63,
            3312,
            True,
        )
        assert [a.illuminance_mlux for a in host.said("ambient_light")] == [320_000]
        assert [b.button for b in host.said("button")] == [3]
        assert host.said("fault")[0].kind == wire.FAULT_CAMERA_LOST
        assert [w.worn for w in host.said("worn")][-1] is True
        assert [p.on for p in host.said("privacy_switch")][-1] is True
        assert host.said("log")[0].text == host.said("info")[0].firmware == "reference 0.2"
        assert (host.link.counts.lost, host.link.damaged) == (0, 0)
        assert host.link.clock.fit is not None  # how good it is, is the machine's load


def test_every_command_is_carried_out_or_refused_with_a_reason(c_reference: Path) -> None:
    with Host(c_reference / "board") as host:
        host.until_ready()
        host.deeds()
        full = wire.SetCamera(
            camera=wire.CAMERA_SCENE, mode=wire.CAMERA_FULL, rate_hz=30, width_px=640, height_px=480
        )
        good = {
            "set_camera": full,
            "set_leds": wire.SetLeds(eye=wire.EYE_RIGHT, current_ma=20, strobe_us=1000),
            "set_indicator": wire.SetIndicator(indicator=wire.INDICATOR_RECORDING),
            "haptic": wire.Haptic(duration_ms=80, strength_permille=500),
            "get_info": wire.GetInfo(),
            "sleep": wire.Sleep(duration_ms=1),
            "reboot": wire.Reboot(),
        }
        for name, message in good.items():
            assert host.command(**{name: message}).result == wire.RESULT_OK, name
        done = host.deeds()
        assert [(d.deed, d.which, d.value, d.numbers) for d in done[:4]] == [
            (Deed.CAMERA, wire.CAMERA_SCENE, 0, (wire.CAMERA_FULL, 30, 640, 480)),
            (Deed.LEDS, wire.EYE_RIGHT, 0, (20, 1000)),
            (Deed.INDICATOR, 0, wire.INDICATOR_RECORDING, ()),
            (Deed.HAPTIC, 0, 0, (80, 500)),
        ]
        assert [d.value for d in done if d.deed is Deed.SLEEP][:1] == [1]
        host.until(lambda: Restarted(name="reference 0.2") in host.seen)
        bad = {
            "rate above 120 Hz": {"set_camera": wire.SetCamera(rate_hz=500)},
            "no such camera": {"set_camera": wire.SetCamera(camera=7)},  # type: ignore[arg-type]
            "LED current above 50 mA": {"set_leds": wire.SetLeds(current_ma=51)},
            "strobe above 5000 us": {"set_leds": wire.SetLeds(strobe_us=5001)},
        }
        for why, body in bad.items():
            answer = host.command(**body)
            assert (answer.result, answer.text) == (wire.RESULT_REFUSED, why)


def test_the_privacy_switch_acts_in_hardware_order_and_then_tells(c_reference: Path) -> None:
    with Host(c_reference / "board") as host:
        host.until_ready()
        scene = wire.SetCamera(camera=wire.CAMERA_SCENE, mode=wire.CAMERA_FULL)
        host.command(set_camera=scene)
        host.command(set_camera=EYE_ON)
        host.command(set_indicator=wire.SetIndicator(indicator=wire.INDICATOR_RECORDING))
        host.deeds()
        host.board.sense(reading(Reading.PRIVACY, value=1))
        host.until(lambda: [p.on for p in host.said("privacy_switch")] == [False, True])
        order = [(d.deed, d.which) for d in host.deeds()]  # all of it before the event was sent
        assert order[0] == (Deed.CAMERA, wire.CAMERA_SCENE)
        assert order.index((Deed.CAMERA, wire.CAMERA_EYE_RIGHT)) < order.index((Deed.INDICATOR, 0))
        assert order[-1] == (Deed.INDICATOR, 0)
        light = wire.SetIndicator(indicator=wire.INDICATOR_RECORDING)
        for body in (
            {"set_camera": scene},
            {"set_leds": wire.SetLeds(current_ma=10)},
            {"set_indicator": light},
        ):
            assert host.command(**body).text == "the privacy switch is on"
        host.board.sense(reading(Reading.PRIVACY, value=0))
        host.until(lambda: len(host.said("privacy_switch")) == 3)
        assert not [d for d in host.deeds() if d.deed is Deed.CAMERA]  # the host must ask again
        assert host.command(set_camera=scene).result == wire.RESULT_OK


def test_heat_switches_the_cameras_off_until_it_has_cooled(c_reference: Path) -> None:
    with Host(c_reference / "board") as host:
        host.until_ready()
        host.command(set_camera=EYE_ON)
        host.board.sense(reading(Reading.BATTERY, 500, 3900, -100, 4600, 0))
        host.until(lambda: bool(host.said("fault")))
        assert host.said("fault")[0].kind == wire.FAULT_OVERHEATED
        assert (Deed.CAMERA, wire.CAMERA_EYE_RIGHT) in [(d.deed, d.which) for d in host.deeds()]
        host.board.sense(reading(Reading.BATTERY, 500, 3900, -100, 4300, 0))
        assert host.command(set_camera=EYE_ON).text == "too hot"
        host.board.sense(reading(Reading.BATTERY, 500, 3900, -100, 4100, 0))
        host.until(lambda: len(host.said("battery")) == 3)
        assert host.command(set_camera=EYE_ON).result == wire.RESULT_OK


def test_a_sleeping_board_measures_nothing_and_a_press_wakes_it(c_reference: Path) -> None:
    with Host(c_reference / "board") as host:
        host.until_ready()
        assert host.command(sleep=wire.Sleep(duration_ms=600_000)).result == wire.RESULT_OK
        assert host.command(set_camera=EYE_ON).text == "asleep"
        for number in range(25):
            host.board.sense(reading(Reading.IMU, *[number] * 6))
        host.board.sense(reading(Reading.BUTTON, which=1, value=1))
        host.until(lambda: len(host.said("button")) == 1)
        assert not host.said("imu_batch")
        for number in range(100, 110):
            host.board.sense(reading(Reading.IMU, *[number] * 6))
        host.until(lambda: len(host.said("imu_batch")) == 1)
        assert list(host.said("imu_batch")[0].gyro_mdeg_s[::3]) == list(range(100, 110))
        assert host.command(set_camera=EYE_ON).result == wire.RESULT_OK


def test_a_board_that_browned_out_says_so_after_its_start(c_reference: Path) -> None:
    with Host(c_reference / "board") as host:
        host.until_ready()
        host.board.sense(reading(Reading.RESET, which=wire.FAULT_BROWN_OUT))
        host.until(lambda: [f.kind for f in host.said("fault")] == [wire.FAULT_BROWN_OUT])
        assert host.said("fault")[0].text == "restarted" and host.link.counts.restarts == 1


def test_what_is_too_much_for_a_line_that_is_away_is_counted(c_reference: Path) -> None:
    """The board keeps 32 events; of the 40 while nothing gets through, the first are given up."""
    with Host(c_reference / "board") as host:
        host.until_ready()
        host.until(lambda: len(host.said("privacy_switch")) == 1)  # told to a new host
        host.damage = 1.0
        host.board.sense(reading(Reading.PRIVACY, value=1))
        for number in range(39):
            host.board.sense(reading(Reading.BUTTON, which=number, value=1))
        list(host.run(0.5))
        host.damage = 0.0
        host.until(lambda: bool(host.said("button")) and host.said("button")[-1].button == 38)
        assert [b.button for b in host.said("button")] == list(range(7, 39))
        assert [e.count for e in host.seen if isinstance(e, EventsLost)] == [8]
        # That the switch was closed was among them: where the levels stand is told again.
        host.until(lambda: [p.on for p in host.said("privacy_switch")] == [False, True])


def test_other_definitions_are_refused_by_both_sides(c_reference: Path) -> None:
    with Host(c_reference / "board") as host:
        host.link.digest = 0xABCDEF
        changed = [e for e in host.run(1) if isinstance(e, Changed)]
        assert changed[0].after is State.REFUSED and "0000000000abcdef" in changed[0].why
        host.board.sense(reading(Reading.AMBIENT, value=1))
        assert not [e for e in host.run(0.2) if isinstance(e, Telemetry)]


@pytest.mark.slow
def test_on_a_damaged_line_nothing_wrong_is_delivered_and_nothing_that_matters_is_lost(
    c_reference: Path,
) -> None:
    """1 % of all bytes: telemetry is lost and counted, each command carried out once, each event comes."""
    with Host(c_reference / "board", damage=0.01) as host:
        host.until_ready()
        for number in range(1, 21):
            for _ in range(20):
                host.board.sense(reading(Reading.POWER, 1000, which=1, value=95_000))
            host.board.sense(reading(Reading.BUTTON, which=number, value=1))
            answer = host.command(haptic=wire.Haptic(duration_ms=10))
            assert answer.result == wire.RESULT_OK
        host.until(lambda: len(host.said("button")) == 20)
        assert sum(d.deed is Deed.HAPTIC for d in host.deeds()) == 20  # each was carried out once
        assert [b.button for b in host.said("button")] == list(range(1, 21))
        assert not [e for e in host.seen if isinstance(e, EventsLost)]
        assert {(p.rail, p.power_uw) for p in host.said("power")} == {("eye_light", 95_000)}
        counts = host.link.counts
        assert host.link.damaged > 0 and counts.lost > 0 and counts.retried > 0
