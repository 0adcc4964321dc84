"""Videos that others encoded: found frame by frame, decoded only when a frame is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.sources.scene_video import ScenePlayer
from device.types import Pixels, SceneFrame, ScenePacket, Value
from tools.importers.recording import Due, Times

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mjpeg")


@dataclass(frozen=True, slots=True)
class Film:
    """What a video file holds, without a frame decoded."""

    path: Path
    width_px: int
    height_px: int
    pts: NDArray[np.int64]
    """Of every frame in the order of display, in units of `tick_s`."""
    key: NDArray[np.bool_]
    """Which of them are keyframes."""
    tick_s: float
    rate_hz: float
    packets_pass: bool
    """H.264 without B-frames: its packets can be taken over as they are."""

    def __len__(self) -> int:
        return len(self.pts)

    def times_ns(self) -> Times:
        """By the container: (N,) int64 from the first frame."""
        return np.round((self.pts - self.pts[0]) * self.tick_s * 1e9).astype(np.int64)


def open_film(path: Path) -> Film:
    """Walk over a video. Raises InputError if it cannot be opened or holds no frame."""
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: is empty; copy the video again")
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path}: holds no video stream")
            stream = container.streams.video[0]
            stamps: list[tuple[int, bool]] = []
            in_order = True
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                pts = packet.pts if packet.pts is not None else packet.dts
                in_order = in_order and (not stamps or pts > stamps[-1][0])
                stamps.append((len(stamps) if pts is None else int(pts), bool(packet.is_keyframe)))
            codec, tick_s = stream.codec_context.name, float(stream.time_base or 1)
            size = stream.width, stream.height
            rate_hz = float(stream.average_rate or 0)
    except (OSError, av.error.FFmpegError) as error:
        raise InputError(
            f"{path}: is not a readable video ({error.strerror or error}); it may be cut, copy it again"
        ) from error
    if not stamps or 0 in size:
        raise InputError(f"{path}: holds no video frame")
    stamps.sort()
    return Film(
        path=path,
        width_px=size[0],
        height_px=size[1],
        pts=np.array([s[0] for s in stamps], np.int64),
        key=np.array([s[1] for s in stamps]),
        tick_s=tick_s,
        rate_hz=rate_hz,
        packets_pass=codec == "h264" and in_order and stamps[0][1],
    )


class FilmReader:
    """Decodes single frames of a film; going forwards is cheap, and skipping seeks to keyframes."""

    def __init__(self, film: Film) -> None:
        self._film = film
        self._keys = np.flatnonzero(film.key)
        self._container = av.open(str(film.path))
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1
        self._frames = self._container.decode(self._stream)
        self._next = 0

    def frame(self, number: int) -> av.VideoFrame | None:
        """The frame of that number in the order of display; None if it is damaged or cut off."""
        before = self._keys[self._keys <= number]
        key = int(before[-1]) if len(before) else 0
        if number < self._next or key > self._next:
            self._container.seek(int(self._film.pts[key]), stream=self._stream, backward=True)
            self._frames = self._container.decode(self._stream)
        wanted = int(self._film.pts[number])
        try:
            for frame in self._frames:
                pts = frame.pts if frame.pts is not None else frame.dts
                if pts is None or pts >= wanted:
                    self._next = number + 1
                    return frame if pts is None or pts == wanted else None
        except av.error.FFmpegError:  # a damaged frame; the next one may be whole
            self._frames = self._container.decode(self._stream)
        self._next = number + 1
        return None


def grey(frame: av.VideoFrame) -> Pixels:
    """(H, W) uint8: the luma as it is stored, or converted where there is no luma plane."""
    if not frame.format.name.startswith(("yuv", "gray", "nv")):
        return np.asarray(frame.to_ndarray(format="gray"), np.uint8)
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return np.ascontiguousarray(rows[: frame.height, : frame.width])


def scene_stream(
    film: Film, t_ns: Times, awake: Callable[[int], bool], first_seq: int = 0
) -> Iterator[Due]:
    """Scene frames at `t_ns` (N,), decoded only while the camera is awake; see `packet_stream`."""
    reader = FilmReader(film)

    def make(number: int) -> Iterator[Value]:
        at_ns = int(t_ns[number])
        frame = reader.frame(number) if awake(at_ns) else None
        if frame is not None:
            pixels = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            yield SceneFrame(t_ns=at_ns, seq=first_seq + number, pixels=pixels)

    for number in range(min(len(film), len(t_ns))):
        yield Due(int(t_ns[number]), lambda number=number: make(number))


def packet_stream(
    film: Film, t_ns: Times, awake: Callable[[int], bool], first_seq: int = 0
) -> Iterator[Due]:
    """Packets of an H.264 film without B-frames and their frames, while the camera is awake."""
    player = ScenePlayer()
    with av.open(str(film.path)) as container:
        stream = container.streams.video[0]
        annex_b = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        number = 0
        for packet in container.demux(stream):
            if packet.size == 0 or number >= len(t_ns):
                continue
            keyframe = bool(packet.is_keyframe)
            data = b"".join(bytes(made) for made in annex_b.filter(packet))
            scene = ScenePacket(
                t_ns=int(t_ns[number]),
                seq=first_seq + number,
                data=data,
                keyframe=keyframe,
                width_px=film.width_px,
                height_px=film.height_px,
            )
            yield Due(scene.t_ns, lambda scene=scene: player.play(scene, awake(scene.t_ns)))
            number += 1
