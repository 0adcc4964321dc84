"""SceneFrame -> ScenePacket, for sources that do not bring encoded video themselves.

A camera with an encoder of its own brings `ScenePacket`s and this stage is left out. After a pause
(the camera slept) a new stream is begun, so that every stretch of video starts with a keyframe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from device.types import SceneFrame, ScenePacket, Value
from device.video import H264Encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeSettings:
    rate_hz: float = 30.0
    """Nominal rate: sets the keyframe interval (one second) and nothing else."""
    crf: int = 23
    """x264's constant rate factor; lower is better and larger."""
    pause_ms: float = 500.0
    """A longer pause between frames begins a new stream."""


class EncodeStage:
    """One H.264 stream per stretch of scene video and frame size."""

    name = "encode"
    wants = (SceneFrame,)

    def __init__(self, settings: EncodeSettings | None = None) -> None:
        self._settings = settings or EncodeSettings()
        self._encoder: H264Encoder | None = None
        self._size = (0, 0)
        self._last_ns = 0

    def step(self, frame: SceneFrame) -> Iterable[Value]:
        height_px, width_px = frame.pixels.shape[:2]
        paused = frame.t_ns - self._last_ns > self._settings.pause_ms * 1e6
        if self._encoder is None or paused or (width_px, height_px) != self._size:
            self._encoder = H264Encoder(
                width_px, height_px, self._settings.rate_hz, crf=self._settings.crf
            )
            self._size = (width_px, height_px)
        self._last_ns = frame.t_ns
        packet: ScenePacket | None = self._encoder.encode(frame.pixels, frame.t_ns, frame.seq)
        return () if packet is None else (packet,)

    def finish(self, end_ns: int) -> Iterable[Value]:
        return ()
