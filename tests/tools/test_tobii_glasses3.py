"""Tobii Pro Glasses 3 recordings, made here in the maker's layout."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_recordings import MS, film

from device.errors import InputError
from device.geometry import project
from device.sources.camera import AlwaysOn
from device.types import Gaze, ImuSample, ScenePacket, Value
from tools.open_source import is_recording, open_source

CAMERA = {
    "focal-length": [900.0, 905.0],
    "principal-point": [940.0, 530.0],
    "skew": 0.0,
    "radial-distortion": [-0.05, 0.02, 0.0],
    "tangential-distortion": [0.001, -0.001, 0.0],
    "resolution": [1920, 1080],
}


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def glasses3(folder: Path) -> Path:
    """Two seconds at 50 Hz, eyes lost in the middle; the scene is half the calibration's size."""
    folder.mkdir(parents=True)
    gaze: list[dict[str, Any]] = []
    for i in range(100):
        data: dict[str, Any] = {"eyeleft": {}, "eyeright": {}}
        if not 40 <= i < 60:
            eye = {"gazeorigin": [30.0, -12.0, -20.0], "gazedirection": [0.0, 0.0, 1.0]}
            data = {
                "gaze2d": [0.3 + 0.004 * i, 0.6],
                "gaze3d": [10.0, -5.0, 400.0],
                "eyeleft": {**eye, "pupildiameter": 3.0},
                "eyeright": {**eye, "pupildiameter": 3.4},
            }
        gaze.append({"type": "gaze", "timestamp": 0.1 + i * 0.02, "data": data})
    lines(folder / "gazedata.gz", gaze)
    imu = [
        {"type": "imu", "timestamp": 0.1, "data": {"magnetometer": [1.0, 2.0, 3.0]}},
        {
            "type": "imu",
            "timestamp": 0.2,
            "data": {"accelerometer": [0.1, -9.8, 0.2], "gyroscope": [1.0, 2.0, 3.0]},
        },
    ]
    lines(folder / "imudata.gz", imu)
    film(folder / "scenevideo.mp4", 25, size=(960, 540), codec="libx264")
    info = {
        "name": "walk",
        "uuid": "b0c4",
        "created": "2024-03-01T09:00:00.000Z",
        "duration": 2.1,
        "gaze": {"file": "gazedata.gz"},
        "imu": {"file": "imudata.gz"},
        "scenecamera": {"file": "scenevideo.mp4", "camera-calibration": CAMERA},
    }
    (folder / "recording.g3").write_text(json.dumps(info))
    return folder


def of(kind: type, values: list[Value]) -> list:
    return [v for v in values if isinstance(v, kind)]


def test_gaze_scene_and_motion_on_one_clock(tmp_path: Path) -> None:
    folder = glasses3(tmp_path / "walk")
    assert is_recording(folder)
    source = open_source(folder)
    assert source.header.source == "tobii_glasses3"
    assert source.header.session_id == "b0c4"
    assert source.header.start_utc == "2024-03-01T09:00:00+00:00"
    source.camera = AlwaysOn()
    values = list(source)
    assert [v.t_ns for v in values] == sorted(v.t_ns for v in values)
    gaze = of(Gaze, values)
    assert len(gaze) == 80  # what the eyes were lost for was not seen
    assert gaze[0].t_ns == 100 * MS
    assert gaze[0].pupil_mm == pytest.approx(3.2)
    assert len(of(ScenePacket, values)) == 25
    (motion,) = of(ImuSample, values)
    assert motion.gyro_deg_s == (1.0, 2.0, 3.0)
    assert motion.accel_m_s2 == (0.1, -9.8, 0.2)


def test_the_cameras_own_calibration_at_the_size_of_the_video(tmp_path: Path) -> None:
    source = open_source(glasses3(tmp_path / "walk"))
    geometry = source.header.scene
    assert geometry is not None
    np.testing.assert_allclose(geometry.camera_matrix, [[450, 0, 470], [0, 452.5, 265], [0, 0, 1]])
    np.testing.assert_allclose(geometry.distortion, [-0.05, 0.02, 0.001, -0.001, 0.0])
    first = of(Gaze, list(source))[0]
    x, y = project(geometry, first.azimuth_deg, first.elevation_deg)
    assert (float(x) + 0.5) / 960 == pytest.approx(0.3, abs=1e-4)
    assert (float(y) + 0.5) / 540 == pytest.approx(0.6, abs=1e-4)


def without_scene(folder: Path) -> None:
    info = json.loads((folder / "recording.g3").read_text())
    del info["scenecamera"]
    (folder / "recording.g3").write_text(json.dumps(info))
    (folder / "scenevideo.mp4").unlink()
    (folder / "imudata.gz").unlink()


def test_gaze_alone_is_replayed_and_what_is_assumed_is_said(tmp_path: Path) -> None:
    folder = glasses3(tmp_path / "walk")
    without_scene(folder)
    source = open_source(folder / "recording.g3")
    assert len(of(Gaze, list(source))) == 80
    notes = " ".join(source.header.notes)
    assert "no scene is seen" in notes and "field of view" in notes


def test_a_table_that_was_cut_is_read_to_the_cut(tmp_path: Path) -> None:
    folder = glasses3(tmp_path / "walk")
    whole = (folder / "gazedata.gz").read_bytes()
    (folder / "gazedata.gz").write_bytes(whole[: len(whole) * 3 // 4])
    source = open_source(folder)
    assert 10 < len(of(Gaze, list(source))) < 80
    assert any("gazedata.gz are damaged" in note for note in source.header.notes)


def changed(key: str, value: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        info = json.loads((folder / "recording.g3").read_text())
        info[key] = value
        (folder / "recording.g3").write_text(json.dumps(info))

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "recording.g3").write_text("[1]"), "no description"),
        (lambda f: (f / "recording.g3").write_text("{"), "not readable as JSON"),
        (lambda f: (f / "gazedata.gz").write_bytes(b"plain"), "not readable as gzip"),
        (lambda f: (f / "gazedata.gz").unlink(), "not readable as gzip"),
        (lambda f: lines(f / "gazedata.gz", []), "holds no gaze"),
        (changed("gaze", {"file": "../../etc/passwd"}), "leads out of the recording"),
        (
            changed("scenecamera", {"camera-calibration": {"focal-length": [900]}}),
            "camera-calibration is not whole",
        ),
    ],
)
def test_damaged_recordings_say_where(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    folder = glasses3(tmp_path / "walk")
    spoil(folder)
    with pytest.raises(InputError, match=said):
        open_source(folder)
