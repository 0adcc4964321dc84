"""Why a run is refused, each reason with its remedy; `doctor` and `run` say the same; bad settings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from device.errors import ConfigError, ModelError
from device.glasses import checks
from device.glasses.settings import GlassesSettings, LiveSettings, StartSettings
from device.settings import from_toml
from device.sources.board import BoardSettings
from device.sources.video_camera import CameraSettings
from tests.glasses.python_board import PythonBoard
from tools.reference import DOCS

pytestmark = pytest.mark.timeout(400)
Usage = namedtuple("Usage", "total used free")


def reasons(settings: LiveSettings) -> str:
    return "\n".join(checks.refusals(checks.examine(settings)))


def test_glasses_in_order_are_not_refused(with_board: LiveSettings) -> None:
    findings = checks.examine(with_board)
    assert checks.refusals(findings) == []
    found = {f.name: f.found for f in findings}
    assert "python board" in found["microcontroller"]
    assert found["battery"] == "80 %"


def test_a_missing_camera(settings: LiveSettings) -> None:
    camera = CameraSettings(device="/dev/video97")
    text = reasons(replace(settings, eye_left=camera))
    assert "eye_left: /dev/video97: no such camera; check the cable" in text


def test_a_file_that_is_no_camera(settings: LiveSettings, tmp_path: Path) -> None:
    fake = tmp_path / "video0"
    fake.write_bytes(b"")
    text = reasons(replace(settings, scene=replace(settings.scene, device=str(fake))))
    assert f"scene: {fake}: cannot be opened" in text


def test_no_eye_camera_at_all(settings: LiveSettings) -> None:
    none = CameraSettings()
    assert "eye cameras: none is configured" in reasons(
        replace(settings, eye_left=none, eye_right=none)
    )


def test_a_feed_that_is_not_there(settings: LiveSettings) -> None:
    camera = CameraSettings(device="feed:/nowhere.mcap")
    assert "nowhere.mcap" in reasons(replace(settings, eye_right=camera))


def test_a_nearly_full_disk(settings: LiveSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10**9, 10**9, 20_000_000))
    assert "disk: 20 MB free; free at least 500 MB" in reasons(settings)


def test_a_folder_that_cannot_be_written(settings: LiveSettings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    glasses = GlassesSettings(data=str(tmp_path / "file" / "data"))
    assert "cannot be written" in reasons(replace(settings, glasses=glasses))


def test_a_clock_that_is_not_set(settings: LiveSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 3600.0)
    assert "clock: 1970-01-01 01:00 UTC" in reasons(settings)


def test_a_low_battery(with_board: LiveSettings) -> None:
    text = reasons(replace(with_board, start=StartSettings(battery=0.9)))
    assert "battery: 80 %; charge it to at least 90 %" in text


def test_a_serial_port_that_is_not_there(settings: LiveSettings) -> None:
    text = reasons(replace(settings, board=BoardSettings(port="/dev/ttyACM97")))
    assert "microcontroller: /dev/ttyACM97: no such serial port; check the cable" in text


def test_firmware_of_another_version(settings: LiveSettings) -> None:
    board = PythonBoard(digest=0x1234)
    try:
        text = reasons(replace(settings, board=BoardSettings(port=board.port)))
    finally:
        board.close()
    assert "speaks 0000000000001234" in text and "install matching firmware" in text


def test_a_microcontroller_that_does_not_answer(settings: LiveSettings) -> None:
    board = PythonBoard()
    board.quiet = True
    try:
        text = reasons(replace(settings, board=BoardSettings(port=board.port, answer_s=0.5)))
    finally:
        board.close()
    assert "does not answer" in text


def test_a_model_that_does_not_match(
    settings: LiveSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged() -> None:
        raise ModelError("eye.onnx: contract and graph disagree; export it again")

    monkeypatch.setattr(checks, "load_models", damaged)
    assert "models: eye.onnx: contract and graph disagree; export it again" in reasons(settings)


def test_a_calibration_that_cannot_be_used(settings: LiveSettings, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text("{}")
    glasses = replace(settings.glasses, calibration=str(path))
    assert "calibration:" in reasons(replace(settings, glasses=glasses))


def test_an_unknown_time_zone(settings: LiveSettings) -> None:
    glasses = replace(settings.glasses, zone="Europe/Atlantis")
    assert "zone: 'Europe/Atlantis' is unknown" in reasons(replace(settings, glasses=glasses))


def test_doctor_and_run_say_the_same_and_leave_with_2(tmp_path: Path) -> None:
    config = tmp_path / "glasses.toml"
    config.write_text(
        f'[glasses]\ndata = "{tmp_path}"\n[eye_left]\ndevice = "/dev/video97"\n[page]\nport = 0\n'
    )
    told = invoke("doctor", config)
    assert told.returncode == 2
    result = json.loads(told.stdout.splitlines()[-1])
    assert result["ready"] is False
    assert result["refused"][0].startswith("eye_left: /dev/video97: no such camera")
    ran = invoke("run", config)
    assert ran.returncode == 2
    (line,) = ran.stderr.strip().splitlines()
    assert line == "beheld: refused to start: " + "; ".join(result["refused"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[eye_left]\ndevise = 1", "unknown setting 'eye_left.devise'"),
        ("[scene]\nrotate_deg = 45", "rotate_deg is 45"),
        ("[watchdog]\nrestarts = 0", "watchdog.restarts must be 1 or more"),
        ("[posture]\nreserve_battery = 0.9", "reserve_battery <= conserve_battery"),
        ("[log]\nlevel = 'loud'", "log.level is 'loud'"),
        ("[page]\nport = 70000", "page.port must be"),
        ("[wake]\npolicy = 'none'", "wake.policy is 'none'"),
    ],
)
def test_bad_settings_are_named_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "glasses.toml"
    config.write_text(text)
    with pytest.raises(ConfigError) as caught:
        from_toml(LiveSettings, config)
    assert str(config) in str(caught.value) and message in str(caught.value)


def test_bad_settings_are_one_plain_line_and_exit_code_2(tmp_path: Path) -> None:
    config = tmp_path / "glasses.toml"
    config.write_text("[eye_left]\ndevise = 1")
    for verb in ("doctor", "run"):
        told = invoke(verb, config)
        assert told.returncode == 2
        (line,) = told.stderr.strip().splitlines()
        assert line.startswith(f"beheld: {config}: unknown setting 'eye_left.devise'")


def test_the_example_names_every_table_and_is_valid() -> None:
    example = DOCS.parent / "device" / "systemd" / "glasses.toml"
    settings = from_toml(LiveSettings, example)
    assert settings.eye_left.device.startswith("/dev/")


def invoke(verb: str, config: Path) -> subprocess.CompletedProcess[str]:
    """The verb as a user calls it."""
    command = [sys.executable, "-m", "tools.cli", verb, "--config", str(config), "--json"]
    return subprocess.run(command, capture_output=True, text=True, cwd=DOCS.parent)
