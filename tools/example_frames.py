"""`python -m tools.example_frames`: what the networks see, drawn over frames of the virtual wearer.

Writes the pictures of docs/examples.md. Rendered eyes and scenes only: no person is on them.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from device.emulator import Emulator, EmulatorSettings
from device.emulator.eye import EyeState, render_eye
from device.emulator.eye_looks import make_appearance
from device.geometry import in_frame
from device.model import Model, load
from device.pipeline import run
from device.pupil import PupilEstimator, PupilGate
from device.sources.camera import AlwaysOn
from device.stages.attention import AttentionStage
from device.stages.events import EventsStage
from device.types import Attention, EyeFrame, Pixels, SceneFrame, Value
from tools.emulate import ATTENDED, TRUE_GAZE

IMAGES = Path(__file__).parents[1] / "docs" / "images"
FOUND = (60, 160, 255)
"""Colour of what a network says, BGR; the truth has the emulator's own colours."""
POSES = (
    (0.0, 0.0, 0.95, 3.8),
    (20.0, 6.0, 0.9, 3.0),
    (-22.0, -12.0, 0.85, 5.0),
    (8.0, -4.0, 0.4, 3.5),
    (0.0, 0.0, 0.0, 3.8),
)
"""Azimuth and elevation in degrees, openness, pupil in mm."""
WEARERS = (1, 4, 9, 14)
SEED, DURATION_S, SHOWN = 2, 60.0, 8


def eyes(model: Model) -> Pixels:
    """One row a wearer: the network's ellipse, openness and confidence; a cross is the true centre."""
    estimator, gate = PupilEstimator(model), PupilGate()
    rows = []
    for wearer in WEARERS:
        looks = make_appearance(wearer, "left", 192)
        row = []
        for number, (azimuth, elevation, openness, pupil_mm) in enumerate(POSES):
            state = EyeState(
                azimuth_deg=azimuth, elevation_deg=elevation, openness=openness, pupil_mm=pupil_mm
            )
            pixels, truth = render_eye(looks, state, np.random.default_rng(number))
            found = estimator.estimate(EyeFrame(t_ns=0, eye="left", seq=0, pixels=pixels))
            picture = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
            if gate.reports(found):
                axes = (found.major_px, found.minor_px)
                cv2.ellipse(
                    picture,
                    ((found.x_px, found.y_px), axes, found.angle_deg),
                    FOUND,
                    1,
                    cv2.LINE_AA,
                )
            if truth.visible > 0.2:
                place = (round(truth.x_px), round(truth.y_px))
                cv2.drawMarker(picture, place, ATTENDED, cv2.MARKER_CROSS, 7, 1)
            said = f"open {found.openness:.2f} sure {found.confidence:.2f}"
            row.append(caption(np.asarray(picture, np.uint8), said, 0.42))
        rows.append(np.hstack(row))
    return np.vstack(rows)


class Watch:
    """A sink that draws scene frames with the estimate made of them."""

    def __init__(self, emulator: Emulator) -> None:
        self._truth = emulator.truth
        self._frame: SceneFrame | None = None
        self.drawn: list[tuple[bool, Pixels]] = []
        """Whether the wearer truly attended, and the picture; one an estimate."""

    def __call__(self, value: Value) -> None:
        if isinstance(value, SceneFrame):
            self._frame = value
        elif isinstance(value, Attention) and self._frame is not None:
            self.drawn.append(self._draw(self._frame, value))

    def _draw(self, frame: SceneFrame, said: Attention) -> tuple[bool, Pixels]:
        picture = frame.pixels.copy()
        height, width = picture.shape[:2]
        interval = self._truth.attended_at(frame.t_ns)
        if interval is not None:
            _box(picture, self._truth.box(interval.thing, frame.t_ns), ATTENDED)
        _box(picture, said.region, FOUND)
        x, y = in_frame(self._truth.geometry, *self._truth.gaze(frame.t_ns))
        if np.isfinite(x):
            place = (round(float(x) * width), round(float(y) * height))
            cv2.circle(picture, place, 9, TRUE_GAZE, 2, cv2.LINE_AA)
        small = np.asarray(cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA), np.uint8)
        truth = "attends" if interval is not None else self._truth.activity(frame.t_ns)[0]
        return interval is not None, caption(small, f"{said.probability:.2f}   truly: {truth}", 0.5)


def attention(model: Model) -> Pixels:
    """Frames of one session, half of them attended: probability and region, beside the truth."""
    emulator = Emulator(EmulatorSettings(seed=SEED, duration_s=DURATION_S, eyes=False), AlwaysOn())
    watch = Watch(emulator)
    stages = [EventsStage(), AttentionStage(model, emulator.truth.geometry)]
    run(emulator, stages, [watch])
    chosen = []
    for wanted in (True, False):
        pictures = [picture for attended, picture in watch.drawn if attended is wanted]
        at = np.linspace(0, len(pictures) - 1, SHOWN // 2 + 2)[1:-1]
        chosen.append(np.hstack([pictures[int(k)] for k in at]))
    return np.vstack(chosen)


def caption(picture: Pixels, text: str, size: float) -> Pixels:
    """The picture over a strip with the text."""
    strip = np.full((24, picture.shape[1], 3), 30, np.uint8)
    cv2.putText(strip, text, (6, 17), 0, size, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([picture, strip])


def _box(picture: Pixels, region: object, colour: tuple[int, int, int]) -> None:
    height, width = picture.shape[:2]
    left, top, right, bottom = (
        round(getattr(region, side) * (width if side in ("left", "right") else height))
        for side in ("left", "top", "right", "bottom")
    )
    cv2.rectangle(picture, (left, top), (right, bottom), colour, 2)


def main() -> None:
    pictures = {"eye-network": eyes(load("eye")), "attention-network": attention(load("attention"))}
    for name, picture in pictures.items():
        path = IMAGES / f"{name}.webp"
        encoded, data = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, 80])
        if encoded:
            path.write_bytes(data.tobytes())
            print(path)


if __name__ == "__main__":
    main()
