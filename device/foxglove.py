"""`foxglove.CompressedVideo`, the message in which Foxglove and Rerun expect encoded video.

Four fields, so the descriptor is made here: no code generator and no package for one message.
"""

from __future__ import annotations

from typing import Any, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

NAME = "foxglove.CompressedVideo"
_NS = 1_000_000_000


def _descriptors() -> descriptor_pb2.FileDescriptorSet:
    """The file of the message and the one it imports: what MCAP wants as the schema."""
    field = descriptor_pb2.FieldDescriptorProto
    video = descriptor_pb2.FileDescriptorProto(
        name="foxglove/CompressedVideo.proto",
        package="foxglove",
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"],
    )
    message = video.message_type.add(name="CompressedVideo")
    message.field.add(
        name="timestamp",
        number=1,
        label=field.LABEL_OPTIONAL,
        type=field.TYPE_MESSAGE,
        type_name=".google.protobuf.Timestamp",
    )
    plain = (
        ("frame_id", 2, field.TYPE_STRING),
        ("data", 3, field.TYPE_BYTES),
        ("format", 4, field.TYPE_STRING),
    )
    for name, number, kind in plain:
        message.field.add(name=name, number=number, label=field.LABEL_OPTIONAL, type=kind)
    stamp = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(stamp)
    return descriptor_pb2.FileDescriptorSet(file=[stamp, video])


def _message_class(descriptors: descriptor_pb2.FileDescriptorSet) -> Any:
    pool = descriptor_pool.DescriptorPool()  # its own: another package may define the same name
    for file in descriptors.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(NAME))


_SET = _descriptors()
_CompressedVideo = _message_class(_SET)

SCHEMA: bytes = _SET.SerializeToString()
"""The MCAP schema of the message: a FileDescriptorSet."""


def encode_video(t_ns: int, frame_id: str, data: bytes) -> bytes:
    """One H.264 access unit (Annex B) of the camera `frame_id` as a message."""
    message = _CompressedVideo(frame_id=frame_id, data=data, format="h264")
    message.timestamp.seconds, message.timestamp.nanos = divmod(t_ns, _NS)
    return cast(bytes, message.SerializeToString())


def decode_video(raw: bytes) -> bytes:
    """The access unit of a message. Raises google.protobuf.message.DecodeError if it is damaged."""
    return cast(bytes, _CompressedVideo.FromString(raw).data)
