"""Fixation or smooth pursuit: what the eye does between two saccades, judged bin by bin.

The question is not how fast the eye moves at one instant, which noise and drift answer at random, but
whether it has been carried somewhere. Four things speak for pursuit, each as a term of log-odds:

* how far a straight line through the phase carries the eye, less what noise alone would (fixational
  drift stays within the foveola, whatever its momentary speed);
* a small saccade before it, in the direction of the drift: a catch-up saccade (large ones seek new
  targets);
* the velocity of the slow phase before, carried on beyond the saccade;
* pursuit a moment ago: what moved a second ago likely moves still.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from device.gaze_velocity import NS, Sample


@dataclass(frozen=True, slots=True)
class SlowSettings:
    """Where the numbers come from is in docs/eye-movements.md."""

    bin_ms: float = 20.0
    """Slow phases are judged in bins of this length."""
    window_ms: float = 600.0
    """How far back from a bin its slow phase counts."""
    carried_deg: float = 0.6
    """Carried this far in a straight line, the eye pursues as likely as not: radius of the foveola."""
    carried_weight: float = 3.0
    """For how far the eye was carried, in log odds for each factor of e."""
    speed_deg_s: float = 2.5
    """At this drift speed, speed itself says nothing."""
    speed_weight: float = 0.5
    """For the speed of the drift, likewise."""
    catch_up_deg: float = 2.0
    """A saccade of this amplitude is a catch-up saccade as likely as not."""
    catch_up_weight: float = 1.5
    """For the amplitude of the saccade before it, likewise."""
    aligned_weight: float = 0.5
    """For drift in the direction of the saccade before it."""
    continued_weight: float = 1.0
    """For drift in the direction of the drift before the saccade."""
    memory_weight: float = 2.0
    """For what the last seconds were taken for, at most."""
    memory_ms: float = 2000.0
    """How long that is remembered."""


class Phase:
    """One slow phase: how it was reached, and its bins as far back as they matter."""

    __slots__ = ("before", "bins", "jump")

    def __init__(
        self,
        size: int,
        jump: tuple[float, float] | None,
        before: tuple[float, float],
    ) -> None:
        self.bins: deque[Bin] = deque(maxlen=size)
        self.jump = jump
        """The saccade that led here, degrees; None at the start and after a lost eye."""
        self.before = before
        """Drift of the slow phase before it, deg/s."""


class Bin:
    """Up to `bin_ms` of one slow phase."""

    __slots__ = (
        "judged", "n", "phase", "pursuit", "speed", "start_ns", "t_s", "vx", "vy", "x", "y",
    )  # fmt: skip

    def __init__(self, start_ns: int, phase: Phase) -> None:
        self.start_ns = start_ns
        self.phase = phase
        self.n = 0
        self.t_s = 0.0
        self.x = 0.0
        self.y = 0.0
        self.vx = self.vy = self.speed = 0.0
        self.pursuit = 0.0
        """Probability that this is pursuit."""
        self.judged = False

    def add(self, sample: Sample) -> None:
        """Take one more sample into the means."""
        self.n += 1
        w = 1.0 / self.n
        self.t_s += w * ((sample.t_ns - self.start_ns) / NS - self.t_s)
        self.x += w * (sample.x - self.x)
        self.y += w * (sample.y - self.y)

    def at(self, t_ns: int) -> tuple[float, float]:
        """De-noised gaze at a time within the bin."""
        ahead_s = (t_ns - self.start_ns) / NS - self.t_s
        return self.x + ahead_s * self.vx, self.y + ahead_s * self.vy


class SlowPhases:
    """Fixation or pursuit, bin by bin."""

    def __init__(self, settings: SlowSettings) -> None:
        self._settings = settings
        self._bin_ns = round(settings.bin_ms * 1e6)
        self._window_ns = round(settings.window_ms * 1e6)
        # the window, and what comes in while a bin waits to be judged
        self._size = round(settings.window_ms / settings.bin_ms) + 16
        self._open: Bin | None = None
        self._last: Bin | None = None
        self._memory = 0.0
        self._judged_ns = 0

    def push(self, sample: Sample) -> None:
        """Take the next sample of a slow phase."""
        bin_ = self._open
        if bin_ is None or sample.t_ns - bin_.start_ns >= self._bin_ns:
            phase = self._begin(sample) if bin_ is None else bin_.phase
            bin_ = self._open = self._last = Bin(sample.t_ns, phase)
            phase.bins.append(bin_)
        bin_.add(sample)
        sample.part = bin_

    def end(self) -> None:
        """A saccade: the slow phase is over."""
        self._open = None

    def lose(self) -> None:
        """The eye is lost: what comes next was not reached by a saccade from here."""
        self._open = self._last = None

    def judge(self, bin_: Bin) -> None:
        """Decide on a bin from what is known of its phase; bins come in the order of time."""
        s = self._settings
        since_ns = bin_.start_ns - self._window_ns
        near = [b for b in bin_.phase.bins if b.start_ns >= since_ns]
        vx, vy, carried = drift(near, bin_.start_ns)
        bin_.vx, bin_.vy = vx, vy
        bin_.speed = speed = math.hypot(vx, vy)
        odds = s.memory_weight * self._memory + self._context(bin_.phase, vx, vy, speed)
        odds += s.carried_weight * math.log((carried + 0.01) / s.carried_deg)
        odds += s.speed_weight * math.log((speed + 0.1) / s.speed_deg_s)
        bin_.pursuit = 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, odds))))
        bin_.judged = True
        gone_s = min(0.3, (bin_.start_ns - self._judged_ns) / NS)
        self._judged_ns = bin_.start_ns
        share = 1.0 - math.exp(-1e3 * gone_s / s.memory_ms)
        self._memory += share * (2.0 * bin_.pursuit - 1.0 - self._memory)

    def _context(self, phase: Phase, vx: float, vy: float, speed: float) -> float:
        """What the saccade before the phase, and the drift before that, say for pursuit."""
        if phase.jump is None or speed == 0.0:
            return 0.0
        s = self._settings
        jx, jy = phase.jump
        px, py = phase.before
        far = math.hypot(jx, jy) + 1e-6
        past = math.hypot(px, py) + 1e-6
        odds = -s.catch_up_weight * max(-1.5, min(1.5, math.log(far / s.catch_up_deg)))
        odds += s.aligned_weight * (vx * jx + vy * jy) / (speed * far)
        # a drift too slow to have a direction (1 deg/s) says nothing of the next
        steady = max(0.0, min(1.0, math.log(past)))
        return odds + s.continued_weight * steady * (vx * px + vy * py) / (speed * past)

    def _begin(self, sample: Sample) -> Phase:
        last = self._last
        if last is None:
            return Phase(self._size, None, (0.0, 0.0))
        vx, vy, _ = drift(last.phase.bins, last.start_ns)
        jump = (sample.x - last.x, sample.y - last.y)
        return Phase(self._size, jump, (vx, vy))


def drift(bins: list[Bin] | deque[Bin], origin_ns: int) -> tuple[float, float, float]:
    """Velocity of the straight line through the bins (deg/s), and how far it carries the eye (deg).

    The distance is that of an even movement with the line's spread, less what the bins' scatter about
    the line would make of it by chance.
    """
    n = st = sx = sy = stt = stx = sty = sss = 0.0
    x0, y0 = bins[0].x, bins[0].y
    for b in bins:
        w = b.n
        t = (b.start_ns - origin_ns) / NS + b.t_s
        x, y = b.x - x0, b.y - y0
        wt = w * t
        n += w
        st += wt
        sx += w * x
        sy += w * y
        stt += wt * t
        stx += wt * x
        sty += wt * y
        sss += w * (x * x + y * y)
    spread = stt - st * st / n
    if spread <= 1e-9:
        return 0.0, 0.0, 0.0
    vx = (stx - st * sx / n) / spread
    vy = (sty - st * sy / n) / spread
    along = (vx * vx + vy * vy) * spread / n
    about = max(0.0, (sss - (sx * sx + sy * sy) / n) / n - along)
    by_chance = about / max(1, len(bins) - 2)
    return vx, vy, math.sqrt(12.0 * max(0.0, along - by_chance))
