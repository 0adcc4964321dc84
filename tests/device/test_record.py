"""A session on disk: read by the public reader, read back by us, cut anywhere, on a full disk."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from mcap.reader import make_reader
from mcap.records import Message
from mcap.stream_reader import StreamReader

from device.errors import InputError, StorageError
from device.record import Recorder, RecordSettings, SessionSource
from device.sources.camera import AlwaysOn, SceneCamera
from device.types import (
    CameraMode,
    CameraRequest,
    Capture,
    DeviceEvent,
    EyeFrame,
    Gap,
    Gaze,
    ImuSample,
    Moment,
    SceneFrame,
    ScenePacket,
    SessionHeader,
    Value,
)
from device.video import H264Encoder
from tests.small_disk import small_disk

SECOND_NS = 1_000_000_000
HEADER = SessionHeader(
    session_id="s-1",
    source="emulator",
    start_utc="2026-01-02T03:04:05+00:00",
    zone="Europe/Vienna",
    brings_gaze=True,
)


def session(seconds: float, rate_hz: int = 30) -> list[Value]:
    """A made-up session: both eyes, scene packets with their frames, gaze, motion, two events."""
    encoder = H264Encoder(64, 48, rate_hz)
    y, x = np.mgrid[0:48, 0:64]
    values: list[Value] = [DeviceEvent(t_ns=0, name="worn", value=True)]
    for i in range(round(seconds * rate_hz)):
        t_ns = i * SECOND_NS // rate_hz
        eye = ((x + y + 3 * i) % 256).astype(np.uint8)
        values.append(EyeFrame(t_ns=t_ns, eye="left", seq=i, pixels=eye))
        values.append(EyeFrame(t_ns=t_ns, eye="right", seq=i, pixels=255 - eye, camera=1))
        values.append(
            Gaze(t_ns=t_ns, azimuth_deg=0.1 * i, elevation_deg=float("nan"), confidence=0.5)
        )
        values.append(ImuSample(t_ns=t_ns, gyro_deg_s=(0.0, 1.0, i), accel_m_s2=(0.0, -9.8, 0.0)))
        scene = np.stack([(x * 3 + i) % 256, y * 5, x + y], axis=-1).astype(np.uint8)
        packet = encoder.encode(scene, t_ns, i)
        assert packet is not None
        values += [packet, SceneFrame(t_ns=t_ns, seq=i, pixels=scene)]
    return values


def record(path: Path, values: Sequence[Value], header: SessionHeader = HEADER) -> Path:
    with Recorder(path, header) as recorder:
        for value in values:
            recorder(value)
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Value]]:
    values = session(4.0)
    return record(tmp_path_factory.mktemp("session") / "whole.mcap", values), values


def read(path: Path, camera: SceneCamera | None = None) -> list[Value]:
    return list(SessionSource(path, camera or AlwaysOn()))


def test_what_was_recorded_comes_back_in_its_order(recorded: tuple[Path, list[Value]]) -> None:
    path, values = recorded
    source = SessionSource(path, AlwaysOn())
    got = list(source)
    assert [(type(v), v.t_ns) for v in got] == [(type(v), v.t_ns) for v in values]
    assert source.header.source == "beheld"
    assert source.header.session_id == "s-1"
    assert source.header.brings_packets
    assert source.header.notes == ()
    assert source.header.duration_ns == values[-1].t_ns
    for before, after in zip(values, got, strict=True):
        match before, after:
            case (EyeFrame(), EyeFrame()):
                assert (after.eye, after.camera, after.seq) == (
                    before.eye,
                    before.camera,
                    before.seq,
                )
                assert np.abs(after.pixels.astype(int) - before.pixels).mean() < 5
            case (ScenePacket(), ScenePacket()):
                assert after.data == before.data
                assert (after.seq, after.keyframe) == (before.seq, before.keyframe)
                assert (after.width_px, after.height_px) == (64, 48)
            case (Gaze(), Gaze()):
                assert after.azimuth_deg == pytest.approx(before.azimuth_deg)
                assert np.isnan(after.elevation_deg)
            case (ImuSample(), ImuSample()):
                assert after.gyro_deg_s == before.gyro_deg_s
            case (DeviceEvent(), DeviceEvent()):
                assert (after.name, after.value) == ("worn", True)


def test_recording_what_was_read_gives_the_same_scene_and_values(
    recorded: tuple[Path, list[Value]], tmp_path: Path
) -> None:
    again = record(tmp_path / "again.mcap", read(recorded[0]))
    first = [v for v in read(recorded[0]) if isinstance(v, ScenePacket)]
    second = [v for v in read(again) if isinstance(v, ScenePacket)]
    assert [p.data for p in first] == [p.data for p in second]


def test_the_public_reader_reads_it(recorded: tuple[Path, list[Value]]) -> None:
    path, values = recorded
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        topics = {c.topic for c in summary.channels.values()}
        assert topics == {
            *("/session", "/scene", "/eye/left", "/eye/right/1"),
            *("/gaze", "/imu_sample", "/device_event"),
        }
        counts: dict[str, int] = {}
        for message_schema, channel, message in reader.iter_messages():
            counts[channel.topic] = counts.get(channel.topic, 0) + 1
            assert message_schema is not None
            if channel.message_encoding == "json":
                assert message_schema.encoding == "jsonschema"
                required = json.loads(message_schema.data)["required"]
                assert set(required) <= set(json.loads(message.data))
        scenes = sum(isinstance(v, SceneFrame) for v in values)
        assert summary.statistics.message_count == len(values) - scenes + 1  # and the header
        assert sum(counts.values()) == summary.statistics.message_count
        assert {m.name for m in reader.iter_metadata()} == {"beheld.session", "beheld.end"}
    with path.open("rb") as file:  # and sequentially, every checksum checked
        records = list(StreamReader(file, validate_crcs=True).records)
    messages = [r for r in records if isinstance(r, Message)]
    assert len(messages) == summary.statistics.message_count


def test_video_is_what_foxglove_wants(recorded: tuple[Path, list[Value]]) -> None:
    """The schema in the file alone is enough to read the message; the packets alone are a video."""
    with recorded[0].open("rb") as file:
        packets = b""
        for message_schema, _, message in make_reader(file).iter_messages(topics=["/scene"]):
            assert message_schema is not None
            assert (message_schema.name, message_schema.encoding) == (
                "foxglove.CompressedVideo",
                "protobuf",
            )
            pool = descriptor_pool.DescriptorPool()
            for proto in descriptor_pb2.FileDescriptorSet.FromString(message_schema.data).file:
                pool.Add(proto)
            kind = message_factory.GetMessageClass(
                pool.FindMessageTypeByName("foxglove.CompressedVideo")
            )
            video = kind.FromString(message.data)
            assert video.format == "h264"
            assert video.timestamp.seconds * SECOND_NS + video.timestamp.nanos == message.log_time
            packets += video.data
    with av.open(io.BytesIO(packets), format="h264") as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 120
    assert (frames[0].width, frames[0].height) == (64, 48)


def test_a_cut_anywhere_costs_the_last_second_at_most(
    recorded: tuple[Path, list[Value]], tmp_path: Path
) -> None:
    path, values = recorded
    whole = path.read_bytes()
    written = [v for v in values if not isinstance(v, SceneFrame)]
    reached = times_by_offset(path)
    rng = np.random.default_rng(5)
    places = sorted({*rng.integers(1, len(whole), 120).tolist(), 1, 8, 9, len(whole) - 1})
    cut = tmp_path / "cut.mcap"
    for place in places:
        cut.write_bytes(whole[:place])
        newest_ns = max((t for offset, t in reached if offset <= place), default=-1)
        try:
            got = [v for v in read(cut) if not isinstance(v, SceneFrame)]
        except InputError:
            assert newest_ns < SECOND_NS, (
                f"cut at {place}: refused though {newest_ns} ns were in it"
            )
            continue
        expected = [v for v in written if v.t_ns <= newest_ns - SECOND_NS]
        assert len(got) >= len(expected), f"cut at byte {place}"
        assert [(type(v), v.t_ns) for v in got] == [(type(v), v.t_ns) for v in written[: len(got)]]


def times_by_offset(path: Path) -> list[tuple[int, int]]:
    """(file offset, log time of the last message that lies before it), by the public reader."""
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    return [
        (i.chunk_start_offset + i.chunk_length, i.message_end_time) for i in summary.chunk_indexes
    ]


def test_chunks_are_short(recorded: tuple[Path, list[Value]]) -> None:
    with recorded[0].open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    spans = [i.message_end_time - i.message_start_time for i in summary.chunk_indexes]
    assert len(spans) >= 8
    assert max(spans) < SECOND_NS


def test_a_recorder_that_is_killed_leaves_what_was_complete(tmp_path: Path) -> None:
    """Never closed: what is on disk by then is a cut file."""
    recorder = Recorder(tmp_path / "killed.mcap", HEADER)
    values = session(3.0)
    for value in values:
        recorder(value)
    got = read(tmp_path / "killed.mcap")
    assert max(v.t_ns for v in got) >= 2 * SECOND_NS
    source = SessionSource(tmp_path / "killed.mcap")
    assert "cut" in source.header.notes[0]
    assert source.header.duration_ns is None


def test_a_damaged_chunk_is_a_gap_and_the_rest_is_read(
    recorded: tuple[Path, list[Value]], tmp_path: Path
) -> None:
    with recorded[0].open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    chunk = summary.chunk_indexes[3]
    raw = bytearray(recorded[0].read_bytes())
    middle = chunk.chunk_start_offset + chunk.chunk_length // 2
    raw[middle : middle + 64] = bytes(64)
    damaged = tmp_path / "damaged.mcap"
    damaged.write_bytes(raw)
    got = read(damaged)
    gaps = [v for v in got if isinstance(v, Gap)]
    assert [(g.start_ns, g.end_ns) for g in gaps] == [
        (chunk.message_start_time, chunk.message_end_time)
    ]
    times = [v.t_ns for v in got if isinstance(v, Gaze)]
    assert max(times) > 3.9 * SECOND_NS
    assert not any(chunk.message_start_time < t < chunk.message_end_time for t in times)


def test_flipped_bytes_end_as_gaps_or_one_plain_error(
    recorded: tuple[Path, list[Value]], tmp_path: Path
) -> None:
    whole, rng = recorded[0].read_bytes(), np.random.default_rng(9)
    flipped, read_some = tmp_path / "flipped.mcap", 0
    for trial in range(40):
        raw = bytearray(whole)
        for at in rng.integers(8, len(raw) if trial % 2 else 6000, 3):
            raw[at] ^= 0x55
        flipped.write_bytes(raw)
        try:
            read_some += bool(read(flipped))
        except InputError as error:
            assert "\n" not in str(error)
    assert read_some > 20


class Switch(SceneCamera):
    """A camera that is awake in one interval."""

    def __init__(self, start_ns: int, end_ns: int) -> None:
        super().__init__()
        self.start_ns, self.end_ns = start_ns, end_ns

    def awake(self, t_ns: int) -> bool:
        return self.start_ns <= t_ns < self.end_ns


def test_a_sleeping_camera_gives_nothing_and_wakes_in_the_middle_of_a_group(
    recorded: tuple[Path, list[Value]],
) -> None:
    path, values = recorded
    start_ns, end_ns = 1_500_000_000, 2_200_000_000
    got = read(path, Switch(start_ns, end_ns))
    frames = [v for v in got if isinstance(v, SceneFrame)]
    assert min(f.t_ns for f in frames) == start_ns
    assert max(f.t_ns for f in frames) < end_ns
    packets = [v for v in got if isinstance(v, ScenePacket)]
    assert packets[0].keyframe
    assert start_ns - packets[0].t_ns < SECOND_NS
    sent = {v.t_ns: v for v in values if isinstance(v, SceneFrame)}
    for frame in frames:
        assert np.abs(frame.pixels.astype(int) - sent[frame.t_ns].pixels).mean() < 12
    assert sum(isinstance(v, EyeFrame) for v in got) == 240
    assert not [v for v in read(path, SceneCamera()) if isinstance(v, ScenePacket | SceneFrame)]


def test_the_camera_request_of_the_loop_wakes_it(recorded: tuple[Path, list[Value]]) -> None:
    camera = SceneCamera()
    frames = []
    for value in SessionSource(recorded[0], camera):
        if value.t_ns >= SECOND_NS and camera.mode is CameraMode.OFF:
            camera(CameraRequest(t_ns=value.t_ns, mode=CameraMode.LOW, why="test"))
        frames += [value] if isinstance(value, SceneFrame) else []
    assert min(f.t_ns for f in frames) >= SECOND_NS + 80_000_000
    assert max(f.t_ns for f in frames) > 3.9 * SECOND_NS


def test_decisions_are_recorded_and_not_replayed(tmp_path: Path) -> None:
    packet = ScenePacket(t_ns=2, seq=0, data=b"", keyframe=True, width_px=2, height_px=2)
    moment = Moment(start_ns=1, end_ns=2, id="m", reasons=("attention",), tags=(), evidence={})
    capture = Capture(start_ns=1, end_ns=2, moment=moment, packets=(packet,), thumbnail=None)
    eye = EyeFrame(t_ns=0, eye="left", seq=0, pixels=np.zeros((16, 16), np.uint8))
    gaze = Gaze(t_ns=1, azimuth_deg=1.0, elevation_deg=1.0, confidence=1.0)
    own = replace(HEADER, brings_gaze=False)
    path = record(tmp_path / "decided.mcap", [eye, gaze, moment, capture], own)
    assert [type(v) for v in read(path)] == [EyeFrame]
    with path.open("rb") as file:
        topics = [c.topic for _, c, _ in make_reader(file).iter_messages()]
    assert topics == ["/session", "/eye/left", "/gaze", "/moment"]


def test_disk_full_while_recording(tmp_path: Path) -> None:
    path = tmp_path / "full.mcap"
    values = session(6.0)
    recorder = Recorder(path, HEADER, RecordSettings(chunk_ms=200))
    with small_disk(30_000):
        taken = 0
        with pytest.raises(StorageError, match=r"full\.mcap: .* s of the session"):
            for value in values:
                recorder(value)
                taken += 1
    reached_ns = values[taken].t_ns
    assert reached_ns > SECOND_NS, "the disk was full before anything was recorded"
    with small_disk(30_000):
        recorder(values[0])  # takes nothing more, and does not stop the loop
        recorder.close()
    got = read(path)
    assert max(v.t_ns for v in got) >= reached_ns - SECOND_NS


def test_disk_full_from_the_start() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full is a device of Linux")
    with pytest.raises(StorageError, match="/dev/full"):
        Recorder(full, HEADER)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="choose another place"):
        Recorder(tmp_path / "nowhere" / "x.mcap", HEADER)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"RIFF....AVI LIST", "is not an MCAP file"),
        (b"\x89MCAP0\r\n", "was cut before its header"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.mcap"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        SessionSource(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        SessionSource(tmp_path / "none.mcap")


def test_somebody_elses_mcap(tmp_path: Path) -> None:
    from mcap.writer import Writer

    path = tmp_path / "other.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.finish()
    with pytest.raises(InputError, match="holds no Beheld session"):
        SessionSource(path)
