"""Frames on a serial line, without I/O: bytes in, payloads out; a payload in, bytes out.

A frame is COBS(payload + CRC-32) and one zero byte. COBS leaves no zero inside a frame, so after any
damage the next zero is a fresh start. What is not a whole, right frame is counted and dropped.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from cobs import cobs

MAX_PAYLOAD_BYTES = 1024
"""Bound on a payload, so that neither side needs more memory than this for a frame."""

CRC_BYTES = 4
MAX_FRAME_BYTES = MAX_PAYLOAD_BYTES + CRC_BYTES + (MAX_PAYLOAD_BYTES + CRC_BYTES) // 254 + 1
"""Largest encoded frame without its zero: COBS adds one byte, and one more for each 254."""


def encode(payload: bytes) -> bytes:
    """A payload as a frame with its closing zero. Raises ValueError above `MAX_PAYLOAD_BYTES`."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"payload of {len(payload)} bytes; the wire takes {MAX_PAYLOAD_BYTES}")
    framed: bytes = cobs.encode(payload + zlib.crc32(payload).to_bytes(CRC_BYTES, "little"))
    return framed + b"\x00"


class Decoder:
    """Collects bytes and yields the payloads of whole, undamaged frames, in order."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._overlong = False
        self.damaged = 0
        """Frames dropped: too long, not COBS, or with a wrong CRC."""

    def restart(self) -> None:
        """The line is another one: what had begun will not be completed."""
        self._waiting.clear()
        self._overlong = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take what a port delivered, however it is cut; yield what is complete now."""
        pieces = chunk.split(b"\x00")
        for number, piece in enumerate(pieces):
            if not self._overlong:
                self._waiting += piece
                if len(self._waiting) > MAX_FRAME_BYTES:
                    self._overlong = True
                    self._waiting.clear()
            if number < len(pieces) - 1:
                payload = self._end_of_frame()
                if payload is not None:
                    yield payload

    def _end_of_frame(self) -> bytes | None:
        frame, self._waiting = bytes(self._waiting), bytearray()
        overlong, self._overlong = self._overlong, False
        if not frame and not overlong:
            return None  # zeros between frames mean nothing
        payload = None if overlong else unframe(frame)
        if payload is None:
            self.damaged += 1
        return payload


def unframe(frame: bytes) -> bytes | None:
    """The payload of one frame without its zero; None if it is damaged."""
    try:
        content: bytes = cobs.decode(frame)
    except cobs.DecodeError:
        return None
    payload, crc = content[:-CRC_BYTES], content[-CRC_BYTES:]
    if len(content) < CRC_BYTES or zlib.crc32(payload).to_bytes(CRC_BYTES, "little") != crc:
        return None
    return payload
