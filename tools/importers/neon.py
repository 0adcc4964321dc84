"""Pupil Labs Neon, native format: info.json, `*.time` and `*.raw` pairs, videos in several parts.

All stamps are int64 nanoseconds since 1970 on one clock; the session begins with the recording. Gaze is
in pixels of the 1600x1200 scene image and becomes degrees through the camera in calibration.bin. The
eye video shows both eyes side by side, the left one in the left half: the cameras sit at the nose, and
by calibration.bin the x axis of the left one points away from the nose, as in that half.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.geometry import unproject
from device.types import (
    DeviceEvent,
    EyeFrame,
    Gap,
    Gaze,
    ImuSample,
    SceneGeometry,
    SessionHeader,
    Value,
)
from tools.importers.film import Film, FilmReader, grey, open_film, packet_stream, scene_stream
from tools.importers.recording import (
    Due,
    Recording,
    Stream,
    Times,
    at_nearest,
    gaze_stream,
    worn_events,
)

SCENE_PX = (1600, 1200)
G_M_S2 = 9.80665
PUPIL_WITHIN_NS = 15_000_000
"""Eye state runs at the gaze's rate; three samples apart it belongs to another moment."""
EYE_STATE_COLUMNS = (14, 20)
"""Up to format 2.3, and with the lids after it; pupil diameters are columns 0 (left) and 7 (right)."""

CALIBRATION = np.dtype(
    [("version", "u1"), ("serial", "S6")]
    + [
        (f"{camera}_{what}", "<f8", shape)
        for camera in ("scene", "right", "left")
        for what, shape in (("matrix", (3, 3)), ("distortion", (8,)), ("pose", (4, 4)))
    ]
    + [("crc", "<u4")]
)


def is_neon(folder: Path) -> bool:
    """A folder with info.json and a pair of gaze files."""
    return (folder / "info.json").is_file() and any(folder.glob("gaze*.time"))


def open_neon(folder: Path) -> Recording:
    """The recording as a source. Raises InputError naming the file that cannot be used."""
    info = _info(folder)
    start_ns, duration_ns = int(info["start_time"]), int(info["duration"])
    geometry = _scene_camera(folder)
    notes: list[str] = []
    gaze = _gaze(folder, start_ns, geometry, notes)
    scene, missing = _films(folder, "Neon Scene Camera", start_ns, notes)
    eyes, _ = _films(folder, "Neon Sensor Module", start_ns, notes)
    packets_pass = bool(scene) and all(film.packets_pass for film, _ in scene)
    newest_ns = max(
        [int(t[-1]) for _, t in (*scene, *eyes)] + [v.t_ns for v in gaze[-1:]], default=0
    )
    header = SessionHeader(
        session_id=str(info.get("recording_id", folder.name)),
        source="neon",
        start_utc=datetime.fromtimestamp(start_ns / 1e9, UTC).isoformat(),
        zone=_zone(info),
        wearer=str(info.get("wearer_id", "unknown")),
        scene=geometry,
        duration_ns=max(duration_ns, newest_ns),
        brings_gaze=bool(gaze),
        brings_packets=packets_pass,
        notes=tuple(notes),
    )
    if not gaze and not eyes:
        raise InputError(f"{folder}: holds neither gaze nor eye video; nothing to replay")

    def streams(awake: Callable[[int], bool]) -> list[Stream]:
        play = packet_stream if packets_pass else scene_stream
        return [
            gaze,
            _worn(folder, start_ns),
            _imu(folder, start_ns),
            [Gap(start_ns=a, end_ns=b, stream="scene", cause=why) for a, b, why in missing],
            *(_eye_stream(film, t_ns, i) for i, (film, t_ns) in enumerate(eyes)),
            *(play(film, t_ns, awake, i * 1_000_000) for i, (film, t_ns) in enumerate(scene)),
        ]

    return Recording(header, streams)


def _info(folder: Path) -> dict[str, Any]:
    path = folder / "info.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        int(info["start_time"]), int(info["duration"])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is no Neon recording's info (start_time and duration in ns are needed): {error!r}"
        ) from error
    return dict(info)


def _zone(info: dict[str, Any]) -> str:
    zone = info.get("timezone") or info.get("time_zone")
    return str(zone) if zone else "UTC"


def _scene_camera(folder: Path) -> SceneGeometry:
    path = folder / "calibration.bin"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); gaze in pixels needs the scene camera"
        ) from error
    if len(raw) < CALIBRATION.itemsize:
        raise InputError(f"{path}: has {len(raw)} bytes, {CALIBRATION.itemsize} are needed")
    record = np.frombuffer(raw, CALIBRATION, count=1)[0]
    matrix = np.array(record["scene_matrix"], np.float64)
    centre_fits = (0 < matrix[0, 2] < SCENE_PX[0]) and (0 < matrix[1, 2] < SCENE_PX[1])
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0 and centre_fits):
        raise InputError(f"{path}: holds no plausible scene camera; copy the recording again")
    return SceneGeometry(
        width_px=SCENE_PX[0],
        height_px=SCENE_PX[1],
        camera_matrix=matrix,
        distortion=np.array(record["scene_distortion"], np.float64),
    )


def _gaze(folder: Path, start_ns: int, geometry: SceneGeometry, notes: list[str]) -> list[Gaze]:
    """Gaze of all parts; the 200 Hz one that is computed afterwards where it is there."""
    names = ["gaze_200hz"] if (folder / "gaze_200hz.time").is_file() else _parts(folder, "gaze")
    pieces = [_pair(folder, name, "<f4", 2) for name in names]
    pieces = [(t, rows) for t, rows in pieces if len(t)]
    if not pieces:
        notes.append("the recording has no gaze of its own")
        return []
    stamps = np.concatenate([t for t, _ in pieces]) - start_ns
    points = np.concatenate([rows for _, rows in pieces]).astype(np.float64)
    if not np.isfinite(points).all(axis=1).any():
        raise InputError(f"{folder / names[0]}.raw: holds no gaze, only NaN")
    worn = [_bytes(folder / f"{name.replace('gaze', 'worn')}.raw") for name in names]
    confidence = np.concatenate(
        [_fit(raw, len(t)) for raw, (t, _) in zip(worn, pieces, strict=False)]
    )
    azimuth_deg, elevation_deg = unproject(geometry, points[:, 0], points[:, 1])
    pupil_mm = _pupil_mm(folder, stamps + start_ns)
    return list(gaze_stream(stamps, azimuth_deg, elevation_deg, confidence, pupil_mm))


def _fit(worn: NDArray[np.uint8], rows: int) -> NDArray[np.float64]:
    """255 worn, 0 not; a file may carry a byte too many at its end. Worn where nothing is said."""
    values = np.ones(rows)
    known = min(rows, len(worn))
    values[:known] = worn[:known] / 255.0
    return values


def _pupil_mm(folder: Path, stamps: Times) -> NDArray[np.float64]:
    """Mean of both pupils' diameters at the nearest eye state, NaN where there is none near."""
    times, values = [], []
    for name in _parts(folder, "eye_state"):
        t_ns, raw = _stamps(folder / f"{name}.time"), _bytes(folder / f"{name}.raw").view(np.uint8)
        columns = len(raw) // 4 // max(len(t_ns), 1)
        if columns not in EYE_STATE_COLUMNS:
            continue
        rows = raw[: len(t_ns) * columns * 4].view("<f4").reshape(-1, columns)
        times.append(t_ns)
        values.append(rows[:, [0, 7]].astype(np.float64).mean(axis=1))
    if not times:
        return np.full(len(stamps), np.nan)
    return at_nearest(stamps, np.concatenate(times), np.concatenate(values), PUPIL_WITHIN_NS)


def _worn(folder: Path, start_ns: int) -> Iterator[DeviceEvent]:
    """An event each time that the glasses are put on or taken off."""
    stamps, worn = [], []
    for name in _parts(folder, "worn"):
        t_ns, raw = (
            _stamps(folder / f"{name.replace('worn', 'gaze')}.time"),
            _bytes(folder / f"{name}.raw"),
        )
        rows = min(len(t_ns), len(raw))
        stamps.append(t_ns[:rows] - start_ns)
        worn.append(raw[:rows] > 127)
    if stamps:
        yield from worn_events(np.concatenate(stamps), np.concatenate(worn))


def _imu(folder: Path, start_ns: int) -> Iterator[ImuSample]:
    """Protobuf packets, each behind a uint16 of its length; their axes are x right, y ahead, z up."""
    for name in _parts(folder, "extimu"):
        raw = _bytes(folder / f"{name}.raw").tobytes()
        at = 0
        for t_ns in _stamps(folder / f"{name}.time"):
            length = int.from_bytes(raw[at : at + 2], "little")
            packet = raw[at + 2 : at + 2 + length]
            at += 2 + length
            if length == 0 or len(packet) < length:
                break
            accel, gyro = _vectors(packet)
            yield ImuSample(
                t_ns=int(t_ns) - start_ns,
                gyro_deg_s=(gyro[0], -gyro[2], gyro[1]),
                accel_m_s2=(accel[0] * G_M_S2, -accel[2] * G_M_S2, accel[1] * G_M_S2),
            )


def _vectors(packet: bytes) -> tuple[list[float], list[float]]:
    """Acceleration (g) and angular velocity (deg/s) of one ImuPacket: its fields 2 and 3."""
    found = {2: [0.0] * 3, 3: [0.0] * 3}
    at = 0
    while at < len(packet):
        field, wire = packet[at] >> 3, packet[at] & 7
        at += 1
        if wire == 0:
            while packet[at] & 0x80:
                at += 1
            at += 1
        elif wire == 2:
            length = packet[at]
            inner = packet[at + 1 : at + 1 + length]
            at += 1 + length
            if field in found:
                found[field] = _floats(inner)
        else:
            at += 4 if wire == 5 else 8
    return found[2], found[3]


def _floats(inner: bytes) -> list[float]:
    """Fields 1 to 3 of a message of floats; proto3 leaves zeros out."""
    values = [0.0] * 3
    for at in range(0, len(inner) - 4, 5):
        field, wire = inner[at] >> 3, inner[at] & 7
        if wire != 5:
            break
        if 1 <= field <= 3:
            values[field - 1] = float(np.frombuffer(inner[at + 1 : at + 5], "<f4")[0])
    return values


def _films(
    folder: Path, camera: str, start_ns: int, notes: list[str]
) -> tuple[list[tuple[Film, Times]], list[tuple[int, int, str]]]:
    """The parts of a camera whose video is there with their stamps, and the intervals of the others."""
    films: list[tuple[Film, Times]] = []
    missing: list[tuple[int, int, str]] = []
    for stamps_path in sorted(folder.glob(f"{camera}*.time"), key=_part):
        t_ns = _stamps(stamps_path) - start_ns
        video = stamps_path.with_suffix(".mp4")
        if not len(t_ns):
            continue
        if not video.is_file():
            missing.append((int(t_ns[0]), int(t_ns[-1]), f"{video.name} is not in the recording"))
            notes.append(f"{video.name} is not in the recording: its frames are not seen")
            continue
        film = open_film(video)
        if len(film) != len(t_ns):
            notes.append(f"{video.name} has {len(film)} frames and {len(t_ns)} stamps")
        films.append((film, t_ns))
    return films, missing


def _eye_stream(film: Film, t_ns: Times, part: int) -> Iterator[Due]:
    reader = FilmReader(film)

    def make(number: int) -> Iterator[Value]:
        frame = reader.frame(number)
        if frame is None:
            return
        pixels = grey(frame)
        half = pixels.shape[1] // 2
        seq = part * 1_000_000 + number
        left, right = pixels[:, :half].copy(), pixels[:, half:].copy()
        yield EyeFrame(t_ns=int(t_ns[number]), eye="left", seq=seq, pixels=left)
        yield EyeFrame(t_ns=int(t_ns[number]), eye="right", seq=seq, pixels=right)

    for number in range(min(len(film), len(t_ns))):
        yield Due(int(t_ns[number]), lambda number=number: make(number))


def _parts(folder: Path, name: str) -> list[str]:
    """`gaze ps1`, `gaze ps2`, ... in the order of their numbers."""
    found = sorted(folder.glob(f"{name} ps*.raw"), key=_part)
    return [path.name.removesuffix(".raw") for path in found]


def _part(path: Path) -> int:
    number = re.search(r"ps(\d+)\.", path.name)
    return int(number[1]) if number else 0


def _pair(folder: Path, name: str, dtype: str, columns: int) -> tuple[Times, NDArray[np.float32]]:
    t_ns = _stamps(folder / f"{name}.time")
    raw = _bytes(folder / f"{name}.raw")
    rows = len(raw) // (np.dtype(dtype).itemsize * columns)
    if rows == 0 and len(t_ns):
        raise InputError(f"{folder / name}.raw: is empty and has {len(t_ns)} stamps; copy it again")
    rows = min(rows, len(t_ns))
    flat = raw[: rows * np.dtype(dtype).itemsize * columns].view(dtype)
    return t_ns[:rows], flat.reshape(rows, columns)


def _stamps(path: Path) -> Times:
    raw = _bytes(path)
    return raw[: len(raw) // 8 * 8].view("<i8").astype(np.int64)


def _bytes(path: Path) -> NDArray[np.uint8]:
    try:
        return np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
