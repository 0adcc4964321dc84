"""A Tobii Pro Glasses 2 recording somebody seems to have worn: drawn eyes before bright lamps.

The layout is the maker's: `segments/1/eyesstream.mp4` with four cameras of 240x240 below one another at
50 Hz, `livedata.json.gz` with a line for every value. Eyes are the emulator's, seen by two cameras each from
different sides, one of them upside down. Over each lie lamps and a window that move half as far as the
pupil and often cover it. The glasses' clock has begun long before the eyes' video.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from device.emulator.eye import EyeState, render_eye
from device.emulator.eye_looks import Appearance, make_appearance

RATE_HZ, SIDE_PX, STEP_US = 50, 240, 20_000
TS_US, EVTS_US = 84_415_010, 0
"""The glasses' clock, and the eye video's, at the first frame."""
TURNS = (0, 2, 0, 2)
"""Quarter turns of the cameras, from the top of the video."""
BLINK_EVERY, BLINK = 180, 8
"""Frames."""


def gaze_of(frames: int, seed: int) -> NDArray[np.float64]:
    """(frames, 2) azimuth and elevation in degrees: looks of 0.2 to 0.7 s about a middle."""
    rng = np.random.default_rng(seed)
    gaze = np.zeros((frames, 2))
    at = 0
    while at < frames:
        long = int(rng.integers(10, 35))
        gaze[at : at + long] = np.clip(rng.normal((1.0, -4.0), (7.0, 5.0)), -16, 16)
        at += long
    return gaze


def worn_tobii(folder: Path, frames: int = 500, seed: int = 3) -> Path:
    """Make the recording; the eyes' video begins with the first line of gaze."""
    segment = folder / "segments" / "1"
    segment.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    gaze = gaze_of(frames, seed)
    closed = np.arange(frames) % BLINK_EVERY >= BLINK_EVERY - BLINK
    eyes = [_camera(seed, number) for number in range(4)]
    with av.open(str(segment / "eyesstream.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = SIDE_PX, 4 * SIDE_PX, "yuv420p"
        stream.options = {"crf": "20", "preset": "ultrafast"}
        for (azimuth, elevation), shut in zip(gaze, closed, strict=True):
            state = EyeState(
                azimuth_deg=float(azimuth),
                elevation_deg=float(elevation),
                openness=0.0 if shut else 0.9,
                pupil_mm=3.4,
            )
            tiles = [_seen(eye, state, rng, n) for n, eye in enumerate(eyes)]
            picture = cv2.cvtColor(np.concatenate(tiles), cv2.COLOR_GRAY2BGR)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    with gzip.open(segment / "livedata.json.gz", "wt") as file:
        for line in _lines(gaze, closed):
            file.write(json.dumps(line) + "\n")
    (segment / "segment.json").write_text(json.dumps({"seg_t_start": "2023-05-26T08:32:56+0000"}))
    return folder


def _camera(seed: int, number: int) -> Appearance:
    """Two cameras an eye, one from below the nose's side, one from below the temple's."""
    looks = make_appearance(seed, "left" if number < 2 else "right", SIDE_PX)
    turn = np.radians(18.0 if number % 2 else -12.0)
    aside = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    return replace(looks, camera=aside @ looks.camera, glint_mm=1.0, glasses=False)


def _seen(
    looks: Appearance, state: EyeState, rng: np.random.Generator, number: int
) -> NDArray[np.uint8]:
    image, truth = render_eye(looks, state, rng)
    if state.openness > 0.5:
        # What the cornea mirrors moves about half as far as the pupil does.
        centre = np.array(looks.centre_px)
        x, y = centre + 0.5 * (np.array([truth.x_px, truth.y_px]) - centre)
        lamps = [(x - 16, y + 4), (x + 14, y - 3), (x + 2, y + 20)]
        for lamp in lamps:
            cv2.ellipse(
                image, ((float(lamp[0]), float(lamp[1])), (9.0, 7.0), 20.0), 255, -1, cv2.LINE_AA
            )
        window = cv2.boxPoints(((float(x + 26), float(y - 14)), (26.0, 11.0), 12.0))
        cv2.fillConvexPoly(image, np.round(window).astype(np.int32), 235, cv2.LINE_AA)
    return np.rot90(image, TURNS[number])


def _lines(gaze: NDArray[np.float64], closed: NDArray[np.bool_]) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    for number, ((azimuth, elevation), shut) in enumerate(zip(gaze, closed, strict=True)):
        ts = TS_US + STEP_US * number
        right, down = np.tan(np.radians(azimuth)), -np.tan(np.radians(elevation))
        down /= np.cos(np.radians(azimuth))
        both = {"ts": ts, "s": int(shut), "gidx": number}
        for eye in ("left", "right"):
            lines.append({**both, "pc": [30.0, -23.0, -29.0], "eye": eye})
            lines.append({**both, "pd": 0.0 if shut else 3.4, "eye": eye})
            ahead = np.array([-right, -down, 1.0])
            ahead = np.zeros(3) if shut else ahead / np.linalg.norm(ahead)
            lines.append({**both, "gd": ahead.round(4).tolist(), "eye": eye})
        point = [0.0, 0.0] if shut else [round(0.5 + 0.6 * right, 4), round(0.5 + 1.06 * down, 4)]
        lines.append({**both, "l": 606718, "gp": point})
        lines.append({**both, "gp3": [round(-1000 * right, 2), round(-1000 * down, 2), 1000.0]})
        lines.append({"ts": ts + 3, "s": 0, "gy": [0.1, 0.2, 0.3]})
        lines.append({"ts": ts + 5, "s": 0, "ac": [0.2, -9.8, -0.4]})
        if number % 100 == 7:
            lines.append({"ts": ts, "s": 0, "evts": EVTS_US + STEP_US * number})
    return lines
