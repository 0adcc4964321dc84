"""Fuzz runs, seeded: spoilt conversations into the C side under sanitizers, and into our link."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

from firmware_bridge import wire_pb2 as wire
from firmware_bridge.digest import table_digest
from firmware_bridge.framing import encode
from firmware_bridge.link import EventsLost, Link, State, Telemetry
from tests.firmware_bridge.test_wire import KINDS, example

RUNS = int(os.environ.get("BEHELD_FUZZ_RUNS", "1500"))
"""Conversations for each side; set it higher for a long run."""


US = 7
"""Boot number of whichever side is fuzzed (the C side's is in `fuzz.c`)."""


def conversation(rng: random.Random, digest: int) -> bytes:
    """A greeting and packets of any kind; bytes changed, lost, added, frames cut, swapped and repeated.

    Half of the packets are spoilt before they are framed, so that they get past the CRC.
    """
    greeting = wire.Hello(digest=digest, name="fuzz", boot=rng.getrandbits(32) | 1, to_boot=US)
    frames = [encode(wire.Packet(sequence=rng.randrange(3), hello=greeting).SerializeToString())]
    for _ in range(rng.randrange(1, 12)):
        packet = example(rng.choice(KINDS))
        packet.sequence, packet.t_us = rng.randrange(40), rng.getrandbits(40)
        packet.event, packet.oldest_event = rng.randrange(6), rng.randrange(6)
        packet.event_boot = greeting.boot if rng.random() < 0.8 else rng.getrandbits(32)
        payload = bytearray(packet.SerializeToString())
        if rng.random() < 0.5:
            for _ in range(rng.randrange(1, 4)):
                payload[rng.randrange(len(payload))] = rng.randrange(256)
        frames.append(encode(bytes(payload[: rng.choice((len(payload), rng.randrange(1025)))])))
    if rng.random() < 0.3:
        rng.shuffle(frames)
    line = bytearray(b"".join(frames + frames[: rng.randrange(3)]))
    for _ in range(rng.choice((0, 0, 1, 5, 40))):
        at = rng.randrange(len(line))
        line[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return bytes(line[: 1 << 16])


def test_no_bytes_break_the_c_side(c_reference: Path) -> None:
    rng = random.Random(11)
    inputs = [conversation(rng, digest=1) for _ in range(RUNS)]
    framed = b"".join(len(data).to_bytes(4, "little") + data for data in inputs)
    done = subprocess.run([c_reference / "fuzz"], input=framed, capture_output=True)
    assert (done.returncode, done.stderr.decode()[-2000:]) == (0, "")
    assert int(done.stdout) == RUNS


def test_no_bytes_break_the_link() -> None:
    """Whatever comes: no exception, memory bounded, and afterwards a right board is understood."""
    rng = random.Random(12)
    for _ in range(RUNS):
        link, now_ns = Link(boot=US), 0
        link.open(now_ns)
        line = conversation(rng, table_digest())
        while line:
            cut = rng.randrange(1, 400)
            now_ns += rng.randrange(40_000_000)
            for event in link.receive(line[:cut], now_ns) + link.tick(now_ns):
                assert not isinstance(event, Telemetry) or event.t_ns <= now_ns
                assert not isinstance(event, EventsLost) or event.count > 0
            line = line[cut:]
            assert len(link.outgoing()) < 100_000
        fresh = wire.Packet(
            sequence=5, hello=wire.Hello(digest=table_digest(), boot=0xB007, to_boot=US)
        )
        link.receive(b"\x00" + encode(fresh.SerializeToString()), now_ns)
        assert link.state is State.READY
        worn = wire.Packet(sequence=6, worn=wire.Worn(worn=True)).SerializeToString()
        assert [type(e) for e in link.receive(encode(worn), now_ns)] == [Telemetry]
