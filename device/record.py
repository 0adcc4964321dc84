"""Sessions on disk: one MCAP file holds what the loop saw, in the order in which it saw it.

`Recorder` is a sink, `SessionSource` reads its file back as a source. Values travel as JSON with their
JSON Schema, one topic a kind; video as `foxglove.CompressedVideo`. docs/session-format.md describes
the file for those who read it with other tools.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from google.protobuf.message import DecodeError
from mcap.records import Message

from device import foxglove
from device.codec import KINDS, dumps, from_json, schema
from device.errors import InputError, StorageError
from device.mcap_file import McapWriter
from device.mcap_salvage import Damage, McapIndex, index_mcap, read_messages
from device.sources.camera import SceneCamera
from device.sources.scene_video import ScenePlayer
from device.types import (
    DeviceEvent,
    EmotionEstimate,
    EnergySample,
    EyeFrame,
    Gap,
    Gaze,
    ImuSample,
    Moment,
    MomentEnd,
    MomentStart,
    ScenePacket,
    SessionHeader,
    Value,
)
from device.video import H264Decoder, H264Encoder, is_keyframe

FORMAT = 1
"""Version of the session format; a reader refuses a newer one."""

SESSION, END = "beheld.session", "beheld.end"
HEADER_TOPIC, SCENE_TOPIC, EYE_TOPIC = "/session", "/scene", "/eye"
LATELY_NS = 120_000_000_000
"""How long events are remembered, to be written again after an erasure; those of a moment in progress
for as long as it lasts."""
SENSED = (ImuSample, EnergySample, DeviceEvent)
"""Kinds that a replay takes from the file; gaze too, if the recording brought its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSettings:
    chunk_ms: float = 500.0
    """Session time in one chunk of the file: the most that a cut can cost."""
    eye_crf: int = 18
    """x264's constant rate factor of the eye videos; lower is better and larger."""
    eye_rate_hz: float = 120.0
    """Nominal rate of the eye cameras: bounds the frames between keyframes and nothing else."""
    sync: bool = False
    """Force every chunk to the disk itself, to survive a power cut."""
    erase_s: float | None = None
    """When the privacy switch is closed, so much before it, and before the moment in progress, is erased
    from the recording; what was an event or a power sample stays. Not set: nothing is erased."""


class Recorder:
    """A sink that appends every value to one MCAP file. Also a context manager.

    Scene frames are not stored (their packets are), nor captures (their moment and packets are).
    Raises StorageError if the file cannot be written or the disk is full; what was complete by then
    stays readable, and the recorder takes nothing more.
    """

    def __init__(
        self, path: Path, header: SessionHeader, settings: RecordSettings | None = None
    ) -> None:
        self._path = path
        self._header = header
        self._settings = settings or RecordSettings()
        self._channels: dict[tuple[object, ...], int] = {}
        self._schemas: dict[str, int] = {}
        self._encoders: dict[tuple[object, ...], H264Encoder] = {}
        self._end_ns = header.duration_ns or 0
        self._closed = False
        self._moment_ns: int | None = None  # when the moment in progress began
        self._lately: deque[tuple[int, DeviceEvent | EnergySample]] = (
            deque()
        )  # and messages before it
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            self._mcap = McapWriter(
                self._file,
                library="beheld",
                chunk_ns=round(self._settings.chunk_ms * 1e6),
                sync=self._settings.sync,
            )
            self._mcap.metadata(SESSION, {"format": str(FORMAT), "header": dumps(header)})
            self._json(HEADER_TOPIC, SessionHeader, 0, header)
        except OSError as error:
            self._file.close()
            raise _unwritable(path, error) from error

    def __call__(self, value: Value) -> None:
        """Append one value."""
        if self._closed:
            return
        try:
            if self._settings.erase_s is not None:
                self._mind_privacy(value, round(self._settings.erase_s * 1e9))
            self._take(value)
        except OSError as error:
            self._closed = True
            self._file.close()
            raise _unwritable(self._path, error, self._end_ns) from error

    @property
    def messages(self) -> int:
        """Messages written so far, the header included."""
        return self._mcap.messages

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._mcap.size

    @property
    def end_ns(self) -> int:
        """Session time reached, or the length stated by the header if that is longer."""
        return self._end_ns

    def close(self) -> None:
        """Write what is open and the summary. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._mcap.flush()
            end = {"duration_ns": str(self._end_ns), "messages": str(self._mcap.messages)}
            self._mcap.metadata(END, end)
            self._mcap.finish()
        except OSError as error:
            raise _unwritable(self._path, error, self._end_ns) from error
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _mind_privacy(self, value: Value, before_ns: int) -> None:
        match value:
            case MomentStart():
                since_ns = value.t_ns if value.since_ns is None else value.since_ns
                self._moment_ns = since_ns if self._moment_ns is None else self._moment_ns
            case MomentEnd():
                self._moment_ns = None
            case DeviceEvent(name="privacy") if value.value:
                self._erase(min(self._moment_ns or value.t_ns, value.t_ns) - before_ns)
        if isinstance(value, DeviceEvent | EnergySample):
            self._lately.append((self._mcap.messages, value))
            since_ns = value.t_ns if self._moment_ns is None else self._moment_ns - before_ns
            while self._lately[0][1].t_ns < min(value.t_ns, since_ns) - LATELY_NS:
                self._lately.popleft()

    def _erase(self, from_ns: int) -> None:
        """Cut what was seen from `from_ns` on out of the file; events and power are written again."""
        self._mcap.rewind(max(0, from_ns))
        self._encoders.clear()  # what comes next begins with a keyframe
        left = self._mcap.messages
        for number, (before, value) in enumerate(self._lately):
            if before >= left:  # by the order of writing: times overlap from chunk to chunk
                self._lately[number] = (self._mcap.messages, value)
                self._take(value)

    def _take(self, value: Value) -> None:
        kind = type(value)
        if isinstance(value, ScenePacket):
            self._video(SCENE_TOPIC, value)
        elif isinstance(value, EyeFrame):
            self._eye(value)
        elif isinstance(value, EmotionEstimate):
            return  # can be made again from the eyes; what is not written need not be erased
        elif isinstance(value, Moment):
            evidence = {k: v for k, v in value.evidence.items() if k != "emotion"}
            self._json(_topic(kind), kind, value.t_ns, replace(value, evidence=evidence))
        elif kind.__name__ in KINDS:
            self._json(_topic(kind), kind, value.t_ns, value)
        else:
            return
        self._end_ns = max(self._end_ns, value.t_ns)

    def _eye(self, frame: EyeFrame) -> None:
        topic = f"{EYE_TOPIC}/{frame.eye}" + (f"/{frame.camera}" if frame.camera else "")
        height_px, width_px = frame.pixels.shape
        key = (topic, width_px, height_px)
        if key not in self._encoders:
            self._encoders[key] = H264Encoder(
                width_px,
                height_px,
                self._settings.eye_rate_hz,
                crf=self._settings.eye_crf,
                gray=True,
            )
        packet = self._encoders[key].encode(frame.pixels, frame.t_ns, frame.seq)
        if packet is not None:
            self._video(topic, packet)

    def _video(self, topic: str, packet: ScenePacket) -> None:
        size = {"width_px": str(packet.width_px), "height_px": str(packet.height_px)}
        key = (topic, packet.width_px, packet.height_px)
        if key not in self._channels:
            if foxglove.NAME not in self._schemas:
                self._schemas[foxglove.NAME] = self._mcap.schema(
                    foxglove.NAME, "protobuf", foxglove.SCHEMA
                )
            self._channels[key] = self._mcap.channel(
                topic, "protobuf", self._schemas[foxglove.NAME], size
            )
        data = foxglove.encode_video(packet.t_ns, topic.strip("/"), packet.data)
        self._mcap.message(self._channels[key], packet.t_ns, data, packet.seq)

    def _json(self, topic: str, kind: type, t_ns: int, value: object) -> None:
        key = (topic,)
        if key not in self._channels:
            text = json.dumps(schema(kind), sort_keys=True).encode()
            schema_id = self._mcap.schema(f"beheld.{kind.__name__}", "jsonschema", text)
            self._channels[key] = self._mcap.channel(topic, "json", schema_id, {})
        self._mcap.message(self._channels[key], t_ns, dumps(value).encode())


class SessionSource:
    """One of our own sessions as a source: what the sensors said, not what was decided then.

    Opening it reads the header and walks over the file; a file that was cut is read as far as it is
    whole, and the header's `notes` say so. Raises InputError if there is nothing to read.
    """

    def __init__(self, path: Path, camera: SceneCamera | None = None) -> None:
        self.camera = camera or SceneCamera()
        self._index = index_mcap(path)
        self.header = _read_header(self._index)

    def __iter__(self) -> Iterator[Value]:
        scene = ScenePlayer()
        eyes: dict[str, H264Decoder] = {}
        for message in read_messages(self._index):
            if isinstance(message, Damage):
                yield from _gap(message)
                continue
            channel = self._index.channels.get(message.channel_id)
            if channel is None:
                continue
            if channel.topic == SCENE_TOPIC:
                packet = _packet(message, channel.metadata)
                if packet is not None:
                    yield from scene.play(packet, self.camera.awake(packet.t_ns))
            elif channel.topic.startswith(f"{EYE_TOPIC}/"):
                decoder = eyes.setdefault(channel.topic, H264Decoder(gray=True))
                yield from _eye_frame(message, channel.topic, channel.metadata, decoder)
            else:
                yield from self._sensed(channel.topic, message)

    def _sensed(self, topic: str, message: Message) -> Iterator[Value]:
        kinds = (*SENSED, Gaze) if self.header.brings_gaze else SENSED
        for kind in kinds:
            if topic == _topic(kind):
                try:
                    yield from_json(kind, json.loads(message.data))
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"{self._index.path}: {topic} at {message.log_time / 1e9:.3f} s does not fit "
                        f"its schema ({error}); record the session again with this version"
                    ) from error


def _read_header(index: McapIndex) -> SessionHeader:
    path = index.path
    table = index.metadata.get(SESSION)
    if table is None:
        what = "was cut before its header" if not index.complete else "holds no Beheld session"
        raise InputError(f"{path}: {what}; give a file that 'beheld record' wrote")
    try:
        version = int(table["format"])
        header: SessionHeader = from_json(SessionHeader, json.loads(table["header"]))
        duration_ns = int(index.metadata.get(END, {}).get("duration_ns", header.duration_ns or 0))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: its session header is damaged ({error})") from error
    if version > FORMAT:
        raise InputError(
            f"{path}: has session format {version}, this program reads up to {FORMAT}; update it"
        )
    if not index.places:
        raise InputError(f"{path}: was cut before its first second was complete; nothing to replay")
    notes = list(header.notes)
    if not index.complete:
        notes.append(
            f"the file was cut: {index.readable} of its {index.size} bytes are whole, "
            "the rest of the session is lost"
        )
    topics = {channel.topic for channel in index.channels.values()}
    return replace(
        header,
        source="beheld",
        duration_ns=duration_ns if index.complete else None,
        brings_packets=SCENE_TOPIC in topics,
        notes=tuple(notes),
    )


def _packet(message: Message, size: dict[str, str]) -> ScenePacket | None:
    try:
        data = foxglove.decode_video(message.data)
        width_px, height_px = int(size["width_px"]), int(size["height_px"])
    except (DecodeError, KeyError, ValueError):
        return None
    return ScenePacket(
        t_ns=message.log_time,
        seq=message.sequence,
        data=data,
        keyframe=is_keyframe(data),
        width_px=width_px,
        height_px=height_px,
    )


def _eye_frame(
    message: Message, topic: str, size: dict[str, str], decoder: H264Decoder
) -> Iterator[EyeFrame]:
    packet = _packet(message, size)
    pixels = None if packet is None else decoder.decode(packet)
    _, _, eye, *camera = topic.split("/")
    if pixels is not None:
        yield EyeFrame(
            t_ns=message.log_time,
            eye="right" if eye == "right" else "left",
            seq=message.sequence,
            pixels=pixels,
            camera=int(camera[0]) if camera else 0,
        )


def _gap(damage: Damage) -> Iterator[Gap]:
    if damage.start_ns is not None and damage.end_ns is not None:
        yield Gap(
            start_ns=damage.start_ns,
            end_ns=damage.end_ns,
            stream="session",
            cause=f"{damage.what} at byte {damage.offset} of the file",
        )


def _topic(kind: type) -> str:
    """`EyeMovement` -> `/eye_movement`."""
    return "/" + re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def _unwritable(path: Path, error: OSError, at_ns: int | None = None) -> StorageError:
    reason = error.strerror or str(error)
    if at_ns is None:
        return StorageError(f"{path}: cannot be written ({reason}); choose another place")
    return StorageError(
        f"{path}: {reason} at {at_ns / 1e9:.1f} s of the session; what was complete before is "
        "readable, free space or choose another place to record the rest"
    )
