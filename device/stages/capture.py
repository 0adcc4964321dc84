"""The last stage: from decisions to a moment with its video and the evidence of why it was kept.

A ring holds the *encoded* scene packets of the last seconds in memory. When a moment opens, the cut
begins at the oldest keyframe in the ring, so a snippet starts up to `pre_roll_s` before the trigger
if the camera was on, and nothing is encoded twice. A moment that the privacy switch closes is erased.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from device.geometry import project
from device.model import fit
from device.stages.still import Stills
from device.stages.trace import Trace, summary_of_tags
from device.types import (
    Attention,
    Capture,
    DeviceEvent,
    EmotionEstimate,
    Gaze,
    Moment,
    MomentEnd,
    MomentStart,
    Pixels,
    ResolutionDecision,
    SceneFrame,
    SceneGeometry,
    ScenePacket,
    Tag,
    Tags,
    Value,
    WakeChange,
)

PRIVACY = "privacy"
"""Reason of a `MomentEnd` after which nothing of the moment may be left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSettings:
    pre_roll_s: float = 5.0
    """Longest stretch of video kept from before the trigger."""
    thumbnail_width_px: int = 480
    """Width of the still picture; smaller frames are not enlarged."""
    gaze_trace_hz: float = 60.0
    """Rate to which the gaze trace in the evidence is thinned."""


class CaptureStage:
    """Collects what passes; emits `Moment` and `Capture` when a moment ends.

    `session_id` and the start of the moment make its id, so that the same recording gives the same
    ids. `context` is what is true of every moment of the session (thresholds, model hashes).
    """

    name = "capture"
    wants = (
        ScenePacket,
        SceneFrame,
        Gaze,
        Attention,
        EmotionEstimate,
        ResolutionDecision,
        Tags,
        WakeChange,
        MomentStart,
        MomentEnd,
        DeviceEvent,
    )

    def __init__(
        self,
        session_id: str,
        geometry: SceneGeometry | None,
        context: Mapping[str, Any],
        settings: CaptureSettings | None = None,
    ) -> None:
        self._session_id = session_id
        self._geometry = geometry
        self._context = dict(context)
        self._settings = settings or CaptureSettings()
        self._ring: deque[ScenePacket] = deque()
        self._trace = Trace(gaze_hz=self._settings.gaze_trace_hz)
        self._open: MomentStart | None = None
        self._closed_ns = 0  # end of the last moment: moments do not overlap
        self._stills = Stills()

    def step(self, value: Value) -> Iterable[Value]:
        match value:
            case ScenePacket():
                self._push(value)
            case SceneFrame():
                self._stills.see(value)
            case MomentStart():
                if self._open is None:
                    self._open = value
                    self._stills.begin()
                    self._trim(value.t_ns)  # no packet may have come for long
                self._trace.add_reason(value)
            case MomentEnd():
                until_ns = value.t_ns if value.until_ns is None else value.until_ns
                if value.kept or value.reason == PRIVACY:
                    return self._close(until_ns, value.reason)
                self._take_back()
            case DeviceEvent():
                if value.name == PRIVACY and value.value:
                    self._forget()
            case Gaze():
                self._trace.add_gaze(value, self._fractions(value))
            case Attention():
                self._trace.add(value)
                if self._open is not None:
                    self._stills.attend(value)
            case Tags():
                self._trace.add(value)
                if self._open is not None:
                    self._stills.name(value)
            case _:
                self._trace.add(value)
        if self._open is None:
            self._trace.forget_before(value.t_ns - self._pre_roll_ns)
        return ()

    def finish(self, end_ns: int) -> Iterable[Value]:
        """A moment still open when the session ends is kept."""
        return self._close(end_ns, "the session ended") if self._open else ()

    @property
    def _pre_roll_ns(self) -> int:
        return round(self._settings.pre_roll_s * 1e9)

    def _push(self, packet: ScenePacket) -> None:
        """Keep whole groups of pictures: the ring begins with a keyframe or is empty."""
        if not self._ring and not packet.keyframe:
            return  # nothing can be decoded before the next keyframe
        self._ring.append(packet)
        if self._open is None:
            self._trim(packet.t_ns)

    def _trim(self, now_ns: int) -> None:
        """No more than the pre-roll, from a keyframe on."""
        while self._ring and self._ring[0].t_ns < now_ns - self._pre_roll_ns:
            self._ring.popleft()
        while self._ring and not self._ring[0].keyframe:
            self._ring.popleft()

    def _keep_last_group(self) -> None:
        """What a next moment's video may begin with; the rest belongs to the one just closed."""
        last = max((i for i, p in enumerate(self._ring) if p.keyframe), default=0)
        for _ in range(last):
            self._ring.popleft()

    def _take_back(self) -> None:
        """It was no moment: what was seen stays before the next one, as if none had been opened."""
        self._open = None
        self._stills.begin()
        self._trace.starts.clear()

    def _forget(self) -> None:
        """The privacy switch is closed: what waits in memory goes as well, moment or none."""
        self._ring.clear()
        self._trace = Trace(gaze_hz=self._settings.gaze_trace_hz)
        self._stills = Stills()

    def _close(self, end_ns: int, reason: str) -> Iterable[Value]:
        start, self._open = self._open, None
        if start is None:
            return
        packets = tuple(self._ring)
        trace, self._trace = self._trace, Trace(gaze_hz=self._settings.gaze_trace_hz)
        self._keep_last_group()
        since_ns = start.t_ns if start.since_ns is None else start.since_ns
        start_ns = max(since_ns, self._closed_ns)
        end_ns = max(end_ns, start_ns)
        self._closed_ns = end_ns
        if reason == PRIVACY:
            self._forget()
            return
        first_ns = min([start_ns, *(p.t_ns for p in packets[:1])])
        moment = Moment(
            start_ns=start_ns,
            end_ns=end_ns,
            id=f"{self._session_id}-{start_ns // 1_000_000:09d}",
            reasons=trace.reasons(),
            tags=summary_of_tags(trace.tags),
            evidence={**trace.evidence(), **self._context, "ended": reason},
        )
        yield moment
        yield Capture(
            start_ns=first_ns,
            end_ns=max([end_ns, *(p.t_ns for p in packets[-1:])]),
            moment=moment,
            packets=packets,
            thumbnail=self._thumbnail(moment.tags),
        )

    def _thumbnail(self, tags: tuple[Tag, ...]) -> Pixels | None:
        pixels = self._stills.choose(tags)
        self._stills.begin()
        if pixels is None:
            return None
        width_px = min(self._settings.thumbnail_width_px, pixels.shape[1])
        return fit(pixels, (width_px, round(pixels.shape[0] * width_px / pixels.shape[1])))

    def _fractions(self, gaze: Gaze) -> tuple[float, float] | None:
        if self._geometry is None:
            return None
        x_px, y_px = project(self._geometry, gaze.azimuth_deg, gaze.elevation_deg)
        return float(x_px) / self._geometry.width_px, float(y_px) / self._geometry.height_px
