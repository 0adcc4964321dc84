"""Durations, energies and settings as people read them."""

from __future__ import annotations

from typing import Any


def seconds(value: float) -> str:
    """A duration as people say it."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def joules(millijoules: float | None) -> str:
    """Energy with a unit that keeps the number readable."""
    if millijoules is None:
        return "unknown"
    if millijoules < 1e3:
        return f"{millijoules:.0f} mJ"
    if millijoules < 1e6:
        return f"{millijoules / 1e3:.{2 if millijoules < 1e4 else 1}f} J"
    return f"{millijoules / 1e6:.2f} kJ"


def plain(value: Any) -> str:
    """A setting's value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, int | float) else str(value)
