"""Tobii Pro Glasses 3: `recording.g3` with gaze, motion and scene video; eye videos are not recorded by it.

`recording.g3` names the other files and holds the scene camera's calibration. The data files have one
JSON object a line with `timestamp` in seconds; gaze that was not found has no `gaze2d`. Video and data
share one clock. The layout is Tobii's (Glasses 3 API documentation, "Recording"); no recording was at hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from device.errors import InputError
from device.geometry import from_frame
from device.types import SceneGeometry, SessionHeader
from tools.importers.film import Film, open_film, packet_stream, scene_stream
from tools.importers.intrinsics import assumed_camera
from tools.importers.json_lines import read_lines, vector
from tools.importers.recording import Recording, Stream, Vector, gaze_stream, motion_stream

INFO, GAZE, IMU, SCENE = "recording.g3", "gazedata.gz", "imudata.gz", "scenevideo.mp4"
SCENE_PX = (1920, 1080)


@dataclass(slots=True)
class Data:
    """What the data files hold; times in nanoseconds since the recording began."""

    gaze: list[tuple[int, float, float, float]] = field(default_factory=list)
    """Time, x, y as fractions of the scene frame (origin top left), mean pupil diameter in mm or NaN."""
    accel: list[tuple[int, Vector]] = field(default_factory=list)
    """Motion has the maker's axes."""
    gyro: list[tuple[int, Vector]] = field(default_factory=list)


def is_glasses3(path: Path) -> bool:
    """The recording's folder, or the file that describes it."""
    return (path / INFO).is_file() if path.is_dir() else path.name == INFO


def open_glasses3(path: Path) -> Recording:
    """The recording as a source. Raises InputError naming the file that cannot be used."""
    folder = path if path.is_dir() else path.parent
    info = _info(folder)
    notes: list[str] = []
    data = Data()
    gaze_path = folder / _file(info, "gaze", GAZE)
    _read(gaze_path, partial(_take_gaze, data), notes)
    imu_path = folder / _file(info, "imu", IMU)
    if imu_path.is_file():
        _read(imu_path, partial(_take_imu, data), notes)
    if not data.gaze:
        raise InputError(f"{gaze_path}: holds no gaze; nothing can be replayed")
    data.gaze.sort()
    scene_path = folder / _file(info, "scenecamera", SCENE)
    scene = open_film(scene_path) if scene_path.is_file() else None
    if scene is None:
        notes.append(f"the recording has no {scene_path.name}: no scene is seen")
    geometry = _camera(info, scene, folder / INFO, notes)
    t_ns, x, y, pupil_mm = (np.array(column) for column in zip(*data.gaze, strict=True))
    scene_ns = np.zeros(0, np.int64) if scene is None else scene.times_ns()
    gaze = list(
        gaze_stream(t_ns.astype(np.int64), *from_frame(geometry, x, y), np.ones(len(x)), pupil_mm)
    )
    packets_pass = scene is not None and scene.packets_pass
    header = SessionHeader(
        session_id=str(info.get("uuid") or info.get("name") or folder.resolve().name),
        source="tobii_glasses3",
        start_utc=_start_utc(info),
        zone="UTC",
        scene=geometry,
        duration_ns=int(max([t_ns[-1], *scene_ns[-1:]])),
        brings_gaze=True,
        brings_packets=packets_pass,
        notes=tuple(notes),
    )

    def streams(awake: Callable[[int], bool]) -> list[Stream]:
        made: list[Stream] = [gaze, motion_stream(data.gyro, data.accel)]
        if scene is not None:
            made.append((packet_stream if packets_pass else scene_stream)(scene, scene_ns, awake))
        return made

    return Recording(header, streams)


def _info(folder: Path) -> dict[str, Any]:
    path = folder / INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is not readable as JSON ({error})") from error
    if not isinstance(info, dict):
        raise InputError(f"{path}: is no description of a recording")
    return info


def _file(info: dict[str, Any], part: str, usual: str) -> str:
    """The name of a data file, which must lie in the recording's own folder."""
    described = info.get(part)
    name = str(described.get("file", usual)) if isinstance(described, dict) else usual
    if Path(name).name != name:
        raise InputError(f"{INFO}: '{name}' leads out of the recording")
    return name


def _read(path: Path, take: Callable[[dict[str, Any]], None], notes: list[str]) -> None:
    if damaged := read_lines(path, take):
        notes.append(f"{damaged} lines of {path.name} are damaged and left out")


def _time_ns(row: dict[str, Any]) -> int:
    return round(float(row["timestamp"]) * 1e9)


def _take_gaze(data: Data, row: dict[str, Any]) -> None:
    seen = row["data"]
    if row.get("type") != "gaze" or "gaze2d" not in seen:
        return
    x, y = (float(v) for v in seen["gaze2d"])
    eyes = [seen[eye] for eye in ("eyeleft", "eyeright") if eye in seen]
    mm = [float(eye["pupildiameter"]) for eye in eyes if eye.get("pupildiameter")]
    data.gaze.append((_time_ns(row), x, y, float(np.mean(mm)) if mm else np.nan))


def _take_imu(data: Data, row: dict[str, Any]) -> None:
    for name, samples in (("accelerometer", data.accel), ("gyroscope", data.gyro)):
        if name in row["data"]:
            samples.append((_time_ns(row), vector(row["data"][name])))


def _camera(
    info: dict[str, Any], scene: Film | None, path: Path, notes: list[str]
) -> SceneGeometry:
    size = (scene.width_px, scene.height_px) if scene else SCENE_PX
    described = info.get("scenecamera")
    given = described.get("camera-calibration") if isinstance(described, dict) else None
    if given is None:
        geometry, note = assumed_camera(*size)
        notes.append(note)
        return geometry
    try:
        (fx, fy), (cx, cy) = given["focal-length"], given["principal-point"]
        k1, k2, k3 = given["radial-distortion"][:3]
        p1, p2 = given["tangential-distortion"][:2]
        width, height = given.get("resolution", size)
        matrix = np.array([[fx, given.get("skew", 0.0), cx], [0, fy, cy], [0, 0, 1]], np.float64)
        scale = np.array([[size[0] / width], [size[1] / height], [1.0]])
        return SceneGeometry(
            width_px=size[0],
            height_px=size[1],
            camera_matrix=matrix * scale,
            distortion=np.array([k1, k2, p1, p2, k3], np.float64),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{path}: its camera-calibration is not whole ({error!r})") from error


def _start_utc(info: dict[str, Any]) -> str:
    try:
        return datetime.fromisoformat(str(info["created"])).astimezone(UTC).isoformat()
    except (KeyError, ValueError):
        return "unknown"
