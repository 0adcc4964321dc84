"""The fault campaign in small: whole live runs on the emulated glasses, and that its judge can say no."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from device.__main__ import load_models
from device.emulator.firmware import PROGRAMS
from device.errors import InputError
from device.types import Gap
from tools.bench import faults, faults_judge
from tools.bench.faults import summary
from tools.bench.faults_judge import Run
from tools.bench.faults_run import _Session, campaign_run
from tools.bench.page import END, begin


@pytest.mark.slow
def test_live_runs_go_on_through_faults() -> None:
    """Some of the faults; `beheld bench faults --runs 200` is the whole campaign."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: gcc make nanopb libnanopb-dev)")
    models = load_models()
    kinds = ("unplug", "brown-out", "noise", "privacy", "camera-unplug")
    done = [campaign_run(kind, 7, models) for kind in kinds]
    result = summary(done)
    assert result["bad"] == 0, result["troubles"]
    assert result["presses"] > 10 and set(result["recovery_s"]) == set(kinds)


def test_a_campaign_in_slices_adds_up(tmp_path: Path) -> None:
    log = tmp_path / "faults.jsonl"
    runs = [
        Run(kind="noise", presses=6, recovery_s=0.1),
        Run(kind="hang", presses=4, lost_events=2),
    ]
    for run in runs:
        faults.write_log(log, run)
    assert faults.read_log(log) == runs and faults.read_log(tmp_path / "none") == []
    result = summary(faults.read_log(log))
    assert (result["runs"], result["presses"], result["lost_events"], result["bad"]) == (
        2,
        10,
        2,
        1,
    )
    log.write_text('{"kind": "noise"}\n{"animal": "cat"}\n')
    with pytest.raises(InputError, match="is no log"):
        faults.read_log(log)


def test_a_campaign_is_written_into_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{begin('faults')}\nold\n{END}\nafter\n")
    log = tmp_path / "faults.jsonl"
    faults.write_log(log, Run(kind="hang", presses=6, recovery_s=0.25, load=3.0))
    faults.write_log(log, Run(kind="drift", presses=5, load=4.5))
    command = ["--runs", "2", "--log", str(log), "--page", str(page)]
    told = CliRunner().invoke(faults.command, command, catch_exceptions=False)
    assert told.exit_code == 0
    text = page.read_text()
    assert "| hang | 1 | 0.25 s | 0.25 s |" in text and "| drift | 1 |  |  |" in text
    assert "| 11; 0, 0, 0 |" in text and "3.0 to 4.5" in text and "old" not in text
    faults.write_log(log, Run(kind="noise", lost_events=1))
    command[1] = "3"
    assert CliRunner().invoke(faults.command, command).exit_code == 1


def test_a_run_goes_on_until_eyes_from_after_the_fault_were_seen() -> None:
    """On a crowded machine frames of before still come when the fault is over."""
    latest = SimpleNamespace(eyes={}, scene=None)
    controls = SimpleNamespace(scene_sensor_hz=lambda: 0.0)
    clock = SimpleNamespace(start_ns=1_000)
    glasses = SimpleNamespace(latest=latest, controls=controls, clock=clock)
    fault_end_ns, times_ns = 5 * 10**9, iter(range(4 * 10**9, 7 * 10**9, 10**8))

    def alive() -> bool:  # asked each time round: another frame has come
        latest.eyes = {"left": SimpleNamespace(t_ns=next(times_ns))}
        return True

    session = cast(Any, SimpleNamespace(glasses=glasses, is_alive=alive))
    run = Run(kind="privacy")
    _Session.wait_for_frames_of(session, fault_end_ns, run)
    assert latest.eyes["left"].t_ns > fault_end_ns and not run.notes


def board(died_presses: int) -> Any:
    return SimpleNamespace(presses=list(PRESSES), counts=SimpleNamespace(died_presses=died_presses))


PRESSES = ((1_000, True), (2_000, False), (10**10, True), (10**10 + 9, False))


@pytest.mark.parametrize(
    ("held", "recorded", "lost", "repeated", "died"),
    [
        (0, [True, False, True, False], 0, 0, 0),
        (0, [True, False], 2, 0, 0),
        (0, [True, True, False, False], 1, 0, 0),
        (0, [True, False, True, False, True], 0, 1, 0),
        (2, [True, False], 0, 0, 2),
        (2, [True], 1, 0, 2),
        (2, [True, False, True, False], 0, 0, 0),  # held, but the host had them
    ],
)
def test_the_judge_counts_events(
    held: int, recorded: list[bool], lost: int, repeated: int, died: int
) -> None:
    run = Run(kind="reboot")
    faults_judge._judge_events(run, board(held), recorded)
    assert (run.lost_events, run.repeated_events, run.died_with_board) == (lost, repeated, died)


def test_the_judge_finds_time_nobody_accounts_for() -> None:
    second = 10**9
    gap = Gap(start_ns=second, end_ns=3 * second, stream="eye", cause="unplugged")
    report = SimpleNamespace(
        session_ns=4 * second, seen_ns=2 * second, gap_ns=2 * second, gaps=[gap]
    )
    seen = [k * second // 10 for k in range(41) if not 10 < k < 30]
    outcome = cast(Any, SimpleNamespace(report=report))
    run = Run(kind="unplug")
    faults_judge._judge_time(run, outcome, seen)
    assert run.unaccounted_s == 0.0 and run.good
    faults_judge._judge_time(run, outcome, [t for t in seen if not 3.5e9 < t < 3.9e9])
    assert run.unaccounted_s == pytest.approx(0.4) and not run.good
