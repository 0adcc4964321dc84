"""H.264 in and out: one frame in, one access unit out, at once.

Encoded is what every reader plays (browsers, Foxglove, Rerun): Annex B, 4:2:0, no B-frames, a keyframe
at least each second of session time with its parameter sets before it. One thread, so the same
frames always give the same bytes. Grey images keep their 0..255 in the luma plane untouched (full
range); colour is BT.601, limited range, which is what OpenCV's fast conversion writes.
"""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from device.errors import InputError
from device.types import Pixels, ScenePacket

KEYFRAME_NS = 1_000_000_000
"""Longest time between keyframes: a reader that starts anywhere waits a second at most."""

_RANGE_LIMITED, _RANGE_FULL = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG
_BT601 = 6  # AVCOL_SPC_SMPTE170M


class H264Encoder:
    """Turns frames of one size into packets, one for one and without delay.

    `crf` is x264's constant rate factor (0 lossless .. 51 worst; 23 is x264's own default).
    An odd width or height is padded by one pixel in the video; the packet keeps the true size.
    """

    def __init__(
        self, width_px: int, height_px: int, rate_hz: float, crf: float = 23, gray: bool = False
    ) -> None:
        self._size = (height_px, width_px)
        self._even = (height_px + height_px % 2, width_px + width_px % 2)
        self._gray = gray
        self._count = 0
        self._key_ns: int | None = None
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height = self._even[1], self._even[0]
        context.pix_fmt = "yuv420p"
        context.framerate = Fraction(max(rate_hz, 1.0)).limit_denominator(1000)
        context.time_base = 1 / context.framerate
        context.thread_count = 1
        context.color_range = _RANGE_FULL if gray else _RANGE_LIMITED
        context.colorspace = _BT601
        keyint = max(1, round(rate_hz))
        context.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "crf": f"{crf:g}",
            "forced-idr": "1",
            "x264-params": f"keyint={keyint}:min-keyint=1:scenecut=0:sliced-threads=0:annexb=1",
        }
        self._context: VideoCodecContext = context

    def encode(self, pixels: Pixels, t_ns: int, seq: int) -> ScenePacket | None:
        """One frame, BGR (H, W, 3) or grey (H, W) uint8 -> its packet.

        None only if x264 held the frame back, which it does not with these settings. Raises
        ValueError for pixels of another shape.
        """
        if pixels.shape != (self._size if self._gray else (*self._size, 3)):
            raise ValueError(f"frame is {pixels.shape}, encoder was made for {self._size}")
        frame = av.VideoFrame.from_ndarray(self._planes(pixels), format="yuv420p")
        frame.pts, frame.time_base = self._count, self._context.time_base
        frame.color_range = _RANGE_FULL if self._gray else _RANGE_LIMITED
        frame.colorspace = _BT601
        if self._key_ns is None or t_ns - self._key_ns >= KEYFRAME_NS:
            frame.pict_type = PictureType.I
        self._count += 1
        made = self._context.encode(frame)
        if not made:
            return None
        if made[0].is_keyframe:
            self._key_ns = t_ns
        return ScenePacket(
            t_ns=t_ns,
            seq=seq,
            data=b"".join(bytes(packet) for packet in made),
            keyframe=bool(made[0].is_keyframe),
            width_px=self._size[1],
            height_px=self._size[0],
        )

    def _planes(self, pixels: Pixels) -> Pixels:
        """The planes of I420 below one another: (H * 3/2, W) uint8."""
        down, right = self._even[0] - self._size[0], self._even[1] - self._size[1]
        if down or right:
            pixels = np.asarray(
                cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_REPLICATE), np.uint8
            )
        if not self._gray:
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2YUV_I420), np.uint8)
        planes = np.full((self._even[0] * 3 // 2, self._even[1]), 128, np.uint8)
        planes[: self._even[0]] = pixels
        return planes


class H264Decoder:
    """Turns packets back into frames: BGR (H, W, 3) uint8, or with `gray` the luma plane (H, W).

    It starts at the first keyframe, and again at the next one after a damaged packet.
    """

    def __init__(self, gray: bool = False) -> None:
        self._gray = gray
        self._context: VideoCodecContext | None = None

    def decode(self, packet: ScenePacket) -> Pixels | None:
        """The frame of this packet; None while no keyframe was seen or the packet is damaged."""
        frame = self._feed(packet)
        if frame is None:
            return None
        height, width = packet.height_px, packet.width_px
        if self._gray:
            plane = frame.planes[0]
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            return np.ascontiguousarray(rows[:height, :width])
        return np.ascontiguousarray(frame.to_ndarray(format="bgr24")[:height, :width])

    def skip(self, packet: ScenePacket) -> None:
        """Take a packet for the sake of those that refer to it, without making its pixels."""
        self._feed(packet)

    def _feed(self, packet: ScenePacket) -> av.VideoFrame | None:
        if self._context is None:
            if not packet.keyframe:
                return None
            self._context = av.CodecContext.create("h264", "r")
            self._context.thread_count = 1
            self._context.flags |= int(av.codec.context.Flags.low_delay)
        try:
            frames = self._context.decode(av.Packet(packet.data))
        except av.error.FFmpegError:
            self._context = None
            return None
        return frames[-1] if frames else None


def is_keyframe(data: bytes) -> bool:
    """Whether an Annex B access unit holds an IDR slice (NAL unit type 5)."""
    return 5 in nal_types(data)


def nal_types(data: bytes) -> list[int]:
    """The NAL unit types of an Annex B access unit, in order."""
    kinds, at = [], data.find(b"\x00\x00\x01")
    while 0 <= at < len(data) - 3:
        kinds.append(data[at + 3] & 0x1F)
        at = data.find(b"\x00\x00\x01", at + 3)
    return kinds


def picture_size(data: bytes) -> tuple[int, int]:
    """(width_px, height_px) of the keyframe `data`. Raises InputError if it cannot be decoded."""
    context = av.CodecContext.create("h264", "r")
    try:
        frames = context.decode(av.Packet(data)) + context.decode(None)
    except av.error.FFmpegError as error:
        raise InputError(f"H.264 keyframe cannot be decoded ({error.strerror})") from error
    if not frames:
        raise InputError("H.264 keyframe holds no picture")
    return frames[0].width, frames[0].height
