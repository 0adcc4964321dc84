"""Pupil Core recordings: eye0 (right), eye1 (left) and world videos, stamps in `*_timestamps.npy`.

Gaze comes from `gaze.pldata` where the recording has it. A capture without stamps is replayed at the
rate of its eye videos, and the header's notes say so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from device.errors import InputError
from device.geometry import from_frame
from device.types import Eye, EyeFrame, SceneGeometry, SessionHeader, Value
from tools.importers.film import (
    SUFFIXES,
    Film,
    FilmReader,
    grey,
    open_film,
    packet_stream,
    scene_stream,
)
from tools.importers.intrinsics import assumed_camera
from tools.importers.recording import Due, Recording, Stream, Times, gaze_stream

EYES: dict[str, Eye] = {"eye0": "right", "eye1": "left"}


def is_pupil_core(path: Path) -> bool:
    """A folder with an eye video or a stamped world video, or such an eye video itself."""
    if path.is_file():
        return path.suffix.lower() in SUFFIXES and path.stem in EYES
    stamped = (path / "world_timestamps.npy").is_file() and _video(path, "world") is not None
    return stamped or any(_video(path, name) is not None for name in EYES)


def open_pupil_core(path: Path) -> Recording:
    """The recording as a source. Raises InputError naming the file that cannot be used."""
    folder = path if path.is_dir() else path.parent
    wanted = [*EYES, "world"] if path.is_dir() else [path.stem]
    films = {n: open_film(video) for n in wanted if (video := _video(folder, n)) is not None}
    notes: list[str] = []
    seconds = _times(folder, films, notes)
    world = films.pop("world", None)
    geometry = None if world is None else _camera(folder, world, notes)
    gaze = [] if geometry is None else _gaze_rows(folder / "gaze.pldata")
    start_s = min([float(t[0]) for t in seconds.values()] + [row[0] for row in gaze[:1]])
    t_ns = {n: np.round((t - start_s) * 1e9).astype(np.int64) for n, t in seconds.items()}
    rows = np.array(gaze or np.zeros((0, 4)))
    gaze_ns: Times = np.round((rows[:, 0] - start_s) * 1e9).astype(np.int64)
    packets_pass = world is not None and world.packets_pass
    header = SessionHeader(
        session_id=_info(folder).get("recording_uuid", folder.name),
        source="pupil_core",
        start_utc=_start_utc(_info(folder), start_s),
        zone="UTC",
        scene=geometry,
        duration_ns=int(max([*(t[-1] for t in t_ns.values()), *gaze_ns[-1:]])),
        brings_gaze=bool(gaze),
        brings_packets=packets_pass,
        notes=tuple(notes),
    )

    def streams(awake: Callable[[int], bool]) -> list[Stream]:
        made: list[Stream] = [_eye_stream(film, t_ns[name], name) for name, film in films.items()]
        if geometry is not None and gaze:
            angles = from_frame(geometry, rows[:, 1], 1.0 - rows[:, 2])
            made.append(gaze_stream(gaze_ns, *angles, rows[:, 3]))
        if world is not None:
            play = packet_stream if packets_pass else scene_stream
            made.append(play(world, t_ns["world"], awake))
        return made

    return Recording(header, streams)


def _video(folder: Path, name: str) -> Path | None:
    found = [p for p in sorted(folder.glob(f"{name}.*")) if p.suffix.lower() in SUFFIXES]
    return found[0] if found else None


def _times(
    folder: Path, films: dict[str, Film], notes: list[str]
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Seconds of every frame on one clock."""
    stamps = {name: folder / f"{name}_timestamps.npy" for name in films}
    if all(path.is_file() for path in stamps.values()):
        return {name: _load(path) for name, path in stamps.items()}
    eye = next((films[name] for name in EYES if name in films), next(iter(films.values())))
    length_s = len(eye) / (eye.rate_hz or 30.0)
    notes.append(
        f"the recording has no time stamps: {eye.rate_hz:g} Hz is what {eye.path.name} states, and "
        "the other videos are taken to span the same time"
    )
    return {n: np.arange(len(film)) * (length_s / len(film)) for n, film in films.items()}


def _load(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        seconds = np.load(path, allow_pickle=False).astype(np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: is not a readable array of times ({error})") from error
    if seconds.ndim != 1 or not len(seconds) or not np.isfinite(seconds).all():
        raise InputError(f"{path}: must be one column of finite seconds")
    return seconds


def _camera(folder: Path, world: Film, notes: list[str]) -> SceneGeometry:
    size = (world.width_px, world.height_px)
    path = folder / "world.intrinsics"
    if path.is_file():
        for key, camera in _unpack(path, one=True):
            if isinstance(camera, dict) and str(key) == str(size):
                return SceneGeometry(
                    width_px=size[0],
                    height_px=size[1],
                    camera_matrix=np.array(camera["camera_matrix"], np.float64),
                    distortion=np.ravel(np.array(camera["dist_coefs"], np.float64)),
                )
    geometry, note = assumed_camera(*size)
    notes.append(note)
    return geometry


def _gaze_rows(path: Path) -> list[tuple[float, float, float, float]]:
    """(seconds, x, y with the origin below, confidence), by time."""
    if not path.is_file():
        return []
    import msgpack

    rows = []
    for _, payload in _unpack(path):
        datum = msgpack.unpackb(payload, strict_map_key=False)
        x, y = datum["norm_pos"]
        rows.append((float(datum["timestamp"]), float(x), float(y), float(datum["confidence"])))
    return sorted(rows)


def _unpack(path: Path, one: bool = False) -> Iterator[tuple[Any, Any]]:
    import msgpack

    try:
        with path.open("rb") as file:
            items = msgpack.Unpacker(file, strict_map_key=False, use_list=False)
            yield from next(iter(items)).items() if one else items
    except (OSError, ValueError, StopIteration, msgpack.UnpackException) as error:
        raise InputError(f"{path}: is damaged ({error}); copy the recording again") from error


def _info(folder: Path) -> dict[str, Any]:
    path = folder / "info.player.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: is not readable as JSON ({error})") from error


def _start_utc(info: dict[str, Any], start_s: float) -> str:
    try:
        at_s = float(info["start_time_system_s"]) + start_s - float(info["start_time_synced_s"])
        return datetime.fromtimestamp(at_s, UTC).isoformat()
    except (KeyError, ValueError, TypeError):
        return "unknown"


def _eye_stream(film: Film, t_ns: Times, name: str) -> Iterator[Due]:
    reader = FilmReader(film)

    def make(number: int) -> Iterator[Value]:
        frame = reader.frame(number)
        if frame is not None:
            yield EyeFrame(t_ns=int(t_ns[number]), eye=EYES[name], seq=number, pixels=grey(frame))

    for number in range(min(len(film), len(t_ns))):
        yield Due(int(t_ns[number]), lambda number=number: make(number))
