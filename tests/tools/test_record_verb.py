"""`beheld record` as a user calls it: the file, the figures, and one plain line for what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from made_recordings import film, mapping, mapping_rows

from device.record import SessionSource
from device.sources.camera import AlwaysOn
from device.types import Gaze, SceneFrame, Value
from tests.small_disk import small_disk
from tools.cli import main
from tools.open_source import open_source


def beheld(*arguments: object) -> int:
    """The console script; its exit code."""
    before = sys.argv
    sys.argv = ["beheld", *(str(a) for a in arguments)]
    try:
        main()
    except SystemExit as leave:
        return int(leave.code or 0)
    finally:
        sys.argv = before
    return 0


def always_on(path: Path) -> list[Value]:
    source = open_source(path)
    source.camera = AlwaysOn()
    return list(source)


def test_record_writes_a_session_that_replays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = mapping(tmp_path / "museum", mapping_rows()), tmp_path / "museum.mcap"
    assert beheld("record", folder, "--out", out, "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["bytes"] == out.stat().st_size
    assert result["messages"] == 50 + 25 + 1
    assert result["session_s"] == pytest.approx(0.98, abs=0.03)
    again = always_on(out)
    original = always_on(folder)
    for kind in (Gaze, SceneFrame):
        assert [v.t_ns for v in again if isinstance(v, kind)] == [
            v.t_ns for v in original if isinstance(v, kind)
        ]
    assert SessionSource(out, AlwaysOn()).header.notes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["museum", "museum.mcap"]


def test_record_overwrites_only_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = mapping(tmp_path / "m", mapping_rows()), tmp_path / "out.mcap"
    out.write_bytes(b"precious")
    assert beheld("record", folder, "--out", out) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"
    assert beheld("record", folder, "--out", out, "--force") == 0
    assert out.read_bytes() != b"precious"


def test_disk_full_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = mapping(tmp_path / "m", mapping_rows()), tmp_path / "out.mcap"
    with small_disk(8_000):
        assert beheld("record", folder, "--out", out) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "out.mcap" in said
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def bad_inputs(tmp_path: Path) -> dict[str, Path]:
    """Each thing that can be wrong with a recording, by its name."""
    made = {"missing": tmp_path / "nowhere"}
    for name, content in (
        ("empty.mcap", b""),
        ("wrong.mcap", b"GIF89a"),
        ("cut.mcap", b"\x89MCAP0"),
    ):
        made[name] = tmp_path / name
        made[name].write_bytes(content)
    made["zero-length video"] = mapping(tmp_path / "zero", mapping_rows())
    (made["zero-length video"] / "worldCamera.mp4").write_bytes(b"")
    made["NaN gaze"] = mapping(tmp_path / "nan", [f"{i}\t0\t0\tnan\tnan" for i in range(5)])
    made["decreasing times"] = mapping(tmp_path / "back", mapping_rows()[::-1])
    made["missing stream"] = tmp_path / "stream"
    made["missing stream"].mkdir()
    film(made["missing stream"] / "scene.mp4", 5)
    return made


@pytest.mark.parametrize(
    "name",
    [
        *("missing", "empty.mcap", "wrong.mcap", "cut.mcap", "zero-length video", "NaN gaze"),
        *("decreasing times", "missing stream"),
    ],
)
def test_bad_input_is_one_plain_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "out.mcap"
    path = bad_inputs(tmp_path)[name]
    assert beheld("record", path, "--out", out) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert str(path) in captured.err
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))
