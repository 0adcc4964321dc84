"""Gaze labelled sample by sample by human raters: the `*_labelled_XX.mat` files of Lund 2013.

One file is one trial seen by one rater. Its `ETdata.pos` has one row a sample: time stamp in
microseconds, pupil width and height in camera pixels, gaze on the screen in pixels, label. Three
things in these files are not what they seem, and are put right here:

* some files state 500 Hz and were recorded at 200 Hz: the stamps are believed, the stated rate only
  where the file has no stamps (the moving dots have none);
* a few files end in rows of zeros, stamps included: padding, cut off;
* a lost eye is written as gaze at pixel (0, 0), and a closing lid as gaze outside the screen: the first
  becomes NaN, the second stays as it is, because a tracker would report it too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import ConfigError, InputError

NAME = re.compile(
    r"(?P<person>[A-Za-z]+\d+)_(?:(?P<kind>img|video)_(?P<film>.+)|trial(?P<trial>\d+))"
    r"_labelled_(?P<rater>\w+)\.mat"
)


class Label(IntEnum):
    """What a rater saw in one sample."""

    NONE = 0
    FIXATION = 1
    SACCADE = 2
    PSO = 3
    PURSUIT = 4
    BLINK = 5
    UNDEFINED = 6


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """The screen before which the wearer sat, seen straight on at its centre."""

    width_px: int
    height_px: int
    width_m: float
    height_m: float
    distance_m: float

    def angles_deg(
        self, x_px: NDArray[np.float64], y_px: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Azimuth (right positive) and elevation (up positive) of screen pixels, both (N,)."""
        right_m = (x_px / self.width_px - 0.5) * self.width_m
        up_m = (0.5 - y_px / self.height_px) * self.height_m
        return (
            np.degrees(np.arctan2(right_m, self.distance_m)),
            np.degrees(np.arctan2(up_m, self.distance_m)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class LundTrial:
    """One trial as one rater labelled it; all arrays are (N,)."""

    path: Path
    person: str
    stimulus: str
    """`dots`, `img` or `video`."""
    film: str
    """Name of the picture or film, or of the trial for moving dots."""
    rater: str
    t_ns: NDArray[np.int64]
    """From the first sample."""
    azimuth_deg: NDArray[np.float64]
    elevation_deg: NDArray[np.float64]
    """Right and up positive; NaN where the eye was lost."""
    pupil_px: NDArray[np.float64]
    """Mean of the pupil's width and height in the tracker's image; NaN where the eye was lost."""
    labels: NDArray[np.uint8]
    """Values of `Label`."""
    rate_hz: float
    """By the stamps; by the file's word where it has none."""
    stamped: bool
    screen: Screen

    @property
    def key(self) -> tuple[str, str, str]:
        """What two raters' files of one trial share."""
        return self.person, self.stimulus, self.film


def read_lund(path: Path) -> LundTrial:
    """Read one labelled trial.

    Raises InputError where the file is not one of these, ConfigError where scipy is not installed.
    """
    named = NAME.fullmatch(path.name)
    if named is None:
        raise InputError(f"{path}: not a labelled trial; its name must end in _labelled_XX.mat")
    data = _load(path)
    try:
        rows = np.atleast_2d(np.asarray(data.pos, dtype=np.float64))
        rate_hz = float(data.sampFreq)
        screen = Screen(
            *(int(n) for n in data.screenRes),
            *(float(n) for n in data.screenDim),
            float(data.viewDist),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: ETdata lacks a field or has a wrong one ({error})") from error
    if rows.shape[1] != 6:
        raise InputError(f"{path}: ETdata.pos has {rows.shape[1]} columns, not 6; not this format")
    rows = _without_padding(rows)
    if len(rows) < 2:
        raise InputError(f"{path}: holds {len(rows)} samples; at least 2 are needed")
    t_ns, stamped = _times_ns(path, rows[:, 0], rate_hz)
    lost = (rows[:, 3] == 0) & (rows[:, 4] == 0) | ~np.isfinite(rows[:, 3:5]).all(axis=1)
    azimuth, elevation = screen.angles_deg(rows[:, 3], rows[:, 4])
    return LundTrial(
        path=path,
        person=named["person"],
        stimulus=named["kind"] or "dots",
        film=named["film"] or f"trial{named['trial']}",
        rater=named["rater"],
        t_ns=t_ns,
        azimuth_deg=np.where(lost, np.nan, azimuth),
        elevation_deg=np.where(lost, np.nan, elevation),
        pupil_px=np.where(lost, np.nan, rows[:, 1:3].mean(axis=1)),
        labels=rows[:, 5].astype(np.uint8),
        rate_hz=1e9 / float(np.median(np.diff(t_ns))),
        stamped=stamped,
        screen=screen,
    )


def read_lund_folder(folder: Path) -> list[LundTrial]:
    """Every labelled trial below a folder, in the order of their paths.

    A trial without stamps takes the rate of the same person's stamped trials in the folder, because
    the tracker was set once per person; with none of those, its own word stands.
    Raises InputError where there is no labelled trial.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    trials = [read_lund(path) for path in sorted(folder.rglob("*_labelled_*.mat"))]
    if not trials:
        raise InputError(f"{folder}: holds no *_labelled_XX.mat; point to gaze_lund2013_dev")
    seen = {t.person: t.rate_hz for t in trials if t.stamped}
    return [t if t.stamped else _at_rate(t, seen.get(t.person, t.rate_hz)) for t in trials]


def _load(path: Path) -> Any:
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{path}: reading .mat files needs scipy: pip install 'beheld[train]'"
        ) from error
    try:
        return loadmat(path, squeeze_me=True, struct_as_record=False)["ETdata"]
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); copy it again"
        ) from error
    except KeyError as error:
        raise InputError(f"{path}: has no ETdata; not a labelled trial") from error
    except Exception as error:  # scipy's reader raises anything on a damaged file
        raise InputError(f"{path}: not a readable MATLAB file ({error}); copy it again") from error


def _without_padding(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    padding = (rows[:, 0] == 0) & (rows[:, 3] == 0) & (rows[:, 4] == 0)
    real = np.flatnonzero(~padding)
    return rows[: real[-1] + 1] if len(real) else rows[:0]


def _times_ns(
    path: Path, stamps_us: NDArray[np.float64], rate_hz: float
) -> tuple[NDArray[np.int64], bool]:
    if np.isfinite(stamps_us).all():
        steps_us = np.diff(stamps_us)
        if (steps_us < 0).any():
            row = int(np.flatnonzero(steps_us < 0)[0]) + 1
            raise InputError(f"{path}: time runs backwards at sample {row}; cut the file there")
        if np.median(steps_us) > 0:
            return np.round((stamps_us - stamps_us[0]) * 1e3).astype(np.int64), True
    if not rate_hz > 0:
        raise InputError(f"{path}: has neither time stamps nor a sampling rate")
    return np.round(np.arange(len(stamps_us)) * (1e9 / rate_hz)).astype(np.int64), False


def _at_rate(trial: LundTrial, rate_hz: float) -> LundTrial:
    t_ns = np.round(np.arange(len(trial.t_ns)) * (1e9 / rate_hz)).astype(np.int64)
    return replace(trial, t_ns=t_ns, rate_hz=rate_hz)
