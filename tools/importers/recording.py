"""Other people's recordings as a source: streams merged in time, work done only when its time comes."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from device.sources.camera import SceneCamera
from device.types import DeviceEvent, Gaze, ImuSample, SceneGeometry, SessionHeader, Value

Times = NDArray[np.int64]
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Due:
    """Something to be made at `t_ns` and not before: a frame that is decoded if its camera is awake."""

    t_ns: int
    make: Callable[[], Iterable[Value]]


Stream = Iterable[Value | Due]


class Recording:
    """Streams, each in the order of its times, as one source. May be iterated more than once.

    `streams` is called at the start of each iteration with the camera to obey, so that a decoder
    begins anew. Gaze is left out when the header no longer says that the recording brings it.
    """

    def __init__(
        self,
        header: SessionHeader,
        streams: Callable[[Callable[[int], bool]], Sequence[Stream]],
        camera: SceneCamera | None = None,
    ) -> None:
        self.header = header
        self.camera = camera or SceneCamera()
        self._streams = streams

    def __iter__(self) -> Iterator[Value]:
        streams = self._streams(lambda t_ns: self.camera.awake(t_ns))
        for item in heapq.merge(*streams, key=attrgetter("t_ns")):
            if isinstance(item, Due):
                yield from item.make()
            elif self.header.brings_gaze or not isinstance(item, Gaze):
                yield item

    def with_notes(self, *notes: str) -> Recording:
        """The same recording with more notes in its header."""
        header = replace(self.header, notes=(*self.header.notes, *notes))
        return Recording(header, self._streams, self.camera)


def gaze_stream(
    t_ns: Times,
    azimuth_deg: NDArray[np.float64],
    elevation_deg: NDArray[np.float64],
    confidence: NDArray[np.float64],
    pupil_mm: NDArray[np.float64] | None = None,
    pupil_px: NDArray[np.float64] | None = None,
) -> Iterator[Gaze]:
    """One `Gaze` a row. Rows without a direction (NaN) were not seen and are left out."""
    seen = np.isfinite(azimuth_deg) & np.isfinite(elevation_deg)
    for i in np.flatnonzero(seen).tolist():
        yield Gaze(
            t_ns=int(t_ns[i]),
            azimuth_deg=float(azimuth_deg[i]),
            elevation_deg=float(elevation_deg[i]),
            confidence=float(confidence[i]),
            pupil_mm=_positive(pupil_mm, i),
            pupil_px=_positive(pupil_px, i),
        )


def worn_events(t_ns: Times, worn: NDArray[np.bool_]) -> Iterator[DeviceEvent]:
    """An event at the first sample and each time that the glasses are put on or taken off."""
    last: bool | None = None
    for at_ns, flag in zip(t_ns, worn, strict=False):
        if bool(flag) is not last:
            last = bool(flag)
            yield DeviceEvent(t_ns=int(at_ns), name="worn", value=last)


def nearest(wanted_ns: Times, t_ns: Times) -> NDArray[np.int64]:
    """For each wanted time the index of the nearest of `t_ns`, which is sorted and not empty."""
    after = np.clip(np.searchsorted(t_ns, wanted_ns), 0, len(t_ns) - 1)
    before = np.maximum(after - 1, 0)
    found: NDArray[np.int64] = np.where(
        wanted_ns - t_ns[before] <= t_ns[after] - wanted_ns, before, after
    )
    return found


def at_nearest(
    wanted_ns: Times, t_ns: Times, values: NDArray[np.float64], within_ns: int
) -> NDArray[np.float64]:
    """`values` (at sorted `t_ns`) at the nearest time to each wanted one; NaN if none is near enough."""
    if not len(t_ns):
        return np.full(len(wanted_ns), np.nan)
    index = nearest(wanted_ns, t_ns)
    return np.where(np.abs(t_ns[index] - wanted_ns) <= within_ns, values[index], np.nan)


def motion_stream(
    gyro_deg_s: Sequence[tuple[int, Vector]], accel_m_s2: Sequence[tuple[int, Vector]]
) -> Iterator[ImuSample]:
    """One sample for each time of `gyro_deg_s`, with the acceleration nearest to it; times in nanoseconds."""
    if not gyro_deg_s or not accel_m_s2:
        return
    turns, pushes = sorted(gyro_deg_s), sorted(accel_m_s2)
    index = nearest(np.array([t for t, _ in turns]), np.array([t for t, _ in pushes]))
    for (t_ns, gyro), i in zip(turns, index.tolist(), strict=True):
        yield ImuSample(t_ns=t_ns, gyro_deg_s=gyro, accel_m_s2=pushes[i][1])


def scaled(geometry: SceneGeometry, width_px: int, height_px: int) -> SceneGeometry:
    """The same camera for frames of another size."""
    if (width_px, height_px) == (geometry.width_px, geometry.height_px):
        return geometry
    x, y = width_px / geometry.width_px, height_px / geometry.height_px
    matrix = geometry.camera_matrix * np.array([[x, x, x], [y, y, y], [1, 1, 1]])
    return SceneGeometry(
        width_px=width_px,
        height_px=height_px,
        camera_matrix=matrix,
        distortion=geometry.distortion,
    )


def _positive(values: NDArray[np.float64] | None, i: int) -> float | None:
    return None if values is None or not values[i] > 0 else float(values[i])
