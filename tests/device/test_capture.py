"""Capture: pre-roll from the ring, the cut without re-encoding, evidence, privacy, the spool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from device.codec import dumps
from device.errors import InputError, StorageError
from device.sealing import Protection
from device.spool import SnippetWriter, read_snippet, snippet_folders
from device.stages.capture import PRIVACY, CaptureSettings, CaptureStage
from device.stages.encode import EncodeStage
from device.types import (
    Attention,
    Capture,
    DeviceEvent,
    Gaze,
    Moment,
    MomentEnd,
    MomentStart,
    Region,
    SceneFrame,
    SceneGeometry,
    ScenePacket,
    SessionHeader,
    Tag,
    Tags,
    Value,
)

S = 1_000_000_000
BOX = Region(left=0.4, top=0.4, right=0.6, bottom=0.6)
GEOMETRY = SceneGeometry(
    width_px=64,
    height_px=48,
    camera_matrix=np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]),
)
HEADER = SessionHeader(
    session_id="kitchen",
    source="test",
    start_utc="2026-03-01T08:00:00+00:00",
    zone="Europe/Berlin",
    scene=GEOMETRY,
)


def session(start_s: float, end_s: float, *, reason: str = "attention is over") -> list[Value]:
    """Twelve seconds of scene video at 10 Hz; a moment from `start_s` to `end_s`."""
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    encode, values = EncodeStage(), []
    for number in range(120):
        t_ns = number * S // 10
        frame = SceneFrame(t_ns=t_ns, seq=number, pixels=np.roll(picture, number, axis=1))
        values += [frame, *encode.step(frame)]
        values.append(Gaze(t_ns=t_ns, azimuth_deg=0, elevation_deg=0, confidence=0.9))
        score = 0.9 if number == 80 else 0.8
        values.append(
            Attention(t_ns=t_ns, probability=score, region=BOX, embedding=np.ones(4, np.float32))
        )
        tag = Tag(name="cup", probability=0.7, region=BOX, attended=True)
        values.append(Tags(t_ns=t_ns, tags=(tag,), region=BOX, embedding=np.ones(4, np.float32)))
        if number == round(start_s * 10):
            values.append(MomentStart(t_ns=t_ns, reason="attention"))
        if number == round(end_s * 10):
            values.append(MomentEnd(t_ns=t_ns, reason=reason))
    return values


def captured(values: list[Value], **settings: float) -> list[Value]:
    stage = CaptureStage("kitchen", GEOMETRY, {"models": {}}, CaptureSettings(**settings))  # type: ignore[arg-type]
    out: list[Value] = []
    for value in values:
        if isinstance(value, stage.wants):
            out += stage.step(value)
    return [*out, *stage.finish(12 * S)]


def test_the_cut_starts_at_a_keyframe_before_the_trigger_and_is_the_very_packets() -> None:
    values = session(7.0, 9.0)
    moment, capture = captured(values)
    assert isinstance(moment, Moment) and isinstance(capture, Capture)
    assert (moment.start_ns, moment.end_ns) == (7 * S, 9 * S)
    assert capture.packets[0].keyframe
    assert 7 * S - 5 * S <= capture.packets[0].t_ns <= 7 * S - 4 * S
    by_time = {v.t_ns: v.data for v in values if isinstance(v, ScenePacket)}
    assert all(p.data is by_time[p.t_ns] for p in capture.packets)
    assert capture.packets[-1].t_ns == 9 * S


def test_evidence_covers_the_pre_roll_and_says_where_the_gaze_was() -> None:
    moment, _ = captured(session(7.0, 9.0))
    assert isinstance(moment, Moment)
    gaze = moment.evidence["gaze"]
    assert gaze[0][0] <= 3 * S and gaze[-1][0] == 9 * S
    assert gaze[0][1:3] == [0.5, 0.5]
    assert moment.reasons == ("attention",)
    assert [(t.name, t.attended) for t in moment.tags] == [("cup", True)]
    assert moment.evidence["ended"] == "attention is over"


def test_the_region_kept_is_that_of_the_analysis_and_of_the_network_where_there_was_none() -> None:
    found = Region(left=0.3, top=0.3, right=0.7, bottom=0.7)
    values = [
        replace(v, region=found) if isinstance(v, Tags) else v
        for v in session(7.0, 9.0)
        if not (isinstance(v, Tags) and (v.t_ns < 7 * S or v.t_ns > 8 * S))
    ]
    moment, _ = captured(values)
    assert isinstance(moment, Moment)
    rows = moment.evidence["region"]
    network = [t_ns for t_ns, *corners in rows if corners == [0.4, 0.4, 0.6, 0.6]]
    analysed = [t_ns for t_ns, *corners in rows if corners == [0.3, 0.3, 0.7, 0.7]]
    assert len(network) + len(analysed) == len(rows) and rows == sorted(rows)
    assert (min(analysed), max(analysed)) == (7 * S, 8 * S) and len(analysed) == 11
    # A result holds for half a second; then the network's word is the newest there is.
    assert [t_ns for t_ns in network if t_ns > 7 * S] == [t * S // 10 for t in range(86, 91)]


def grey_levels(values: list[Value]) -> list[Value]:
    """The same, each frame of one grey: its number."""
    level = {v.t_ns: v.seq for v in values if isinstance(v, SceneFrame)}
    return [
        replace(v, pixels=np.full_like(v.pixels, level[v.t_ns])) if isinstance(v, SceneFrame) else v
        for v in values
    ]


def still(values: list[Value]) -> int:
    """Number of the frame that became the still picture."""
    _, capture = captured(grey_levels(values))
    assert isinstance(capture, Capture) and capture.thumbnail is not None
    return int(capture.thumbnail[0, 0, 0])


def named(values: list[Value], *tags: Tag, at: int) -> list[Value]:
    """The same with other tags in one frame."""
    return [
        replace(v, tags=tags) if isinstance(v, Tags) and v.t_ns == at * S // 10 else v
        for v in values
    ]


def test_the_still_picture_shows_what_the_moment_is_called() -> None:
    values = session(7.0, 9.0)  # a cup, but for two frames
    values = named(values, Tag(name="cup", probability=0.8, region=BOX, attended=True), at=75)
    beside = Tag(name="cup", probability=0.95, region=BOX, attended=False)
    other = Tag(name="cat", probability=0.99, region=BOX, attended=True)
    values = named(values, beside, other, at=80)  # of the highest attention
    assert still(values) == 75


def test_without_a_name_the_still_picture_is_of_the_highest_attention() -> None:
    nameless = [replace(v, tags=()) if isinstance(v, Tags) else v for v in session(7.0, 9.0)]
    assert still(nameless) == 80


def test_a_moment_taken_back_lends_the_next_one_no_picture() -> None:
    values = named(
        session(5.0, 5.5), Tag(name="cup", probability=0.99, region=BOX, attended=True), at=52
    )
    values = [
        replace(v, kept=False) if isinstance(v, MomentEnd) and v.t_ns == 55 * S // 10 else v
        for v in values
    ]
    for at, value in (
        (7, MomentStart(t_ns=7 * S, reason="attention")),
        (9, MomentEnd(t_ns=9 * S, reason="over")),
    ):
        here = next(i for i, v in enumerate(values) if v.t_ns > at * S)
        values.insert(here, value)
    assert still(values) == 71  # the first of equals after it began


def test_a_moment_begins_with_the_first_look_and_moments_do_not_overlap() -> None:
    values = session(99, 99)
    for at, value in (
        (3, MomentStart(t_ns=3 * S, reason="attention", since_ns=2 * S)),
        (5, MomentEnd(t_ns=5 * S, reason="split", until_ns=4 * S)),
        (5, MomentStart(t_ns=5 * S, reason="attention", since_ns=2 * S)),
        (7, MomentEnd(t_ns=7 * S, reason="over", until_ns=6 * S)),
    ):
        here = next(i for i, v in enumerate(values) if v.t_ns > at * S)
        values.insert(here, value)
    moments = [v for v in captured(values) if isinstance(v, Moment)]
    assert [(m.start_ns // S, m.end_ns // S) for m in moments] == [(2, 4), (4, 6)]
    assert len({m.id for m in moments}) == 2


def test_a_moment_open_at_the_end_is_kept_and_one_the_privacy_switch_closed_is_not() -> None:
    moment, _ = captured(session(11.0, 99.0))
    assert isinstance(moment, Moment) and moment.end_ns == 12 * S
    assert captured(session(7.0, 9.0, reason=PRIVACY)) == []


def test_a_moment_right_after_another_still_begins_with_a_keyframe() -> None:
    values = session(5.0, 6.35)
    here = next(i for i, v in enumerate(values) if v.t_ns > 6.5 * S)
    values.insert(here, MomentStart(t_ns=6_450_000_000, reason="attention"))
    captures = [v for v in captured(values) if isinstance(v, Capture)]
    assert len(captures) == 2
    assert all(c.packets[0].keyframe for c in captures)
    assert captures[1].packets[0].t_ns <= 6_450_000_000


def test_the_privacy_switch_empties_the_ring() -> None:
    values = session(7.0, 9.0)
    here = next(i for i, v in enumerate(values) if v.t_ns > 6 * S)
    values.insert(here, DeviceEvent(t_ns=6 * S, name="privacy", value=True))
    _, capture = captured(values)
    assert isinstance(capture, Capture) and capture.packets[0].t_ns > 6 * S


def test_a_video_shorter_than_the_pre_roll_is_taken_from_its_first_keyframe() -> None:
    short = [v for v in session(1.0, 2.0) if v.t_ns <= 3 * S]
    moment, capture = captured(short, pre_roll_s=30.0)
    assert isinstance(moment, Moment) and isinstance(capture, Capture)
    packets = [v for v in short if isinstance(v, ScenePacket) and v.t_ns <= 2 * S]
    assert capture.packets[0].t_ns == packets[0].t_ns and capture.packets[0].keyframe
    assert capture.start_ns == packets[0].t_ns


def test_the_ring_is_bounded() -> None:
    stage = CaptureStage("kitchen", None, {}, CaptureSettings(pre_roll_s=2.0))
    for value in session(99, 99):
        if isinstance(value, stage.wants):
            list(stage.step(value))
    assert len(stage._ring) <= 31


def write(spool: Path, protection: Protection | None = None) -> Path:
    writer = SnippetWriter(spool, HEADER, lambda moment: {"total": 12.5}, protection)
    for value in captured(session(7.0, 9.0)):
        writer(value)
    return snippet_folders(spool)[0]


def test_a_snippet_is_whole_plays_and_tells_its_wall_time(tmp_path: Path) -> None:
    folder = write(tmp_path / "spool")
    snippet = read_snippet(folder)
    assert {f.name for f in snippet.files} == {"scene.mp4", "thumbnail.jpg", "moment.json"}
    assert snippet.moment["start_utc"] == "2026-03-01T08:00:07.000+00:00"
    assert snippet.moment["energy_mj"] == {"total": 12.5}
    with av.open(str(folder / "scene.mp4")) as video:
        frames = list(video.decode(video=0))
        assert len(frames) == snippet.moment["video"]["frames"]
        assert frames[-1].time == pytest.approx((len(frames) - 1) / 10, abs=1e-3)


def test_the_same_recording_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a"), write(tmp_path / "b")
    for name in ("moment.json", "manifest.json", "scene.mp4"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "moment.json").write_text(json.dumps({"id": "another"}))
    with pytest.raises(InputError, match=r"moment\.json: does not match"):
        read_snippet(folder)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A limit on the size of files makes every write past it fail as a full disk does."""
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
from pathlib import Path
from device.errors import StorageError
from tests.device.test_capture import write
try:
    write(Path({str(tmp_path / "spool")!r}))
except StorageError as error:
    print("refused:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert "refused:" in done.stdout and "cannot be written" in done.stdout, done.stderr
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_a_killed_program_left_is_swept_away(tmp_path: Path) -> None:
    stale = tmp_path / ".writing-kitchen-1"
    stale.mkdir()
    (stale / "scene.mp4").write_bytes(b"half")
    assert snippet_folders(tmp_path) == []
    SnippetWriter(tmp_path, HEADER, lambda moment: {})
    assert not stale.exists()


def test_a_spool_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written"):
        SnippetWriter(tmp_path / "spool", HEADER, lambda moment: {})


def test_equal_values_are_equal_bytes() -> None:
    assert dumps({"b": 0.1 + 0.2, "a": float("nan")}) == '{"a":null,"b":0.3}'


def test_a_moment_taken_back_leaves_nothing_and_its_video_goes_before_the_next() -> None:
    values = session(7.0, 8.0)
    end = next(i for i, v in enumerate(values) if isinstance(v, MomentEnd))
    values[end] = MomentEnd(t_ns=8 * S, reason="held for 500 ms", kept=False)
    assert captured(values) == []
    at = next(i for i, v in enumerate(values) if v.t_ns > 9 * S)
    values.insert(at, MomentStart(t_ns=9 * S, reason="emotion"))
    moment, capture = captured(values)
    assert isinstance(moment, Moment) and isinstance(capture, Capture)
    assert moment.start_ns == 9 * S and moment.reasons == ("emotion",)
    assert capture.packets[0].t_ns <= 5 * S


def test_a_snippet_begins_with_the_pre_roll_however_long_no_packet_came() -> None:
    """What the ring holds of the moment before is not what came before this one."""
    stage = CaptureStage("kitchen", GEOMETRY, {})
    encode = EncodeStage()
    captures: list[Capture] = []
    for start in (0, 600):
        opened = MomentStart(t_ns=start * S + S // 2, reason="attention")
        frames = [
            SceneFrame(t_ns=start * S + k * S // 10, seq=k, pixels=np.zeros((48, 64, 3), np.uint8))
            for k in range(20)
        ]
        packets = [p for frame in frames for p in encode.step(frame)]
        end = MomentEnd(t_ns=start * S + 2 * S, reason="attention is over")
        for value in (opened, *packets, end):
            captures += [v for v in stage.step(value) if isinstance(v, Capture)]
    first, second = captures
    assert len(first.packets) == len(second.packets) == 20
    assert second.start_ns == 600 * S and second.packets[0].keyframe
