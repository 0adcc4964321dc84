"""What whole sessions came to: how much was seen, what was not and why, and the energy.

The glasses send one small signed document a session (device/session_report.py), sealed if they are paired. It
is kept in clear in `sessions/<device>/`, from which the index can be made again, and read tolerantly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from server import record as records
from server.database import Database, utc_now
from server.disk import sync_folder, write_durably
from server.keys import SESSION, signed_by
from server.manifest import safe_name
from server.problems import Problem
from server.record import number, numbers
from server.sealing import AGE, SealKey

FORMAT = 1
MAX_REPORT_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Blind:
    """A stretch that was not seen: seconds from the session's start, and its cause."""

    start_s: float
    end_s: float
    stream: str
    cause: str

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """One session as the page shows it; joules are None where the glasses did not say."""

    number: int
    device_id: str
    session_id: str
    start_utc: str
    local_day: str
    local_time: str
    zone: str
    time_known: bool
    session_s: float
    seen_s: float
    gaps: tuple[Blind, ...]
    moments: int
    energy_j: float | None
    energy_low_j: float | None
    energy_high_j: float | None
    always_on_j: float | None
    by_component_j: Mapping[str, float]

    @property
    def seen_share(self) -> float:
        return min(1.0, self.seen_s / self.session_s) if self.session_s > 0 else 0.0

    @property
    def blind_s(self) -> float:
        return max(0.0, self.session_s - self.seen_s)


class SessionReports:
    """Takes reports and lists them."""

    def __init__(self, database: Database, data_dir: Path, seal_key: SealKey) -> None:
        self._db = database
        self._seal_key = seal_key
        self._folder = data_dir / "sessions"

    def take(self, device_id: str, public_key: str, name: str, raw: bytes, signature: str) -> str:
        """Keep a signed report; the SHA-256 of what came, once it is on the disk.

        The last one of a session counts. Raises Problem 413 or 422.
        """
        if len(raw) > MAX_REPORT_BYTES:
            raise Problem(
                413, "report-too-large", f"a report may have {MAX_REPORT_BYTES >> 10} KiB"
            )
        if not signed_by(public_key, SESSION, raw, signature):
            raise Problem(
                422, "bad-signature", "the report is not signed by the key of this device"
            )
        plain = self._opened(raw)
        given = _parse(plain)
        path = self._folder / safe_name(device_id) / f"{safe_name(name)}.json"
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(self._folder)
        write_durably(path, plain)
        self._index(device_id, given, received_utc=utc_now())
        return hashlib.sha256(raw).hexdigest()

    def _opened(self, raw: bytes) -> bytes:
        if not raw.startswith(AGE):
            return raw
        plain = self._seal_key.opened(raw)
        if plain is None:
            raise Problem(422, "cannot-open", "this report cannot be opened with this server's key")
        return plain

    def reconcile(self) -> int:
        """Index every report of the folder that the index does not know; says how many."""
        with self._db.read() as db:
            rows = db.execute(text("SELECT device_id, session_id FROM session_reports")).all()
        known = {(str(device), str(session)) for device, session in rows}
        count = 0
        for path in sorted(self._folder.glob("*/*.json")):
            try:
                given = _parse(path.read_bytes())
            except (OSError, Problem):
                continue
            if (path.parent.name, given["session_id"]) not in known:
                self._index(path.parent.name, given, received_utc=utc_now())
                count += 1
        return count

    def newest(self, *, before: int | None = None, limit: int = 20) -> list[SessionReport]:
        """Reports by the session's start, newest first; `before` a report's number goes on after it."""
        where, values = "TRUE", {"limit": limit}
        if before is not None:
            where = (
                "(start_utc, number) < (SELECT start_utc, number FROM session_reports"
                " WHERE number = :before)"
            )
            values["before"] = before
        with self._db.read() as db:
            rows = db.execute(
                text(
                    "SELECT number, device_id, session_id, report FROM session_reports"
                    f" WHERE {where} ORDER BY start_utc DESC, number DESC LIMIT :limit"
                ),
                values,
            ).all()
        return [
            _read(int(n), str(device), str(session), json.loads(r))
            for n, device, session, r in rows
        ]

    def of_session(self, device_id: str, session_id: str) -> SessionReport | None:
        """The report of one session, if it came."""
        with self._db.read() as db:
            row = db.execute(
                text(
                    "SELECT number, report FROM session_reports"
                    " WHERE device_id = :device AND session_id = :session"
                ),
                {"device": device_id, "session": session_id},
            ).one_or_none()
        return (
            None if row is None else _read(int(row[0]), device_id, session_id, json.loads(row[1]))
        )

    def last_number(self) -> int:
        with self._db.read() as db:
            found = db.execute(text("SELECT coalesce(max(number), 0) FROM session_reports"))
            return int(found.scalar_one())

    def _index(self, device_id: str, given: dict[str, Any], *, received_utc: str) -> None:
        when = records.read(given, session_id="", fallback_utc=received_utc)
        with self._db.write() as db:
            db.execute(
                text(
                    "DELETE FROM session_reports WHERE device_id = :device AND session_id = :session"
                ),
                {"device": device_id, "session": given["session_id"]},
            )
            db.execute(
                text(
                    "INSERT INTO session_reports (device_id, session_id, start_utc, local_day, report)"
                    " VALUES (:device, :session, :start, :day, :report)"
                ),
                {
                    "device": device_id,
                    "session": given["session_id"],
                    "start": when.start_utc,
                    "day": when.local_day,
                    "report": json.dumps(given),
                },
            )


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        given = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Problem(422, "bad-report", "the report is not JSON") from error
    if not isinstance(given, dict) or given.get("format") != FORMAT:
        raise Problem(422, "bad-report", f"the report must be an object with format {FORMAT}")
    session = given.get("session_id")
    if not isinstance(session, str) or not 0 < len(session) <= 200:
        raise Problem(422, "bad-report", "'session_id' must be a text of 1 to 200 characters")
    for name in ("session_s", "seen_s"):
        value = number(given.get(name))
        if value is None or value < 0:
            raise Problem(422, "bad-report", f"'{name}' must be a number of seconds")
    return given


def _read(row: int, device_id: str, session_id: str, given: Mapping[str, Any]) -> SessionReport:
    when = records.read(given, session_id=session_id, fallback_utc="1970-01-01T00:00:00+00:00")
    energy = given.get("energy_j")
    energy = energy if isinstance(energy, Mapping) else {}
    return SessionReport(
        number=row,
        device_id=device_id,
        session_id=session_id,
        start_utc=when.start_utc,
        local_day=when.local_day,
        local_time=when.local_time,
        zone=when.zone,
        time_known=when.time_known,
        session_s=number(given.get("session_s")) or 0.0,
        seen_s=number(given.get("seen_s")) or 0.0,
        gaps=_gaps(given.get("gaps")),
        moments=int(number(given.get("moments")) or 0),
        energy_j=number(energy.get("total")),
        energy_low_j=number(energy.get("total_low")),
        energy_high_j=number(energy.get("total_high")),
        always_on_j=number(energy.get("always_on")),
        by_component_j=numbers(energy.get("by_component")),
    )


def _gaps(given: Any) -> tuple[Blind, ...]:
    found = []
    for gap in given if isinstance(given, list) else []:
        if not isinstance(gap, Mapping):
            continue
        start, end = number(gap.get("start_s")), number(gap.get("end_s"))
        if start is not None and end is not None and end >= start:
            stream, cause = str(gap.get("stream", ""))[:40], str(gap.get("cause", ""))[:200]
            found.append(Blind(start, end, stream, cause))
    return tuple(found)
