"""MCAP, written so that a cut loses one chunk at most; `device/mcap_salvage.py` reads it.

The public `mcap` package defines the records and opens what is written here. Its own writer closes a
chunk by size only; a recorder must close one by time, or a quiet minute waits in memory for the power
to fail.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    Message,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

MAGIC = b"\x89MCAP0\r\n"


class McapWriter:
    """Writes to an unbuffered binary file. A chunk spans at most `chunk_ns` of log time or `chunk_bytes`.

    With `sync` every chunk is forced to the disk itself, which survives a power cut and costs a few
    milliseconds on flash; without it, a chunk survives the death of the program.
    Any method may raise OSError; the file then ends with the last complete record.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        library: str,
        chunk_ns: int = 500_000_000,
        chunk_bytes: int = 4 << 20,
        sync: bool = False,
    ) -> None:
        self._file = file
        self._chunk_ns, self._chunk_bytes, self._sync = chunk_ns, chunk_bytes, sync
        self._compressor = zstandard.ZstdCompressor(level=3)
        self._offset = 0
        self._schemas: list[Schema] = []
        self._channels: list[Channel] = []
        self._chunk = _OpenChunk()
        self._chunk_indexes: list[ChunkIndex] = []
        self._chunk_counts: list[dict[int, int]] = []
        self._declared: list[tuple[int, bytes]] = []  # schemas and channels, with their places
        self._metadata_indexes: list[MetadataIndex] = []
        self._counts: dict[int, int] = {}
        self._first_ns: int | None = None
        self._last_ns = 0
        self._append(MAGIC + _bytes_of(Header(profile="", library=library)))

    @property
    def messages(self) -> int:
        """Messages taken so far."""
        return sum(self._counts.values())

    @property
    def size(self) -> int:
        """Bytes of the file so far."""
        return self._offset

    def schema(self, name: str, encoding: str, data: bytes) -> int:
        """Declare a schema; returns its id."""
        schema = Schema(id=len(self._schemas) + 1, name=name, encoding=encoding, data=data)
        self._schemas.append(schema)
        self._declare(_bytes_of(schema))
        return schema.id

    def channel(self, topic: str, encoding: str, schema_id: int, metadata: dict[str, str]) -> int:
        """Declare a channel; returns its id. It stands outside the chunks, so none can lose it."""
        channel = Channel(
            id=len(self._channels) + 1,
            topic=topic,
            message_encoding=encoding,
            schema_id=schema_id,
            metadata=metadata,
        )
        self._channels.append(channel)
        self._declare(_bytes_of(channel))
        return channel.id

    def metadata(self, name: str, values: dict[str, str]) -> None:
        """Write a table of strings."""
        raw = _bytes_of(Metadata(name=name, metadata=values))
        index = MetadataIndex(offset=self._offset, length=len(raw), name=name)
        self._append(raw)
        self._metadata_indexes.append(index)

    def message(self, channel_id: int, t_ns: int, data: bytes, sequence: int = 0) -> None:
        """Add a message; the chunk before it is written if this one no longer fits into its time."""
        if self._chunk.messages and t_ns - self._chunk.first_ns >= self._chunk_ns:
            self.flush()
        self._chunk.add(channel_id, t_ns, data, sequence)
        self._counts[channel_id] = self._counts.get(channel_id, 0) + 1
        self._first_ns = t_ns if self._first_ns is None else min(self._first_ns, t_ns)
        self._last_ns = max(self._last_ns, t_ns)
        if self._chunk.records.count >= self._chunk_bytes:
            self.flush()

    def flush(self) -> None:
        """Write the open chunk with its index and hand it to the operating system."""
        chunk, self._chunk = self._chunk, _OpenChunk()
        if not chunk.messages:
            return
        plain = _take(chunk.records)
        packed = self._compressor.compress(plain)
        raw = _bytes_of(
            Chunk(
                compression="zstd",
                data=packed,
                message_start_time=chunk.start_ns,
                message_end_time=chunk.end_ns,
                uncompressed_crc=zlib.crc32(plain),
                uncompressed_size=len(plain),
            )
        )
        indexes, offsets, at = b"", {}, self._offset + len(raw)
        for channel_id, records in chunk.index.items():
            offsets[channel_id] = at + len(indexes)
            indexes += _bytes_of(MessageIndex(channel_id=channel_id, records=records))
        index = ChunkIndex(
            chunk_length=len(raw),
            chunk_start_offset=self._offset,
            compression="zstd",
            compressed_size=len(packed),
            message_end_time=chunk.end_ns,
            message_index_length=len(indexes),
            message_index_offsets=offsets,
            message_start_time=chunk.start_ns,
            uncompressed_size=len(plain),
        )
        self._append(raw + indexes)
        self._chunk_indexes.append(index)
        self._chunk_counts.append({number: len(at) for number, at in chunk.index.items()})

    def rewind(self, t_ns: int) -> None:
        """Erase every message from `t_ns` on; what is left was written before what is gone.

        The file is cut at the first chunk that reaches so far, so that a little before it goes as well.
        Schemas and channels declared since are declared again.
        """
        number = next(
            (n for n, i in enumerate(self._chunk_indexes) if i.message_end_time >= t_ns),
            len(self._chunk_indexes),
        )
        dropped = self._chunk_indexes[number:]
        open_counts = {n: len(at) for n, at in self._chunk.index.items()}
        for counts in (*self._chunk_counts[number:], open_counts):
            for channel_id, count in counts.items():
                self._counts[channel_id] -= count
        cut = dropped[0].chunk_start_offset if dropped else self._offset
        self._chunk = _OpenChunk()
        del self._chunk_indexes[number:], self._chunk_counts[number:]
        self._last_ns = max((i.message_end_time for i in self._chunk_indexes), default=0)
        os.ftruncate(self._file.fileno(), cut)
        os.lseek(self._file.fileno(), cut, os.SEEK_SET)
        os.fsync(self._file.fileno())
        self._offset = cut
        again = [raw for offset, raw in self._declared if offset >= cut]
        self._declared = [(offset, raw) for offset, raw in self._declared if offset < cut]
        for raw in again:
            self._declare(raw)

    def finish(self) -> None:
        """Write what is open and the summary by which a reader seeks. The file is not closed."""
        self.flush()
        self._append(_bytes_of(DataEnd(data_section_crc=0)))
        summary, offsets = RecordBuilder(), RecordBuilder()
        groups: tuple[tuple[Opcode, list[McapRecord]], ...] = (
            (Opcode.SCHEMA, [*self._schemas]),
            (Opcode.CHANNEL, [*self._channels]),
            (Opcode.STATISTICS, [self._statistics()]),
            (Opcode.CHUNK_INDEX, [*self._chunk_indexes]),
            (Opcode.METADATA_INDEX, [*self._metadata_indexes]),
        )
        for opcode, records in groups:
            start = summary.count
            for record in records:
                record.write(summary)
            SummaryOffset(
                group_opcode=opcode,
                group_start=self._offset + start,
                group_length=summary.count - start,
            ).write(offsets)
        start, offsets_start = self._offset, self._offset + summary.count
        raw = _take(summary) + _take(offsets)
        footer = _bytes_of(
            Footer(summary_start=start, summary_offset_start=offsets_start, summary_crc=0)
        )[:-4]  # the checksum covers all before itself
        crc = zlib.crc32(raw + footer).to_bytes(4, "little")
        self._append(raw + footer + crc + MAGIC)

    def _statistics(self) -> Statistics:
        return Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=self._counts,
            chunk_count=len(self._chunk_indexes),
            message_count=self.messages,
            message_end_time=self._last_ns,
            message_start_time=self._first_ns or 0,
            metadata_count=len(self._metadata_indexes),
            schema_count=len(self._schemas),
        )

    def _declare(self, raw: bytes) -> None:
        self._declared.append((self._offset, raw))
        self._append(raw)

    def _append(self, raw: bytes) -> None:
        """Write all of it, or leave the file as it was: a half-written record helps nobody."""
        try:
            rest = memoryview(raw)
            while rest:
                rest = rest[self._file.write(rest) :]
            if self._sync:
                os.fsync(self._file.fileno())
        except OSError:
            self._take_back()
            raise
        self._offset += len(raw)

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._file.fileno(), self._offset)
            os.lseek(self._file.fileno(), self._offset, os.SEEK_SET)
        except OSError:  # a pipe or a device; the reader passes over the torn record
            return


@dataclass(slots=True)
class _OpenChunk:
    records: RecordBuilder = field(default_factory=RecordBuilder)
    index: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    messages: int = 0
    first_ns: int = 0
    start_ns: int = 0
    end_ns: int = 0

    def add(self, channel_id: int, t_ns: int, data: bytes, sequence: int) -> None:
        if not self.messages:
            self.first_ns = self.start_ns = self.end_ns = t_ns
        self.start_ns, self.end_ns = min(self.start_ns, t_ns), max(self.end_ns, t_ns)
        self.index.setdefault(channel_id, []).append((t_ns, self.records.count))
        self.messages += 1
        Message(
            channel_id=channel_id,
            log_time=t_ns,
            publish_time=t_ns,
            data=data,
            sequence=sequence & 0xFFFFFFFF,
        ).write(self.records)


def _bytes_of(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return _take(builder)


def _take(builder: RecordBuilder) -> bytes:
    return bytes(builder.end())  # type: ignore[no-untyped-call]
