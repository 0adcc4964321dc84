"""Whom the owner lets look: viewers, who see moments and change nothing, and links to one moment."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text

from server.database import Database, utc_now
from server.problems import Problem
from server.settings import ServerSettings

LONGEST_HOURS = 24 * 90


@dataclass(frozen=True, slots=True)
class Viewer:
    """Someone else than the owner; `sessions` is in how many browsers they are signed in."""

    id: int
    name: str
    sessions: int


@dataclass(frozen=True, slots=True)
class Share:
    """A link to one moment. Its secret is told once; here is only what it opens, and how long."""

    number: int
    moment_key: str
    title: str
    created_utc: str
    expires_utc: str
    ended: bool
    opened: int


class Viewers:
    """People the owner invited, by a one-time sign-in link."""

    def __init__(
        self, database: Database, settings: ServerSettings, changed: Callable[[], None]
    ) -> None:
        self._db = database
        self._settings = settings
        self._changed = changed

    def all(self) -> list[Viewer]:
        with self._db.read() as db:
            rows = db.execute(
                text(
                    "SELECT p.id, p.name, (SELECT count(*) FROM sessions s WHERE s.person_id = p.id"
                    " AND s.expires_s > :now) FROM people p WHERE p.role = 'viewer' ORDER BY p.name"
                ),
                {"now": time.time()},
            ).all()
        return [Viewer(int(row[0]), str(row[1]), int(row[2])) for row in rows]

    def invite(self, name: str) -> tuple[Viewer, str]:
        """A viewer of that name (new, or again) and a one-time key to sign in. Raises Problem 422."""
        name = " ".join(name.split())[:60]
        if not name or name.lower() == "owner":
            raise Problem(422, "bad-name", "say who it is, with a name other than 'owner'")
        key = secrets.token_urlsafe(24)
        with self._db.write() as db:
            person = db.execute(
                text(
                    "INSERT INTO people (id, name, role, password_hash)"
                    " VALUES ((SELECT max(id) + 1 FROM people), :name, 'viewer', NULL)"
                    " ON CONFLICT (name) DO UPDATE SET role = 'viewer' RETURNING id"
                ),
                {"name": name},
            ).scalar_one()
            db.execute(
                text("INSERT INTO login_keys VALUES (:hash, :person, :until, NULL)"),
                {
                    "hash": _digest(key),
                    "person": person,
                    "until": time.time() + self._settings.login_key_s,
                },
            )
        self._changed()
        return Viewer(int(person), name, 0), key

    def remove(self, number: int) -> None:
        """From now on a stranger, in every browser. Raises Problem 404."""
        with self._db.write() as db:
            known = db.execute(
                text("SELECT 1 FROM people WHERE id = :id AND role = 'viewer'"), {"id": number}
            ).scalar_one_or_none()
            if known is None:
                raise Problem(404, "no-such-person", "there is no such viewer (any more)")
            for table in ("sessions", "login_keys"):
                db.execute(text(f"DELETE FROM {table} WHERE person_id = :id"), {"id": number})
            db.execute(text("DELETE FROM people WHERE id = :id"), {"id": number})
        self._changed()


class Shares:
    """Links that show one moment to whoever has them, until they end."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def make(self, moment_key: str, hours: int) -> tuple[Share, str]:
        """A link's secret, told once. Raises Problem 422 if it should last longer than 90 days."""
        if not 0 < hours <= LONGEST_HOURS:
            raise Problem(422, "bad-time", f"a link lasts 1 to {LONGEST_HOURS} hours")
        token = secrets.token_urlsafe(32)
        with self._db.write() as db:
            number = db.execute(
                text(
                    "INSERT INTO shares (token_hash, moment_key, created_utc, expires_s)"
                    " VALUES (:hash, :key, :now, :until) RETURNING number"
                ),
                {
                    "hash": _digest(token),
                    "key": moment_key,
                    "now": utc_now(),
                    "until": time.time() + hours * 3600,
                },
            ).scalar_one()
        return next(share for share in self.all() if share.number == number), token

    def all(self) -> list[Share]:
        """Every link, newest first."""
        with self._db.read() as db:
            rows = db.execute(
                text(
                    "SELECT s.number, s.moment_key, coalesce(m.title, ''), s.created_utc, s.expires_s,"
                    " s.ended_utc, s.opened FROM shares s LEFT JOIN moments m ON m.key = s.moment_key"
                    " ORDER BY s.number DESC"
                )
            ).all()
        now = time.time()
        return [
            Share(
                number=int(row[0]),
                moment_key=str(row[1]),
                title=str(row[2]),
                created_utc=str(row[3]),
                expires_utc=datetime.fromtimestamp(row[4], UTC).isoformat(timespec="seconds"),
                ended=row[5] is not None or row[4] <= now,
                opened=int(row[6]),
            )
            for row in rows
        ]

    def end(self, number: int) -> None:
        """The link is worthless from now on. Raises Problem 404."""
        with self._db.write() as db:
            done = db.execute(
                text(
                    "UPDATE shares SET ended_utc = coalesce(ended_utc, :now) WHERE number = :n"
                    " RETURNING number"
                ),
                {"now": utc_now(), "n": number},
            ).scalar_one_or_none()
        if done is None:
            raise Problem(404, "no-such-link", "there is no such link")

    def moment_of(self, token: str, *, opening: bool = False) -> str:
        """The one moment a link opens. Raises Problem 404, or 410 if it has ended."""
        digest = _digest(token)
        with self._db.read() as db:
            row = db.execute(
                text(
                    "SELECT moment_key, expires_s, ended_utc FROM shares WHERE token_hash = :hash"
                ),
                {"hash": digest},
            ).one_or_none()
        if row is None:
            raise Problem(404, "no-such-link", "there is nothing at this address")
        if row[2] is not None or row[1] <= time.time():
            raise Problem(410, "link-ended", "this link has ended; ask for a new one")
        if opening:
            with self._db.write() as db:
                db.execute(
                    text("UPDATE shares SET opened = opened + 1 WHERE token_hash = :hash"),
                    {"hash": digest},
                )
        return str(row[0])


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
