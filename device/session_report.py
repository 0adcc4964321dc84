"""What a whole session came to, for the companion server: seen and not seen, and the energy.

Snippets tell only of what was kept; how long the glasses saw nothing, and why, is told by a small
document of each session. `run_session` leaves it in the spool (`.sessions/`), sealed where snippets are,
the sync sends it, signed, and lets it go when the server has it on its disk. It holds no gaze, no picture
and no name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from device.codec import dumps
from device.energy_report import EnergyReport
from device.errors import StorageError
from device.identity import SESSION, Identity, write_private
from device.pipeline import Report
from device.sealing import EXTENSION, Sealer
from device.types import SessionHeader
from device.upload import Later, Refused, Uplink

FOLDER = ".sessions"
FORMAT = 1
MOST_GAPS = 500
"""Longest gaps that are told one by one; shorter ones beyond are in the sum only."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def session_report(
    header: SessionHeader, report: Report, energy: EnergyReport, moments: int
) -> dict[str, Any]:
    """The document; seconds from the session's start, joules."""
    longest = sorted(report.gaps, key=lambda gap: gap.start_ns - gap.end_ns)[:MOST_GAPS]
    return {
        "format": FORMAT,
        "session_id": header.session_id,
        "source": header.source,
        "start_utc": header.start_utc,
        "zone": header.zone,
        "session_s": report.session_ns / 1e9,
        "seen_s": report.seen_ns / 1e9,
        "gap_s": report.gap_ns / 1e9,
        "gaps": [
            {
                "start_s": gap.start_ns / 1e9,
                "end_s": gap.end_ns / 1e9,
                "stream": gap.stream,
                "cause": gap.cause,
            }
            for gap in sorted(longest, key=lambda gap: gap.start_ns)
        ],
        "moments": moments,
        "scene_camera_on_s": energy.scene_camera_on_s,
        "energy_j": {
            "total": energy.total_j,
            "total_low": energy.total_j_low,
            "total_high": energy.total_j_high,
            "always_on": energy.always_on_j,
            "by_component": dict(energy.by_component_j),
            "measured": list(energy.measured),
        },
    }


def leave_report(spool: Path, document: Mapping[str, Any], sealer: Sealer | None = None) -> Path:
    """Put a report among those to send, in place of an earlier one of its session. Raises StorageError."""
    plain = spool / FOLDER / f"{address_name(str(document['session_id']))}.json"
    sealed = plain.with_name(plain.name + EXTENSION)
    path, other = (plain, sealed) if sealer is None else (sealed, plain)
    content = dumps(document).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, content if sealer is None else sealer.seal_bytes(content))
        other.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); free some space or check the folder"
        ) from error
    return path


def waiting_reports(spool: Path) -> Sequence[Path]:
    """Reports that no server has yet, by name."""
    folder = spool / FOLDER
    return sorted([*folder.glob("*.json"), *folder.glob(f"*.json{EXTENSION}")])


def send_reports(spool: Path, uplink: Uplink, identity: Identity) -> int:
    """Send what waits; says how many the server has taken. What it did not take stays for next time."""
    taken = 0
    for path in waiting_reports(spool):
        raw = path.read_bytes()
        try:
            name = path.name.removesuffix(EXTENSION).removesuffix(".json")
            told = uplink.session(name, raw, identity.sign(SESSION, raw))
        except Later:
            break
        except Refused:
            path.replace(path.with_name(f"{path.name}.refused"))  # the same again cannot help
            continue
        if told == hashlib.sha256(raw).hexdigest():
            path.unlink()
            taken += 1
    return taken


def address_name(session_id: str) -> str:
    """The id itself where it can stand in an address and name a file, else a digest of it."""
    if _NAME.fullmatch(session_id):
        return session_id
    return hashlib.sha256(session_id.encode()).hexdigest()[:32]
