"""Whether this is the time to send: network, metered or not, charging, battery. Pure, but for `look`.

What cannot be known speaks against nothing: a desktop has no battery, a container no network card.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/")
_METERED_KINDS = ("wwan", "ppp", "rmnet", "usb")  # how Linux names modems and tethered telephones


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRules:
    """When snippets may be sent."""

    metered: bool = False
    """Also over a network that is paid by the byte."""
    only_wifi: bool = False
    """Over Wi-Fi or cable only."""
    only_charging: bool = False
    """Only while the glasses are charged."""
    least_battery: float = 0.15
    """Not below this charge (0..1), unless charging."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known right now; None is not known."""

    network: str | None = None
    """`wifi`, `cable` or `mobile`: the way to everything that is not near."""
    metered: bool | None = None
    charging: bool | None = None
    battery: float | None = None
    """Charge, 0..1."""


def why_not(rules: SyncRules, now: Surroundings) -> str | None:
    """Why nothing may be sent now, in plain words; None if it may."""
    if now.metered and not rules.metered:
        return "the network is metered (beheld sync --metered sends all the same)"
    if rules.only_wifi and now.network == "mobile":
        return "not on Wi-Fi"
    if rules.only_charging and now.charging is False:
        return "not charging"
    if now.battery is not None and not now.charging and now.battery < rules.least_battery:
        return f"the battery is at {now.battery:.0%}, below {rules.least_battery:.0%}"
    return None


def watch(rules: SyncRules, *, every_s: float = 10.0) -> Callable[[], str | None]:
    """`why_not` of the surroundings as they are, looked at no more often than that."""
    found: list[str | None] = [None]
    last_s = [-math.inf]

    def now() -> str | None:
        if time.monotonic() - last_s[0] >= every_s:
            last_s[0], found[0] = time.monotonic(), why_not(rules, look())
        return found[0]

    return now


def look(system: Path = SYSTEM) -> Surroundings:
    """What Linux tells of power and network. Never raises: what cannot be read is not known."""
    charging, battery = _power(system / "sys/class/power_supply")
    card = _default_card(system / "proc/net/route")
    network, metered = (None, None) if not card else _network(system, card)
    return Surroundings(network=network, metered=metered, charging=charging, battery=battery)


def _power(folder: Path) -> tuple[bool | None, float | None]:
    """(charging, charge): of the batteries together; a mains supply that is on counts as charging."""
    charging: bool | None = None
    charges = []
    for supply in sorted(folder.glob("*")):
        kind, status = _line(supply / "type"), _line(supply / "status")
        if kind == "Battery" and _line(supply / "scope") != "Device":  # a mouse's is not ours
            charge = _line(supply / "capacity")
            charges += [float(charge) / 100] if charge.isdigit() else []
            charging = bool(charging) or status in ("Charging", "Full", "Not charging")
        elif kind in ("Mains", "USB") and _line(supply / "online") == "1":
            charging = True
    return charging, (sum(charges) / len(charges) if charges else None)


def _default_card(routes: Path) -> str | None:
    """Network card of the default route with the lowest metric, if there is one."""
    try:
        rows = [line.split() for line in routes.read_text().splitlines()[1:]]
        ways = [(int(row[6]), row[0]) for row in rows if row[1] == "00000000"]
    except (OSError, ValueError, IndexError):
        return None
    return min(ways)[1] if ways else None


def _network(system: Path, card: str) -> tuple[str, bool | None]:
    if card.startswith(_METERED_KINDS):
        return "mobile", True
    wireless = (system / "sys/class/net" / card / "wireless").exists()
    return ("wifi" if wireless else "cable"), _network_manager(card) if system == SYSTEM else None


def _network_manager(card: str) -> bool | None:
    """Whether NetworkManager holds the connection for metered, if it is there to ask."""
    program = shutil.which("nmcli")
    if program is None:
        return None
    try:
        told = subprocess.run(
            [program, "-t", "-f", "GENERAL.METERED", "device", "show", card],
            capture_output=True,
            text=True,
            timeout=5,
        ).stdout.rpartition(":")[2]
    except (OSError, subprocess.TimeoutExpired):
        return None
    return True if told.startswith("yes") else False if told.startswith("no") else None


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
