"""The energy ledger: exact sums, measured in place of estimated, and tables that are refused."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.energy import EnergyLedger
from device.energy_table import ROWS, SHIPPED, EnergyTable
from device.errors import ConfigError
from device.types import (
    CameraMode,
    CameraRequest,
    Capture,
    EnergySample,
    EyeFrame,
    Moment,
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


@given(st.lists(st.integers(100, 900), max_size=4), st.integers(5_000, 9_000))
def test_components_and_moments_add_up_exactly(lengths: list[int], length_ms: int) -> None:
    net = fake_model(10_000_000)
    book = ledger(eye=net)
    moments = [(1000 * i + 50, 1000 * i + 50 + length) for i, length in enumerate(lengths)]
    for value in session(length_ms, moments):
        net.run(isinstance(value, EyeFrame))
        book(value)
    report = book.close(length_ms * MS)
    assert sum(fj[1] for fj in book._total.values()) == round(report.total_j * 1e15)
    of_moments = sum(fj[1] for account in book._moments.values() for fj in account.values())
    assert len(book._moments) == len(moments)
    total = sum(fj[1] for fj in book._total.values())
    assert of_moments + round(report.between_moments_j * 1e15) == pytest.approx(total, abs=2)
    assert 0 <= of_moments <= total
    assert report.total_j_low <= report.total_j <= report.total_j_high
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


def test_a_recording_without_eye_video_is_charged_for_the_eyes_that_made_it() -> None:
    report = ledger(eye=fake_model(10)).close(1_000 * MS)
    assert report.assumed == ("eye_camera", "eye_light", "network.eye")
    assert report.by_component_j["eye_light"] > 0


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
        ("battery_mwh = 590", "", r"\[assumed\] is not complete"),
        ("[assumed]", "[assumed", "cannot be read"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EnergyTable.read(written(tmp_path, old, new))


def test_every_row_of_the_shipped_table_is_known() -> None:
    assert set(EnergyTable.shipped().rows) == set(ROWS)
