"""What the controller and the bursts keep of the moments, and the page that says so."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.errors import InputError
from tools.bench.moments import bench, given, sections, wearer
from tools.compare import Run, replayed
from tools.variants import variant

SESSIONS = [(f"demo:{seed}", partial(wearer, seed, 30.0, "demo")) for seed in (41, 42, 43)]


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return bench(SESSIONS)


def test_the_controller_keeps_the_moments_of_always_full_for_less(result: dict[str, Any]) -> None:
    assert result["sessions"] == 3 and result["session_s"] == pytest.approx(90, abs=1)
    assert result["moments"]["always_full"] >= 3
    assert result["kept"] >= 0.95 and result["invented"] == 0
    assert result["joules"]["controller"] < 0.9 * result["joules"]["always_full"]
    for row in result["by_session"]:
        assert row["both"] + len(row["lost"]) == row["always_full"]
        assert row["both"] + len(row["invented"]) == row["controller"]


def test_the_page_has_a_line_a_session_and_their_sum(result: dict[str, Any]) -> None:
    said, table = sections(result)
    assert f"invented: {result['invented']}" in said
    assert len(table.splitlines()) == 2 + len(SESSIONS) + 1


def test_a_recording_that_is_none_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty folder"):
        given(["emulator:3", str(tmp_path)])


def run_with(*settings: str) -> Run:
    source = Emulator(EmulatorSettings(seed=44, duration_s=30.0, eyes=False))
    return replayed(source, variant(None, settings), lambda t_ns: None)


def test_bursts_change_no_moment_and_cost_less() -> None:
    bursts, awake = run_with(), run_with("encode.buffer_mb=0")
    assert len(bursts.records) >= 1
    same = ("id", "start_ns", "end_ns", "tags", "reasons")
    assert [{k: r[k] for k in same} for r in bursts.records] == [
        {k: r[k] for k in same} for r in awake.records
    ]
    assert bursts.energy.total_j < 0.9 * awake.energy.total_j
    assert bursts.energy.by_component_j["buffer"] > 0
    assert "buffer" not in awake.energy.by_component_j
