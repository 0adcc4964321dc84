"""`beheld bench bridge`: codec and link over a pseudo-terminal, against pyserial's own framing."""

from __future__ import annotations

import os
import pty
import random
import select
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click

from device.errors import ConfigError
from firmware_bridge import wire_pb2 as wire
from firmware_bridge.digest import table_digest
from firmware_bridge.framing import Decoder, encode, unframe
from firmware_bridge.link import Link, Telemetry
from tools.bench.bridge_line import NOISE_S, noisy, soak
from tools.output import emit, json_option

PAYLOAD_PX = 64
PEER = "pyserial read_until"
HOST = 2
"""Boot number of our side, which the packets made beforehand greet."""


@dataclass(slots=True)
class Received:
    """What one reader got: numbers of frames in order, CPU and wall seconds of its thread."""

    frames: list[int] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    wrong: int = 0
    """Frames whose pixels are not those that were sent."""


@click.command()
@click.option("--frames", default=20_000, show_default=True, help="Frames sent to our side.")
@click.option("--peer-frames", default=2_000, show_default=True, help="Frames sent to the peer.")
@click.option(
    "--noise", default=0.01, show_default=True, help="Share of bytes spoilt on the noisy line."
)
@click.option("--noise-s", default=NOISE_S, show_default=True, help="How long the line is noisy.")
@click.option(
    "--soak-s", default=0.0, show_default=True, help="Also run the C board so long at --baud."
)
@click.option("--baud", default=921_600, show_default=True, help="Of that long run.")
@click.option("--seed", default=1, show_default=True)
@json_option
def command(
    frames: int,
    peer_frames: int,
    noise: float,
    noise_s: float,
    soak_s: float,
    baud: int,
    seed: int,
    as_json: bool,
) -> None:
    """Frames per second and CPU of the host's side of the wire over a pseudo-terminal.

    Ours is all of it: framing, messages, link. The peer is the usual way of framing with pyserial:
    `read_until` the delimiter, then COBS, CRC and message by the same libraries. Both read the same
    packets (64 pixels of an eye image each) from the same kind of terminal. `lost` and `wrong` are over
    all lines without noise. `noisy` is a conversation with the C reference with bytes spoilt both ways;
    `soak` (with --soak-s 1800: half an hour) one at the pace of a serial line; what it lost while the machine
    let a thread of this bench starve is told apart (`lost_starved`, `stood_still`). Both need gcc and nanopb.
    """
    emit(
        measure(frames, peer_frames, noise, noise_s, soak_s, baud, seed),
        as_json=as_json,
        title="bridge",
    )


def measure(
    frames: int, peer_frames: int, noise: float, noise_s: float, soak_s: float, baud: int, seed: int
) -> dict[str, Any]:
    """Run the lines; see `command` for what the keys mean."""
    rng = random.Random(seed)
    sent = [_packet(number, rng) for number in range(1, frames + 1)]
    ours = _through_terminal(sent, _read_link)
    codec = _through_terminal(sent, _read_codec)
    theirs = _through_terminal(sent[:peer_frames], _read_peer)
    cpu_us = ours.cpu_s * 1e6 / max(1, len(ours.frames))
    peer_us = theirs.cpu_s * 1e6 / max(1, len(theirs.frames))
    result: dict[str, Any] = {
        "frames_per_s": len(ours.frames) / ours.wall_s,
        "cpu_us_per_frame": cpu_us,
        "codec_cpu_us_per_frame": codec.cpu_s * 1e6 / frames,
        "peer": PEER,
        "peer_cpu_us_per_frame": peer_us,
        "peer_frames_per_s": len(theirs.frames) / theirs.wall_s,
        "cpu_ratio": peer_us / cpu_us,
        "rate_ratio": len(ours.frames) / ours.wall_s / (len(theirs.frames) / theirs.wall_s),
        "lost": frames - len(set(ours.frames)),
        "wrong": ours.wrong,
    }
    try:
        if noise_s > 0:
            result["noisy"] = noisy(noise, noise_s, seed)
            result["wrong"] += result["noisy"]["wrong"]
        if soak_s > 0:
            result["soak"] = soak(soak_s, baud)
            result["lost"] += result["soak"]["lost"]
            result["wrong"] += result["soak"]["wrong"]
    except ConfigError as error:  # no compiler: the comparison stands without the C side
        result["c_side"] = str(error)
    return result


def _packet(number: int, rng: random.Random) -> wire.Packet:
    pixels = rng.randbytes(PAYLOAD_PX)
    chunk = wire.EyeChunk(frame=number, width_px=64, height_px=64, pixels=pixels)
    return wire.Packet(sequence=number, t_us=number * 1000, eye_chunk=chunk)


Reader = Callable[[int, list[wire.Packet], Callable[[], None]], Received]
"""Terminal, what will be sent, and what starts the sending: an opened port throws away what it finds."""


def _through_terminal(sent: list[wire.Packet], read: Reader) -> Received:
    greeting = wire.Hello(digest=table_digest(), name="bench", boot=1, to_boot=HOST, reply=True)
    every = [wire.Packet(sequence=0, hello=greeting), *sent]
    line = b"".join(encode(packet.SerializeToString()) for packet in every)
    master, slave = pty.openpty()
    tty.setraw(slave)
    writer = threading.Thread(target=_write, args=(master, line), daemon=True)
    try:
        return read(slave, sent, writer.start)
    finally:
        writer.join(timeout=10)
        os.close(slave)
        os.close(master)


def _write(master: int, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(master, view[:4096]) :]


def _take(received: Received, packet: wire.Packet, sent: list[wire.Packet]) -> None:
    number = packet.eye_chunk.frame
    received.frames.append(number)
    received.wrong += packet != sent[number - 1]


def _read_chunks(
    slave: int, received: Received, count: int, take: Callable[[bytes], None]
) -> Received:
    """Read as a port is read: what is there, up to a page, until all came or nothing comes.

    The wait for more is `select`, as pyserial's own, so that neither side sleeps while bytes are there.
    """
    os.set_blocking(slave, False)
    wall_s, cpu_s = time.perf_counter(), time.thread_time()
    quiet_since = wall_s
    while len(received.frames) < count and time.perf_counter() - quiet_since < 5.0:
        try:
            chunk = os.read(slave, 4096)
        except BlockingIOError:
            select.select([slave], [], [], 0.05)
            continue
        quiet_since = time.perf_counter()
        take(chunk)
    received.cpu_s = time.thread_time() - cpu_s
    received.wall_s = time.perf_counter() - wall_s
    return received


def _read_link(slave: int, sent: list[wire.Packet], begin: Callable[[], None]) -> Received:
    received, link = Received(), Link(boot=HOST)
    begin()
    link.open(time.monotonic_ns())

    def take(chunk: bytes) -> None:
        for event in link.receive(chunk, time.monotonic_ns()):
            if isinstance(event, Telemetry):
                _take(received, event.packet, sent)

    return _read_chunks(slave, received, len(sent), take)


def _read_codec(slave: int, sent: list[wire.Packet], begin: Callable[[], None]) -> Received:
    received, decoder = Received(), Decoder()
    begin()

    def take(chunk: bytes) -> None:
        for payload in decoder.feed(chunk):
            packet = wire.Packet.FromString(payload)
            if packet.HasField("eye_chunk"):
                _take(received, packet, sent)

    return _read_chunks(slave, received, len(sent), take)


def _read_peer(slave: int, sent: list[wire.Packet], begin: Callable[[], None]) -> Received:
    import serial  # here: only the bench's peer needs it

    received = Received()
    with serial.Serial(os.ttyname(slave), timeout=30) as port:
        begin()
        wall_s, cpu_s = time.perf_counter(), time.thread_time()
        while len(received.frames) < len(sent):
            frame = port.read_until(b"\x00")
            if not frame:
                break
            payload = unframe(frame[:-1])
            packet = wire.Packet.FromString(payload or b"")
            if packet.HasField("eye_chunk"):
                _take(received, packet, sent)
        received.cpu_s = time.thread_time() - cpu_s
        received.wall_s = time.perf_counter() - wall_s
    return received
