"""The books of the energy ledger: what each component has drawn, and until when.

Amounts are booked by rows of the table, in whole femtojoules; a measured rail corrects its component. What
was drawn between two times is looked up to a fiftieth of a second, two minutes back.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from device.energy_table import EnergyTable, Triple
from device.types import EnergySample

HISTORY_NS = 120_000_000_000
STEP_NS = 20_000_000
"""Distance between two entries of the history."""
WHOLE = "system"
"""A rail of this name feeds everything: what it draws beyond the estimates is booked as `unexplained`."""

Account = dict[str, list[int]]
"""Femtojoules by component: low, typical, high."""


def empty() -> Account:
    return defaultdict(lambda: [0, 0, 0])


@dataclass(slots=True)
class Books:
    """What was drawn until `now_ns`."""

    table: EnergyTable
    now_ns: int = 0
    measured: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    """Rails that were measured and belong to no component."""
    _estimate: Account = field(default_factory=empty)
    _corrected: Account = field(default_factory=empty)
    """What measured rails add to the estimates, and take from them."""
    _corrections: deque[tuple[int, str, Triple]] = field(default_factory=deque)
    _history: deque[tuple[int, dict[str, Triple]]] = field(default_factory=deque)

    @property
    def total(self) -> Account:
        """By component, with what was measured."""
        account = empty()
        for part in (self._estimate, self._corrected):
            for name, fj in part.items():
                add(account[name], fj)
        return account

    @property
    def typical_fj(self) -> int:
        """Of everything, with what was measured."""
        return summed(self._estimate)[1] + summed(self._corrected)[1]

    def book(self, component: str, row: str, amount: int) -> None:
        """`amount` units of a row of the table: pixels, bytes, calls, or nanoseconds of a power."""
        account = self._estimate[component]
        low, mid, high = self.table.rows[row]
        account[0] += low * amount
        account[1] += mid * amount
        account[2] += high * amount

    def pass_to(self, t_ns: int) -> None:
        """What was booked until now was drawn by `t_ns`."""
        self.now_ns = t_ns
        if not self._history or t_ns - self._history[-1][0] >= STEP_NS:
            self._history.append((t_ns, self.snapshot()))
            while len(self._history) > 1 and self._history[1][0] < t_ns - HISTORY_NS:
                self._history.popleft()

    def measure(self, sample: EnergySample) -> None:
        """Put the measured energy of a component in place of its estimate over the sample's span."""
        if sample.rail != WHOLE and sample.rail not in self._estimate:
            self.unknown.add(sample.rail)
            return
        estimates = self.estimated(sample.t_ns - sample.span_ns, sample.t_ns)
        low, mid, high = summed(estimates) if sample.rail == WHOLE else estimates[sample.rail]
        component = "unexplained" if sample.rail == WHOLE else sample.rail
        real = round(sample.power_mw * 1000) * sample.span_ns
        correction = (real - low, real - mid, real - high)
        add(self._corrected[component], correction)
        self._corrections.append((sample.t_ns, component, correction))
        while self._corrections[0][0] < sample.t_ns - HISTORY_NS:
            self._corrections.popleft()
        self.measured.add(sample.rail)

    def between(self, start_ns: int, end_ns: int) -> Account:
        """What was drawn from one time to the other, with what was measured."""
        account = self.estimated(start_ns, end_ns)
        for t_ns, component, correction in self._corrections:
            if start_ns < t_ns <= end_ns:
                add(account[component], correction)
        return account

    def estimated(self, start_ns: int, end_ns: int) -> Account:
        """What was estimated from one time to the other."""
        return difference(self._at(start_ns), self._at(end_ns))

    def snapshot(self) -> dict[str, Triple]:
        """The estimates until now."""
        return {name: (fj[0], fj[1], fj[2]) for name, fj in self._estimate.items()}

    def _at(self, t_ns: int) -> dict[str, Triple]:
        """What was estimated until `t_ns`, to `STEP_NS`; equal times give equal accounts."""
        if t_ns >= self.now_ns:
            return self.snapshot()
        for at_ns, account in reversed(self._history):
            if at_ns <= t_ns:
                return account
        oldest_ns, oldest = self._history[0] if self._history else (0, {})
        return (
            oldest if oldest_ns > HISTORY_NS else {}
        )  # longer ago than is remembered, or the start


def difference(before: Mapping[str, Triple], after: Mapping[str, Triple]) -> Account:
    """What one account has beyond an earlier one."""
    account = empty()
    for name, fj in after.items():
        was = before.get(name, (0, 0, 0))
        account[name] = [a - b for a, b in zip(fj, was, strict=True)]
    return account


def add(account: list[int], fj: Sequence[int]) -> None:
    for index in range(3):
        account[index] += fj[index]


def summed(account: Mapping[str, Any]) -> Triple:
    """Low, typical and high of all components."""
    low, mid, high = (sum(fj[i] for fj in account.values()) for i in range(3))
    return low, mid, high
