"""A gaze table, with the scene video it belongs to if that is there.

Four makers' columns are known, and told apart by their names: Neon-style CSV (Pupil Cloud, Neon and
Invisible), the export of Pupil Core, mobileGazeMapping and glassesTools. Rows without gaze (NaN) were
not seen. What the tables do not say (a camera's field of view, when the video began) goes into the
header's notes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.geometry import from_frame, unproject
from device.types import ImuSample, SceneGeometry, SessionHeader
from tools.importers.film import SUFFIXES, Film, open_film, packet_stream, scene_stream
from tools.importers.intrinsics import assumed_camera, fit_camera, read_camera
from tools.importers.recording import (
    Recording,
    Stream,
    Times,
    at_nearest,
    gaze_stream,
    worn_events,
)
from tools.importers.table import Table, check_times, read_columns, read_table, seconds_to_ns

Floats = NDArray[np.float64]

FORMATS: dict[str, tuple[str, ...]] = {
    "neon_csv": ("timestamp [ns]", "gaze x [px]", "gaze y [px]"),
    "pupil_core_export": ("gaze_timestamp", "norm_pos_x", "norm_pos_y"),
    "mobile_gaze_mapping": ("timestamp", "frame_idx", "norm_pos_x", "norm_pos_y"),
    "glasses_tools": ("timestamp", "frame_idx", "gaze_pos_vid_x", "gaze_pos_vid_y"),
}
"""Kind -> columns that it must have."""

NEON_PX, INVISIBLE_PX, PUPIL_CORE_PX = (1600, 1200), (1088, 1080), (1280, 720)
G_M_S2 = 9.80665


@dataclass(frozen=True, slots=True)
class Rows:
    """What every kind of table comes down to; all (N,)."""

    t_ns: Times
    """On the table's own clock."""
    x: Floats
    y: Floats
    """Fractions of the scene frame, origin top left."""
    confidence: Floats


def is_gaze_table(path: Path) -> bool:
    """A table with known columns, a folder with one, or a video beside one."""
    return _find(path) is not None


def open_gaze_table(path: Path) -> Recording:
    """The recording as a source. Raises InputError naming file and row that cannot be used."""
    found = _find(path)
    if found is None:
        raise InputError(f"{path}: has no gaze table with known columns")
    kind, table_path = found
    table = read_table(table_path)
    film = _film(path, table_path)
    notes: list[str] = []
    if film is None:
        notes.append("the recording has no scene video: only gaze is replayed")
    size = (film.width_px, film.height_px) if film else _size_without_video(kind, table_path)
    rows = _rows(kind, table, size)
    check_times(rows.t_ns, table_path)
    if not np.isfinite(rows.x + rows.y).any():
        raise InputError(f"{table_path}: holds no gaze, only NaN; nothing can be replayed")
    geometry = _geometry(kind, table, rows, size, notes)
    video_ns = _video_times(kind, table, rows, film, notes) if film else np.zeros(0, np.int64)
    start_ns = int(min([rows.t_ns.min(), *video_ns[:1]]))
    t_ns, video_ns = rows.t_ns - start_ns, video_ns - start_ns
    packets_pass = film is not None and film.packets_pass
    header = SessionHeader(
        session_id=f"{table_path.parent.name}-{table_path.stem}",
        source=kind,
        start_utc=_start_utc(kind, start_ns),
        zone="UTC",
        scene=geometry,
        duration_ns=int(max([t_ns.max(), *video_ns[-1:]])),
        brings_gaze=True,
        brings_packets=packets_pass,
        notes=tuple(notes),
    )
    azimuth_deg, elevation_deg = _angles(kind, table, rows, geometry)
    pupil_mm = _pupil_mm(kind, table, rows)

    def streams(awake: Callable[[int], bool]) -> list[Stream]:
        made: list[Stream] = [
            gaze_stream(t_ns, azimuth_deg, elevation_deg, rows.confidence, pupil_mm)
        ]
        if "worn" in table:
            made.append(worn_events(t_ns, table.floats("worn") > 0.5))
        imu = table_path.with_name("imu.csv")
        if kind == "neon_csv" and imu.is_file():
            made.append(_imu(imu, start_ns))
        if film is not None:
            made.append((packet_stream if packets_pass else scene_stream)(film, video_ns, awake))
        return made

    return Recording(header, streams)


def _find(path: Path) -> tuple[str, Path] | None:
    if path.is_dir():
        tables = sorted(p for p in path.iterdir() if p.suffix in (".csv", ".tsv", ".txt"))
    elif path.suffix in (".csv", ".tsv", ".txt"):
        tables = [path]
    elif path.suffix.lower() in SUFFIXES:
        return _find(path.parent)
    else:
        return None
    for table in tables:
        try:
            columns = set(read_columns(table))
        except InputError:
            if path == table:
                raise
            continue
        for kind, needed in FORMATS.items():
            if columns.issuperset(needed):
                return kind, table
    return None


def _film(path: Path, table: Path) -> Film | None:
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return open_film(path)
    videos = sorted(p for p in table.parent.iterdir() if p.suffix.lower() in SUFFIXES)
    named = [v for v in videos if v.name.lower().startswith(("world", "scene"))]
    if not videos:
        return None
    if len(videos) > 1 and len(named) != 1:
        raise InputError(
            f"{table.parent}: holds several videos ({', '.join(v.name for v in videos)[:120]}); "
            "name the scene video 'world...' or give its path"
        )
    return open_film((named or videos)[0])


def _size_without_video(kind: str, table: Path) -> tuple[int, int]:
    if kind == "pupil_core_export":
        return PUPIL_CORE_PX
    camera = table.with_name("scene_camera.json")
    if kind == "neon_csv" and camera.is_file():
        centre = read_camera(camera, *NEON_PX).camera_matrix[0, 2]
        return NEON_PX if centre > INVISIBLE_PX[0] * 0.6 else INVISIBLE_PX
    return NEON_PX if kind == "neon_csv" else (1920, 1080)


def _rows(kind: str, table: Table, size: tuple[int, int]) -> Rows:
    width_px, height_px = size
    known = table.floats("confidence") if "confidence" in table else np.ones(len(table.rows))
    if kind == "neon_csv":
        worn = table.floats("worn") if "worn" in table else known
        x, y = table.floats("gaze x [px]") / width_px, table.floats("gaze y [px]") / height_px
        return Rows(table.integers("timestamp [ns]"), x, y, np.nan_to_num(worn, nan=1.0))
    if kind == "pupil_core_export":
        t_ns = seconds_to_ns(table.floats("gaze_timestamp"), table.path)
        x, y = table.floats("norm_pos_x"), 1.0 - table.floats("norm_pos_y")  # their origin is below
        return Rows(t_ns, x, y, np.nan_to_num(known))
    t_ns = seconds_to_ns(table.floats("timestamp") / 1e3, table.path)
    if kind == "mobile_gaze_mapping":
        return Rows(
            t_ns, table.floats("norm_pos_x"), table.floats("norm_pos_y"), np.nan_to_num(known)
        )
    x, y = table.floats("gaze_pos_vid_x") / width_px, table.floats("gaze_pos_vid_y") / height_px
    return Rows(t_ns, x, y, np.nan_to_num(known))


def _geometry(
    kind: str, table: Table, rows: Rows, size: tuple[int, int], notes: list[str]
) -> SceneGeometry:
    camera = table.path.with_name("scene_camera.json")
    if camera.is_file():
        return read_camera(camera, *size)
    if kind == "pupil_core_export" and "gaze_point_3d_z" in table:
        ahead = table.floats("gaze_point_3d_z")
        ahead = np.where((ahead > 0) & (rows.confidence > 0.6), ahead, np.nan)
        right = table.floats("gaze_point_3d_x") / ahead
        fitted = fit_camera(right, table.floats("gaze_point_3d_y") / ahead, rows.x, rows.y, *size)
        if fitted is not None:
            notes.append(
                "the recording has no scene camera intrinsics: a pinhole was fitted to its 3-D gaze"
            )
            return fitted
    geometry, note = assumed_camera(*size)
    notes.append(note)
    return geometry


def _angles(kind: str, table: Table, rows: Rows, geometry: SceneGeometry) -> tuple[Floats, Floats]:
    if kind == "neon_csv" and "azimuth [deg]" in table and "elevation [deg]" in table:
        return table.floats("azimuth [deg]"), table.floats("elevation [deg]")
    if kind == "neon_csv":
        return unproject(geometry, rows.x * geometry.width_px, rows.y * geometry.height_px)
    return from_frame(geometry, rows.x, rows.y)


def _video_times(kind: str, table: Table, rows: Rows, film: Film, notes: list[str]) -> Times:
    """When each frame was taken, on the table's clock."""
    stamps = table.path.with_name("world_timestamps.csv")
    if kind == "neon_csv" and stamps.is_file():
        return read_table(stamps).integers("timestamp [ns]")
    column = "frame_idx" if "frame_idx" in table else "world_index"
    by_container = film.times_ns()
    if column in table:
        frames = table.floats(column)
        known = np.isfinite(frames) & (frames >= 0) & (frames < len(film))
        if known.any():
            # a gaze sample lies at or after the frame it is counted to: the earliest tells the offset
            offsets = rows.t_ns[known] - by_container[frames[known].astype(int)]
            return by_container + round(float(np.percentile(offsets, 5)))
    notes.append(
        "nothing says when the video began: its first frame is put at the first gaze sample"
    )
    return by_container + int(rows.t_ns.min())


def _pupil_mm(kind: str, table: Table, rows: Rows) -> Floats | None:
    path = table.path.with_name("3d_eye_states.csv")
    if kind != "neon_csv" or not path.is_file():
        return None
    states = read_table(path)
    left, right = "pupil diameter left [mm]", "pupil diameter right [mm]"
    if left not in states or right not in states:
        return None
    mm = np.nanmean([states.floats(left), states.floats(right)], axis=0)
    return at_nearest(rows.t_ns, states.integers("timestamp [ns]"), mm, 15_000_000)


def _imu(path: Path, start_ns: int) -> list[ImuSample]:
    """Motion in our axes. Gravity tells Neon's (z up) from Invisible's (y down), which are ours."""
    table = read_table(path)
    unit = "[g]" if "acceleration x [g]" in table else "[G]"
    gyro = np.stack([table.floats(f"gyro {axis} [deg/s]") for axis in "xyz"], axis=1)
    accel = np.stack([table.floats(f"acceleration {axis} {unit}") for axis in "xyz"], axis=1)
    mean = np.abs(np.nanmean(accel, axis=0))
    if mean[2] > mean[1]:
        gyro, accel = gyro[:, [0, 2, 1]] * [1, -1, 1], accel[:, [0, 2, 1]] * [1, -1, 1]
    accel = accel * G_M_S2
    return [
        ImuSample(
            t_ns=int(t_ns),
            gyro_deg_s=(float(g[0]), float(g[1]), float(g[2])),
            accel_m_s2=(float(a[0]), float(a[1]), float(a[2])),
        )
        for t_ns, g, a in zip(table.integers("timestamp [ns]") - start_ns, gyro, accel, strict=True)
        if t_ns >= 0
    ]


def _start_utc(kind: str, start_ns: int) -> str:
    if kind != "neon_csv":
        return "unknown"
    return datetime.fromtimestamp(start_ns / 1e9, UTC).isoformat()
