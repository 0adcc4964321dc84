"""`beheld compare`: what appears, what vanishes, the same bytes twice, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.errors import ConfigError
from device.record import Recorder
from device.sources.camera import AlwaysOn
from device.stages.encode import EncodeStage
from tools.cli import beheld, main
from tools.compare import matched
from tools.compare_page import page
from tools.variants import assignment, nested, variant

SIDES = {"a": "always", "b": "fixed:3"}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of the virtual wearer, true gaze instead of eye images."""
    settings = EmulatorSettings(seed=3, duration_s=12.0, scenario="demo", eyes=False)
    source, encode = Emulator(settings, AlwaysOn()), EncodeStage()
    path = tmp_path_factory.mktemp("session") / "session.mcap"
    with Recorder(path, source.header) as recorder:
        for value in source:
            recorder(value)
            for packet in encode.step(value) if isinstance(value, encode.wants) else ():
                recorder(packet)
    return path


def compare(session: Path, page_path: Path, *more: str) -> tuple[dict[str, Any], str]:
    arguments = ["compare", str(session), "--page", str(page_path), "--json", *more]
    done = CliRunner().invoke(beheld, arguments, catch_exceptions=False)
    last = done.stdout.splitlines()[-1]
    return json.loads(last), last


def test_twice_the_same_bytes_and_the_energy_of_what_was_decided(
    session: Path, tmp_path: Path
) -> None:
    policies = ("--policy", SIDES["a"], "--policy", SIDES["b"])
    (found, text), (_, again) = (compare(session, tmp_path / name, *policies) for name in "xy")
    assert text == again
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    moments = found["moments"]
    assert moments["a"] == moments["b"] == moments["both"] > 0  # the controller invents no moment
    assert found["gained"] == found["lost"] == [] and not found["identical"]
    assert found["joules"]["a"] > found["joules"]["b"] > 0
    assert found["saved_j"] == pytest.approx(found["joules"]["a"] - found["joules"]["b"], rel=1e-6)
    assert set(found["a"]["decisions"]) == {"320"} and "reuse" in found["b"]["decisions"]
    assert found["b"]["changed"] == {"resolution.policy": "fixed", "resolution.every_frames": 3}
    for side in "ab":
        parts = sum(found["by_component_j"][side].values())
        assert parts == pytest.approx(found["joules"][side], rel=1e-6)


def test_a_threshold_makes_moments_vanish_and_the_page_shows_them(
    session: Path, tmp_path: Path
) -> None:
    page_path = tmp_path / "page.html"
    found, _ = compare(session, page_path, "--set", "b:wake.dwell_ms=60000")
    assert found["moments"]["a"] == len(found["lost"]) > 0
    assert found["moments"]["b"] == found["moments"]["both"] == 0
    text = page_path.read_text()
    assert text.count('<span class="mark lost">Lost</span>') == len(found["lost"])
    assert text.count('<rect class="loss"') == len(found["lost"])
    # One file: nothing is fetched, every picture is inside and described.
    assert not re.search(r"https?://|<script|<link|@import|url\(", text)
    images = re.findall(r"<img [^>]*>", text)
    assert images and all('src="data:image/jpeg;base64,' in i and 'alt="W' in i for i in images)
    assert '<html lang="en">' in text and "<caption>" in text and 'role="img" aria-label=' in text


def test_the_page_escapes_what_it_is_given() -> None:
    side = {
        "name": "<script>alert(1)</script>",
        "changed": {"a": "<b>"},
        "sha256": "0" * 64,
        "joules_low": 1.0,
        "joules_high": 2.0,
        "scene_camera_on_s": 1.0,
        "decisions": {"reuse": 3},
    }
    found = {
        "recording": "<i>&.mcap",
        "session_s": 0.0,
        "moments": {"a": 0, "b": 0, "both": 0},
        "gained": [],
        "lost": [],
        "both": [],
        "joules": {"a": 0.0, "b": 0.0},
        "saved_j": 0.0,
        "by_component_j": {"a": {}, "b": {}},
        "identical": False,
        "a": side,
        "b": side,
    }
    text = page(found, {})
    assert "<script" not in text and "<i>" not in text and "<b>" not in text
    assert "&lt;i&gt;&amp;.mcap" in text


intervals = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=6)


@settings(deadline=None)
@given(intervals, intervals)
def test_moments_are_matched_one_to_one_and_none_is_lost_from_the_count(
    ours: list[tuple[int, int]], theirs: list[tuple[int, int]]
) -> None:
    a, b = (
        [{"id": str(i), "start_ns": s, "end_ns": s + d} for i, (s, d) in enumerate(rows)]
        for rows in (ours, theirs)
    )
    pairs = matched(a, b)
    assert len({x["id"] for x, _ in pairs}) == len({y["id"] for _, y in pairs}) == len(pairs)
    assert all(x["start_ns"] < y["end_ns"] and y["start_ns"] < x["end_ns"] for x, y in pairs)
    assert len(matched(a, a)) == len(a)


@pytest.mark.parametrize(
    ("policy", "changed"),
    [
        ("off", {"resolution.policy": "off"}),
        ("fixed:6", {"resolution.policy": "fixed", "resolution.every_frames": 6}),
        ("always:224", {"resolution.policy": "always", "resolution.size_px": 224}),
        ("learned:0.8", {"resolution.policy": "learned", "resolution.energy_weight": 0.8}),
        ("eye_only", {"wake.policy": "eye_only"}),
        ("fused+trigger", {"wake.policy": "fused", "resolution.policy": "trigger"}),
    ],
)
def test_policies_by_name(policy: str, changed: dict[str, Any]) -> None:
    chosen = variant(policy)
    assert chosen.changed == changed
    for name, value in changed.items():
        room, key = name.split(".")
        assert getattr(getattr(chosen.settings, room), key) == value


def test_a_setting_goes_over_what_the_policy_sets() -> None:
    chosen = variant("fixed:6", ["resolution.every_frames=2", "wake.dwell_ms=300"])
    assert chosen.settings.resolution.every_frames == 2
    assert chosen.settings.wake.dwell_ms == 300.0


@pytest.mark.parametrize(
    ("text", "value"),
    [("a.b=3", 3), ("a.b=0.5", 0.5), ("a.b = true", True), ("a.b=fused", "fused")],
)
def test_values_are_read_as_numbers_truths_or_words(text: str, value: object) -> None:
    assert assignment(text) == ("a.b", value)


def test_a_setting_cannot_be_a_table_as_well() -> None:
    assert nested({"a.b": 1, "a.c": 2}) == {"a": {"b": 1, "c": 2}}
    with pytest.raises(ConfigError, match="'a' is a setting"):
        nested({"a": 1, "a.b": 2})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "sometimes"], "policy 'sometimes' is unknown; one of fused"),
        (["--policy", "fixed:x"], "'x' is not a number"),
        (["--policy", "off:3"], "takes no number"),
        (["--policy", "fixed:2.5"], "'resolution.every_frames' is 2.5, must be int"),
        (["--policy", "always:100"], "resolution.size_px is 100"),
        (["--policy", "a", "--policy", "b", "--policy", "c"], "more than twice"),
        (["--set", "wake.dwells=3"], "unknown setting 'wake.dwells'"),
        (["--set", "wake"], "write SETTING=VALUE"),
        (["--set", "b:wake.leave_probability=0.9"], "must not exceed"),
        (["--models", "b:empty"], "empty: holds none of eye.onnx"),
        (["--policy", "off", "--page", "nowhere/x.html"], "nowhere"),
    ],
)
def test_bad_input_is_one_plain_line_and_exit_code_two(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    monkeypatch.setattr("sys.argv", ["beheld", "compare", "no.mcap", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    errors = capsys.readouterr().err.strip()
    assert left.value.code == 2 and message in errors
    if "Usage" not in errors:
        assert len(errors.splitlines()) == 1, errors


@pytest.mark.parametrize("policy", ["trigger", "learned"])
def test_the_controller_keeps_every_moment_and_invents_none(
    session: Path, tmp_path: Path, policy: str
) -> None:
    found, _ = compare(session, tmp_path / "p.html", "--policy", "always", "--policy", policy)
    moments = found["moments"]
    assert moments["both"] >= 0.95 * moments["a"] > 0 and found["gained"] == []
    assert moments["b"] == moments["both"]
    reused = found["b"]["decisions"]["reuse"]
    assert reused > 0 and "reuse" not in found["a"]["decisions"]
    assert found["joules"]["b"] < found["joules"]["a"]
