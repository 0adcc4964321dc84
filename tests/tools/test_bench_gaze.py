"""The verbs calibrate and bench gaze on a made recording, and on a real one where it is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import tools.bench.gaze as bench
from device.errors import InputError
from device.eye_view import observe
from device.model import load
from device.pupil import PupilEstimator
from device.pupil_track import PupilTracker
from device.types import EyeFrame, Gaze, Pupil, SessionHeader, Value
from tools.bench.gaze_drawn import drawn
from tools.bench.gaze_page import write_page
from tools.bench.page import END, begin
from tools.calibrate import EyeRecording, as_gaze, calibrate, read, read_markers

SECOND = 1_000_000_000


class Corner:
    """An estimator for `MadeRecording`: its pupil is where the first pixels say."""

    def estimate(self, frame: EyeFrame) -> Pupil:
        x, y = (int(frame.pixels[0, n]) * 256 + int(frame.pixels[0, n + 1]) for n in (0, 2))
        return Pupil(
            t_ns=frame.t_ns,
            eye=frame.eye,
            x_px=x / 512,
            y_px=y / 512,
            major_px=12.0,
            minor_px=11.0,
            angle_deg=0.0,
            openness=0.9,
            confidence=0.9,
        )


class MadeRecording:
    """Two parts of 8 s at 25 Hz with a pause between; gaze jumps every 0.4 s."""

    header = SessionHeader(session_id="made", source="made", start_utc="unknown", zone="UTC")

    def __init__(self, *, gaze: bool = True, eyes: bool = True) -> None:
        self.gaze, self.eyes = gaze, eyes

    def __iter__(self) -> Iterator[Value]:
        rng = np.random.default_rng(3)
        places = rng.uniform(-10, 10, (40, 2))
        for n in range(400):
            azimuth, elevation = places[n // 10]
            t_ns = n * 40_000_000 + (5 * SECOND if n >= 200 else 0)
            pixels = rng.integers(90, 100, (64, 64)).astype(np.uint8)
            x, y = np.round((32 - np.array([azimuth, elevation]) * 0.8) * 512).astype(int)
            pixels[0, :4] = x // 256, x % 256, y // 256, y % 256
            for eye in ("left", "right") if self.eyes else ():
                yield EyeFrame(t_ns=t_ns, eye=eye, seq=n, pixels=pixels)
            if self.gaze:
                yield Gaze(t_ns=t_ns, azimuth_deg=azimuth, elevation_deg=elevation, confidence=1.0)


@pytest.fixture(scope="module")
def recording() -> EyeRecording:
    return read(MadeRecording(), "made", Corner())  # type: ignore[arg-type]


def test_the_bench_scores_what_was_not_fitted(recording: EyeRecording) -> None:
    result = bench.score(recording, Corner(), "part:1", "part:2")
    assert {"n", "median_deg", "p95_deg", "usable", "constant_deg"} <= result.keys()
    assert result["n"] == 200
    assert result["median_deg"] < 0.5 < 3.0 < result["constant_deg"]
    assert result["usable"] > 0.95
    assert sum(b["n"] for b in result["confidence"]) == 200
    stated = [b["confidence"] for b in result["confidence"]]
    assert len(stated) == 10
    assert stated == sorted(stated)


def test_parts_and_halves_share_no_frame(recording: EyeRecording) -> None:
    first, second = (
        {o.t_ns for o in recording.within(recording.spans(which))[0]}
        for which in ("first-half", "second-half")
    )
    assert not first & second
    assert abs(len(first) - len(second)) <= 2
    one, two = recording.parts()
    assert one[1] < two[0]
    assert recording.spans("0.5-2s") == [(SECOND // 2, 2 * SECOND)]
    with pytest.raises(InputError, match="has no part 3; it has parts 1 to 2"):
        recording.spans("part:3")
    with pytest.raises(InputError, match="is no part of a recording"):
        recording.spans("last-third")


def test_seconds_of_drawn_wearers_are_fitted_and_scored_apart() -> None:
    estimator = PupilTracker(PupilEstimator(load("eye")))
    wearer = drawn(5, estimator, 0.0, duration_s=12.0)
    assert [g.t_ns for g in wearer.gazes] == sorted({o.t_ns for o in wearer.observations})
    run = bench.judged(wearer, estimator, "0-8s", "8-12s")
    assert len(run.off) == len(run.confidence) == len(run.truth) == 240
    assert np.median(run.off) < 2.0


def test_recordings_without_gaze_or_eyes_are_refused() -> None:
    blind = read(MadeRecording(gaze=False), "made", Corner())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="brings no reference gaze"):
        calibrate(blind, "all")
    with pytest.raises(InputError, match="has no eye video"):
        read(MadeRecording(eyes=False), "made", Corner())  # type: ignore[arg-type]


def test_markers_replace_the_reference(tmp_path: Path) -> None:
    seen = read(MadeRecording(gaze=False), "made", Corner())  # type: ignore[arg-type]
    rows = [
        (g.t_ns, g.azimuth_deg, g.elevation_deg) for g in MadeRecording() if isinstance(g, Gaze)
    ]
    path = tmp_path / "markers.csv"
    text = "\n".join(",".join(map(str, r)) for r in rows)
    path.write_text("t_ns,azimuth_deg,elevation_deg\n" + text)
    seen.gazes = read_markers(path)
    assert calibrate(seen, "all").accuracy.median_deg < 0.5


def test_a_marker_counts_once_the_eye_has_landed() -> None:
    gazes = as_gaze([(0, 5.0, 0.0), (2 * SECOND, -5.0, 1.0)])
    assert min(g.t_ns for g in gazes) == SECOND // 2
    assert {g.azimuth_deg for g in gazes if g.t_ns < 2 * SECOND} == {5.0}
    assert min(g.t_ns for g in gazes if g.azimuth_deg == -5.0) == 2 * SECOND + SECOND // 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "lists no markers"),
        ('[{"t_ns": 1}]', "row 1 is not"),
        ('[[1, "nan", 2]]', "not finite"),
        ("[1, 2", "cannot be read"),
        ("t_ns,azimuth\n1,2\n", "row 1 is not"),
    ],
)
def test_bad_markers_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "markers"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_markers(path)


def test_angles_are_angles_between_lines_of_sight() -> None:
    a = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 0.0], [170.0, 60.0]])
    b = np.array([[0.0, 0.0], [-10.0, 0.0], [0.0, 5.0], [-170.0, 60.0]])
    got = bench.angle_deg(a, b)
    assert got[:3] == pytest.approx([0.0, 20.0, 5.0])
    assert got[3] == pytest.approx(9.96, abs=0.01)  # meridians close up towards the pole


@pytest.mark.slow
def test_the_neon_recording_across_parts(dataset: Callable[[str], Path]) -> None:
    folder = dataset("rec_neon_pupillabs")
    run = CliRunner().invoke(
        bench.command, ["--data", str(folder), "--fit", "part:2", "--score", "part:3", "--json"]
    )
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["n"] > 700
    assert result["usable"] >= 0.98
    assert result["median_deg"] < 1.0 < result["constant_deg"]


def test_frames_are_not_kept(recording: EyeRecording) -> None:
    """A long recording fits in memory: what is kept of a frame is its pupil and a small picture."""
    frame = next(v for v in MadeRecording() if isinstance(v, EyeFrame))
    assert observe(frame, Corner().estimate(frame)).view.nbytes <= 4096
    assert not any(hasattr(o, "pixels") for o in recording.observations)


def test_the_page_has_every_part_against_every_other_and_keeps_its_prose(tmp_path: Path) -> None:
    recording = read(MadeRecording(), "made", Corner())
    page = tmp_path / "page.md"
    page.write_text(f"above\n{begin('gaze')}\nlast week\n{END}\nbelow\n")
    asked = []

    def measure(fit_on: str, score_on: str) -> dict[str, Any]:
        asked.append((fit_on, score_on))
        return bench.measure(recording, Corner(), None, fit_on, score_on)

    write_page(measure, recording, page)
    text = page.read_text()
    assert asked == [("part:1", "part:2"), ("part:2", "part:1"), ("first-half", "second-half")]
    assert text.startswith("above")
    assert text.endswith("below\n")
    assert "last week" not in text
    assert "| part:2, part:1 | 200 | Beheld |" in text
    page.write_text("no marks")
    with pytest.raises(InputError, match=r"page\.md"):
        write_page(measure, recording, page)
    assert len(asked) == 3, "it measured before it looked at the page"
