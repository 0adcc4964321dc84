"""The privacy switch erases what was just seen from the recording, and nothing that is no sight."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from device.record import Recorder, RecordSettings, SessionSource
from device.types import (
    DeviceEvent,
    EnergySample,
    EyeFrame,
    Fixation,
    MomentEnd,
    MomentStart,
    SessionHeader,
    Value,
)

HEADER = SessionHeader(session_id="s", source="test", start_utc="unknown", zone="UTC")
S = 1_000_000_000


def eye(t_s: float) -> EyeFrame:
    shade = np.full((32, 32), round(t_s * 10) % 256, np.uint8)
    return EyeFrame(t_ns=round(t_s * S), eye="left", seq=round(t_s * 10), pixels=shade)


def event(t_s: float, name: str, value: bool = True) -> DeviceEvent:
    return DeviceEvent(t_ns=round(t_s * S), name=name, value=value)


def record(path: Path, erase_s: float | None) -> list[Value]:
    """Twenty seconds: a moment since 11 s, the switch closed from 15 to 17 s."""
    with Recorder(path, HEADER, RecordSettings(erase_s=erase_s, chunk_ms=500)) as recorder:
        for tenth in range(200):
            t_s = tenth / 10
            if tenth == 120:
                recorder(MomentStart(t_ns=12 * S, reason="attention", since_ns=11 * S))
            if tenth == 130:
                recorder(event(13, "button"))
                recorder(EnergySample(t_ns=13 * S, rail="scene_camera", power_mw=90, span_ns=S))
                fixation = Fixation(
                    start_ns=12 * S,
                    end_ns=13 * S,
                    azimuth_deg=1,
                    elevation_deg=2,
                    dispersion_deg=0.1,
                )
                recorder(fixation)  # of a kind first declared within what is erased
            if tenth == 150:
                recorder(event(15, "privacy"))
                recorder(MomentEnd(t_ns=15 * S, reason="privacy"))
            if tenth == 170:
                recorder(event(17, "privacy", False))
            if not 150 <= tenth < 170:
                recorder(eye(t_s))
        recorder(
            Fixation(
                start_ns=18 * S, end_ns=20 * S, azimuth_deg=3, elevation_deg=4, dispersion_deg=0.1
            )
        )
    return list(SessionSource(path))


def test_what_was_seen_is_gone_and_what_happened_is_not(tmp_path: Path) -> None:
    values = record(tmp_path / "session.mcap", erase_s=5.0)
    seen_s = [v.t_ns / S for v in values if isinstance(v, EyeFrame)]
    assert not [t for t in seen_s if 6.0 <= t < 17.0]  # five seconds before the moment, and it
    assert [t for t in seen_s if 5.0 <= t < 5.5] and [t for t in seen_s if t >= 17.0]
    shades = {v.t_ns // (S // 10): int(v.pixels.mean()) for v in values if isinstance(v, EyeFrame)}
    assert all(abs(shade - tenth % 256) <= 3 for tenth, shade in shades.items())
    events = [(v.name, v.t_ns // S) for v in values if isinstance(v, DeviceEvent)]
    assert events == [("button", 13), ("privacy", 15), ("privacy", 17)]
    assert [v.t_ns // S for v in values if isinstance(v, EnergySample)] == [13]
    content = (tmp_path / "session.mcap").read_bytes()
    assert content.count(b"/fixation") >= 1


def test_an_event_written_beside_later_frames_is_kept_once(tmp_path: Path) -> None:
    """Streams do not come in one order: a frame of before the event opens the chunk that is erased."""
    with Recorder(
        tmp_path / "s.mcap", HEADER, RecordSettings(erase_s=0.0, chunk_ms=500)
    ) as recorder:
        for t_s in (0.0, 0.2, 0.49):
            recorder(eye(t_s))
        recorder(event(0.498, "button"))
        recorder(eye(0.51))
        recorder(eye(0.497))  # the other sensor's, a little late
        recorder(eye(0.8))
        recorder(event(0.7, "privacy"))
    values = list(SessionSource(tmp_path / "s.mcap"))
    events = [(v.name, v.t_ns // 1_000_000) for v in values if isinstance(v, DeviceEvent)]
    assert events == [("button", 498), ("privacy", 700)]


def test_events_of_a_long_moment_outlive_its_erasure(tmp_path: Path) -> None:
    with Recorder(tmp_path / "s.mcap", HEADER, RecordSettings(erase_s=1.0)) as recorder:
        recorder(MomentStart(t_ns=10 * S, reason="attention", since_ns=10 * S))
        for t_s in range(10, 300, 10):
            recorder(event(t_s, "button"))
        recorder(event(300, "privacy"))
    values = list(SessionSource(tmp_path / "s.mcap"))
    pressed_s = [v.t_ns // S for v in values if isinstance(v, DeviceEvent) and v.name == "button"]
    assert pressed_s == list(range(10, 300, 10))


def test_other_readers_find_the_file_whole_and_its_statistics_right(tmp_path: Path) -> None:
    mcap = pytest.importorskip("mcap.reader")
    record(tmp_path / "session.mcap", erase_s=5.0)
    with (tmp_path / "session.mcap").open("rb") as file:
        reader = mcap.make_reader(file)
        summary = reader.get_summary()
        topics = [channel.topic for _, channel, _ in reader.iter_messages()]
    assert summary.statistics.message_count == len(topics)
    assert topics.count("/moment_start") == 0 and topics.count("/fixation") == 1
    counts = summary.statistics.channel_message_counts
    assert {k: v for k, v in counts.items() if v < 0} == {}


def test_without_the_setting_nothing_is_erased(tmp_path: Path) -> None:
    values = record(tmp_path / "session.mcap", erase_s=None)
    assert sum(isinstance(v, EyeFrame) for v in values) == 180
