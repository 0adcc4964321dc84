"""Sessions whose attended intervals are known: generated gaze over masks, real gaze over film, emulator.

What counts as attended in real gaze (gaze_lund2013): both human raters labelled every sample. Stretches
of fixation or pursuit are joined while the next one begins within `GAP_S` of the last one's end and
within `SAME_DEG` of the place where the thing last looked at has gone in the film since (optical flow
at that place). What looked elsewhere in between is a glance. Joined stretches of at least
`MIN_ATTENDED_S` are attended intervals. The raters saw the gaze only; the film says whether two looks
were at one thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.geometry import degrees_across, in_frame
from device.sources.camera import SceneCamera
from device.types import Gaze, Pixels, SceneFrame, SceneGeometry, SessionHeader, Value
from models.attention_data import (
    MIN_ATTENDED_S,
    PICTURES_TRAINED,
    GazeStatistics,
    Scene,
    Session,
    composite,
    davis_scenes,
    generate,
    pictures_of,
    runs,
    seen_otherwise,
)
from tools.data import data_root
from tools.importers.lund import Label, LundTrial, read_lund_folder

GAP_S = 0.5
SAME_DEG = 2.0
SESSION_S = 60.0
SESSIONS_A_SCENE = 4
STEADY = (Label.FIXATION, Label.PURSUIT)

Intervals = list[tuple[int, int]]
Box = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One session and what is true of it."""

    name: str
    source: Callable[[SceneCamera], Iterator[Value]]
    """Its values in the order of time; scene frames only while the camera is awake."""
    geometry: SceneGeometry
    duration_ns: int
    truths: tuple[Intervals, ...]
    """Attended intervals, one list a rater."""
    box: Callable[[int], Box | None]
    """The attended thing at a time, in fractions; None where not known."""

    @property
    def header(self) -> SessionHeader:
        return SessionHeader(
            session_id=self.name,
            source="attention bench",
            start_utc="unknown",
            zone="Etc/UTC",
            scene=self.geometry,
            duration_ns=self.duration_ns,
            brings_gaze=True,
        )


def generated(folder: Path) -> list[Trial]:
    """Generated gaze over every sequence of a folder in DAVIS layout."""
    trials = []
    for scene in davis_scenes(folder):
        for seed in range(SESSIONS_A_SCENE):
            session = generate(scene, 77_000 + seed, SESSION_S)
            trials.append(trial_of(session, f"{scene.name}:{seed}"))
    return trials


def composites(folder: Path, sessions: int = 24, duration_s: float = 40.0) -> list[Trial]:
    """Generated gaze over composites of those pictures that `models.train_attention` never takes.

    To choose thresholds on: neither trained on nor reported.
    """
    rng = np.random.default_rng(88_000)
    pictures = list(pictures_of(folder, 10_000, seed=0))[PICTURES_TRAINED:]
    trials = []
    for k in range(sessions):
        scene, statistics = seen_otherwise(composite(pictures, rng), rng)
        session = generate(scene, 88_000 + k, duration_s, statistics)
        trials.append(trial_of(session, f"composite:{k}"))
    return trials


def trial_of(session: Session, name: str) -> Trial:
    """A generated session as a trial."""
    scene = session.scene

    def values(camera: SceneCamera) -> Iterator[Value]:
        return merged(session.gaze, scene.frames, scene.rate_hz, scene.index, camera)

    return Trial(
        name=name,
        source=values,
        geometry=scene.geometry,
        duration_ns=session.duration_ns,
        truths=(session.attended_ns,),
        box=lambda t_ns: scene.box(t_ns / 1e9),
    )


def merged(
    gaze: Sequence[Gaze],
    frames: Sequence[Pixels],
    rate_hz: float,
    index: Callable[[float], int],
    camera: SceneCamera,
) -> Iterator[Value]:
    """Gaze with the scene frames between, in the order of time."""
    number = 0
    for value in gaze:
        while (t_ns := round(number * 1e9 / rate_hz)) <= value.t_ns:
            if camera.awake(t_ns):
                yield SceneFrame(t_ns=t_ns, seq=number, pixels=frames[index(t_ns / 1e9)])
            number += 1
        yield value


# --- real gaze over film -------------------------------------------------------------------------


def real(folder: Path) -> tuple[list[Trial], list[str]]:
    """Trials of a folder in the layout of gaze_lund2013, and those whose film is nowhere."""
    by_key: dict[tuple[str, str, str], list[LundTrial]] = {}
    for trial in read_lund_folder(folder):
        if trial.stimulus == "video":
            by_key.setdefault(trial.key, []).append(trial)
    films: dict[str, list[Pixels]] = {}
    trials, without = [], []
    for raters in by_key.values():
        film = raters[0].film
        if film not in films:
            films[film] = _film(folder, film)
        if films[film]:
            trials.append(_lund_trial(raters, films[film]))
        else:
            without.append(f"{raters[0].person}:{film}")
    return trials, without


def _film(folder: Path, name: str) -> list[Pixels]:
    for place in (folder, data_root() / "gaze_lund2013_dev"):
        for path in sorted(place.rglob("*.avi")) if place.is_dir() else ():
            if path.stem.lower() == name.lower():
                reader, frames = cv2.VideoCapture(str(path)), []
                while (read := reader.read())[0]:
                    frames.append(np.asarray(read[1], np.uint8))
                return frames
    return []


def film_geometry(trial: LundTrial, width_px: int, height_px: int) -> SceneGeometry:
    """The film stood in the middle of the screen at its native size.

    Measured: gaze in pursuit against what moves in the film has slopes of 0.95 and 0.95 and passes
    through the middle of both within 10 px; nothing in the data says so.
    """
    s = trial.screen
    focal_x = s.distance_m / s.width_m * s.width_px
    focal_y = s.distance_m / s.height_m * s.height_px
    middle = ((width_px - 1) / 2, (height_px - 1) / 2)
    matrix = np.array([[focal_x, 0, middle[0]], [0, focal_y, middle[1]], [0, 0, 1]])
    return SceneGeometry(width_px=width_px, height_px=height_px, camera_matrix=matrix)


FILM_HZ = 25.0


def _lund_trial(raters: list[LundTrial], frames: list[Pixels]) -> Trial:
    first = raters[0]
    geometry = film_geometry(first, frames[0].shape[1], frames[0].shape[0])
    flows = _flows(frames)
    gaze = [
        Gaze(
            t_ns=int(t),
            azimuth_deg=float(a),
            elevation_deg=float(e),
            confidence=1.0 if np.isfinite(a) else 0.0,
            pupil_px=float(p) if np.isfinite(p) else None,
        )
        for t, a, e, p in zip(
            first.t_ns, first.azimuth_deg, first.elevation_deg, first.pupil_px, strict=True
        )
    ]

    def values(camera: SceneCamera) -> Iterator[Value]:
        last = len(frames) - 1
        return merged(gaze, frames, FILM_HZ, lambda t: min(last, round(t * FILM_HZ)), camera)

    return Trial(
        name=f"{first.person}:{first.film}",
        source=values,
        geometry=geometry,
        duration_ns=int(first.t_ns[-1]),
        truths=tuple(attended_intervals(r, geometry, flows) for r in raters),
        box=lambda t_ns: None,
    )


def _flows(frames: list[Pixels]) -> list[NDArray[np.float32]]:
    """Optical flow from each frame to the next, (96, 128, 2) in fractions of the frame."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    small = [cv2.cvtColor(cv2.resize(f, (256, 192)), cv2.COLOR_BGR2GRAY) for f in frames]
    scale = np.array([256, 192], np.float32)
    return [
        np.asarray(flow.calc(a, b, None)[::2, ::2] / scale, np.float32) for a, b in pairwise(small)
    ]


def attended_intervals(
    trial: LundTrial, geometry: SceneGeometry, flows: list[NDArray[np.float32]]
) -> Intervals:
    """The rule of this file's head, for one rater."""
    x, y = in_frame(geometry, trial.azimuth_deg, trial.elevation_deg)
    place = np.stack([x, y], 1)
    degrees = np.array(degrees_across(geometry))
    found: Intervals = []
    open_: tuple[int, int, NDArray[np.float64]] | None = None  # start, end, place at the end
    for start, stop in runs(np.isin(trial.labels, STEADY)):
        known = place[start:stop][np.isfinite(place[start:stop]).all(1)]
        if not len(known):
            continue
        begin_ns, end_ns = int(trial.t_ns[start]), int(trial.t_ns[stop - 1])
        if open_ is not None:
            thing = _carried(open_[2], open_[1], begin_ns, flows)
            near = float(np.hypot(*((known[:10].mean(0) - thing) * degrees))) <= SAME_DEG
            if begin_ns - open_[1] <= GAP_S * 1e9 and near:
                open_ = (open_[0], end_ns, known[-10:].mean(0))
                continue
            if begin_ns - open_[1] <= GAP_S * 1e9 and end_ns - open_[1] <= GAP_S * 1e9:
                continue  # a glance, if the eyes come back in time
            found.append(open_[:2])
        open_ = (begin_ns, end_ns, known[-10:].mean(0))
    if open_ is not None:
        found.append(open_[:2])
    return [(a, b) for a, b in found if b - a >= MIN_ATTENDED_S * 1e9]


def _carried(
    place: NDArray[np.float64], from_ns: int, to_ns: int, flows: list[NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Where the piece of film at a place has gone between two times."""
    place = place.copy()
    for k in range(round(from_ns / 1e9 * FILM_HZ), round(to_ns / 1e9 * FILM_HZ)):
        if 0 <= k < len(flows):
            height, width = flows[k].shape[:2]
            column, row = np.clip(place * (width, height), 0, (width - 1, height - 1)).astype(int)
            place += flows[k][row, column]
    return place


def gaze_statistics(folder: Path) -> GazeStatistics:
    """`GazeStatistics` of the fixations in a folder in the layout of gaze_lund2013_dev."""
    noise, wander, lengths = [], [], []
    for trial in read_lund_folder(folder):
        if trial.stimulus == "dots":
            continue
        place = np.stack([trial.azimuth_deg, trial.elevation_deg], 1)
        for start, stop in runs(trial.labels == Label.FIXATION):
            part = place[start:stop]
            if stop - start < 10 or not np.isfinite(part).all():
                continue
            noise.append(np.sqrt((np.diff(part, axis=0) ** 2).sum(1).mean() / 2))
            wander.append(np.sqrt(((part - part.mean(0)) ** 2).sum(1).mean()))
            lengths.append(np.log((trial.t_ns[stop - 1] - trial.t_ns[start]) / 1e6))
    return GazeStatistics(
        noise_deg=float(np.median(noise)),
        wander_deg=float(np.median(wander)),
        fixation_log_mean=float(np.mean(lengths)),
        fixation_log_std=float(np.std(lengths)),
    )


# --- the emulator --------------------------------------------------------------------------------


def emulated(seed: int, sessions: int = 2, duration_s: float = 180.0) -> list[Trial]:
    """Sessions of the virtual wearer with its own gaze; seeds from `seed` on."""
    from device.emulator import Emulator, EmulatorSettings

    trials = []
    for number in range(seed, seed + sessions):
        wearer = EmulatorSettings(seed=number, duration_s=duration_s, eyes=False)
        truth = Emulator(wearer).truth

        def values(camera: SceneCamera, wearer: EmulatorSettings = wearer) -> Iterator[Value]:
            return iter(Emulator(wearer, camera))

        def box(t_ns: int, truth=truth) -> Box | None:  # type: ignore[no-untyped-def]
            attended = truth.attended_at(t_ns)
            if attended is None:
                return None
            r = truth.box(attended.thing, t_ns)
            return np.clip(np.array([r.left, r.top, r.right, r.bottom]), 0, 1)

        intervals = [(a.start_ns, a.end_ns) for a in truth.attended]
        trials.append(
            Trial(
                f"emulator:{number}", values, truth.geometry, truth.duration_ns, (intervals,), box
            )
        )
    return trials


__all__ = ["Scene", "Trial", "emulated", "gaze_statistics", "generated", "real", "trial_of"]
