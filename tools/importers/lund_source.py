"""Gaze of Lund 2013 with the film that was watched, as a source.

The screen stands for the scene: a virtual camera at the eye sees the film and nothing else. The film
was shown pixel for pixel in the middle of the screen (of three ways to show it, this one puts the gaze
on what moves); the recordings do not say so, and the header's notes do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from device.errors import InputError
from device.types import SceneGeometry, SessionHeader
from tools.importers.film import SUFFIXES, Film, open_film, packet_stream, scene_stream
from tools.importers.lund import LundTrial, Screen, read_lund
from tools.importers.recording import Recording, Stream, gaze_stream

PATTERN = "*_labelled_*.mat"


def is_lund(path: Path) -> bool:
    """A `.mat` file, or a folder with labelled trials in it or below."""
    return path.suffix == ".mat" if path.is_file() else next(path.rglob(PATTERN), None) is not None


def open_lund(path: Path) -> Recording:
    """One trial. Of a folder, the first one whose film is there; the notes name how many there are."""
    notes: list[str] = []
    if path.is_dir():
        trials = sorted(path.rglob(PATTERN))
        filmed = [t for t in trials if _film_of(t) is not None]
        path = (filmed or trials)[0]
        if len(trials) > 1:
            notes.append(f"{path.name} is replayed, one of {len(trials)} trials in the folder")
    trial = read_lund(path)
    seen = np.isfinite(trial.azimuth_deg) & np.isfinite(trial.elevation_deg)
    if not seen.any():
        raise InputError(f"{path}: holds no gaze, the eye was lost in every sample")
    video = _film_of(path)
    film = None if video is None else open_film(video)
    if film is None:
        notes.append("the film that was watched is not there: only gaze is replayed")
    else:
        notes.append("the film is taken to have been shown pixel for pixel amid the screen")
    if not trial.stamped:
        notes.append(f"the trial has no time stamps: {trial.rate_hz:g} Hz is what it states")
    return _recording(trial, film, notes)


def _recording(trial: LundTrial, film: Film | None, notes: list[str]) -> Recording:
    packets_pass = film is not None and film.packets_pass
    film_ns = film.times_ns() if film is not None else np.zeros(0, np.int64)
    header = SessionHeader(
        session_id=trial.path.stem,
        source="lund2013",
        start_utc="unknown",
        zone="UTC",
        wearer=trial.person,
        scene=_camera(trial.screen, film),
        duration_ns=int(trial.t_ns[-1]),
        brings_gaze=True,
        brings_packets=packets_pass,
        notes=tuple(notes),
    )
    # the reader gives angles of each screen axis by itself; elevation here is the latitude
    elevation_deg = np.degrees(
        np.arctan(np.tan(np.radians(trial.elevation_deg)) * np.cos(np.radians(trial.azimuth_deg)))
    )
    confidence = np.ones(len(trial.t_ns))
    shown_ns = film_ns[film_ns <= int(trial.t_ns[-1])]

    def streams(awake: Callable[[int], bool]) -> list[Stream]:
        made: list[Stream] = [
            gaze_stream(
                trial.t_ns, trial.azimuth_deg, elevation_deg, confidence, pupil_px=trial.pupil_px
            )
        ]
        if film is not None:
            made.append((packet_stream if packets_pass else scene_stream)(film, shown_ns, awake))
        return made

    return Recording(header, streams)


def _camera(screen: Screen, film: Film | None) -> SceneGeometry:
    """A pinhole at the eye whose frame is the film's part of the screen, or the whole screen."""
    width_px = film.width_px if film is not None else screen.width_px
    height_px = film.height_px if film is not None else screen.height_px
    fx = screen.distance_m / (screen.width_m / screen.width_px)
    fy = screen.distance_m / (screen.height_m / screen.height_px)
    matrix = np.array([[fx, 0, width_px / 2 - 0.5], [0, fy, height_px / 2 - 0.5], [0, 0, 1]])
    return SceneGeometry(width_px=width_px, height_px=height_px, camera_matrix=matrix)


def _film_of(path: Path) -> Path | None:
    """`.../TH34_video_BergoDalbana_labelled_MN.mat` -> BergoDalbana.avi beside it or a folder above."""
    for folder in (path.parent, path.parent.parent):
        for video in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
            if f"_{video.stem}_".lower() in path.name.lower():
                return video
    return None
