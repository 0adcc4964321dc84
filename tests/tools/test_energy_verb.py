"""`beheld energy`: per wearing hour, its split, its ratio to always-on, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from device.energy_table import SHIPPED
from device.model import load
from device.stages.wake import WakeSettings
from tools.cli import beheld
from tools.tune_wake import CHECKS, day, heard, sparing


def energy(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(beheld, ["energy", *arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def quarter_minute() -> dict[str, Any]:
    return energy("--seconds", "15", "--battery-mwh", "1180")


def test_it_tells_the_hour_and_where_it_goes(quarter_minute: dict[str, Any]) -> None:
    found = quarter_minute
    per_h = found["j_per_h"]
    assert 0 < per_h["low"] < per_h["typical"] < per_h["high"]
    for split in ("by_component", "by_stage", "by_state"):
        assert sum(found[split].values()) == pytest.approx(per_h["typical"], rel=1e-6)
    parts = found["moments_j_per_h"] + found["between_moments_j_per_h"]
    assert parts == pytest.approx(per_h["typical"], rel=1e-6)
    assert found["ratio"] == pytest.approx(per_h["typical"] / found["always_on_j_per_h"], rel=1e-6)
    assert found["battery_h"] == pytest.approx(1180 * 3.6 / per_h["typical"], rel=1e-6)
    assert found["assumed"] == ["eye_camera", "eye_light", "network.eye"]


def test_a_table_of_another_board_is_used(quarter_minute: dict[str, Any], tmp_path: Path) -> None:
    table = tmp_path / "board.toml"
    text = SHIPPED.read_text()
    part = text.index("[microcontroller]")
    table.write_text(text[:part] + text[part:].replace("typical = 3.0", "typical = 8.0", 1))
    found = energy("--seconds", "15", "--table", str(table))
    more_j = found["j_per_h"]["typical"] - quarter_minute["j_per_h"]["typical"]
    assert more_j == pytest.approx(5.0 * 3.6, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "none.toml"], "none.toml: cannot be read as an energy table"),
        (["--table", "short.toml"], r"row [eye_camera_idle] is missing"),
        (["--battery-mwh", "-3"], "must be above zero"),
        (["--seconds", "0"], "must be above zero"),
        (["none.mcap"], "none.mcap"),
    ],
)
def test_bad_input_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short.toml").write_text("version = 1\n")
    done = CliRunner().invoke(beheld, ["energy", *arguments])
    assert done.exit_code != 0
    assert message in f"{done.output} {done.exception}"


def test_sparing_settings_are_found_by_what_they_cost_at_no_lower_worth() -> None:
    recorded = [(trial, heard(trial, load("attention"))) for trial in (day("day:11:15"),)]
    rows = sparing(recorded, WakeSettings())
    assert len(rows) == math.prod(len(values) for values in CHECKS.values())
    present = {name: getattr(WakeSettings(), name) for name in CHECKS}
    (mine,) = [row for row in rows if row.settings == present]
    assert 0 < rows[0].joules_per_h <= mine.joules_per_h and rows[0].as_good_as(mine)


def test_the_page_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "energy.md"
    page.write_text("no marks")
    ran = CliRunner().invoke(beheld, ["energy", "--seconds", "5", "--page", str(page)])
    assert type(ran.exception).__name__ == "InputError"
    mark = "<!-- figures: written by `beheld energy --page` -->"
    page.write_text(f"before\n\n{mark}\nold\n<!-- end of figures -->\n\nafter\n")
    found = energy("--seconds", "5", "--page", str(page))
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert f"| {found['ratio_low']:.3f} | {found['ratio']:.3f} |" in text
    assert f"| network.eye | {found['by_component']['network.eye']:.1f} |" in text
