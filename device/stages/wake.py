"""Wake: the one judge. From the eyes' behaviour, attention and emotion to the scene camera and moments.

Three states and a literal table of the moves between them. WATCHING: only the eye camera runs, and a
look that stays in one place long enough may be attention. CHECKING: the scene camera is on at low
cost, and the attention network is asked; without a yes the camera sleeps again. KEEPING: a moment is
open until attention has been gone for longer than a glance away or a blink.

Everything that decides carries a plain sentence with the number and the threshold it was held against.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from device.early_movements import EarlyMovements
from device.stages.look import Look
from device.types import (
    Attention,
    CameraMode,
    CameraRequest,
    DeviceEvent,
    EmotionEstimate,
    EyeMovement,
    Gaze,
    MomentEnd,
    MomentStart,
    MomentSure,
    Value,
    WakeChange,
    WakeState,
)

WATCHING, CHECKING, KEEPING = WakeState.WATCHING, WakeState.CHECKING, WakeState.KEEPING

CAMERA = {
    (WATCHING, CHECKING): CameraMode.LOW,
    (WATCHING, KEEPING): CameraMode.FULL,
    (CHECKING, WATCHING): CameraMode.OFF,
    (CHECKING, KEEPING): CameraMode.FULL,
    (KEEPING, CHECKING): CameraMode.LOW,
    (KEEPING, WATCHING): CameraMode.OFF,
}
"""The legal moves, and what each asks of the scene camera. A missing pair is a fault of ours."""

PRIVACY = "privacy"
POLICIES = ("fused", "eye_only")


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeSettings:
    """Thresholds chosen on sessions that the attention network did not see.

    On version 1.1 of it by `python -m tools.tune_wake fused emulator:9200 composites`: the most F1 and the
    least onset delay at no more of the camera's time than before. Of these, five chosen again on version 1.2
    (`dismiss_ms`, `linger_ms`, `enter_probability`, `settled_probability`, `leave_probability`), one after
    the other by the figures of `checks`, on emulator seeds 9200, 9201 and 9210 to 9213, composites and
    ordinary days 11 to 14. On the same sessions, for the sake of onset: `early_ms` (of 50, 70, 100 and 150),
    and with it `enter_probability` (0.55 where it was 0.6), `dismiss_probability` (0.35, 0.3) and `rare`
    (0.25, 0.2). All of it together, on sessions, composites and days: onset from 516 to 461 ms, 718 to 633
    and 731 to 636, F1 from 0.81 to 0.80, 0.68 to 0.73 and 0.29 to 0.30, false captures an hour from 50 to 37,
    131 to 101 and 58 to 70; days take 13 J an hour more (by an exact replay, not a command of this
    repository).
    `rest_ms` on emulator seeds 9210 to 9222 and ordinary days 11 to 16 (`checks`): resting longer costs
    no F1 there."""

    policy: str = "fused"
    """`fused`: the attention network decides; `eye_only`: a dwell alone opens a moment."""
    early_ms: float = 100.0
    """Policy `fused`: gaze is classified here so long after its light, not as late as the events stage does;
    0: as that does."""
    dwell_ms: float = 200.0
    """A look this long may be attention: the scene camera is woken."""
    same_place_deg: float = 4.0
    """A saccade or refixation up to this far stays one look."""
    glance_ms: float = 350.0
    """A look survives a glance away or a blink up to this long."""
    check_ms: float = 1500.0
    """How long a check waits for the network's yes."""
    dismiss_probability: float = 0.35
    """A check whose attention stays below this is given up early: the camera is the dear part."""
    dismiss_ms: float = 100.0
    """How long it must stay there."""
    recheck_ms: float = 1500.0
    """After a check without a yes, how long one and the same look must go on to be checked again."""
    rest_ms: float = 5000.0
    """Longest pause after a check in vain before any look is checked."""
    rest_share: float = 0.05
    """That pause as a share of the time since the last moment: the longer nothing was worth it, the rarer
    the camera is tried."""
    enter_probability: float = 0.55
    """From this attention on a moment opens."""
    leave_probability: float = 0.4
    """Below this attention an open moment runs out of patience."""
    rare: float = 0.25
    """How much more attention it takes to open a moment, in probability, once none has been for `rare_s`:
    where moments are rare, a doubtful one is more often none. It rises evenly until then."""
    rare_s: float = 60.0
    """See `rare`."""
    enter_ms: float = 0.0
    """How long attention must stay above `enter_probability` to open a moment."""
    settled_ms: float = 800.0
    """A look this long speaks for itself in part:"""
    settled_probability: float = 0.5
    """from then on this attention opens a moment."""
    leave_ms: float = 800.0
    """How long attention may stay below `leave_probability` in an open moment. The network's own memory
    carries it over most glances away and blinks; this bridges the rest."""
    smooth_ms: float = 0.0
    """Time constant of the average over probabilities before they are judged; 0 takes them as they come."""
    min_moment_ms: float = 400.0
    """An open moment is not closed before this, unless by the privacy switch."""
    shortest_ms: float = 1000.0
    """A moment in which attention held for less is not kept: it was opened early, and early may be wrong."""
    max_moment_s: float = 30.0
    """A longer moment is split."""
    linger_ms: float = 200.0
    """How long the scene camera stays on after a moment."""
    eye_only_dwell_ms: float = 650.0
    """Policy `eye_only`: a look this long opens a moment."""
    eye_only_leave_ms: float = 100.0
    """Policy `eye_only`: how long the look may be gone before the moment closes."""
    button_ms: float = 4000.0
    """Length of a moment the wearer asked for."""
    use_emotion: bool = False
    """Whether an emotion opens a moment as well."""
    emotion_probability: float = 0.8
    """Probability of being non-neutral from which on an emotion is a reason."""
    emotion_ms: float = 1500.0
    """How long it must stay there."""

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"wake.policy is {self.policy!r}; one of {', '.join(POLICIES)}")
        if self.leave_probability > min(self.enter_probability, self.settled_probability):
            raise ValueError(
                "wake.leave_probability must not exceed enter_probability and settled_probability"
            )
        if self.early_ms and not self.early_ms >= 40:
            raise ValueError("wake.early_ms must be 0 or at least 40")
        if not self.rest_ms >= 0 or not 0 <= self.rest_share <= 1:
            raise ValueError("wake.rest_ms must not be negative, wake.rest_share between 0 and 1")
        if not (0 <= self.rare <= 1 and self.rare_s > 0):
            raise ValueError("wake.rare must be 0 to 1 and wake.rare_s above 0")


class WakeStage:
    """Yields `WakeChange`, `CameraRequest`, `MomentStart`, `MomentSure` and `MomentEnd`."""

    name = "wake"
    wants: tuple[type, ...] = (Gaze, EyeMovement, Attention, EmotionEstimate, DeviceEvent)

    def __init__(self, settings: WakeSettings | None = None) -> None:
        self._set = settings or WakeSettings()
        self._early = EarlyMovements(self._set.early_ms if self._set.policy == "fused" else 0.0)
        self._state = WATCHING
        self._look = Look(
            same_place_deg=self._set.same_place_deg, glance_ns=_ns(self._set.glance_ms)
        )
        self._private = False
        self._now_ns = 0
        self._since_ns = 0  # of the present state
        self._checked: tuple[int, int] | None = None  # the look checked in vain, and when
        self._probability: tuple[int, float] | None = None
        self._above_ns: int | None = None  # attention above enter since
        self._below_ns: int | None = None  # attention below dismiss since
        self._held_ns = 0  # what keeps the moment open was last true
        self._keep_until_ns = 0  # the button's patience
        self._moving_ns: int | None = None  # emotion above its threshold since
        self._moment_ns = 0
        self._first_ns = 0  # what opened the moment began
        self._asked_for = False  # by the button or by an emotion: kept however short
        self._sure = False  # the open moment will be kept, and that was said
        self._closed_ns = 0  # the last moment ended

    def step(self, value: Value) -> Iterable[Value]:
        # Eye movements come up to the classifier's delay after their light; a decision is taken now.
        self._now_ns = max(self._now_ns, value.t_ns)
        match value:
            case Gaze() | EyeMovement():
                for movement in self._early.take(value):
                    self._look.push(movement)
                    yield from self._eyes(self._now_ns, self._look.dwell_ms(movement.t_ns))
            case Attention():
                yield from self._attention(value)
            case EmotionEstimate():
                yield from self._emotion(value)
            case DeviceEvent():
                yield from self._event(value)
        if self._state is KEEPING and not self._sure and self._counts(self._held_ns):
            self._sure = True
            yield MomentSure(t_ns=self._now_ns)

    def finish(self, end_ns: int) -> Iterable[Value]:
        """An open moment ends with the session."""
        if self._state is not WATCHING:
            yield from self._go(WATCHING, end_ns, "the session is over", until_ns=end_ns)

    # --- what is judged ---------------------------------------------------------------------------

    def _eyes(self, t_ns: int, dwell_ms: float) -> Iterator[Value]:
        """A look may start things; time that passes may end them."""
        s = self._set
        if self._state is KEEPING:
            if s.policy == "eye_only" and dwell_ms > 0:
                self._held_ns = t_ns
            yield from self._patience(t_ns)
        elif self._private:
            return
        elif s.policy == "eye_only":
            if dwell_ms >= s.eye_only_dwell_ms:
                why = (
                    f"looked at one place for {dwell_ms:.0f} ms, at least {s.eye_only_dwell_ms:.0f}"
                )
                yield from self._open(t_ns, "attention", why, self._look.start_ns)
        elif self._state is CHECKING:
            waited_ms = (t_ns - self._since_ns) / 1e6
            limit_ms = s.linger_ms if self._checked is None else s.check_ms
            if waited_ms >= limit_ms:
                why = f"no attention within {waited_ms:.0f} ms, patience {limit_ms:.0f}"
                self._checked = (self._look.start_ns, t_ns)
                yield from self._go(WATCHING, t_ns, why)
        elif dwell_ms >= s.dwell_ms and self._worth_checking(t_ns):
            self._checked = (self._look.start_ns, t_ns)
            why = f"looked at one place for {dwell_ms:.0f} ms, at least {s.dwell_ms:.0f}"
            yield from self._go(CHECKING, t_ns, why)

    def _worth_checking(self, t_ns: int) -> bool:
        """After a check in vain the camera rests; the look that was checked is asked again later still."""
        if self._checked is None:
            return True
        rest_ns = min(_ns(self._set.rest_ms), self._set.rest_share * (t_ns - self._closed_ns))
        if t_ns - self._checked[1] < rest_ns:
            return False
        if self._checked[0] != self._look.start_ns:
            return True
        return t_ns - self._checked[1] >= _ns(self._set.recheck_ms)

    def _attention(self, value: Attention) -> Iterator[Value]:
        s = self._set
        probability = self._smooth(value)
        if probability >= s.leave_probability:
            self._held_ns = value.t_ns if s.policy == "fused" else self._held_ns
        if probability < s.enter_probability + self._rarer(value.t_ns):
            self._above_ns = None
        elif self._above_ns is None:
            self._above_ns = value.t_ns
        if self._state is KEEPING:
            yield from self._patience(value.t_ns)
        elif self._state is CHECKING and s.policy == "fused":
            yield from self._check(value.t_ns, probability)

    def _check(self, t_ns: int, probability: float) -> Iterator[Value]:
        """The network has spoken while the camera is on trial: open, give up, or wait."""
        s = self._set
        rarer = self._rarer(t_ns)
        settled = s.settled_probability + rarer
        if self._above_ns is not None:
            above_ns = t_ns - self._above_ns
            if above_ns >= _ns(s.enter_ms):
                why = f"attention {probability:.2f}, at least {s.enter_probability + rarer:.2f}"
                if s.enter_ms > 0:
                    why += f", for {above_ns / 1e6:.0f} ms, at least {s.enter_ms:.0f}"
                since_ns = min(self._look.start_ns, self._above_ns)
                yield from self._open(t_ns, "attention", why, since_ns)
        elif self._settled_ms(t_ns) >= s.settled_ms and probability >= settled:
            why = (
                f"attention {probability:.2f} in a look of {self._settled_ms(t_ns):.0f} ms, at least "
                f"{settled:.2f} from {s.settled_ms:.0f} on"
            )
            yield from self._open(t_ns, "attention", why, self._look.start_ns)
        elif probability >= s.dismiss_probability or self._checked is None:
            self._below_ns = None  # worth waiting for, or lingering after a moment
        elif self._below_ns is None:
            self._below_ns = t_ns
        elif t_ns - self._below_ns >= _ns(s.dismiss_ms):
            why = (
                f"attention below {s.dismiss_probability:.2f} for "
                f"{(t_ns - self._below_ns) / 1e6:.0f} ms, patience {s.dismiss_ms:.0f}"
            )
            self._checked = (self._look.start_ns, t_ns)
            yield from self._go(WATCHING, t_ns, why)

    def _rarer(self, t_ns: int) -> float:
        """What is asked for beyond the thresholds because moments have been rare."""
        since_s = (t_ns - self._closed_ns) / 1e9
        return self._set.rare * min(1.0, since_s / self._set.rare_s)

    def _settled_ms(self, t_ns: int) -> float:
        """How old the present look is by now; 0 without one."""
        return (t_ns - self._look.start_ns) / 1e6 if self._look.dwell_ms(t_ns) > 0 else 0.0

    def _smooth(self, value: Attention) -> float:
        before, self._probability = self._probability, (value.t_ns, value.probability)
        if before is None or self._set.smooth_ms <= 0 or value.t_ns - before[0] > 500_000_000:
            return value.probability
        share = min(1.0, (value.t_ns - before[0]) / 1e6 / self._set.smooth_ms)
        probability = before[1] + share * (value.probability - before[1])
        self._probability = (value.t_ns, probability)
        return probability

    def _emotion(self, value: EmotionEstimate) -> Iterator[Value]:
        s = self._set
        if not s.use_emotion or value.non_neutral < s.emotion_probability:
            self._moving_ns = None
            return
        if self._moving_ns is None:
            self._moving_ns = value.t_ns
        lasted_ms = (value.t_ns - self._moving_ns) / 1e6
        if lasted_ms < s.emotion_ms or self._private:
            return
        if self._state is KEEPING:
            self._held_ns = value.t_ns
            return
        why = (
            f"non-neutral {value.non_neutral:.2f} for {lasted_ms:.0f} ms, "
            f"at least {s.emotion_probability:.2f} for {s.emotion_ms:.0f}"
        )
        yield from self._open(value.t_ns, "emotion", why, self._moving_ns)

    def _event(self, value: DeviceEvent) -> Iterator[Value]:
        if value.name == "privacy":
            self._private = bool(value.value)
            if self._private and self._state is not WATCHING:
                why = "the privacy switch was closed"
                yield from self._go(WATCHING, value.t_ns, why, reason=PRIVACY)
        elif value.name == "button" and bool(value.value) and not self._private:
            self._keep_until_ns = value.t_ns + _ns(self._set.button_ms)
            if self._state is KEEPING:
                self._asked_for = True
                yield MomentStart(t_ns=value.t_ns, reason="button", since_ns=value.t_ns)
            else:
                why = "the wearer pressed the button"
                yield from self._open(value.t_ns, "button", why, value.t_ns)
        elif value.name == "worn" and not value.value and self._state is not WATCHING:
            yield from self._go(WATCHING, value.t_ns, "the glasses were taken off")

    # --- what follows -----------------------------------------------------------------------------

    def _open(self, t_ns: int, reason: str, why: str, since_ns: int) -> Iterator[Value]:
        self._held_ns = self._moment_ns = t_ns
        self._first_ns, self._asked_for, self._sure = since_ns, reason != "attention", False
        yield from self._go(KEEPING, t_ns, why)
        yield MomentStart(t_ns=t_ns, reason=reason, since_ns=since_ns)

    def _patience(self, t_ns: int) -> Iterator[Value]:
        """Close the open moment if what kept it is gone for too long, or if it is too long itself."""
        s = self._set
        open_ns, gone_ns = t_ns - self._moment_ns, t_ns - self._held_ns
        eye_only = s.policy == "eye_only"
        leave_ms = s.eye_only_leave_ms if eye_only else s.leave_ms
        if open_ns >= _ns(s.max_moment_s * 1000):
            why = f"the moment is {open_ns / 1e9:.1f} s long, at most {s.max_moment_s:.0f}; it is split"
            yield from self._go(CHECKING, t_ns, why, until_ns=t_ns)
            return
        if t_ns < self._keep_until_ns or open_ns < _ns(s.min_moment_ms) or gone_ns < _ns(leave_ms):
            return
        what = "the look is" if eye_only else f"attention is below {s.leave_probability:.2f}"
        why = f"{what} gone for {gone_ns / 1e6:.0f} ms, patience {leave_ms:.0f}"
        if not eye_only:
            why = f"{what} for {gone_ns / 1e6:.0f} ms, patience {leave_ms:.0f}"
        self._checked = None
        yield from self._go(WATCHING if eye_only else CHECKING, t_ns, why, until_ns=self._held_ns)

    def _go(
        self,
        after: WakeState,
        t_ns: int,
        why: str,
        *,
        until_ns: int | None = None,
        reason: str | None = None,
    ) -> Iterator[Value]:
        before, self._state = self._state, after
        mode = CAMERA[before, after]
        if before is KEEPING:
            self._closed_ns = t_ns
            yield self._end(t_ns, reason or why, until_ns)
        self._since_ns, self._above_ns, self._below_ns = t_ns, None, None
        yield WakeChange(t_ns=t_ns, before=before, after=after, why=why)
        yield CameraRequest(t_ns=t_ns, mode=mode, why=why)

    def _end(self, t_ns: int, reason: str, until_ns: int | None) -> MomentEnd:
        if reason == PRIVACY:
            return MomentEnd(t_ns=t_ns, reason=reason, until_ns=until_ns, kept=False)
        held_until_ns = t_ns if until_ns is None else until_ns
        kept = self._counts(held_until_ns)
        if not kept:
            held_ms = (held_until_ns - self._first_ns) / 1e6
            reason += f"; held for {held_ms:.0f} ms, not kept below {self._set.shortest_ms:.0f}"
        return MomentEnd(t_ns=t_ns, reason=reason, until_ns=until_ns, kept=kept)

    def _counts(self, held_until_ns: int) -> bool:
        """Whether a moment is to be kept: it was asked for, or attention held for long enough."""
        return self._asked_for or held_until_ns - self._first_ns >= _ns(self._set.shortest_ms)


def _ns(ms: float) -> int:
    return round(ms * 1e6)
