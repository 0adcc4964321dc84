"""`beheld bench bridge`: framing and link over a pseudo-terminal, against pyserial's own framing."""

from __future__ import annotations

import os
import pty
import random
import threading
import time
import tty
from dataclasses import dataclass, field
from typing import Any

import click

from firmware_bridge import wire_pb2 as wire
from firmware_bridge.framing import Decoder, encode
from tools.output import emit, json_option

PAYLOAD_PX = 64
PEER = "pyserial read_until"


@dataclass(slots=True)
class Received:
    """What one reader got: payloads in order, CPU and wall seconds of its thread."""

    payloads: list[bytes] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    damaged: int = 0


@click.command()
@click.option("--frames", default=20_000, show_default=True, help="Frames sent to our decoder.")
@click.option("--peer-frames", default=2_000, show_default=True, help="Frames sent to the peer.")
@click.option(
    "--damage", default=0.01, show_default=True, help="Share of bytes spoilt on the noisy line."
)
@click.option("--seed", default=1, show_default=True)
@json_option
def command(frames: int, peer_frames: int, damage: float, seed: int, as_json: bool) -> None:
    """Frames per second and CPU of the wire's framing over a pseudo-terminal.

    The peer is the usual way of framing with pyserial: `read_until` the delimiter, then COBS and CRC
    by the same libraries. Both read the same packets (64 pixels of an eye image each). A third run
    spoils bytes of the line: `wrong` counts packets delivered that were never sent, `lost` the clean
    line's missing ones.
    """
    emit(measure(frames, peer_frames, damage, seed), as_json=as_json, title="bridge")


def measure(frames: int, peer_frames: int, damage: float, seed: int) -> dict[str, Any]:
    """Run the three lines; see `command` for what the keys mean."""
    rng = random.Random(seed)
    sent = [_packet(number, rng) for number in range(frames)]
    ours = _through_terminal(sent, _read_ours, 0.0, rng)
    theirs = _through_terminal(sent[:peer_frames], _read_peer, 0.0, rng)
    noisy = _through_terminal(sent, _read_ours, damage, rng)
    cpu_us = ours.cpu_s * 1e6 / len(ours.payloads)
    peer_us = theirs.cpu_s * 1e6 / len(theirs.payloads)
    known = set(sent)
    return {
        "frames_per_s": len(ours.payloads) / ours.wall_s,
        "cpu_us_per_frame": cpu_us,
        "peer": PEER,
        "peer_cpu_us_per_frame": peer_us,
        "peer_frames_per_s": len(theirs.payloads) / theirs.wall_s,
        "cpu_ratio": peer_us / cpu_us,
        "lost": frames - len(ours.payloads),
        "wrong": sum(p not in known for p in ours.payloads + noisy.payloads),
        "noisy": {
            "damage": damage,
            "sent": frames,
            "whole": len(noisy.payloads),
            "damaged": noisy.damaged,
        },
    }


def _packet(number: int, rng: random.Random) -> bytes:
    chunk = wire.EyeChunk(frame=number, width_px=64, height_px=64, pixels=rng.randbytes(PAYLOAD_PX))
    return wire.Packet(sequence=number, t_us=number * 1000, eye_chunk=chunk).SerializeToString()


def _through_terminal(sent: list[bytes], read: Any, damage: float, rng: random.Random) -> Received:
    line = b"".join(map(encode, sent))
    if damage:
        line = bytes(rng.randrange(256) if rng.random() < damage else byte for byte in line)
    master, slave = pty.openpty()
    tty.setraw(slave)
    writer = threading.Thread(target=_write, args=(master, line + b"\x00"), daemon=True)
    writer.start()
    try:
        return read(slave, len(sent), damage > 0)  # type: ignore[no-any-return]
    finally:
        writer.join(timeout=10)
        os.close(slave)
        os.close(master)


def _write(master: int, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(master, view[:4096]) :]


def _read_ours(slave: int, count: int, noisy: bool) -> Received:
    received, decoder = Received(), Decoder()
    wall_s, cpu_s = time.perf_counter(), time.thread_time()
    os.set_blocking(slave, False)
    quiet_since = time.perf_counter()
    while len(received.payloads) < count and time.perf_counter() - quiet_since < 1.0:
        try:
            chunk = os.read(slave, 4096)
        except BlockingIOError:
            time.sleep(0.0005)
            continue
        quiet_since = time.perf_counter()
        for payload in decoder.feed(chunk):
            wire.Packet.FromString(payload)
            received.payloads.append(payload)
    received.cpu_s = time.thread_time() - cpu_s
    received.wall_s = (quiet_since if noisy else time.perf_counter()) - wall_s
    received.damaged = decoder.damaged
    return received


def _read_peer(slave: int, count: int, _noisy: bool) -> Received:
    import serial  # here: only the bench's peer needs it

    from firmware_bridge.framing import unframe

    received = Received()
    with serial.Serial(os.ttyname(slave), timeout=2) as port:
        wall_s, cpu_s = time.perf_counter(), time.thread_time()
        while len(received.payloads) < count:
            frame = port.read_until(b"\x00")
            if not frame:
                break
            payload = unframe(frame[:-1])
            if payload is not None:
                wire.Packet.FromString(payload)
                received.payloads.append(payload)
        received.cpu_s = time.thread_time() - cpu_s
        received.wall_s = time.perf_counter() - wall_s
    return received
