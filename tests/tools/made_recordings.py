"""Small recordings in the formats of their makers, for the tests of this folder."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import av
import numpy as np

from tools.importers.neon import CALIBRATION

START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


def film(path: Path, frames: int, size: tuple[int, int] = (64, 48), codec: str = "mpeg4") -> Path:
    """A video of `size` (width, height) at 25 Hz; each frame is as bright as ten times its number."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.options = {"tune": "zerolatency", "crf": "10", "x264-params": "keyint=10"}
        for number in range(frames):
            pixels = np.full((size[1], size[0], 3), 10 * (number % 25), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def mapping(folder: Path, rows: list[str], frames: int = 25) -> Path:
    folder.mkdir(exist_ok=True)
    film(folder / "worldCamera.mp4", frames)
    head = "timestamp\tframe_idx\tconfidence\tnorm_pos_x\tnorm_pos_y"
    (folder / "gazeData_world.tsv").write_text("\n".join([head, *rows]) + "\n")
    return folder


def mapping_rows(count: int = 50) -> list[str]:
    return [f"{1000 + 20 * i}\t{i // 2}\t0.9\t{0.25 + 0.01 * i:.4f}\t0.25" for i in range(count)]


def neon(folder: Path, *, eyes: bool = True) -> Path:
    """A Neon recording of two parts: scene and gaze in the first, eyes and gaze in the second."""
    folder.mkdir(exist_ok=True)
    info = {"recording_id": "n-1", "start_time": START_NS, "duration": 4_000 * MS}
    (folder / "info.json").write_text(json.dumps(info))
    camera = np.zeros(1, CALIBRATION)
    for name in ("scene", "right", "left"):
        camera[f"{name}_matrix"] = [[890, 0, 800], [0, 890, 600], [0, 0, 1]]
    (folder / "calibration.bin").write_bytes(camera.tobytes())
    for part, begin in ((1, 500), (2, 2000)):
        t_ns = START_NS + MS * (begin + 5 * np.arange(200, dtype=np.int64))
        t_ns.tofile(folder / f"gaze ps{part}.time")
        points = np.stack([800 + np.arange(200.0), np.full(200, 400.0)], axis=1)
        points.astype("<f4").tofile(folder / f"gaze ps{part}.raw")
        np.full(201, 255, np.uint8).tofile(folder / f"worn ps{part}.raw")  # a byte too many
        t_ns.tofile(folder / f"eye_state ps{part}.time")
        state = np.zeros((200, 14), "<f4")
        state[:, 0], state[:, 7] = 3.0, 4.0
        state.tofile(folder / f"eye_state ps{part}.raw")
    film(folder / "Neon Scene Camera v1 ps1.mp4", 25, codec="libx264")
    frames = START_NS + MS * (400 + 40 * np.arange(25, dtype=np.int64))
    frames.tofile(folder / "Neon Scene Camera v1 ps1.time")
    (frames + 1500 * MS).tofile(folder / "Neon Scene Camera v1 ps2.time")  # its video is missing
    if eyes:
        film(folder / "Neon Sensor Module v1 ps1.mp4", 25, size=(96, 48), codec="libx264")
        (frames + 1600 * MS).tofile(folder / "Neon Sensor Module v1 ps1.time")
    packet = bytes([0x08, 0x96, 0x01, 0x12, 15])
    packet += b"".join(
        bytes([n << 3 | 5]) + struct.pack("<f", v) for n, v in ((1, 0), (2, 0.5), (3, 1))
    )
    packet += bytes([0x1A, 10]) + b"".join(
        bytes([n << 3 | 5]) + struct.pack("<f", v) for n, v in ((1, 7), (3, 2))
    )
    (folder / "extimu ps1.raw").write_bytes((len(packet).to_bytes(2, "little") + packet) * 3)
    (START_NS + MS * (600 + np.arange(3, dtype=np.int64))).tofile(folder / "extimu ps1.time")
    return folder


def tobii(folder: Path) -> Path:
    """Two seconds at 50 Hz: a camera of known focal length, four eye cameras, a blink in the middle."""
    segment = folder / "segments" / "1"
    segment.mkdir(parents=True)
    lines = []
    for i in range(100):
        ts, x, y = 5_000_000 + 20_000 * i, -0.2 + 0.004 * i, 0.1 - 0.002 * i
        lost = 40 <= i < 60
        gp = [0.0, 0.0] if lost else [0.5 + 0.6 * x, 0.5 + 1.06 * y]
        lines.append({"ts": ts, "s": int(lost), "gidx": i, "pd": 3.0, "eye": "left"})
        lines.append({"ts": ts, "s": int(lost), "gidx": i, "pd": 3.4, "eye": "right"})
        lines.append({"ts": ts, "s": int(lost), "gidx": i, "l": 1, "gp": gp})
        lines.append({"ts": ts, "s": 0, "gidx": i, "gp3": [-1000 * x, -1000 * y, 1000.0]})
        lines.append({"ts": ts + 1, "s": 0, "gy": [1.0, 2.0, 3.0]})
        lines.append({"ts": ts + 2, "s": 0, "ac": [0.1, -9.8, 0.2]})
    lines.append({"ts": 5_100_000, "s": 0, "evts": 0})
    lines.append({"ts": 6_100_000, "s": 0, "evts": 1_000_000})
    lines.append({"ts": 5_200_000, "s": 0, "vts": 0})
    with gzip.open(segment / "livedata.json.gz", "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    film(segment / "eyesstream.mp4", 25, size=(24, 96), codec="libx264")
    film(segment / "fullstream.mp4", 25, codec="libx264")
    (segment / "segment.json").write_text(json.dumps({"seg_t_start": "2023-05-26T08:32:56+0000"}))
    return folder
