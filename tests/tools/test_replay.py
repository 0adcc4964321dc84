"""The main job: recordings through the whole loop, twice, to the byte; and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from click.testing import CliRunner

import device
from device.__main__ import Outcome, Settings, load_models, run_session
from device.__main__ import main as device_main
from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.errors import ConfigError
from device.record import Recorder, SessionSource
from device.sources.camera import AlwaysOn
from device.spool import read_snippet, snippet_folders
from device.stages.encode import EncodeStage
from tools.cli import beheld, main
from tools.open_source import open_source
from tools.replay import loop_settings
from tools.virtual_wearer import calibrated, calibration_of, virtual_wearer


def wearer(seconds: float) -> Emulator:
    """A short session with true, noisy gaze instead of eye images: cheap."""
    settings = EmulatorSettings(seed=3, duration_s=seconds, scenario="demo", eyes=False)
    return Emulator(settings)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    folder = tmp_path_factory.mktemp("first")
    return run_session(wearer(40), folder), folder


def test_the_same_session_gives_the_same_bytes(first: tuple[Outcome, Path], tmp_path: Path) -> None:
    outcome, folder = first
    again = run_session(wearer(40), tmp_path)
    assert (folder / "moments.json").read_bytes() == (tmp_path / "moments.json").read_bytes()
    assert again.moments_sha256 == outcome.moments_sha256
    content = (folder / "moments.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() == outcome.moments_sha256
    names = [p.name for p in snippet_folders(folder / "spool")]
    assert names == [p.name for p in snippet_folders(tmp_path / "spool")] and names
    for name in names:
        one, two = folder / "spool" / name, tmp_path / "spool" / name
        assert (one / "scene.mp4").read_bytes() == (two / "scene.mp4").read_bytes()


def test_moments_carry_their_evidence_and_their_joules(first: tuple[Outcome, Path]) -> None:
    outcome, folder = first
    assert outcome.moments
    for record in outcome.moments:
        assert record["evidence"]["changes"] and record["evidence"]["attention"]
        assert set(record["models"]) == {"eye", "attention", "detector", "backbone", "resolution"}
        assert record["evidence"]["thresholds"]["enter_probability"] > 0
        parts = {k: v for k, v in record["energy_mj"].items() if not k.startswith("total")}
        assert sum(parts.values()) == pytest.approx(record["energy_mj"]["total"], rel=1e-6)
        snippet = read_snippet(folder / "spool" / record["id"])
        with av.open(str(folder / "spool" / record["id"] / "scene.mp4")) as video:
            assert sum(1 for _ in video.decode(video=0)) == snippet.moment["video"]["frames"]
    energy = outcome.energy
    between = energy.total_j - energy.moments_j
    assert energy.between_moments_j == pytest.approx(between, abs=1e-9)


def test_nothing_is_unaccounted_for(first: tuple[Outcome, Path]) -> None:
    report = first[0].report
    assert report.session_ns == 40 * 10**9
    assert report.seen_ns + report.gap_ns == report.session_ns


def test_the_whole_way_from_eye_images_finds_what_was_attended(tmp_path: Path) -> None:
    """Eyes are rendered, pupils found, gaze mapped by a calibration, and the thing is kept."""
    models = load_models()
    source = virtual_wearer(seed=1, seconds=25)
    calibration = calibrated(1, models["eye"])
    outcome = run_session(source, tmp_path, models=models, calibration=calibration)
    assert outcome.report.counts["EyeFrame"] == 2 * 25 * 60
    attended = [a for a in source.truth.attended if a.end_ns < 25 * 10**9]
    hit = [
        a
        for a in attended
        if any(m["start_ns"] < a.end_ns and m["end_ns"] > a.start_ns for m in outcome.moments)
    ]
    assert attended and hit


def test_a_recorded_session_replays_to_the_byte(tmp_path: Path) -> None:
    source = wearer(15)
    source.camera = AlwaysOn()
    encode = EncodeStage()
    with Recorder(tmp_path / "session.mcap", source.header) as recorder:
        for value in source:
            recorder(value)
            for packet in encode.step(value) if isinstance(value, encode.wants) else ():
                recorder(packet)
    once, twice = (
        run_session(SessionSource(tmp_path / "session.mcap"), tmp_path / name) for name in "ab"
    )
    assert once.moments_sha256 == twice.moments_sha256
    assert once.report.counts["Gaze"] == 15 * 60
    assert device_main([str(tmp_path / "session.mcap"), str(tmp_path / "c")]) == 0
    assert (tmp_path / "c" / "moments.json").read_bytes() == (
        tmp_path / "a" / "moments.json"
    ).read_bytes()


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("rec_neon_pupillabs", {"gaze": 2659, "scene_frames": 144, "eye_frames": 3272}),
        ("scene_gaze_mobilegazemapping", {"gaze": 100, "scene_frames": 50, "eye_frames": 0}),
    ],
)
def test_real_recordings_replay_whole(
    name: str, counts: dict[str, int], dataset: Callable[[str], Path], tmp_path: Path
) -> None:
    runs = []
    for out in ("a", "b"):
        arguments = ["replay", str(dataset(name)), "--out", str(tmp_path / out), "--json"]
        done = CliRunner().invoke(beheld, arguments, catch_exceptions=False)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    one, two = runs
    assert {k: one[k] for k in counts} == counts
    assert one["sha256"] == two["sha256"]
    assert one["seen_s"] + one["gap_s"] == pytest.approx(one["session_s"], abs=1e-6)


def test_gaps_of_the_neon_recording_have_causes(
    dataset: Callable[[str], Path], tmp_path: Path
) -> None:
    outcome = run_session(open_source(str(dataset("rec_neon_pupillabs"))), tmp_path)
    report = outcome.report
    assert report.seen_ns + report.gap_ns == report.session_ns
    assert len(report.gaps) >= 2  # the parts lie ten and more seconds apart
    assert all(gap.cause for gap in report.gaps)


def test_a_replay_takes_the_loop_s_part_of_a_whole_glasses_toml(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "glasses.toml"
    shipped = (Path(device.__file__).parent / "systemd" / "glasses.toml").read_text()
    path.write_text(shipped + "\n[wake]\ndwell_ms = 123.0\n")
    settings = loop_settings(path)
    assert type(settings) is Settings and settings.wake.dwell_ms == 123.0
    said = capsys.readouterr().err
    assert "[board]" in said and "ignored" in said and "[wake]" not in said
    path.write_text("[wake]\ndwell_ms = 123.0\n")
    assert loop_settings(path) == settings and capsys.readouterr().err == ""
    path.write_text("[board]\nprot = 'x'\n")
    with pytest.raises(ConfigError, match=r"board\.prot"):
        loop_settings(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["replay", "nowhere", "--out", "out"], "nowhere"),
        (["replay", "empty.mcap", "--out", "out"], "empty.mcap"),
        (["replay", "emulator:x", "--out", "out"], "emulator:x"),
        (["replay", "emulator", "--out", "out", "--config", "bad.toml"], "unknown setting 'wakes'"),
        (["replay", "emulator", "--out", "out", "--calibration", "bad.json"], "bad.json"),
        (["models", "--folder", "models"], "is not a readable ONNX model"),
        (["bench", "pupil", "--data", "nowhere"], "nowhere"),
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
    Path("empty.mcap").touch()
    Path("bad.toml").write_text("[wakes]\ndwell_ms = 3\n")
    Path("bad.json").write_text("{}")
    Path("models").mkdir()
    Path("models/eye.onnx").write_bytes(b"nonsense")
    monkeypatch.setattr("sys.argv", ["beheld", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    errors = capsys.readouterr().err.strip()
    assert left.value.code == 2
    assert message in errors and len(errors.splitlines()) == 1, errors
    assert not list(Path("out").glob("**/*")) if Path("out").exists() else True


def test_only_the_virtual_wearer_brings_its_calibration_along(tmp_path: Path) -> None:
    eyes = Emulator(EmulatorSettings(seed=1, duration_s=1.0))
    fitted = calibration_of(eyes)
    assert fitted is not None and fitted.wearer == "virtual wearer 1"
    assert calibration_of(wearer(1.0)) is None  # true gaze needs none
    path = tmp_path / "eyes.mcap"
    with Recorder(path, eyes.header) as recorder:
        for value in eyes:
            recorder(value)
    assert calibration_of(SessionSource(path)) is None
    done = CliRunner().invoke(beheld, ["replay", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    assert "beheld calibrate" in done.stderr  # eyes without gaze: said, and what to do
