"""Tobii Pro Glasses 2: `livedata.json.gz`, with `fullstream.mp4` and `eyesstream.mp4` where they are.

Every line of the live data has `ts`, microseconds of one clock, and `s`, 0 where it is valid. Video
times come from the lines that say which video time (`vts` scene, `evts` eyes) a `ts` stands for.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.geometry import from_frame
from device.types import Eye, EyeFrame, ImuSample, SceneGeometry, SessionHeader, Value
from tools.importers.film import Film, FilmReader, grey, open_film, packet_stream, scene_stream
from tools.importers.intrinsics import assumed_camera, fit_camera
from tools.importers.json_lines import read_lines, vector
from tools.importers.recording import (
    Due,
    Recording,
    Stream,
    Times,
    Vector,
    gaze_stream,
    motion_stream,
)

LIVE, SCENE, EYES, SEGMENT = "livedata.json.gz", "fullstream.mp4", "eyesstream.mp4", "segment.json"
SCENE_PX = (1920, 1080)


@dataclass(slots=True)
class Live:
    """The live data by what the lines carry; times in microseconds."""

    gaze: list[tuple[int, int, float, float]] = field(default_factory=list)
    """ts, gaze index, x, y as fractions of the scene frame (origin top left)."""
    point: dict[int, Vector] = field(default_factory=dict)
    """Gaze index -> 3-D gaze in mm: x to the left, y up, z ahead."""
    pupil: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    gyro: list[tuple[int, Vector]] = field(default_factory=list)
    accel: list[tuple[int, Vector]] = field(default_factory=list)
    scene_clock: list[tuple[int, int]] = field(default_factory=list)
    eye_clock: list[tuple[int, int]] = field(default_factory=list)
    damaged: int = 0


def is_tobii(path: Path) -> bool:
    """The live data, a segment's folder, or a recording with segments."""
    return _segment(path) is not None


def open_tobii(path: Path) -> Recording:
    """The recording (its first segment) as a source. Raises InputError naming what cannot be used."""
    folder = _segment(path)
    if folder is None:
        raise InputError(f"{path}: has no {LIVE}")
    live = _read(folder / LIVE)
    notes: list[str] = []
    if live.damaged:
        notes.append(f"{live.damaged} lines of {LIVE} are damaged and left out")
    scene = open_film(folder / SCENE) if (folder / SCENE).is_file() else None
    eyes = open_film(folder / EYES) if (folder / EYES).is_file() else None
    if not live.gaze and (eyes is None or not live.eye_clock):
        raise InputError(f"{folder / LIVE}: holds no valid gaze, and nothing to time {EYES} by")
    size = (scene.width_px, scene.height_px) if scene else SCENE_PX
    geometry = _camera(live, size, notes)
    first_us = min(
        [t for t, *_ in live.gaze] + [t for t, _ in (*live.eye_clock, *live.scene_clock)]
    )
    scene_us = _video_times_us(scene, live.scene_clock, first_us, SCENE, notes)
    eyes_us = _video_times_us(eyes, live.eye_clock, first_us, EYES, notes)
    if scene is None:
        notes.append(f"the recording has no {SCENE}: no scene is seen")
    if eyes is not None:
        notes.append(f"of the eye cameras in {EYES} the upper half is taken for the left eye")
    start_us = int(min([first_us, *scene_us[:1], *eyes_us[:1]]))
    start_us = min([start_us, *(t for t, *_ in live.gaze[:1])])
    scene_ns, eyes_ns = (scene_us - start_us) * 1000, (eyes_us - start_us) * 1000
    gaze = _gaze(live, start_us, geometry)
    ends_ns = [v.t_ns for v in gaze[-1:]] + [int(t[-1]) for t in (scene_ns, eyes_ns) if len(t)]
    packets_pass = scene is not None and scene.packets_pass
    header = SessionHeader(
        session_id=_session_id(folder),
        source="tobii_glasses2",
        start_utc=_start_utc(folder),
        zone="UTC",
        scene=geometry,
        duration_ns=max(ends_ns),
        brings_gaze=bool(gaze),
        brings_packets=packets_pass,
        notes=tuple(notes),
    )

    def streams(awake: Callable[[int], bool]) -> list[Stream]:
        made: list[Stream] = [gaze, _imu(live, start_us)]
        if eyes is not None:
            made.append(_eye_stream(eyes, eyes_ns))
        if scene is not None:
            made.append((packet_stream if packets_pass else scene_stream)(scene, scene_ns, awake))
        return made

    return Recording(header, streams)


def _segment(path: Path) -> Path | None:
    if path.is_file():
        return path.parent if path.name == LIVE else None
    found = [path / LIVE, *sorted(path.glob(f"segments/*/{LIVE}")), *sorted(path.glob(f"*/{LIVE}"))]
    return next((p.parent for p in found if p.is_file()), None)


def _read(path: Path) -> Live:
    live = Live()
    live.damaged = read_lines(path, partial(_take, live))
    live.gaze.sort()
    return live


def _take(live: Live, row: dict[str, Any]) -> None:
    ts, valid = int(row["ts"]), int(row.get("s", 0)) == 0
    index = int(row.get("gidx", -1))
    if "vts" in row:
        live.scene_clock.append((ts, int(row["vts"])))
    elif "evts" in row:
        live.eye_clock.append((ts, int(row["evts"])))
    elif not valid:
        return
    elif "gp" in row:
        live.gaze.append((ts, index, float(row["gp"][0]), float(row["gp"][1])))
    elif "gp3" in row:
        live.point[index] = vector(row["gp3"])
    elif "pd" in row and float(row["pd"]) > 0:
        live.pupil[index].append(float(row["pd"]))
    elif "gy" in row:
        live.gyro.append((ts, vector(row["gy"])))
    elif "ac" in row:
        live.accel.append((ts, vector(row["ac"])))


def _camera(live: Live, size: tuple[int, int], notes: list[str]) -> SceneGeometry:
    both = [(*live.point[i], x, y) for _, i, x, y in live.gaze if i in live.point]
    if both:
        points = np.array(both)
        ahead = np.where(points[:, 2] > 0, points[:, 2], np.nan)
        right, down = -points[:, 0] / ahead, -points[:, 1] / ahead
        fitted = fit_camera(right, down, points[:, 3], points[:, 4], *size)
        if fitted is not None:
            notes.append("the scene camera is a pinhole fitted to the recording's own 3-D gaze")
            return fitted
    geometry, note = assumed_camera(*size)
    notes.append(note)
    return geometry


def _video_times_us(
    film: Film | None, clock: list[tuple[int, int]], first_us: int, name: str, notes: list[str]
) -> Times:
    """When each frame was taken, on the clock of `ts`."""
    if film is None:
        return np.zeros(0, np.int64)
    shown_us = np.round(film.pts * film.tick_s * 1e6).astype(np.int64)
    if not clock:
        notes.append(f"nothing says when {name} began: it is put at the first sample")
        return shown_us - shown_us[0] + first_us
    ts, video = np.array(sorted(clock)).T
    if video.min() > shown_us[-1] or video.max() < shown_us[0]:
        notes.append(
            f"{LIVE} counts the time of {name} from elsewhere: its first frame is put there"
        )
        video = video - video.min() + shown_us[0]
    offset = np.interp(shown_us, video, (ts - video).astype(np.float64))
    return shown_us + np.round(offset).astype(np.int64)


def _gaze(live: Live, start_us: int, geometry: SceneGeometry) -> list[Value]:
    if not live.gaze:
        return []
    t_us, index, x, y = np.array(live.gaze, dtype=np.float64).T
    pupil_mm = np.array([np.mean(live.pupil[i]) if i in live.pupil else np.nan for i in index])
    t_ns: NDArray[np.int64] = (t_us.astype(np.int64) - start_us) * 1000
    return list(gaze_stream(t_ns, *from_frame(geometry, x, y), np.ones(len(x)), pupil_mm))


def _imu(live: Live, start_us: int) -> Iterator[ImuSample]:
    """Axes as the maker gives them."""
    gyro, accel = (
        [((t - start_us) * 1000, v) for t, v in rows] for rows in (live.gyro, live.accel)
    )
    return motion_stream([row for row in gyro if row[0] >= 0], accel)


def _eye_stream(film: Film, t_ns: Times) -> Iterator[Due]:
    """Eye cameras below one another, each as high as the video is wide: half of them an eye's."""
    reader = FilmReader(film)
    cameras = max(1, film.height_px // film.width_px)

    def make(number: int) -> Iterator[Value]:
        frame = reader.frame(number)
        if frame is None:
            return
        for at, tile in enumerate(np.split(grey(frame), cameras)):
            eye: Eye = "left" if at < (cameras + 1) // 2 else "right"
            yield EyeFrame(
                t_ns=int(t_ns[number]),
                eye=eye,
                seq=number,
                pixels=tile.copy(),
                camera=at % ((cameras + 1) // 2),
            )

    for number in range(min(len(film), len(t_ns))):
        yield Due(int(t_ns[number]), lambda number=number: make(number))


def _session_id(folder: Path) -> str:
    parts = [p for p in folder.resolve().parts[-3:] if p != "segments"]
    return "-".join(parts[-2:])


def _start_utc(folder: Path) -> str:
    try:
        stated = json.loads((folder / SEGMENT).read_text(encoding="utf-8"))["seg_t_start"]
        return datetime.strptime(stated, "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC).isoformat()
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"
