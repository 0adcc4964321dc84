"""MCAP, read so that a cut or a damaged place stops nothing.

The public reader raises at the first damaged record; here such a record is named and passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Message, Metadata, Schema
from mcap.stream_reader import CRCValidationError, breakup_chunk

from device.errors import InputError
from device.mcap_file import MAGIC

_PREFIX = 9  # opcode and length before each record


@dataclass(frozen=True, slots=True)
class Damage:
    """A record that cannot be read, and the times it covered if it still says so."""

    offset: int
    what: str
    start_ns: int | None = None
    end_ns: int | None = None


@dataclass(slots=True)
class McapIndex:
    """What a walk over the record headers found, without unpacking anything."""

    path: Path
    size: int
    places: list[tuple[int, int, int]] = field(default_factory=list)
    """(opcode, offset of the content, length) of each whole record before the summary."""
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)
    complete: bool = False
    """The data section was closed properly; False where the file was cut."""
    readable: int = 0
    """Bytes up to the end of the last whole record."""


def index_mcap(path: Path) -> McapIndex:
    """Walk over an MCAP file. Raises InputError if it cannot be read or is no MCAP file."""
    try:
        with path.open("rb") as file:
            found = McapIndex(path=path, size=os.fstat(file.fileno()).st_size)
            if found.size == 0:
                raise InputError(f"{path}: is empty; nothing was recorded into it")
            if file.read(len(MAGIC)) != MAGIC:
                raise InputError(f"{path}: is not an MCAP file (it does not begin as one)")
            _walk(file, found)
            return found
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_messages(index: McapIndex) -> Iterator[Message | Damage]:
    """Every message in the order in which it was written; damage where it lies."""
    with index.path.open("rb") as file:
        for opcode, offset, length in index.places:
            file.seek(offset)
            raw = file.read(length)
            if opcode == Opcode.MESSAGE:
                yield Message.read(ReadDataStream(BytesIO(raw)), length)
            elif opcode == Opcode.CHUNK:
                yield from _unpack(raw, offset, index)


def _walk(file: BinaryIO, found: McapIndex) -> None:
    at = len(MAGIC)
    found.readable = at
    while True:
        prefix = file.read(_PREFIX)
        if len(prefix) < _PREFIX:
            return
        opcode, length = prefix[0], int.from_bytes(prefix[1:], "little")
        at += _PREFIX
        if at + length > found.size:
            return
        if opcode == Opcode.DATA_END:
            found.complete = True
            return
        if opcode in (Opcode.CHUNK, Opcode.MESSAGE):
            found.places.append((opcode, at, length))
            file.seek(at + length)
        else:
            _note(opcode, file.read(length), found)
        at += length
        found.readable = at


def _note(opcode: int, raw: bytes, found: McapIndex) -> None:
    stream = ReadDataStream(BytesIO(raw))
    try:
        if opcode == Opcode.METADATA:
            metadata = Metadata.read(stream)
            found.metadata[metadata.name] = metadata.metadata
        elif opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            found.schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(stream)
            found.channels[channel.id] = channel
    except (McapError, ValueError, OSError):
        return  # a damaged table; what refers to it is passed over when it is met


def _unpack(raw: bytes, offset: int, index: McapIndex) -> Iterator[Message | Damage]:
    start_ns = int.from_bytes(raw[:8], "little")
    end_ns = int.from_bytes(raw[8:16], "little")
    try:
        records = breakup_chunk(Chunk.read(ReadDataStream(BytesIO(raw))), validate_crc=True)
    except (McapError, CRCValidationError, zstandard.ZstdError, ValueError, EOFError) as error:
        plausible = start_ns <= end_ns < 1 << 62
        yield Damage(
            offset, f"chunk is damaged ({error})", *((start_ns, end_ns) if plausible else ())
        )
        return
    for record in records:
        if isinstance(record, Message):
            yield record
        elif isinstance(record, Channel):
            index.channels.setdefault(record.id, record)
        elif isinstance(record, Schema):
            index.schemas.setdefault(record.id, record)
