"""source -> [stage, stage, ...] -> sinks.

Each value of the source falls once through the ordered stages, together with whatever the stages
make of it; then all of it goes to every sink. Nothing here knows what a stage does.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from device.sources.camera import SceneCamera
from device.types import (
    DeviceEvent,
    EyeFrame,
    Gap,
    Gaze,
    SceneFrame,
    ScenePacket,
    SessionHeader,
    Value,
)

Sink = Callable[[Value], None]


class Source(Protocol):
    """A recording, a camera, an emulator: all alike. Values come in the order of their `t_ns`."""

    header: SessionHeader
    camera: SceneCamera

    def __iter__(self) -> Iterator[Value]: ...


class Stage(Protocol):
    """Takes one value, yields none or more. State inside, I/O never.

    What a stage makes goes behind the values it has passed. A stage may name classes in an attribute `ahead`:
    what it makes of one of these goes in front of that value, for it is what the value concludes.
    """

    @property
    def name(self) -> str: ...

    @property
    def wants(self) -> tuple[type, ...]:
        """Classes of the values that `step` takes."""
        ...

    def step(self, value: Any) -> Iterable[Value]: ...

    def finish(self, end_ns: int) -> Iterable[Value]:
        """The session is over at `end_ns`: close what is open."""
        ...


@dataclass(slots=True)
class StageProfile:
    """What one stage cost: calls, CPU and wall seconds of the loop's thread, longest call."""

    calls: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    worst_wall_s: float = 0.0


@dataclass(slots=True)
class Report:
    """What the loop saw. `seen_ns + gap_ns == session_ns`, exactly."""

    session_ns: int = 0
    seen_ns: int = 0
    gap_ns: int = 0
    gaps: list[Gap] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Values that entered, and values the stages made, by class name."""
    late: Counter[str] = field(default_factory=Counter)
    """Values dropped because a later one of their stream had passed already."""
    stages: dict[str, StageProfile] = field(default_factory=dict)
    wall_s: float = 0.0
    cpu_s: float = 0.0


def run(
    source: Source,
    stages: Sequence[Stage],
    sinks: Sequence[Sink],
    *,
    progress: Callable[[int], None] = lambda t_ns: None,
    report: Report | None = None,
) -> Report:
    """Drive a session from its first value to its last; never stopped by a late value.

    Give a `report` to read it while the session runs.
    """
    report = Report() if report is None else report
    report.stages.update({stage.name: StageProfile() for stage in stages})
    wall, cpu = time.perf_counter(), time.process_time()
    watch = Coverage(source.header.brings_gaze)
    newest: dict[str, int] = {}
    for given in source:
        value = source.camera.take(given) if isinstance(given, SceneFrame) else given
        if value is None:  # between two frames of the camera's low mode
            continue
        stream = stream_of(value)
        late = value.t_ns < newest.get(stream, value.t_ns) and not isinstance(value, Gap)
        if late or value.t_ns < 0:
            report.late[stream] += 1
            continue
        newest[stream] = value.t_ns
        gap = watch.see(value)
        for passed in cascade(stages, value, report):
            for sink in sinks:
                sink(passed)
        if gap is not None:
            for sink in sinks:
                sink(gap)
        progress(value.t_ns)
    end_ns = max([source.header.duration_ns or 0, *newest.values()])
    for passed in finish(stages, end_ns, report):
        for sink in sinks:
            sink(passed)
    for gap in watch.close(end_ns):
        for sink in sinks:
            sink(gap)
    watch.fill(report, end_ns)
    report.wall_s, report.cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return report


def cascade(stages: Sequence[Stage], value: Value, report: Report) -> list[Value]:
    """Let one value fall through the stages; return it with everything it caused, in order."""
    passed = [value]
    report.counts[type(value).__name__] += 1
    for stage in stages:
        _through(stage, passed, report)
    return passed


def finish(stages: Sequence[Stage], end_ns: int, report: Report) -> list[Value]:
    """Close the stages in order; what one yields at its end still falls through the later ones."""
    passed: list[Value] = []
    for stage in stages:
        _through(stage, passed, report)
        closing = list(stage.finish(end_ns))
        report.counts.update(type(v).__name__ for v in closing)
        passed += closing
    return passed


def _through(stage: Stage, passed: list[Value], report: Report) -> None:
    made: list[Value] = []
    ahead: tuple[type, ...] = getattr(stage, "ahead", ())
    in_order: list[Value] = []
    for value in passed:
        if isinstance(value, stage.wants):
            wall, cpu = time.perf_counter(), time.thread_time()
            of_it = list(stage.step(value))
            (in_order if isinstance(value, ahead) else made).extend(of_it)
            profile = report.stages[stage.name]
            took_s = time.perf_counter() - wall
            profile.calls += 1
            profile.cpu_s += time.thread_time() - cpu
            profile.wall_s += took_s
            profile.worst_wall_s = max(profile.worst_wall_s, took_s)
            report.counts.update(type(v).__name__ for v in of_it)
        in_order.append(value)
    passed[:] = in_order + made


def stream_of(value: Value) -> str:
    """The stream a value belongs to: its class, and for eye frames the eye as well."""
    return f"EyeFrame:{value.eye}" if isinstance(value, EyeFrame) else type(value).__name__


class Coverage:
    """Which part of the session the eyes were seen in.

    The session's eye stream is the recording's own gaze where it brings one, the eye frames else. An
    interval between two of its values longer than `tolerance_ns` is a gap, from the one value to the
    other, and so is what is missing at either end.
    """

    def __init__(self, brings_gaze: bool, tolerance_ns: int = 200_000_000) -> None:
        self._kind: type = Gaze if brings_gaze else EyeFrame
        self._stream = "gaze" if brings_gaze else "eye"
        self._tolerance_ns = tolerance_ns
        self._last_ns = 0
        self._seen_any = False
        self._gaps: list[Gap] = []
        self._other_ns = -1
        self._known: tuple[int, str] | None = None

    def see(self, value: Value) -> Gap | None:
        """The gap that this value ends, if there was one."""
        if not isinstance(value, self._kind):
            if isinstance(value, SceneFrame | ScenePacket):
                self._other_ns = value.t_ns
            elif isinstance(value, DeviceEvent):
                self._hear(value)
            return None
        gap = self._gap_to(value.t_ns, self._tolerance_ns)
        self._last_ns = value.t_ns
        self._seen_any = True
        return gap

    def close(self, end_ns: int) -> list[Gap]:
        """The gap at the end, if there is one."""
        gap = self._gap_to(end_ns, self._tolerance_ns if self._seen_any else 0)
        return [gap] if gap else []

    def fill(self, report: Report, end_ns: int) -> None:
        """Write the account into the report."""
        report.session_ns = end_ns
        report.gaps = list(self._gaps)
        report.gap_ns = sum(g.duration_ns for g in self._gaps)
        report.seen_ns = end_ns - report.gap_ns

    def _hear(self, event: DeviceEvent) -> None:
        """A fault or the privacy switch may be why nothing is seen."""
        if event.name == "fault":
            self._known = (event.t_ns, str(event.value))
        elif event.name == "privacy" and event.value:
            self._known = (event.t_ns, "the privacy switch was closed")

    def _gap_to(self, t_ns: int, tolerance_ns: int) -> Gap | None:
        if t_ns - self._last_ns <= tolerance_ns:
            return None
        running = self._other_ns > self._last_ns
        cause = f"no {self._stream} data while the scene ran" if running else "nothing was recorded"
        if self._known is not None and self._known[0] >= self._last_ns - self._tolerance_ns:
            cause = self._known[1]
        gap = Gap(start_ns=self._last_ns, end_ns=t_ns, stream=self._stream, cause=cause)
        self._gaps.append(gap)
        return gap
