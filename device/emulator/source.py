"""The virtual wearer as a source: eye frames, scene frames, motion and events in the order of time."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from functools import cached_property, partial

import numpy as np

from device.emulator.eye import EyeState, PupilTruth, pupil_ellipse, render_eye
from device.emulator.eye_looks import make_appearance
from device.emulator.motion import GRID_HZ, Floats, Pose, smooth_noise
from device.emulator.scene import SceneRenderer
from device.emulator.settings import EmulatorSettings
from device.emulator.truth import EyesAt, Truth
from device.sources.camera import SceneCamera
from device.types import (
    DeviceEvent,
    Eye,
    EyeFrame,
    Gaze,
    ImuSample,
    SceneFrame,
    SessionHeader,
    Value,
)

EYES: tuple[Eye, Eye] = ("left", "right")
Tick = tuple[int, str, Callable[[], Value | None]]
"""When, which stream (`event`, `imu`, `left`, `right`, `gaze`, `scene`), and what makes the value then;
made only when its turn has come."""
STREAMS = ("event", "imu", "eyes", "scene")
CHUNK_S = 1.0
"""Truth is computed for that long at once; nothing else depends on it."""
GRAVITY_M_S2 = 9.81


class Emulator:
    """A seeded session. Iterating again gives the same values again, byte for byte."""

    def __init__(self, settings: EmulatorSettings, camera: SceneCamera | None = None) -> None:
        self.settings = settings
        self.camera = camera or SceneCamera()
        self.truth = Truth(settings)
        text = json.dumps(asdict(settings), sort_keys=True)
        self.header = SessionHeader(
            session_id=f"emulator-{settings.seed}-{hashlib.sha256(text.encode()).hexdigest()[:12]}",
            source="emulator",
            start_utc=settings.start_utc,
            zone="Etc/UTC",
            wearer=f"virtual-{settings.seed}",
            scene=self.truth.geometry,
            duration_ns=self.truth.duration_ns,
            brings_gaze=not settings.eyes,
        )
        self.appearances = {
            eye: make_appearance(settings.seed, eye, settings.eye_px, settings.eye_noise)
            for eye in EYES
        }

    def pupil(self, eye: Eye, t_ns: int) -> PupilTruth:
        """The true ellipse of the frame of that eye at `t_ns`, without drawing the frame."""
        return pupil_ellipse(self.appearances[eye], self._state(self.truth.eyes(t_ns), 0, eye))

    def __iter__(self) -> Iterator[Value]:
        for _, _, make in self.ticks():
            value = make()
            if value is not None:
                yield value

    def ticks(self, streams: Collection[str] = STREAMS) -> Iterator[Tick]:
        """What happens in these of `STREAMS`, in the order of time, for whoever need not draw it all."""
        eyes = self._eyes() if self.settings.eyes else self._gaze()
        # At one instant the eyes come before the scene, so a camera woken by them sees it.
        every = (self._events(), self._imu(), eyes, self._scene())
        wanted = [ticks for name, ticks in zip(STREAMS, every, strict=True) if name in streams]
        return heapq.merge(*wanted, key=lambda tick: tick[0])

    def _times_ns(self, hz: float) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Sample times of one stream, a chunk at a time."""
        number, total = 0, int(self.settings.duration_s * hz)
        while number < total:
            upto = min(number + max(int(hz * CHUNK_S), 1), total)
            yield np.round(np.arange(number, upto) * (1e9 / hz)).astype(np.int64)
            number = upto

    def _state(self, eyes: EyesAt, k: int, eye: Eye) -> EyeState:
        inward = 1.0 if eye == "left" else -1.0
        return EyeState(
            azimuth_deg=float(eyes.azimuth_deg[k] + inward * eyes.vergence_deg[k]),
            elevation_deg=float(eyes.elevation_deg[k]),
            openness=float(eyes.openness[k]),
            pupil_mm=float(eyes.pupil_mm[k]),
            slip_mm=(float(eyes.slip_mm[0, k]), float(eyes.slip_mm[1, k])),
        )

    def _eyes(self) -> Iterator[Tick]:
        noise = np.random.default_rng([self.settings.seed, 80])

        def frame(t_ns: int, eye: Eye, seq: int, state: EyeState) -> EyeFrame:
            pixels, _ = render_eye(self.appearances[eye], state, noise)
            return EyeFrame(t_ns=t_ns, eye=eye, seq=seq, pixels=pixels, exposure_us=1000)

        seq = 0
        for times_ns in self._times_ns(self.settings.eye_hz):
            eyes = self.truth.eyes(times_ns)
            for k, t_ns in enumerate(times_ns.tolist()):
                for eye in EYES:
                    state = self._state(eyes, k, eye)
                    yield t_ns, eye, partial(frame, t_ns, eye, seq, state)
                seq += 1

    def _gaze(self) -> Iterator[Tick]:
        """What a good eye tracker would say, for runs that need no eye images."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 81])
        slow = 2 * s.gaze_noise_deg * np.stack([self._slow(rng), self._slow(rng)])
        for times_ns in self._times_ns(s.gaze_hz):
            eyes = self.truth.eyes(times_ns)
            at = np.minimum((times_ns / 1e9).astype(int), slow.shape[1] - 1)
            error = slow[:, at] + rng.normal(0, s.gaze_noise_deg, (2, len(times_ns)))
            for k, t_ns in enumerate(times_ns.tolist()):
                shown = float(np.clip((eyes.openness[k] - 0.25) / 0.3, 0.02, 0.98))
                droop = 12.0 * (1 - min(float(eyes.openness[k]) / 0.5, 1.0))  # a lid pulls it down
                yield (
                    t_ns,
                    "gaze",
                    partial(
                        Gaze,
                        t_ns=t_ns,
                        azimuth_deg=float(eyes.azimuth_deg[k] + error[0, k]),
                        elevation_deg=float(eyes.elevation_deg[k] + error[1, k] - droop),
                        confidence=shown,
                        pupil_mm=float(eyes.pupil_mm[k]),
                    ),
                )

    def _slow(self, rng: np.random.Generator) -> Floats:
        """One value a second: what a calibration leaves and slippage adds."""
        return smooth_noise(rng, int(self.settings.duration_s) + 2, 30.0)

    def _scene(self) -> Iterator[Tick]:
        hz, seq = self.settings.scene_hz, 0
        for times_ns in self._times_ns(hz):
            for t_ns in times_ns.tolist():
                yield t_ns, "scene", partial(self._scene_frame, t_ns, seq)
                seq += 1

    def _scene_frame(self, t_ns: int, seq: int) -> SceneFrame | None:
        """The frame, if the camera is awake and takes it: nothing is drawn else."""
        if not self.camera.awake(t_ns) or not self.camera.due(t_ns):
            return None
        t_s, step_s = t_ns / 1e9, 0.5 / GRID_HZ
        before, here, after = (
            self.truth.head.pose(np.array([max(t_s + d, 0.0)])) for d in (-step_s, 0.0, step_s)
        )
        speed = (
            float(after.yaw_deg[0] - before.yaw_deg[0]) * GRID_HZ,
            float(after.pitch_deg[0] - before.pitch_deg[0]) * GRID_HZ,
        )
        pixels = self._renderer.render(here, t_s, seq, speed)
        return SceneFrame(t_ns=t_ns, seq=seq, pixels=pixels, exposure_us=8000)

    @cached_property
    def _renderer(self) -> SceneRenderer:
        """Drawn when the scene camera first wakes: a session without scene frames needs no wall."""
        settings, truth = self.settings, self.truth
        return SceneRenderer(truth.place, truth.geometry, settings.seed, settings.scene_noise)

    def _imu(self) -> Iterator[Tick]:
        rng = np.random.default_rng([self.settings.seed, 82])
        half_s = 0.5 / GRID_HZ
        for times_ns in self._times_ns(self.settings.imu_hz):
            t_s = times_ns / 1e9
            head = self.truth.head
            before, here, after = (head.pose(np.maximum(t_s + d, 0)) for d in (-half_s, 0, half_s))
            gyro = _turning(before, after) + rng.normal(0, 0.05, (len(t_s), 3))
            wide_s = (
                0.03  # positions are linear between grid points, so the second difference is wide
            )
            low, high = (head.pose(np.maximum(t_s + d, 0)) for d in (-wide_s, wide_s))
            force = np.stack(
                [
                    (a - 2 * b + c) / wide_s**2
                    for a, b, c in (
                        (low.x_m, here.x_m, high.x_m),
                        (low.y_m, here.y_m, high.y_m),
                        (-low.distance_m, -here.distance_m, -high.distance_m),
                    )
                ],
                -1,
            )
            force[:, 1] -= GRAVITY_M_S2  # at rest the glasses are pushed upwards, against gravity
            felt = np.einsum("nij,ni->nj", here.rotation(), force) + rng.normal(
                0, 0.02, force.shape
            )
            for t_ns, turn, push in zip(
                times_ns.tolist(), gyro.tolist(), felt.tolist(), strict=True
            ):
                yield (
                    t_ns,
                    "imu",
                    partial(ImuSample, t_ns=t_ns, gyro_deg_s=tuple(turn), accel_m_s2=tuple(push)),
                )

    def _events(self) -> Iterator[Tick]:
        yield 0, "event", partial(DeviceEvent, t_ns=0, name="worn", value=True)
        for minute in range(int(self.settings.duration_s // 60) + 1):
            charge = round(max(0.95 - minute / 600, 0.0), 4)
            t_ns = minute * 60_000_000_000
            yield t_ns, "event", partial(DeviceEvent, t_ns=t_ns, name="battery", value=charge)


def _turning(before: Pose, after: Pose) -> Floats:
    """(n, 3) degrees a second about the head's own axes, from two poses one grid step apart."""
    turn = np.einsum("nji,njk->nik", before.rotation(), after.rotation())
    skew = np.stack(
        [
            turn[:, 2, 1] - turn[:, 1, 2],
            turn[:, 0, 2] - turn[:, 2, 0],
            turn[:, 1, 0] - turn[:, 0, 1],
        ],
        -1,
    )
    return np.asarray(np.degrees(skew / 2) * GRID_HZ)
