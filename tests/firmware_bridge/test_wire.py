"""The message definitions: generated code is current, the digest is of the meaning, C agrees on all."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor

from firmware_bridge import digest
from firmware_bridge import wire_pb2 as wire
from firmware_bridge.framing import Decoder, encode

KINDS = [field.name for field in wire.Packet.DESCRIPTOR.oneofs_by_name["body"].fields]
LONGEST = {"pixels": bytes(range(256)) * 3, "gyro_mdeg_s": [-2_000_000] * 60}
LONGEST["accel_mm_s2"] = [157_000] * 60


def fill(message: object) -> None:
    """Give every field the largest value both sides can hold, or a text with all kinds of bytes."""
    for field in message.DESCRIPTOR.fields:  # type: ignore[attr-defined]
        if field.name in LONGEST:
            value = LONGEST[field.name]
            current = getattr(message, field.name)
            current.extend(value) if isinstance(value, list) else setattr(
                message, field.name, value
            )
        elif field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, "Größe 15")
        elif field.type == FieldDescriptor.TYPE_BOOL:
            setattr(message, field.name, True)
        elif field.type == FieldDescriptor.TYPE_ENUM:
            setattr(message, field.name, max(v.number for v in field.enum_type.values))
        elif field.type == FieldDescriptor.TYPE_SINT32:
            setattr(message, field.name, -(2**31))
        elif field.type == FieldDescriptor.TYPE_FIXED64:
            setattr(message, field.name, 2**64 - 1)
        else:
            setattr(message, field.name, 2**32 - 1)


def example(kind: str) -> wire.Packet:
    packet = wire.Packet(sequence=2**32 - 1, t_us=2**63 + 12345)
    body = getattr(packet, kind)
    body.SetInParent()
    fill(body)
    return packet


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_goes_to_c_and_back(kind: str, c_reference: Path) -> None:
    packet = example(kind)
    sent = packet.SerializeToString()
    done = subprocess.run(
        [c_reference / "echo"], input=encode(sent), capture_output=True, check=True
    )
    (back,) = Decoder().feed(done.stdout)
    assert wire.Packet.FromString(back) == packet
    assert done.stderr.split() == [b"1", b"0"]


def test_generated_code_is_current(tmp_path: Path) -> None:
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed (extra: dev)")
    folder = digest.PROTO.parent
    command = ["-m", "grpc_tools.protoc", f"-I{folder}", f"--python_out={tmp_path}", "wire.proto"]
    subprocess.run([sys.executable, *command], check=True)
    made = (tmp_path / "wire_pb2.py").read_text()
    kept = (folder / "wire_pb2.py").read_text()
    descriptor = [line for line in made.splitlines() if "AddSerializedFile" in line]
    assert descriptor == [line for line in kept.splitlines() if "AddSerializedFile" in line]


def test_the_digest_is_of_the_meaning_not_of_the_comments() -> None:
    text = digest.PROTO.read_text()
    assert digest.digest(text) == digest.digest("// a new first line\n" + text + "\n\n")
    assert digest.digest(text) != digest.digest(text.replace("fixed64 t_us = 2", "uint64 t_us = 2"))
