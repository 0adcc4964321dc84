"""Framing, whole and byte by byte, with noise and loss, and against the C side."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import wire_pb2 as wire
from firmware_bridge.framing import (
    MAX_FRAME_BYTES,
    MAX_PAYLOAD_BYTES,
    Decoder,
    encode,
)

PAYLOADS = st.lists(st.binary(max_size=300), max_size=8)


@given(PAYLOADS, st.integers(1, 50))
def test_chunking_does_not_matter(payloads: list[bytes], size: int) -> None:
    line = b"".join(map(encode, payloads))
    decoder = Decoder()
    got = [p for i in range(0, len(line), size) for p in decoder.feed(line[i : i + size])]
    assert got == payloads
    assert decoder.damaged == 0


@pytest.mark.parametrize("length", [0, 1, 253, 254, 255, 508, 1023, MAX_PAYLOAD_BYTES])
@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\xff"])
def test_every_length_at_the_edges_of_cobs_blocks(length: int, byte: bytes) -> None:
    frame = encode(byte * length)
    assert b"\x00" not in frame[:-1] and len(frame) - 1 <= MAX_FRAME_BYTES
    assert list(Decoder().feed(frame)) == [byte * length]


def test_too_long_a_payload_is_refused() -> None:
    with pytest.raises(ValueError, match="1025 bytes"):
        encode(b"x" * (MAX_PAYLOAD_BYTES + 1))


@given(st.binary(max_size=4000))
def test_noise_gives_no_payload_and_costs_bounded_memory(noise: bytes) -> None:
    decoder = Decoder()
    assert (
        list(decoder.feed(noise)) == [] or len(noise) > 5
    )  # a CRC can be met by chance, 1 in 2^32
    assert len(decoder._waiting) <= MAX_FRAME_BYTES
    assert list(decoder.feed(b"\x00" + encode(b"after"))) == [b"after"]


@given(st.binary(min_size=1, max_size=200), st.data())
def test_any_changed_byte_is_noticed(payload: bytes, data: st.DataObject) -> None:
    frame = bytearray(encode(payload))
    at = data.draw(st.integers(0, len(frame) - 2))
    frame[at] ^= data.draw(st.integers(1, 255))
    decoder = Decoder()
    assert payload not in list(decoder.feed(bytes(frame) + b"\x00"))
    assert decoder.damaged >= 1


def test_an_endless_frame_is_one_damaged_frame() -> None:
    decoder = Decoder()
    assert list(decoder.feed(b"\x01" * 100_000 + b"\x00" + encode(b"next"))) == [b"next"]
    assert decoder.damaged == 1


def test_an_endless_frame_does_not_run_over_the_memory_of_the_c_side(c_reference: Path) -> None:
    """Under the address sanitizer; what comes after it is read."""
    packet = wire.Packet(sequence=7, worn=wire.Worn(worn=True)).SerializeToString()
    for endless in (b"\x01" * 100_000, b"\xff" * 100_000, b"\x02\x07" * 50_000):
        done = subprocess.run(
            [c_reference / "echo"], input=endless + b"\x00" + encode(packet), capture_output=True
        )
        assert (done.returncode, done.stderr.split()) == (0, [b"1", b"1"])


def test_the_c_side_drops_the_same_frames(c_reference: Path) -> None:
    """A line with 1 % of its bytes damaged: both sides agree on what is whole."""
    rng = random.Random(5)
    line = bytearray()
    for _ in range(400):
        line += encode(rng.randbytes(rng.randrange(1, 120)))
    for at in range(len(line)):
        if rng.random() < 0.01:
            line[at] = rng.randrange(256)
    decoder = Decoder()
    whole = list(decoder.feed(bytes(line) + b"\x00"))
    done = subprocess.run(
        [c_reference / "echo"], input=bytes(line) + b"\x00", capture_output=True, check=True
    )
    right, damaged = map(int, done.stderr.split())
    assert right + damaged == len(whole) + decoder.damaged
    assert 0 < len(whole) < 400
