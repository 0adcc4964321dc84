"""Realistic snippets in the spool's format, with a real video, for tests that need no glasses."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

FPS, WIDTH, HEIGHT = 15, 320, 240


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a made-up moment shows."""

    thing: str = "cup"
    others: tuple[str, ...] = ("table",)
    start_utc: str = "2026-05-04T07:41:09.320+00:00"
    zone: str = "Europe/Berlin"
    length_s: float = 2.0
    seed: int = 1
    picture: np.ndarray | None = None
    """RGB background, (H, W, 3) uint8; drawn if None."""
    emotion: str | None = None
    """The strongest class; None: the glasses estimated no feeling."""
    influence: float = 0.3
    sure: float = 0.6
    look: int | None = None
    """Number of a direction that the embedding points to; None: no embedding."""


def make_snippet(spool: Path, snippet_id: str, scene: Scene = Scene()) -> Path:
    """Write one sealed snippet and return its folder."""
    folder = spool / snippet_id
    folder.mkdir(parents=True)
    frames = _frames(scene)
    _write_video(folder / "scene.mp4", frames)
    _write_jpeg(folder / "thumbnail.jpg", frames[len(frames) // 2])
    record = make_record(snippet_id, scene)
    (folder / "moment.json").write_text(json.dumps(record))
    write_manifest(folder)
    return folder


def make_small_snippet(
    spool: Path, snippet_id: str, scene: Scene = Scene(), video: bytes = b""
) -> Path:
    """A snippet without real pictures, for tests that make many."""
    folder = spool / snippet_id
    folder.mkdir(parents=True)
    (folder / "moment.json").write_text(json.dumps(make_record(snippet_id, scene)))
    if video:
        (folder / "scene.mp4").write_bytes(video)
    write_manifest(folder)
    return folder


def write_manifest(folder: Path) -> None:
    files = []
    for path in sorted(folder.iterdir()):
        if path.name != "manifest.json":
            data = path.read_bytes()
            files.append(
                {"name": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            )
    manifest = {
        "format": 1,
        "snippet_id": folder.name,
        "session_id": "session-1",
        "created_utc": datetime.now(UTC).isoformat(),
        "moment_sha256": next(f["sha256"] for f in files if f["name"] == "moment.json"),
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def make_record(snippet_id: str, scene: Scene) -> dict[str, Any]:
    start_ns = 60_000_000_000
    end_ns = start_ns + int(scene.length_s * 1e9)
    video_ns = start_ns - 500_000_000
    times = range(video_ns, end_ns, 16_666_667)
    x, y = zip(*(_place(scene, (t - video_ns) / 1e9) for t in times), strict=True)
    slow = range(video_ns, end_ns, 100_000_000)
    probability = [0.95 / (1 + math.exp(-(t - start_ns + 2e8) / 6e7)) for t in slow]
    box = [_place(scene, (t - video_ns) / 1e9) for t in slow]
    region = [
        [t, bx - 0.13, by - 0.17, bx + 0.13, by + 0.17]
        for t, (bx, by) in zip(slow, box, strict=True)
    ]
    place = {"left": 0.3, "top": 0.3, "right": 0.56, "bottom": 0.64}
    names = [(scene.thing, 0.88, True), *((name, 0.61, False) for name in scene.others)]
    return {
        "id": snippet_id,
        "session_id": "session-1",
        "start_ns": start_ns,
        "end_ns": end_ns,
        "start_utc": scene.start_utc,
        "zone": scene.zone,
        "reasons": ["attention"],
        "tags": [
            {"name": n, "probability": p, "region": place, "attended": a} for n, p, a in names
        ],
        "video": {"start_ns": video_ns, "end_ns": end_ns, "width_px": WIDTH, "height_px": HEIGHT},
        "energy_mj": {
            "scene_camera": 410.5, "eye_camera": 62.1, "network": 118.0, "encode": 74.9,
            "total": 665.5, "total_low": 400.0, "total_high": 900.0,
        },
        "models": {"attention": {"version": "1.0.0", "sha256": "ab" * 32}},
        "emotion": _emotion(scene, slow),
        "embedding": None if scene.look is None else look(scene.look, scene.seed),
        "evidence": {
            "gaze": [[t, gx, gy, 0.95] for t, gx, gy in zip(times, x, y, strict=True)],
            "attention": [[t, p] for t, p in zip(slow, probability, strict=True)],
            "region": region,
            "thresholds": {"enter_probability": 0.6, "leave_probability": 0.35, "dwell_ms": 240.0},
            "changes": [
                {"t_ns": video_ns, "before": "watching", "after": "checking",
                 "why": "looked at one place for 256 ms, at least 240"},
                {"t_ns": start_ns, "before": "checking", "after": "keeping",
                 "why": "attention 0.83 for 120 ms, at least 0.60 for 100"},
                {"t_ns": end_ns, "before": "keeping", "after": "checking",
                 "why": "attention is below 0.35 for 704 ms, patience 700"},
            ],
            "decisions": [
                {"t_ns": video_ns, "scale_px": 224, "reuse": False, "why": "moved by 9 px", "frames": 4},
                {"t_ns": start_ns, "scale_px": 0, "reuse": True, "why": "moved by 1 px", "frames": 21},
            ],
            "decided": {"224": {"frames": 4, "mj": 12.6}, "reuse": {"frames": 21, "mj": 0.0}},
            "tags": [],
        },
    }  # fmt: skip


def session_document(session_id: str, number: int = 0) -> dict[str, Any]:
    """The report of a session of some hours with a few gaps (device/session_report.py)."""
    gaps = [
        (812.0, 850.4, "eye", "glasses were taken off"),
        (3100.0, 3390.0, "eye", "no eye was seen"),
        (9000.0, 9008.5, "scene", "the camera was reset"),
    ][number:]
    blind_s = sum(end - start for start, end, *_ in gaps)
    return {
        "format": 1,
        "session_id": session_id,
        "source": "emulator",
        "start_utc": f"2026-05-0{2 + number}T06:02:00.000+00:00",
        "zone": "Europe/Berlin",
        "session_s": 11400.0,
        "seen_s": 11400.0 - blind_s,
        "gap_s": blind_s,
        "gaps": [{"start_s": a, "end_s": b, "stream": s, "cause": c} for a, b, s, c in gaps],
        "moments": 8,
        "energy_j": {
            "total": 1320.5, "total_low": 900.0, "total_high": 1900.0, "always_on": 9877.0,
            "by_component": {"eye_camera": 520.0, "scene_camera": 410.0, "network": 260.5, "radio": 130.0},
            "measured": [],
        },
    }  # fmt: skip


EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def look(direction: int, seed: int, dimensions: int = 64) -> list[float]:
    """An embedding near one of a few directions, of unit length."""
    centre = np.random.default_rng(1000 + direction).standard_normal(dimensions)
    row = centre + 0.1 * np.random.default_rng(seed).standard_normal(dimensions)
    return [round(float(v), 4) for v in row / np.linalg.norm(row)]


def _emotion(scene: Scene, times: range) -> dict[str, Any] | None:
    if scene.emotion is None:
        return None
    rest = (1 - scene.sure) / (len(EMOTIONS) - 1)
    table = {name: scene.sure if name == scene.emotion else rest for name in EMOTIONS}
    series = []
    for number, t_ns in enumerate(times):
        share = min(1.0, number / 8) * (0.85 + 0.15 * math.sin(number / 3))
        calm = {name: share * value for name, value in table.items()}
        calm["neutral"] += 1 - share
        series.append([t_ns, *(calm[name] for name in EMOTIONS), scene.influence])
    return {
        "strongest": scene.emotion,
        "probabilities": table,
        "non_neutral": 1 - table["neutral"],
        "influence": scene.influence,
        "series": series,
        "valence": 0.4,
        "arousal": -0.2,
        "region": {"left": 0.36, "top": 0.36, "right": 0.5, "bottom": 0.58},
        "because": [scene.thing],
    }


def days_of_life(spool: Path, pictures: dict[str, np.ndarray], count: int = 14) -> list[Path]:
    """A few days of moments over the given pictures, for screenshots."""
    names = sorted(pictures)
    start = datetime(2026, 5, 2, 6, 10, tzinfo=UTC)
    made = []
    for number in range(count):
        name = names[number % len(names)]
        when = start + timedelta(
            days=number // 6, minutes=7 * (number % 6) + 190 * (number % 6 // 2)
        )
        scene = Scene(
            thing=name,
            others=("table", "window")[: number % 3],
            start_utc=when.isoformat(timespec="milliseconds"),
            length_s=1.5 + 0.5 * (number % 4),
            seed=number,
            picture=pictures[name],
            emotion=("happy", "neutral", None, "surprise", "happy", "sad")[number % 6],
            influence=(0.15, 0.45, 0.5, 0.72, 0.9)[number % 5],
            sure=0.45 + 0.08 * (number % 4),
            look=names.index(name),
        )
        made.append(make_snippet(spool, f"life-{number:03d}", scene))
    return made


def _place(scene: Scene, time_s: float) -> tuple[float, float]:
    """Where the thing (and the gaze) is in the frame, as fractions."""
    phase = scene.seed * 1.7
    return (
        0.5 + 0.16 * math.sin(1.3 * time_s + phase),
        0.5 + 0.10 * math.cos(1.1 * time_s + phase),
    )


def _frames(scene: Scene) -> list[np.ndarray]:
    rng = np.random.default_rng(scene.seed)
    ground = scene.picture
    if ground is None:
        coarse = rng.integers(60, 200, (15, 20, 3), dtype=np.uint8)
        ground = np.kron(coarse, np.ones((32, 32, 1), np.uint8))
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    frames = []
    for number in range(int((scene.length_s + 0.5) * FPS)):
        x, y = _place(scene, number / FPS)
        top, left = (
            int(f * s)
            for f, s in zip(
                (1 - y, 1 - x), (ground.shape[0] - HEIGHT, ground.shape[1] - WIDTH), strict=True
            )
        )
        frame = ground[
            max(0, top) : max(0, top) + HEIGHT, max(0, left) : max(0, left) + WIDTH
        ].copy()
        if scene.picture is None:
            disc = (columns - x * WIDTH) ** 2 + (rows - y * HEIGHT) ** 2 < 28**2
            frame[disc] = (220, 90, 40)
        frames.append(np.ascontiguousarray(frame))
    return frames


def _write_video(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for pixels in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _write_jpeg(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".jpg", pixels[:, :, ::-1])[1].tobytes())
