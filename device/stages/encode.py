"""SceneFrame -> ScenePacket, for sources that do not bring encoded video themselves.

A camera with an encoder of its own brings `ScenePacket`s and this stage is left out. After a pause
(the camera slept) a new stream is begun, so that every stretch of video starts with a keyframe.

Frames wait in memory, unencoded, until a moment opens: most checks end without one, and neither encoder nor
main processor need wake for them. They become the snippet's pre-roll, enlarged to the size of the video. In
an open moment frames go on waiting, and are encoded in bursts (`EncodeBurst`): when the buffer is full, and
when the moment ends and is kept. The main processor sleeps in between. A buffer too small for that, or none,
encodes them as they come.
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
    EncodeBurst,
    MomentEnd,
    MomentStart,
    SceneFrame,
    SceneGeometry,
    ScenePacket,
    Value,
)
from device.video import H264Encoder

BYTES_PER_PX = 1.5
"""Of a frame that waits: 4:2:0, as the encoder takes it."""
LEAST_BURST_S = 1.0
"""A buffer that holds less is no use: waking the processor would cost more than its staying awake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeSettings:
    rate_hz: float = 30.0
    """Nominal rate: sets the keyframe interval (one second) and the time the buffer lasts for."""
    crf: int = 23
    """x264's constant rate factor; lower is better and larger."""
    pause_ms: float = 500.0
    """A longer pause between frames begins a new stream."""
    hold_low: bool = True
    """Frames wait for a moment. False encodes them at once, which a recording of the whole
    session needs: it holds what the loop saw when the loop saw it."""
    buffer_mb: float = 32.0
    """Memory beside the main processor in which frames of an open moment wait for the next burst, at 12
    bits a pixel. 0 encodes them as they come; so does a camera of whose frames it holds less than a
    second."""

    def __post_init__(self) -> None:
        if not (self.rate_hz > 0 and self.pause_ms > 0):
            raise ValueError("encode.rate_hz and encode.pause_ms must be above zero")
        if not 0 <= self.buffer_mb <= 4096:
            raise ValueError(f"encode.buffer_mb is {self.buffer_mb}, must be 0 to 4096")


def buffered_px(settings: EncodeSettings, native: SceneGeometry | None) -> int:
    """Pixels of frames that wait for a burst at most; 0 where they are encoded as they come."""
    if native is None or not settings.hold_low:
        return 0
    held_px = round(settings.buffer_mb * 1e6 / BYTES_PER_PX)
    least_px = LEAST_BURST_S * settings.rate_hz * native.width_px * native.height_px
    return held_px if held_px >= least_px else 0


class EncodeStage:
    """One H.264 stream per stretch of scene video.

    `native` is the size of the camera's full frames; without it every frame is encoded at once, as it
    is. Outside a moment frames are held for up to `hold_s`, the pre-roll, as far as the buffer goes.
    """

    name = "encode"
    wants = (SceneFrame, CameraRequest, DeviceEvent, MomentStart, MomentEnd)
    ahead = (MomentEnd,)
    """The last packets of a moment are part of it."""

    def __init__(
        self,
        settings: EncodeSettings | None = None,
        native: SceneGeometry | None = None,
        *,
        hold_s: float = 5.0,
    ) -> None:
        self._settings = settings or EncodeSettings()
        self._native = (native.width_px, native.height_px) if native else (0, 0)
        self._buffer_px = buffered_px(self._settings, native)
        self._hold_ns = round(hold_s * 1e9)
        self._held: deque[SceneFrame] = deque()
        self._held_px = 0
        self._open = False
        self._mode = CameraMode.OFF
        self._encoder: H264Encoder | None = None
        self._size = (0, 0)
        self._last_ns = 0

    def step(self, value: Value) -> Iterable[Value]:
        match value:
            case SceneFrame() if self._buffer_px:
                return self._buffer(value)
            case SceneFrame() if value.pixels.shape[0] < self._native[1]:
                self._hold(value)
                at_once = self._mode is CameraMode.FULL or not self._settings.hold_low
                return self._flush() if at_once else ()
            case SceneFrame():
                self._forget()  # a video does not go back in time
                return self._encode(value)
            case CameraRequest():
                self._mode = value.mode
                at_once = value.mode is CameraMode.FULL and not self._buffer_px
                return self._flush() if at_once else ()
            case MomentStart():
                self._open = True
            case MomentEnd():
                self._open = False
                return self._burst(value.t_ns) if self._buffer_px and value.kept else ()
            case DeviceEvent() if value.name == "privacy" and value.value:
                self._forget()
        return ()

    def finish(self, end_ns: int) -> Iterable[Value]:
        return ()

    def _buffer(self, frame: SceneFrame) -> Iterable[Value]:
        """It waits; in an open moment until the buffer is full, else until it is too old or in the way."""
        self._hold(frame)
        if self._open:
            return self._burst(frame.t_ns) if self._held_px >= self._buffer_px else ()
        while self._held_px > self._buffer_px:
            self._drop()
        return ()

    def _hold(self, frame: SceneFrame) -> None:
        self._held.append(frame)
        self._held_px += frame.pixels.shape[0] * frame.pixels.shape[1]
        if not (self._open and self._buffer_px):
            while self._held[0].t_ns < frame.t_ns - self._hold_ns:
                self._drop()

    def _drop(self) -> SceneFrame:
        frame = self._held.popleft()
        self._held_px -= frame.pixels.shape[0] * frame.pixels.shape[1]
        return frame

    def _forget(self) -> None:
        self._held.clear()
        self._held_px = 0

    def _burst(self, t_ns: int) -> Iterator[Value]:
        """Everything that waits, at once; nothing if nothing does."""
        if self._held:
            pixels = len(self._held) * self._native[0] * self._native[1]
            yield EncodeBurst(t_ns=t_ns, frames=len(self._held), pixels=pixels)
        yield from self._flush()

    def _flush(self) -> Iterator[Value]:
        """What was held, as video of the full size."""
        while self._held:
            frame = self._drop()
            if frame.pixels.shape[:2] != self._native[::-1]:
                large = cv2.resize(frame.pixels, self._native, interpolation=cv2.INTER_LINEAR)
                frame = replace(frame, pixels=np.asarray(large, np.uint8))
            yield from self._encode(frame)

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
