"""The energy ledger: exact sums, measured in place of estimated, and tables that are refused."""

from __future__ import annotations

import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.detection import Detector
from device.energy import EnergyLedger
from device.energy_table import ROWS, SHIPPED, EnergyTable
from device.errors import ConfigError
from device.model import load
from device.types import (
    CameraMode,
    CameraRequest,
    Capture,
    EncodeBurst,
    EnergySample,
    EyeFrame,
    Moment,
    ResolutionDecision,
    SceneFrame,
    ScenePacket,
    SessionHeader,
    Value,
)

MS = 1_000_000
HEADER = SessionHeader(session_id="s", source="test", start_utc="unknown", zone="UTC")


class FakeModel:
    """What the ledger reads of a network: its counters and the multiply-accumulates of a call."""

    def __init__(self, macs: int) -> None:
        self.calls = self.macs_done = 0
        self.spec = types.SimpleNamespace(macs=macs)

    def run(self, times: int) -> None:
        self.calls += times
        self.macs_done += times * self.spec.macs


def fake_model(macs: int) -> Any:
    return FakeModel(macs)


def ledger(**models: Any) -> EnergyLedger:
    return EnergyLedger(EnergyTable.shipped(), models, HEADER)


def eye(t_ms: int) -> EyeFrame:
    return EyeFrame(t_ns=t_ms * MS, eye="left", seq=0, pixels=np.zeros((192, 192), np.uint8))


def moment(start_ms: int, end_ms: int) -> Moment:
    return Moment(
        start_ns=start_ms * MS,
        end_ns=end_ms * MS,
        id=f"m{start_ms}",
        reasons=(),
        tags=(),
        evidence={},
    )


def session(length_ms: int, moments: list[tuple[int, int]]) -> list[Value]:
    """Eyes at 50 Hz; in each moment the scene camera at 25 Hz, encoded, with a snippet at its end."""
    values: list[Value] = [eye(t) for t in range(0, length_ms, 20)]
    for start, end in moments:
        values.append(CameraRequest(t_ns=start * MS, mode=CameraMode.FULL, why=""))
        packets = []
        for t in range(start, end, 40):
            pixels = np.zeros((48, 64, 3), np.uint8)
            values.append(SceneFrame(t_ns=t * MS, seq=0, pixels=pixels))
            packets.append(
                ScenePacket(
                    t_ns=t * MS, seq=0, data=b"x" * 999, keyframe=True, width_px=64, height_px=48
                )
            )
        values += packets
        values.append(CameraRequest(t_ns=end * MS, mode=CameraMode.OFF, why=""))
        over = moment(start, end)
        values.append(over)
        values.append(
            Capture(
                start_ns=over.start_ns,
                end_ns=over.end_ns,
                moment=over,
                packets=tuple(packets),
                thumbnail=None,
            )
        )
    return sorted(values, key=lambda v: v.t_ns)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(100, 900), max_size=4), st.integers(5_000, 9_000))
def test_components_and_moments_add_up_exactly(lengths: list[int], length_ms: int) -> None:
    net = fake_model(10_000_000)
    book = ledger(eye=net)
    moments = [(1000 * i + 50, 1000 * i + 50 + length) for i, length in enumerate(lengths)]
    for value in session(length_ms, moments):
        net.run(isinstance(value, EyeFrame))
        book(value)
    report = book.close(length_ms * MS)
    assert sum(fj[1] for fj in book.books.total.values()) == round(report.total_j * 1e15)
    of_moments = sum(fj[1] for account in book._moments.values() for fj in account.values())
    assert len(book._moments) == len(moments)
    total = sum(fj[1] for fj in book.books.total.values())
    assert of_moments + round(report.between_moments_j * 1e15) == pytest.approx(total, abs=2)
    assert 0 <= of_moments <= total
    assert report.total_j_low <= report.total_j <= report.total_j_high
    for parts in (report.by_component_j, report.by_stage_j, report.by_state_j):
        assert sum(round(j * 1e15) for j in parts.values()) == pytest.approx(total, abs=len(parts))
    assert sum(book._state_fj.values()) == total
    assert sum(book._state_ns.values()) == length_ms * MS
    assert report.scene_camera_on_s == pytest.approx(sum(lengths) / 1000)


def test_a_power_is_power_times_time_and_a_network_its_work() -> None:
    net = fake_model(1_000_000)
    book = ledger(eye=net)
    book(eye(0))
    net.run(5)
    book(eye(1000))
    report = book.close(1_000 * MS)
    rows = EnergyTable.shipped().rows
    assert report.by_component_j["inertial"] == rows["inertial"][1] * 1e9 / 1e15
    work_fj = 5 * (1_000_000 * rows["network_mac"][1] + rows["network_wake"][1])
    assert report.by_component_j["network.eye"] == pytest.approx(work_fj / 1e15)


def test_an_eye_frame_on_which_the_network_did_not_run_costs_a_look() -> None:
    net = fake_model(1_000_000)
    book = ledger(eye=net)
    for number in range(10):
        book(eye(20 * number))
        net.run(int(number % 5 == 0))
    book(eye(200))
    rows = EnergyTable.shipped().rows
    expected_fj = 2 * 1_000_000 * rows["network_mac"][1] + 10 * rows["network_wake"][1]
    report = book.close(200 * MS)
    assert report.by_component_j["network.eye"] == pytest.approx(expected_fj / 1e15)


def test_sleeping_between_moments_costs_less_than_always_on() -> None:
    book = ledger()
    for value in session(60_000, [(10_000, 12_000)]):
        book(value)
    report = book.close(60_000 * MS)
    assert 0 < report.ratio < 0.5
    assert report.moments_j > 0.3 * report.by_component_j["scene_camera"]


def test_a_measured_rail_replaces_the_estimate_and_says_so() -> None:
    book = ledger()
    for t in range(0, 2000, 20):
        book(eye(t))
    sample = EnergySample(t_ns=1_980 * MS, rail="microcontroller", power_mw=50.0, span_ns=980 * MS)
    book(sample)
    report = book.close(1_980 * MS)
    estimated_mw = EnergyTable.shipped().rows["microcontroller"][1] / 1000
    expected_mj = 50.0 * 0.98 + estimated_mw * 1.0
    assert report.by_component_j["microcontroller"] * 1e3 == pytest.approx(expected_mj, rel=0.02)
    assert report.measured == ("microcontroller",)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["inertial", "processor", "system", "nothing"]), st.integers(0, 900)
        ),
        max_size=8,
    )
)
def test_whatever_is_measured_the_sums_stay_exact(samples: list[tuple[str, int]]) -> None:
    book = ledger()
    for value in session(4_000, [(1_050, 1_800)]):
        book(value)
        while samples and value.t_ns > 400 * MS * (9 - len(samples)):
            rail, power_mw = samples.pop()
            book(EnergySample(t_ns=value.t_ns, rail=rail, power_mw=power_mw, span_ns=200 * MS))
    report = book.close(4_000 * MS)
    total = sum(fj[1] for fj in book.books.total.values())
    assert sum(book._state_fj.values()) == total
    assert report.moments_j + report.between_moments_j == pytest.approx(total / 1e15, abs=1e-12)
    assert set(report.measured) <= {"inertial", "processor", "system"}
    assert set(report.unknown_rails) <= {"nothing"}


def test_a_rail_that_feeds_everything_makes_the_total_the_measured_one() -> None:
    book = ledger()
    for t in range(0, 2000, 20):
        book(eye(t))
    for t in range(200, 2001, 200):
        book(EnergySample(t_ns=t * MS, rail="system", power_mw=300.0, span_ns=200 * MS))
    report = book.close(2_000 * MS)
    assert report.total_j == pytest.approx(0.3 * 2.0, rel=0.02)
    assert report.by_component_j["unexplained"] > 0 and report.measured == ("system",)


def test_a_rail_of_no_component_is_named_and_not_counted() -> None:
    book, other = ledger(), ledger()
    for value in session(1_000, []):
        book(value)
        other(value)
    book(EnergySample(t_ns=980 * MS, rail="heater", power_mw=9e3, span_ns=500 * MS))
    report = book.close(1_000 * MS)
    assert report.unknown_rails == ("heater",) and report.measured == ()
    assert report.total_j == other.close(1_000 * MS).total_j


def state(mode: CameraMode, length_ms: int = 1_000) -> dict[str, float]:
    book = ledger()
    book(eye(0))
    book(CameraRequest(t_ns=0, mode=mode, why=""))
    return dict(book.close(length_ms * MS).by_component_j)


def test_a_check_leaves_the_main_processor_asleep_and_the_camera_low() -> None:
    off, low, full = (state(mode) for mode in (CameraMode.OFF, CameraMode.LOW, CameraMode.FULL))
    rows = EnergyTable.shipped().rows
    assert low["processor"] == off["processor"] < full["processor"]
    assert off["scene_camera"] < low["scene_camera"] < full["scene_camera"]
    assert low["accelerator"] == full["accelerator"] > off["accelerator"]
    woken_fj = rows["processor_wake"][1] + 10**9 * rows["processor_awake"][1]
    assert full["processor"] == pytest.approx(woken_fj / 1e15)


def kept_with_a_burst(book: EnergyLedger) -> int:
    """A moment of a second whose frames are encoded 800 ms after it, then its snippet; pixels encoded."""
    book(eye(0))
    book(CameraRequest(t_ns=0, mode=CameraMode.FULL, why=""))
    for t in range(0, 1800, 40):
        book(SceneFrame(t_ns=t * MS, seq=0, pixels=np.zeros((48, 64, 3), np.uint8)))
    frames = len(range(0, 1800, 40))
    if book.buffered_px:
        book(EncodeBurst(t_ns=1800 * MS, frames=frames, pixels=frames * 64 * 48))
    packets = tuple(packet(t) for t in range(0, 1800, 40))
    for value in packets:
        book(value)
    book(CameraRequest(t_ns=1800 * MS, mode=CameraMode.OFF, why=""))
    over = moment(0, 1000)
    book(over)
    book(Capture(start_ns=0, end_ns=over.end_ns, moment=over, packets=packets, thumbnail=None))
    return frames * 64 * 48


def test_with_a_buffer_the_main_processor_is_awake_in_bursts_alone() -> None:
    book = EnergyLedger(EnergyTable.shipped(), {}, HEADER, buffered_px=20_000_000)
    pixels = kept_with_a_burst(book)
    report = book.close(3_000 * MS)
    rows = EnergyTable.shipped().rows
    took_ns = round(pixels / EnergyTable.shipped().assumed.encode_mpx_s * 1000)
    expected_fj = rows["processor_wake"][1] + took_ns * rows["processor_awake"][1]
    expected_fj += 1_800 * MS * rows["processor_between"][1]
    expected_fj += 1_200 * MS * rows["processor_asleep"][1]
    assert report.by_component_j["processor"] == pytest.approx(expected_fj / 1e15)
    assert report.by_component_j["buffer"] == pytest.approx(pixels * rows["buffer"][1] / 1e15)
    awake = ledger()
    kept_with_a_burst(awake)
    assert "buffer" not in awake.close(3_000 * MS).by_component_j


def test_the_burst_that_ends_a_moment_and_its_snippet_belong_to_it_and_to_keeping() -> None:
    book = EnergyLedger(EnergyTable.shipped(), {}, HEADER, buffered_px=20_000_000)
    pixels = kept_with_a_burst(book)
    (of_it,) = book._moments.values()
    rows = EnergyTable.shipped().rows
    woken_fj = rows["processor_wake"][1]
    assert woken_fj < of_it["processor"][1] < 1.5 * woken_fj
    assert of_it["encode"][1] == pixels * rows["encode"][1]
    report = book.close(3_000 * MS)
    later = ("storage", "radio")
    assert all(report.by_component_j[name] * 1e15 == of_it[name][1] for name in later)
    assert report.by_state_j["checking"] == 0
    idle = ("inertial", "microcontroller", "accelerator", "processor", "scene_camera", "eye_camera")
    drawn = {n: j for n, j in report.by_component_j.items() if n not in idle}
    assert report.by_state_j["keeping"] > sum(drawn.values()) - drawn["eye_light"]
    total = sum(fj[1] for fj in book.books.total.values())
    assert sum(book._state_fj.values()) == total
    assert report.moments_j + report.between_moments_j == pytest.approx(report.total_j)


def test_always_on_with_the_same_buffer_is_told_as_well_and_is_the_cheaper_one() -> None:
    book = EnergyLedger(EnergyTable.shipped(), {}, HEADER, buffered_px=20_000_000)
    kept_with_a_burst(book)
    report = book.close(3_000 * MS)
    rows, rig = EnergyTable.shipped().rows, EnergyTable.shipped().assumed
    pixels = 90 * 640 * 480
    saved_fj = 3_000 * MS * (rows["processor_awake"][1] - rows["processor_between"][1])
    added_fj = 3_000 * MS * rows["accelerator_awake"][1] + pixels * rows["buffer"][1]
    added_fj += 2 * rows["processor_wake"][1]  # 27.6 Mpx in buffers of 20
    added_fj += round(pixels / rig.encode_mpx_s * 1000) * rows["processor_awake"][1]
    expected_j = report.always_on_j + (added_fj - saved_fj) / 1e15
    assert report.always_on_bursts_j == pytest.approx(expected_j)
    assert report.always_on_bursts_j < report.always_on_j
    assert ledger().close(3_000 * MS).always_on_bursts_j == 0


def test_where_a_board_has_no_buffer_bursts_are_no_cheaper_than_staying_awake() -> None:
    buffered = EnergyLedger(EnergyTable.shipped(), {}, HEADER, buffered_px=20_000_000)
    awake = ledger()
    for book in (buffered, awake):
        kept_with_a_burst(book)
    assert buffered.close(3_000 * MS).total_j_high >= awake.close(3_000 * MS).total_j_high


def test_a_long_moment_is_charged_from_its_start_and_not_from_the_sessions() -> None:
    """Longer than the ledger remembers in detail: at least not more than what was drawn meanwhile."""
    book = ledger()
    for t in range(0, 400_000, 500):
        book(eye(t))
    book(moment(100_000, 400_000))
    report = book.close(400_000 * MS)
    assert report.moments_j < 0.8 * report.total_j


def packet(t_ms: int) -> ScenePacket:
    return ScenePacket(
        t_ns=t_ms * MS, seq=0, data=b"x" * 99, keyframe=True, width_px=64, height_px=48
    )


def test_a_cameras_own_packets_are_encoded_only_where_a_moment_takes_them() -> None:
    header = replace(HEADER, brings_packets=True)
    taken, vain = (EnergyLedger(EnergyTable.shipped(), {}, header) for _ in range(2))
    packets = [packet(t) for t in range(0, 1000, 100)]
    for book in (taken, vain):
        book(CameraRequest(t_ns=0, mode=CameraMode.LOW, why=""))
        for value in packets:
            book(value)
        book(SceneFrame(t_ns=950 * MS, seq=0, pixels=np.zeros((48, 64, 3), np.uint8)))
    over = moment(500, 900)
    taken(over)
    kept = tuple(p for p in packets if p.t_ns >= 500 * MS)
    taken(
        Capture(
            start_ns=over.start_ns, end_ns=over.end_ns, moment=over, packets=kept, thumbnail=None
        )
    )
    rows = EnergyTable.shipped().rows
    report = taken.close(1_000 * MS)
    assert report.by_component_j["encode"] == pytest.approx(5 * 64 * 48 * rows["encode"][1] / 1e15)
    assert report.by_component_j["decode"] == pytest.approx(64 * 48 * rows["decode"][1] / 1e15)
    assert "encode" not in vain.close(1_000 * MS).by_component_j


def test_what_the_controller_decided_is_counted_with_what_it_drew() -> None:
    net = fake_model(1_000_000)
    book = ledger(detector=net)
    for number in range(6):
        t_ns = number * 100 * MS
        runs = number % 3 == 0
        net.run(int(runs))
        book(SceneFrame(t_ns=t_ns, seq=number, pixels=np.zeros((48, 64, 3), np.uint8)))
        scale_px = 320 if runs else 0
        book(ResolutionDecision(t_ns=t_ns, scale_px=scale_px, reuse=not runs, why="test"))
    over = moment(0, 450)
    book(over)
    rows = EnergyTable.shipped().rows
    call_mj = (1_000_000 * rows["network_mac"][1] + rows["network_wake"][1]) / 1e12
    decided = book.decisions(over)
    assert decided["320"] == {"frames": 2, "mj": pytest.approx(2 * call_mj)}
    assert decided["reuse"] == {"frames": 3, "mj": 0.0}
    assert book.decisions(moment(1, 2)) == {}


def test_a_detector_call_costs_by_the_size_of_its_input() -> None:
    model = load("detector")
    detector, done = Detector(model), []
    for side in (320, 160):
        before = model.macs_done
        detector.detect(np.zeros((120, 160, 3), np.uint8), side)
        done.append(model.macs_done - before)
    assert done == [model.spec.macs, model.spec.macs // 4]


def test_a_recording_without_eye_video_is_charged_for_the_eyes_that_made_it() -> None:
    report = ledger(eye=fake_model(1_000_000)).close(1_000 * MS)
    assert report.assumed == ("eye_camera", "eye_light", "network.eye")
    assert report.by_component_j["eye_light"] > 0
    table = EnergyTable.shipped()
    frames = round(table.assumed.eye_rate_hz) * table.assumed.eye_cameras
    runs = frames * table.assumed.eye_network_share
    fj = runs * 1_000_000 * table.rows["network_mac"][1] + frames * table.rows["network_wake"][1]
    assert report.by_component_j["network.eye"] == pytest.approx(fj / 1e15)


def written(tmp_path: Path, old: str, new: str) -> Path:
    text = SHIPPED.read_text()
    assert old in text
    path = tmp_path / "energy.toml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[radio]", "[radios]", r"row \[radio\] is missing"),
        ("low = 0.2", "low = -0.2", r"\[eye_camera_idle\] needs 0 <= low"),
        ("typical = 0.5", "typical = 9", r"\[eye_camera_idle\] needs 0 <= low"),
        ('unit = "mW"', 'unit = "W"', r"is in 'W', must be in mW"),
        ('mark = "estimated"', 'mark = "guessed"', "needs a source and a mark"),
        ("[assumed]", "[unknown]\n[assumed]", "unknown row 'unknown'"),
        ("battery_mwh = 590", "", r"\[assumed\] is not complete.*battery_mwh"),
        ("battery_mwh = 590", "battery_mwh = 0", "battery_mwh is 0, must be above zero"),
        ("eye_cameras = 2", "eye_cameras = 1.5", "eye_cameras is 1.5"),
        ("high = 2.0", "high = inf", r"\[eye_camera_idle\] needs 0 <= low"),
        ("[scene_camera_low]", "[scene_camera_lo]", r"row \[scene_camera_low\] is missing"),
        ("[assumed]", "[assumed", "cannot be read"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EnergyTable.read(written(tmp_path, old, new))


def test_every_row_of_the_shipped_table_is_known() -> None:
    assert set(EnergyTable.shipped().rows) == set(ROWS)
