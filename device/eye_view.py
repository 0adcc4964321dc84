"""What one eye camera saw at one time: its pupil, and the eye's appearance as a small picture.

The picture is for the calibration: where a pupil is hard to find (reflections, lashes, an unusual
camera) the lids, iris and sclera still tell where the eye points.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from device.pupil_centre import refine
from device.types import Eye, EyeFrame, Pixels, Pupil, Timed

VIEW_PX = 32
"""Side of the picture. 24, 32 and 48 were compared on the fit parts of a Pupil Labs Neon recording."""
_SURROUND_PX = 9
"""Side of the neighbourhood whose mean is taken away: light falls off unevenly over a face."""


class Camera(NamedTuple):
    """One eye camera of the eyewear."""

    eye: Eye
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation(Timed):
    """The pupil and the view of one eye frame."""

    pupil: Pupil
    centre_px: tuple[float, float]
    """The pupil's centre, refined in the frame itself."""
    view: NDArray[np.float32]
    """(VIEW_PX * VIEW_PX,) float32, zero mean, unit variance."""
    width_px: int
    height_px: int

    @property
    def camera(self) -> Camera:
        return Camera(self.pupil.eye, self.pupil.camera)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Instant(Timed):
    """What all eye cameras saw at (nearly) one time; `t_ns` is the latest of their times."""

    seen: dict[Camera, Observation]


def observe(frame: EyeFrame, pupil: Pupil) -> Observation:
    """Join a frame with the pupil found in it."""
    height_px, width_px = frame.pixels.shape[:2]
    return Observation(
        t_ns=frame.t_ns,
        pupil=pupil,
        centre_px=refine(frame.pixels, pupil),
        view=view(frame.pixels),
        width_px=width_px,
        height_px=height_px,
    )


def view(pixels: Pixels) -> NDArray[np.float32]:
    """(H, W) uint8 to (VIEW_PX * VIEW_PX,) float32 that exposure and uneven light hardly change."""
    small = cv2.resize(pixels, (VIEW_PX, VIEW_PX), interpolation=cv2.INTER_AREA)
    bright = np.log1p(small.astype(np.float32))
    surround = cv2.blur(bright, (_SURROUND_PX, _SURROUND_PX), borderType=cv2.BORDER_REFLECT)
    local = np.asarray(bright - surround, np.float32)
    local = local / (float(local.std()) + 1e-6)
    # Single bright reflections must not rule the picture.
    return np.clip(local, -3.0, 3.0).ravel().astype(np.float32)


class Pairing:
    """Groups observations of several cameras into instants, one frame a camera.

    Cameras of one head are rarely triggered together exactly: frames within `tolerance_ns` of the
    first of a group, and within half a frame's interval, belong together. A group is complete when
    every camera that has been heard of lately is in it, so a camera that has died delays nothing for
    longer than `forget_ns`.
    """

    def __init__(
        self,
        cameras: Iterable[Camera],
        *,
        tolerance_ns: int = 12_000_000,
        forget_ns: int = 500_000_000,
    ) -> None:
        self._cameras = frozenset(cameras)
        self._tolerance_ns = tolerance_ns
        self._forget_ns = forget_ns
        self._last_ns: dict[Camera, int] = {}
        self._open: dict[Camera, Observation] = {}
        self._start_ns = 0
        self._newest_ns = 0
        self._interval_ns = 2 * tolerance_ns

    def add(self, observation: Observation) -> Iterator[Instant]:
        """Yield the instants that this observation completes (none, one, or two)."""
        camera, t_ns = observation.camera, observation.t_ns
        self._keep_time(camera, t_ns)
        within_ns = min(self._tolerance_ns, self._interval_ns // 2)
        if self._open and (camera in self._open or t_ns - self._start_ns > within_ns):
            yield from self.flush()
        if not self._open:
            self._start_ns = t_ns
        self._open[camera] = observation
        awaited = [c for c, last in self._last_ns.items() if t_ns - last <= self._forget_ns]
        if all(c in self._open for c in awaited):
            yield from self.flush()

    def flush(self) -> Iterator[Instant]:
        """Yield what is open, complete or not."""
        if self._open:
            seen, self._open = self._open, {}
            yield Instant(t_ns=max(o.t_ns for o in seen.values()), seen=seen)

    def _keep_time(self, camera: Camera, t_ns: int) -> None:
        if not self._last_ns:
            self._last_ns = dict.fromkeys(self._cameras, t_ns)
        elif t_ns - self._newest_ns > self._forget_ns:  # all were silent: none has died
            pause_ns = t_ns - self._newest_ns
            self._last_ns = {c: last + pause_ns for c, last in self._last_ns.items()}
        elif (step_ns := t_ns - self._last_ns.get(camera, t_ns)) > 0:
            # A lost frame doubles one step; the interval follows slowly, and faster down than up.
            self._interval_ns += int(
                (step_ns - self._interval_ns) * (0.2 if step_ns < self._interval_ns else 0.02)
            )
        self._newest_ns = max(self._newest_ns, t_ns)
        self._last_ns[camera] = t_ns
