"""Project Aria: gaze of its Machine Perception Services (MPS), and frames taken out of the `.vrs`.

Gaze is `general_eye_gaze.csv` or, better, `personalized_eye_gaze.csv`: angles in the central pupil frame
(x to the left, y up, z ahead; https://facebookresearch.github.io/projectaria_tools/, "Eye gaze"), one yaw,
or one for each eye. Frames are images listed in `frames.csv` (stream, index, device_time_ns, file), on the
same clock. A `.vrs` itself is not read: nothing that is small enough to install with the glasses does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.types import Eye, EyeFrame, Pixels, SceneFrame, SceneGeometry, SessionHeader, Value
from tools.importers.recording import Due, Recording, Stream, Times, gaze_stream, nearest
from tools.importers.table import check_times, read_columns, read_table

Floats = NDArray[np.float64]

GAZE = ("personalized_eye_gaze.csv", "general_eye_gaze.csv")
"""The better first."""
FOLDERS = (".", "eye_gaze", "mps/eye_gaze", "mps_*_vrs/eye_gaze")
TIME, PITCH = "tracking_timestamp_us", "pitch_rads_cpf"
ONE_YAW, TWO_YAWS = ("yaw_rads_cpf",), ("left_yaw_rads_cpf", "right_yaw_rads_cpf")
FRAMES = "frames.csv"
FRAME_COLUMNS = ("stream", "index", "device_time_ns", "file")

FOCAL_SHARE = 0.433
"""Focal length of the RGB camera of the first generation as a share of its frame's side (610 of 1408 px),
near the middle: about what the projected gaze of the maker's sample recordings gives."""
TURNED_PX = (1408, 2880)
"""Sides of the square RGB frames of the first generation, whose sensor is mounted turned by 90 degrees."""


def is_aria(path: Path) -> bool:
    """A folder with MPS gaze or listed frames, the table itself, or the `.vrs` of such a folder."""
    folder = path if path.is_dir() else path.parent
    if path.is_file() and path.suffix == ".csv":
        return _is_gaze(path)
    if path.is_file() and path.suffix != ".vrs":
        return False
    return path.suffix == ".vrs" or _gaze_table(folder) is not None or _frame_list(folder)


def open_aria(path: Path) -> Recording:
    """The recording as a source. Raises InputError naming the file and row that cannot be used."""
    folder = path if path.is_dir() else path.parent
    gaze_path = path if path.suffix == ".csv" else _gaze_table(folder)
    frames = _Frames(folder) if _frame_list(folder) else None
    if gaze_path is None and frames is None:
        raise InputError(
            f"{path}: the images in a .vrs are not read and nothing else of it is here; put the MPS output "
            f"(mps/eye_gaze/{GAZE[1]}) beside it"
        )
    notes: list[str] = []
    if frames is None:
        notes.append(
            f"the images of an Aria recording are in its .vrs, which is not read: there is no {FRAMES}"
        )
    t_us, right, up = _gaze(gaze_path) if gaze_path else _nothing()
    clocks = [t_us * 1000, *(frames.t_ns.values() if frames else ())]
    start_ns = int(min(t.min() for t in clocks if len(t)))
    geometry = frames.camera(t_us * 1000, right, up, notes) if frames else None
    if geometry is not None:
        notes.append(
            "gaze is that of the central pupil frame; the RGB camera's own calibration is in the .vrs"
        )
    gaze_ns = t_us * 1000 - start_ns
    header = SessionHeader(
        session_id=folder.resolve().name,
        source="aria",
        start_utc="unknown",
        zone="UTC",
        scene=geometry,
        duration_ns=int(max(t.max() for t in clocks if len(t))) - start_ns,
        brings_gaze=len(t_us) > 0,
        notes=tuple(notes),
    )

    def streams(awake: Callable[[int], bool]) -> list[Stream]:
        made: list[Stream] = [
            gaze_stream(gaze_ns, np.degrees(right), np.degrees(up), np.ones(len(t_us)))
        ]
        if frames is not None:
            made += frames.streams(start_ns, awake)
        return made

    return Recording(header, streams)


def _is_gaze(path: Path) -> bool:
    try:
        columns = read_columns(path)
    except InputError:
        return False
    return all(n in columns for n in (TIME, PITCH)) and any(
        all(n in columns for n in yaws) for yaws in (ONE_YAW, TWO_YAWS)
    )


def _gaze_table(folder: Path) -> Path | None:
    found = (
        p for name in GAZE for where in FOLDERS for p in sorted(folder.glob(f"{where}/{name}"))
    )
    return next((p for p in found if _is_gaze(p)), None)


def _gaze(path: Path) -> tuple[Times, Floats, Floats]:
    """(N,) microseconds of the device's clock, radians to the right, radians upwards."""
    table = read_table(path)
    t_us = table.integers(TIME)
    check_times(t_us, path)
    if TWO_YAWS[0] in table:
        left, right = (np.tan(table.floats(name)) for name in TWO_YAWS)
        # the eyes lie as far to either side of the middle, so at any depth the middle's tangent is the mean
        yaw = np.arctan((left + right) / 2)
    else:
        yaw = table.floats(ONE_YAW[0])
    pitch = table.floats(PITCH)
    if not np.isfinite(yaw + pitch).any():
        raise InputError(f"{path}: holds no gaze, only empty rows; run the eye gaze service again")
    # both angles are those of projections (x/z and y/z); our elevation is that of the line itself
    return t_us, -yaw, np.arctan(np.tan(pitch) * np.cos(yaw))


def _nothing() -> tuple[Times, Floats, Floats]:
    return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)


def _frame_list(folder: Path) -> bool:
    path = folder / FRAMES
    return path.is_file() and set(FRAME_COLUMNS) <= set(read_columns(path))


class _Frames:
    """The images listed in `frames.csv`: `rgb`, and `eyes` (both in one image) or `eye_left`, `eye_right`."""

    STREAMS = ("rgb", "eyes", "eye_left", "eye_right")

    def __init__(self, folder: Path) -> None:
        self._table = table = read_table(folder / FRAMES)
        stream = np.array(table.texts("stream"))
        times, files = table.integers("device_time_ns"), table.texts("file")
        self.t_ns: dict[str, Times] = {}
        self._rows: dict[str, NDArray[np.int64]] = {}
        self._files: dict[str, list[Path]] = {}
        for name in self.STREAMS:
            rows = np.flatnonzero(stream == name)
            rows = rows[np.argsort(times[rows], kind="stable")]
            self._rows[name], self.t_ns[name] = rows, times[rows]
            self._files[name] = [_beside(folder, files[i]) for i in rows]
        if not len(self._rows["rgb"]):
            raise InputError(f"{table.path}: lists no frame of stream 'rgb'")
        first = _image(self._files["rgb"][0])
        if first is None:
            raise InputError(f"{self._files['rgb'][0]}: is not a readable image; copy it again")
        height, width = first.shape[:2]
        self._turned = height == width and height in TURNED_PX
        self._size = (width, height)

    def camera(self, gaze_ns: Times, right: Floats, up: Floats, notes: list[str]) -> SceneGeometry:
        """A pinhole of the usual focal length, its axis where the projected gaze in the table says it is."""
        width, height = self._size
        focal = FOCAL_SHARE * min(width, height) if self._turned else FOCAL_SHARE * width
        centre = ((width - 1) / 2, (height - 1) / 2)
        known = self._projected(gaze_ns)
        if known is None:
            notes.append(
                "nothing says where gaze falls in the frame: the camera is taken to look straight ahead"
            )
        else:
            i, x, y = known
            centre = (
                float(np.median(x - focal * np.tan(right[i]))),
                float(np.median(y + focal * np.tan(up[i]) / np.cos(right[i]))),
            )
        notes.append(
            f"the RGB camera is taken for a pinhole of {focal:.0f} px: near the truth in its middle, "
            "off towards its edge"
        )
        matrix = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
        return SceneGeometry(width_px=width, height_px=height, camera_matrix=matrix)

    def streams(self, start_ns: int, awake: Callable[[int], bool]) -> list[Stream]:
        """One stream a kind of image; a scene image is read only while the camera is awake."""
        return [self._stream(name, start_ns, awake) for name in self.STREAMS]

    def _projected(self, gaze_ns: Times) -> tuple[NDArray[np.int64], Floats, Floats] | None:
        """Rows of gaze and where they fall in the upright frame, of frames taken within 5 ms of one."""
        if "gaze_x" not in self._table or not len(gaze_ns):
            return None
        rows, t_ns = self._rows["rgb"], self.t_ns["rgb"]
        x, y = (self._table.floats(name)[rows] for name in ("gaze_x", "gaze_y"))
        order = np.argsort(gaze_ns, kind="stable")
        row = order[nearest(t_ns, gaze_ns[order])]
        near = (np.abs(t_ns - gaze_ns[row]) < 5_000_000) & np.isfinite(x + y)
        if self._turned:
            x, y = self._size[1] - 1 - y, x
        return (row[near], x[near], y[near]) if near.any() else None

    def _stream(self, name: str, start_ns: int, awake: Callable[[int], bool]) -> Iterator[Due]:
        def make(seq: int, at_ns: int) -> Iterator[Value]:
            if name != "rgb":
                yield from self._eyes(name, seq, at_ns)
            elif awake(at_ns) and (pixels := _image(self._files[name][seq])) is not None:
                yield SceneFrame(t_ns=at_ns, seq=seq, pixels=self._upright(pixels))

        for seq, at_ns in enumerate((self.t_ns[name] - start_ns).tolist()):
            yield Due(at_ns, partial(make, seq, at_ns))

    def _eyes(self, name: str, seq: int, at_ns: int) -> Iterator[EyeFrame]:
        """One image holds both eyes, the left one on the left, or one of them."""
        pixels = _image(self._files[name][seq])
        if pixels is None:
            return
        grey = pixels[..., 0]
        half = grey.shape[1] // 2
        eyes: dict[Eye, Pixels] = {"left": grey[:, :half], "right": grey[:, half:]}
        if name != "eyes":
            eyes = {"left": grey} if name == "eye_left" else {"right": grey}
        for eye, seen in eyes.items():
            yield EyeFrame(t_ns=at_ns, eye=eye, seq=seq, pixels=np.ascontiguousarray(seen))

    def _upright(self, pixels: Pixels) -> Pixels:
        return np.ascontiguousarray(np.rot90(pixels, -1)) if self._turned else pixels


def _beside(folder: Path, file: str) -> Path:
    """Where a listed image is: named from the folder or from the one above, never from elsewhere."""
    inside = Path(file)
    if inside.is_absolute() or ".." in inside.parts:
        raise InputError(f"{folder / FRAMES}: '{file}' leads out of the recording")
    found = next((p for p in (folder / inside, folder.parent / inside) if p.is_file()), None)
    if found is None:
        raise InputError(f"{folder / FRAMES}: '{file}' is not there; copy the recording again")
    return found


def _image(path: Path) -> Pixels | None:
    """(H, W, 3) uint8, BGR; None if it is damaged."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if pixels is None else np.asarray(pixels, np.uint8)
