"""SceneFrame -> ScenePacket, for sources that do not bring encoded video themselves.

A camera with an encoder of its own brings `ScenePacket`s and this stage is left out. After a pause
(the camera slept) a new stream is begun, so that every stretch of video starts with a keyframe.

Frames of the camera's low mode wait in memory, unencoded, until a moment opens: most checks end
without one, and neither encoder nor main processor need wake for them. They become the snippet's
pre-roll, enlarged to the size of the video.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from device.types import (
    CameraMode,
    CameraRequest,
    DeviceEvent,
    SceneFrame,
    SceneGeometry,
    ScenePacket,
    Value,
)
from device.video import H264Encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeSettings:
    rate_hz: float = 30.0
    """Nominal rate: sets the keyframe interval (one second) and nothing else."""
    crf: int = 23
    """x264's constant rate factor; lower is better and larger."""
    pause_ms: float = 500.0
    """A longer pause between frames begins a new stream."""
    hold_low: bool = True
    """Frames of the low mode wait for a moment. False encodes them at once, which a recording of the whole
    session needs: it holds what the loop saw when the loop saw it."""


class EncodeStage:
    """One H.264 stream per stretch of scene video.

    `native` is the size of the camera's full frames; without it every frame is encoded at once, as it
    is. Smaller ones are held for up to `hold_s`, the pre-roll.
    """

    name = "encode"
    wants = (SceneFrame, CameraRequest, DeviceEvent)

    def __init__(
        self,
        settings: EncodeSettings | None = None,
        native: SceneGeometry | None = None,
        *,
        hold_s: float = 5.0,
    ) -> None:
        self._settings = settings or EncodeSettings()
        self._native = (native.width_px, native.height_px) if native else (0, 0)
        self._hold_ns = round(hold_s * 1e9)
        self._held: deque[SceneFrame] = deque()
        self._mode = CameraMode.OFF
        self._encoder: H264Encoder | None = None
        self._size = (0, 0)
        self._last_ns = 0

    def step(self, value: Value) -> Iterable[Value]:
        match value:
            case SceneFrame() if value.pixels.shape[0] < self._native[1]:
                self._hold(value)
                at_once = self._mode is CameraMode.FULL or not self._settings.hold_low
                return self._flush() if at_once else ()
            case SceneFrame():
                self._held.clear()  # a video does not go back in time
                return self._encode(value)
            case CameraRequest():
                self._mode = value.mode
                return self._flush() if value.mode is CameraMode.FULL else ()
            case DeviceEvent() if value.name == "privacy" and value.value:
                self._held.clear()
        return ()

    def finish(self, end_ns: int) -> Iterable[Value]:
        return ()

    def _hold(self, frame: SceneFrame) -> None:
        self._held.append(frame)
        while self._held[0].t_ns < frame.t_ns - self._hold_ns:
            self._held.popleft()

    def _flush(self) -> Iterator[Value]:
        """What was held, as video of the full size."""
        while self._held:
            frame = self._held.popleft()
            large = cv2.resize(frame.pixels, self._native, interpolation=cv2.INTER_LINEAR)
            yield from self._encode(replace(frame, pixels=np.asarray(large, np.uint8)))

    def _encode(self, frame: SceneFrame) -> Iterable[Value]:
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
