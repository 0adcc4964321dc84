"""What the microcontroller says, as values of the loop: pieces are put together to eye frames, batches are
taken apart, stamps become session time."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

from device.live import Clock
from device.types import DeviceEvent, EnergySample, Eye, EyeFrame, ImuSample, Value
from firmware_bridge import wire_pb2 as wire

log = logging.getLogger(__name__)

LEVELS = {
    wire.LOG_DEBUG: logging.DEBUG,
    wire.LOG_INFO: logging.INFO,
    wire.LOG_WARNING: logging.WARNING,
    wire.LOG_ERROR: logging.ERROR,
}


class BoardValues:
    """The values of one open line."""

    def __init__(self, clock: Clock, eyes: frozenset[Eye]) -> None:
        """`eyes`: those whose pictures are taken from the line."""
        self._clock, self._of_eyes = clock, eyes
        self._pictures: dict[tuple[int, int], _Picture] = {}
        self.torn_frames = 0
        """Eye frames of which a piece was missing."""

    def of(self, packet: wire.Packet, t_ns: int) -> Iterator[Value]:
        """The values of one packet; `t_ns` is its stamp on this machine's monotonic clock."""
        match packet.WhichOneof("body"):
            case "eye_chunk":
                yield from self._eye(t_ns, packet.eye_chunk)
            case "imu_batch":
                yield from self._imu(t_ns, packet.imu_batch)
            case "power":
                power = packet.power
                yield EnergySample(
                    t_ns=self._t_ns(t_ns),
                    rail=power.rail,
                    power_mw=power.power_uw / 1000,
                    span_ns=power.span_us * 1000,
                )
            case "battery":
                battery = packet.battery
                yield self.event(t_ns, "battery", battery.charge_permille / 1000)
                yield self.event(t_ns, "charging", battery.charging)
                yield self.event(t_ns, "heat", battery.temperature_cdeg / 100)
            case "worn":
                yield self.event(t_ns, "worn", packet.worn.worn)
            case "button":
                yield self.event(t_ns, "button", packet.button.pressed)
            case "ambient_light":
                yield self.event(t_ns, "light", packet.ambient_light.illuminance_mlux / 1000)
            case "privacy_switch":
                yield self.event(t_ns, "privacy", packet.privacy_switch.on)
            case "fault":
                yield self.event(t_ns, "fault", f"microcontroller: {_fault(packet.fault)}")
            case "log":
                level = LEVELS.get(packet.log.level, logging.INFO)
                log.log(level, "microcontroller", extra={"said": packet.log.text})
            case "info":
                info = packet.info
                extra = {"firmware": info.firmware, "board": info.board, "resets": info.resets}
                log.info("microcontroller's information", extra=extra)

    def _eye(self, t_ns: int, chunk: wire.EyeChunk) -> Iterator[Value]:
        eye: Eye = "right" if chunk.eye == wire.EYE_RIGHT else "left"
        if eye not in self._of_eyes:
            return
        key = (chunk.eye, chunk.camera)
        picture = self._pictures.get(key)
        if picture is None or picture.frame != chunk.frame:
            if picture is not None:
                self.torn_frames += 1
            picture = self._pictures[key] = _Picture(chunk, t_ns)
        if not picture.put(chunk):
            return
        del self._pictures[key]
        shape = (picture.height_px, picture.width_px)
        yield EyeFrame(
            t_ns=self._t_ns(picture.t_ns),
            eye=eye,
            seq=chunk.frame,
            pixels=np.frombuffer(bytes(picture.data), np.uint8).reshape(shape),
            exposure_us=chunk.exposure_us or None,
            camera=chunk.camera,
        )

    def _imu(self, t_ns: int, batch: wire.ImuBatch) -> Iterator[Value]:
        count = min(len(batch.gyro_mdeg_s), len(batch.accel_mm_s2)) // 3
        for number in range(count):
            turn = [v / 1000 for v in batch.gyro_mdeg_s[3 * number : 3 * number + 3]]
            push = [v / 1000 for v in batch.accel_mm_s2[3 * number : 3 * number + 3]]
            before_ns = (count - 1 - number) * batch.interval_us * 1000
            yield ImuSample(
                t_ns=self._t_ns(t_ns - before_ns),
                gyro_deg_s=(turn[0], turn[1], turn[2]),
                accel_m_s2=(push[0], push[1], push[2]),
            )

    def event(self, t_ns: int, name: str, value: float | str | bool) -> DeviceEvent:
        """An event at a time of this machine's monotonic clock."""
        return DeviceEvent(t_ns=self._t_ns(t_ns), name=name, value=value)

    def _t_ns(self, monotonic_ns: int) -> int:
        return max(0, monotonic_ns - self._clock.start_ns)


class _Picture:
    """An eye frame being put together from its pieces."""

    def __init__(self, chunk: wire.EyeChunk, t_ns: int) -> None:
        self.frame, self.t_ns = chunk.frame, t_ns
        self.width_px, self.height_px = chunk.width_px, chunk.height_px
        self.data = bytearray(min(chunk.width_px * chunk.height_px, 1 << 20))
        self._missing = len(self.data)

    def put(self, chunk: wire.EyeChunk) -> bool:
        """True when the picture is whole. Pieces come once: the link drops what is repeated."""
        end = chunk.offset + len(chunk.pixels)
        if end <= len(self.data):
            self.data[chunk.offset : end] = chunk.pixels
            self._missing -= len(chunk.pixels)
        return self._missing == 0 and len(self.data) > 0


def _fault(fault: wire.Fault) -> str:
    kind = wire.FaultKind.Name(fault.kind).removeprefix("FAULT_").lower().replace("_", " ")
    return f"{kind} ({fault.text})" if fault.text else kind
