"""Resolution: what the scene analysis does with each frame of a moment: reuse, or run, and how large.

In a moment, at a cadence, the last result is either moved along with the optical flow or made anew at
160, 224 or 320 px. A policy decides from what is cheap before deciding (`device.carry.MEASURES`), within
hard bounds: never longer than `longest_s` without a run, and a run when the gaze lands on something that
the last run was not about. A learned policy that is missing or out of its depth gives way to the rule
`trigger`, and the decision says so. A falling battery moves every policy towards less energy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.carry import MEASURES, MIDDLE, Carried
from device.detection import SIZES_PX
from device.errors import ModelError
from device.model import WEIGHTS, Model
from device.resolution_policies import (
    FULL,
    LADDER,
    Always,
    Fixed,
    Floats,
    Learned,
    OutOfRangeError,
    Policy,
    Rule,
    observe,
    read_rules,
    rule_at,
)
from device.types import (
    Attention,
    DeviceEvent,
    MomentEnd,
    MomentStart,
    ResolutionDecision,
    SceneFrame,
    Value,
)

POLICIES = ("off", "always", "fixed", "heuristic", "trigger", "scheduler", "learned")
NETWORKS = ("scheduler", "learned")
AGE, GAZE_OFF = MEASURES.index("age_s"), MEASURES.index("gaze_off")
SHARE_S = 2.0
"""Time constant over which the share of frames with a run is remembered."""

LACK = {"normal": 0.0, "conserve": 0.5, "reserve": 1.0}
"""How far a posture (`device/posture.py`) moves the weight of energy towards 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionSettings:
    """What the policies of the controller are told, and the bounds that hold for all of them.

    The default weight is where a moment costs no more than two runs a second would, the tag stage's own
    cadence (`beheld compare emulator:3 --policy off --policy learned`).
    """

    policy: str = "learned"
    """`off` (the tag stage keeps its own cadence), `always`, `fixed`, `heuristic`, `trigger`, or the
    networks `scheduler` and `learned`."""
    network: str = ""
    """File of a learned policy in place of the shipped one (`beheld train resolution` writes one)."""
    rate_hz: float = 10.0
    """Decisions a second in an open moment; frames in between are not analysed."""
    energy_weight: float = 0.85
    """What energy weighs against quality: 0 quality at any price, 1 the least energy."""
    every_frames: int = 6
    """Policy `fixed`: a run on each so many decided frames."""
    size_px: int = 320
    """Policies `always` and `fixed`: side at which they run, 160, 224 or 320."""
    longest_s: float = 2.0
    """Hard bound: never longer without a run."""
    gaze_off: float = 1.0
    """Hard bound: a run when the attended place is so far, in its own sizes, from that of the last run."""
    settle_ms: float = 200.0
    """That bound waits so long after a run, or a trembling region would run on every frame."""
    saving_below: float = 0.3
    """From this battery charge (0..1) on the weight of energy rises, to 1 when it is empty."""

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            known = ", ".join(POLICIES)
            raise ValueError(f"resolution.policy is {self.policy!r}; one of {known}")
        if self.size_px not in SIZES_PX:
            raise ValueError(f"resolution.size_px is {self.size_px}; one of {SIZES_PX}")
        if not 0 <= self.energy_weight <= 1 or not 0 <= self.saving_below <= 1:
            raise ValueError("resolution.energy_weight and resolution.saving_below must be 0 to 1")
        if not (self.rate_hz > 0 and self.longest_s > 0 and self.gaze_off > 0):
            raise ValueError("resolution.rate_hz, longest_s and gaze_off must be above zero")
        if self.every_frames < 1:
            raise ValueError("resolution.every_frames must be 1 or more")


class ResolutionStage:
    """Yields one `ResolutionDecision` for each frame it decides about, with the frame's own time."""

    name = "resolution"
    wants: tuple[type, ...] = (SceneFrame, Attention, MomentStart, MomentEnd, DeviceEvent)

    def __init__(
        self,
        carried: Carried,
        network: Model | None = None,
        settings: ResolutionSettings | None = None,
        *,
        why_without: str = "no network is installed",
    ) -> None:
        """`carried` is shared with the tag stage. `network` serves the policies that are learned;
        `why_without` is told where one is wanted and there is none."""
        self._settings = settings or ResolutionSettings()
        self._carried = carried
        self._triggers = read_rules("trigger")
        self._others = read_rules("heuristic")
        self._network, self._why_not = self._learned(network, why_without)
        self._fixed = Fixed(self._settings.every_frames, self._settings.size_px)
        self._open = False
        self._place = MIDDLE
        self._frame: SceneFrame | None = None
        self._due_ns = self._decided_ns = 0
        self._share = 0.0
        self._battery = 1.0
        self._lack = 0.0  # of energy, as the glasses' posture says

    def step(self, value: Value) -> Iterable[Value]:
        match value:
            case SceneFrame():
                self._frame = value
                if self._open and self._due(value):
                    yield self._decide(value)
            case Attention():
                self._place = value.region
            case MomentStart():
                if not self._open and self._frame is not None:
                    self._carried.reset()
                    self._due_ns = self._frame.t_ns
                    self._due(self._frame)
                    yield self._decide(self._frame, opens=True)
                self._open = True
            case MomentEnd():
                self._open = False
                self._carried.reset()
            case DeviceEvent():
                if value.name == "battery" and isinstance(value.value, int | float):
                    self._battery = min(1.0, max(0.0, float(value.value)))
                elif value.name == "posture":  # heat counts as well as charge
                    self._lack = LACK.get(str(value.value), 0.0)

    def finish(self, end_ns: int) -> Iterable[Value]:
        return ()

    @property
    def weight(self) -> float:
        """Weight of energy with the battery's say in it."""
        s = self._settings
        low = self._battery < s.saving_below
        lack = max(self._lack, 1 - self._battery / s.saving_below if low else 0.0)
        return s.energy_weight + (1 - s.energy_weight) * lack

    def _due(self, frame: SceneFrame) -> bool:
        period_ns = round(1e9 / self._settings.rate_hz)
        if frame.t_ns < self._due_ns - period_ns // 5:
            return False
        self._due_ns = max(self._due_ns + period_ns, frame.t_ns + period_ns // 2)
        return True

    def _decide(self, frame: SceneFrame, *, opens: bool = False) -> ResolutionDecision:
        self._carried.push(frame)
        measures = self._carried.measures(frame.t_ns, self._place)
        action, why = self._bound(measures) or self._choose(measures)
        if opens:
            action, why = FULL, "a moment opens"
        size_px = LADDER[action]
        if size_px and size_px > (largest := max(frame.pixels.shape[:2])):
            size_px = max((s for s in SIZES_PX if s <= largest), default=SIZES_PX[0])
            why = f"{why}; the frame has {largest} px, so not at {LADDER[action]}"
        kept = math.exp(-min(1e9, frame.t_ns - self._decided_ns) / 1e9 / SHARE_S)
        self._share = kept * self._share + (1 - kept) * (size_px > 0)
        self._decided_ns = frame.t_ns
        return ResolutionDecision(t_ns=frame.t_ns, scale_px=size_px, reuse=size_px == 0, why=why)

    def _bound(self, measures: Floats) -> tuple[int, str] | None:
        return bound(measures, self._settings, ran=self._carried.ran_ns is not None)

    def _choose(self, measures: Floats) -> tuple[int, str]:
        policy = self._policy()
        observation = observe(measures, self._share, self.weight)
        rule = rule_at(self._triggers, self.weight)
        if policy is None:
            return _because(rule, measures, observation, self._why_not)
        try:
            return policy.choose(measures, observation)
        except OutOfRangeError as reason:
            return _because(rule, measures, observation, str(reason))

    def _policy(self) -> Policy | None:
        s = self._settings
        match s.policy:
            case "always" | "off":
                return Always(s.size_px)
            case "fixed":
                return self._fixed
            case "heuristic":
                return rule_at(self._others, self.weight)
            case "trigger":
                return rule_at(self._triggers, self.weight)
        return self._network

    def _learned(self, network: Model | None, why_without: str) -> tuple[Policy | None, str]:
        if self._settings.policy not in NETWORKS:
            return None, ""
        if network is None:
            return None, why_without
        try:
            return Learned(network, self._settings.policy), ""
        except ModelError as error:
            return None, str(error)


def installed_network(
    settings: ResolutionSettings, given: Model | None = None
) -> tuple[Model | None, str]:
    """The network of a learned policy, and why there is none; other policies read nothing."""
    if settings.policy not in NETWORKS:
        return None, ""
    if given is not None:
        return given, ""
    path = Path(settings.network) if settings.network else WEIGHTS / "resolution.onnx"
    try:
        return Model(path), ""
    except ModelError as error:
        return None, str(error)


def bound(measures: Floats, settings: ResolutionSettings, *, ran: bool) -> tuple[int, str] | None:
    """What the hard bounds ask for, whatever the policy: an action and why; None if nothing."""
    if not ran:
        return FULL, "nothing to reuse"
    if not np.isfinite(measures).all():
        return FULL, "a measure is not a number"
    if measures[AGE] >= settings.longest_s:
        return FULL, f"{settings.longest_s:g} s without a run"
    off, settle_s = measures[GAZE_OFF], settings.settle_ms / 1e3
    if off > settings.gaze_off and measures[AGE] >= settle_s:
        return FULL, f"the gaze is on something new, {off:.1f} sizes away"
    return None


def _because(rule: Rule, measures: Floats, seen: Floats, reason: str) -> tuple[int, str]:
    action, why = rule.choose(measures, seen)
    return action, f"{why} (rule instead of network: {reason})"
