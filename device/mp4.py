"""Packets into an MP4 file that a browser plays, without encoding anything again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from device.types import ScenePacket

CLOCK_HZ = 90_000
"""Time base of the video track: the usual one for H.264."""


def write_mp4(path: Path, packets: Sequence[ScenePacket]) -> None:
    """Mux an unbroken run of H.264 packets (Annex B, first one a keyframe) into `path`.

    Each frame is shown at its own time, so uneven rates survive; the index stands before the video,
    so a player can start before all is loaded. Raises ValueError without a keyframe at the start,
    OSError if the file cannot be written.
    """
    if not packets or not packets[0].keyframe:
        raise ValueError("video must begin with a keyframe")
    first_ns = packets[0].t_ns
    ticks = [round((p.t_ns - first_ns) * CLOCK_HZ / 1e9) for p in packets]
    # The demuxer of raw H.264 reads the parameter sets that the MP4 header needs.
    with (
        av.open(io.BytesIO(packets[0].data), format="h264") as probe,
        av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        stream = container.add_stream_from_template(probe.streams.video[0])
        stream.time_base = Fraction(1, CLOCK_HZ)
        for number, (tick, scene) in enumerate(zip(ticks, packets, strict=True)):
            packet = av.Packet(scene.data)
            packet.stream = stream
            packet.time_base = stream.time_base
            packet.pts = packet.dts = tick
            after = ticks[number + 1] if number + 1 < len(ticks) else tick + CLOCK_HZ // 30
            packet.duration = after - tick
            packet.is_keyframe = scene.keyframe
            container.mux(packet)
