"""Videos for the resolution controller: read from any folder, and varied for training.

A folder is a set of video files, or of folders of pictures (as in DAVIS), or both; masks beside the
pictures are passed over. A clip carries the fingerprint of its file, by which a policy's contract says
what it was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.errors import InputError
from device.sources.camera import AlwaysOn
from device.types import Pixels, SceneFrame

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif", ".m4v", ".mjpeg")
PICTURES = (".jpg", ".jpeg", ".png")
MASKS = ("annotations", "masks", "segmentations")
PICTURE_RATE_HZ = 24.0
"""Rate of folders of pictures, which do not say theirs (DAVIS: 24)."""
WIDTH_PX = 640
"""Wider frames are brought to this, the width of the scene camera here."""
MOST_FRAMES = 240
SHORTEST = 8
"""A clip of fewer frames says nothing about when to look again."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    name: str
    fingerprint: str
    """First 16 digits of the sha256 of the file, or of the first picture."""
    rate_hz: float
    frames: list[Pixels]
    """BGR, (H, W, 3) uint8, all of one size."""


def clips_in(place: Path, most_frames: int = MOST_FRAMES) -> Iterator[Clip]:
    """Every clip of a folder (or one video file), in the order of their names.

    Raises InputError where there is none, or for a file that cannot be read.
    """
    found = 0
    for path in clip_paths(place):
        clip = read_clip(path, most_frames)
        if len(clip.frames) >= SHORTEST:
            found += 1
            yield clip
    if not found:
        raise InputError(f"{place}: every clip is shorter than {SHORTEST} frames")


def clip_paths(place: Path) -> list[Path]:
    """Video files and folders of pictures. Raises InputError where there is neither."""
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise InputError(f"{place}: is not there; give a folder of videos or of picture folders")
    videos = [p for p in place.rglob("*") if p.suffix.lower() in VIDEOS and p.is_file()]
    folders = {p.parent for p in place.rglob("*") if p.suffix.lower() in PICTURES}
    sequences = [
        f for f in folders if not any(part.lower() in MASKS for part in f.relative_to(place).parts)
    ]
    long_enough = [f for f in sequences if len(_pictures(f)) >= SHORTEST]
    if not videos and not long_enough:
        raise InputError(f"{place}: holds no video and no folder of at least {SHORTEST} pictures")
    return sorted([*videos, *long_enough])


def read_clip(path: Path, most_frames: int = MOST_FRAMES) -> Clip:
    """The first frames of a video file or a folder of pictures."""
    if path.is_dir():
        pictures = _pictures(path)
        frames = []
        for picture in pictures[:most_frames]:
            pixels = cv2.imread(str(picture))
            if pixels is None:
                raise InputError(f"{picture}: cannot be read as a picture")
            frames.append(_narrow(np.asarray(pixels, np.uint8)))
        return Clip(path.name, _digest(pictures[0]), PICTURE_RATE_HZ, frames)
    video = cv2.VideoCapture(str(path))
    rate_hz = float(video.get(cv2.CAP_PROP_FPS))
    frames = []
    while len(frames) < most_frames:
        more, pixels = video.read()
        if not more:
            break
        frames.append(_narrow(np.asarray(pixels, np.uint8)))
    video.release()
    if not frames:
        raise InputError(f"{path}: cannot be read as a video")
    return Clip(path.stem, _digest(path), rate_hz if 1 <= rate_hz <= 60 else 30.0, frames)


def emulated(seed: int, frames: int = 100) -> Clip:
    """What the virtual wearer's scene camera sees at ten frames a second, the rate of decisions."""
    settings = EmulatorSettings(seed=seed, duration_s=frames / 10 + 4, scenario="demo", eyes=False)
    seen = (v for v in Emulator(settings, AlwaysOn()) if isinstance(v, SceneFrame))
    kept = [v.pixels for v in seen if v.seq % 3 == 0][:frames]
    digest = hashlib.sha256(kept[0].tobytes()).hexdigest()[:16]
    return Clip(f"emulator-{seed}", digest, 10.0, kept)


# --- variety for training ------------------------------------------------------------------------


def varied(clip: Clip, rng: np.random.Generator) -> Clip:
    """The clip as another camera on another head might have seen it.

    A window wanders over the frame as a head does (a slow drift, and quicker turns at times), mirrored
    or backwards, at another rate, lighter or darker, with noise.
    """
    stride = int(rng.choice([1, 1, 2, 3]))
    frames = clip.frames[::stride] if len(clip.frames) >= stride * 40 else clip.frames
    if rng.random() < 0.5:
        frames = frames[::-1]
    height, width = frames[0].shape[:2]
    share = rng.uniform(0.5, 0.95)
    out_w, out_h = int(width * share), int(height * share)
    path = _head_path(len(frames), rng) * (width - out_w, height - out_h)
    mirrored, gain, lift = rng.random() < 0.5, rng.uniform(0.6, 1.4), rng.uniform(-25, 25)
    noise = rng.uniform(0, 6)
    made = []
    for pixels, (left, top) in zip(frames, path, strict=True):
        part = cv2.getRectSubPix(
            pixels, (out_w, out_h), (left + (out_w - 1) / 2, top + (out_h - 1) / 2)
        ).astype(np.float32)
        part = part[:, ::-1] if mirrored else part
        grain = rng.standard_normal(part.shape[:2], np.float32)[..., None] * noise
        made.append(np.clip(part * gain + lift + grain, 0, 255).astype(np.uint8))
    return Clip(f"{clip.name}~", clip.fingerprint, clip.rate_hz, made)


def _head_path(
    count: int, rng: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(count, 2) places 0..1 of a window: still for a while, then on its way to another place."""
    restless = rng.choice([0.0, 0.02, 0.05])
    here, goal = rng.random(2), rng.random(2)
    speed = rng.uniform(0.02, 0.15)
    places = np.empty((count, 2))
    for number in range(count):
        if rng.random() < restless:
            goal, speed = rng.random(2), rng.uniform(0.02, 0.3)
        here = here + (goal - here) * speed + rng.normal(0, 0.002, 2)
        places[number] = np.clip(here, 0, 1)
    return places


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)


def _narrow(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    if width <= WIDTH_PX:
        return pixels
    size = (WIDTH_PX, round(height * WIDTH_PX / width))
    while pixels.shape[1] >= 2 * WIDTH_PX:
        pixels = pixels[::2, ::2]
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
