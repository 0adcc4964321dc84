"""Encoded scene video as a camera that may sleep: packets and frames only while it is awake."""

from __future__ import annotations

from collections.abc import Iterator

from device.types import SceneFrame, ScenePacket, Value
from device.video import H264Decoder


class ScenePlayer:
    """Lets the packets of a recording pass while the camera is awake, each followed by its frame.

    While it sleeps nothing is decoded and nothing passes, but the packets since the last keyframe are
    held: a recorded video can be entered only there. On wake they pass first, with their own times, so
    that a snippet can be cut from the packets; their frames do not, because nobody saw them.
    """

    def __init__(self) -> None:
        self._decoder = H264Decoder()
        self._held: list[ScenePacket] = []

    def play(self, packet: ScenePacket, awake: bool) -> Iterator[Value]:
        """What the loop sees of this packet."""
        if packet.keyframe:
            self._held.clear()
        if not awake:
            self._held.append(packet)
            return
        for held in self._held:
            self._decoder.skip(held)
            yield held
        self._held.clear()
        yield packet
        pixels = self._decoder.decode(packet)
        if pixels is not None:
            yield SceneFrame(t_ns=packet.t_ns, seq=packet.seq, pixels=pixels)
