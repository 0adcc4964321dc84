"""`beheld emulate`: a video a player opens, contact sheets, one plain line when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import pytest
from click.testing import CliRunner

from device.errors import ConfigError, StorageError
from tools.emulate import command


def test_video_sheets_and_summary(tmp_path: Path) -> None:
    video, sheets = tmp_path / "wearer.mp4", tmp_path / "sheets"
    arguments = [
        "--duration-s",
        "1.5",
        "--out",
        str(video),
        "--sheet",
        str(sheets),
        "--measure",
        "--json",
    ]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    said = json.loads(result.output.splitlines()[-1])
    assert said["session_s"] == 1.5 and sum(said["activity_share"].values()) == pytest.approx(1)
    assert set(said["cpu_ms"]) == {"eye_frame", "scene_frame"} and min(said["cpu_ms"].values()) > 0
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 45
    for name in ("scene.jpg", "eyes.jpg"):
        assert cv2.imread(str(sheets / name)).std() > 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sheets", "wearer.mp4"]


def test_bad_input_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"duration_s is 0\.0"):
        CliRunner().invoke(command, ["--duration-s", "0"], catch_exceptions=False)
    missing = tmp_path / "absent" / "x.mp4"
    with pytest.raises(StorageError, match=r"x\.mp4: cannot be written"):
        CliRunner().invoke(
            command, ["--duration-s", "1", "--out", str(missing)], catch_exceptions=False
        )
    assert list(tmp_path.iterdir()) == []
