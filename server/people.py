"""Who may come in through a browser: the owner by password, passkey or one-time link, viewers by a link.

Secrets are never stored: passwords as argon2, tokens and keys (random, long) as SHA-256.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import text

from server.database import Database, utc_now
from server.problems import Problem
from server.settings import ServerSettings

MIN_PASSWORD = 10


@dataclass(frozen=True, slots=True)
class Person:
    """Someone signed in through a browser. `csrf` must come back with everything that changes."""

    id: int
    name: str
    role: str
    csrf: str
    has_password: bool


class RateLimit:
    """At most `per_min` tries a minute from one address, and ten times that from all together."""

    def __init__(self, per_min: int) -> None:
        self._per_min = per_min
        self._tries: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def spend(self, address: str) -> None:
        """Count one try. Raises Problem 429."""
        now = time.monotonic()
        with self._lock:
            for name, most in ((address, self._per_min), ("", 10 * self._per_min)):
                tries = self._tries.setdefault(name, deque())
                while tries and now - tries[0] > 60:
                    tries.popleft()
                if len(tries) >= most:
                    wait = max(1, round(60 - (now - tries[0])))
                    raise Problem(
                        429, "too-many-tries", f"wait {wait} s", headers={"Retry-After": str(wait)}
                    )
                tries.append(now)
            if len(self._tries) > 10_000:  # addresses are an attacker's to choose
                self._tries = {"": self._tries[""]}


class People:
    """The owner, signed in by password or by a one-time link, and their browser sessions."""

    def __init__(
        self,
        database: Database,
        settings: ServerSettings,
        *,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` hears of everything that a lost index would have to know again."""
        self._db = database
        self._settings = settings
        self._changed = changed
        self._hasher = PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_hex(16))
        with self._db.write() as db:
            db.execute(
                text("INSERT INTO people VALUES (1, 'owner', 'owner', NULL) ON CONFLICT DO NOTHING")
            )

    def new_login_key(self) -> str:
        """A one-time sign-in key for the owner, for whoever may run commands on the server."""
        key = secrets.token_urlsafe(24)
        with self._db.write() as db:
            db.execute(
                text("INSERT INTO login_keys VALUES (:hash, 1, :until, NULL)"),
                {"hash": digest(key), "until": time.time() + self._settings.login_key_s},
            )
        return key

    def login_by_key(self, key: str, browser: str) -> str:
        """A session token for a one-time key. Raises Problem 403."""
        with self._db.write() as db:
            person = db.execute(
                text(
                    "UPDATE login_keys SET used_utc = :now WHERE key_hash = :hash"
                    " AND used_utc IS NULL AND expires_s > :now_s RETURNING person_id"
                ),
                {"hash": digest(key), "now": utc_now(), "now_s": time.time()},
            ).scalar_one_or_none()
        if person is None:
            raise Problem(
                403,
                "bad-link",
                "this sign-in link is wrong, used or too old; 'beheld serve' prints a new one",
            )
        return self._session(int(person), browser)

    def login_by_password(self, password: str, browser: str) -> str:
        """A session token for the owner's password. Raises Problem 403; takes as long either way."""
        with self._db.read() as db:
            stored = db.execute(text("SELECT password_hash FROM people WHERE id = 1")).scalar_one()
        try:
            self._hasher.verify(stored or self._nobody, password)
        except (VerificationError, InvalidHashError) as error:
            raise Problem(403, "bad-password", "the password is wrong") from error
        return self._session(1, browser)

    def login_believed(self, browser: str) -> str:
        """A session token for the owner, whom a passkey has shown (`server.passkeys`)."""
        return self._session(1, browser)

    def set_password(self, password: str) -> None:
        """Raises Problem 422 if it is too short. Every other session ends."""
        if len(password) < MIN_PASSWORD:
            raise Problem(
                422, "short-password", f"a password has at least {MIN_PASSWORD} characters"
            )
        with self._db.write() as db:
            db.execute(
                text("UPDATE people SET password_hash = :hash WHERE id = 1"),
                {"hash": self._hasher.hash(password)},
            )
            db.execute(text("DELETE FROM sessions WHERE person_id = 1"))
        self._changed()

    def _session(self, person_id: int, browser: str) -> str:
        token = secrets.token_urlsafe(32)
        now = time.time()
        with self._db.write() as db:
            db.execute(text("DELETE FROM sessions WHERE expires_s < :now"), {"now": now})
            db.execute(
                text("INSERT INTO sessions VALUES (:hash, :person, :csrf, :now, :until, :browser)"),
                {
                    "hash": digest(token),
                    "person": person_id,
                    "csrf": secrets.token_urlsafe(24),
                    "now": utc_now(),
                    "until": now + self._settings.session_days * 86400,
                    "browser": browser[:120],
                },
            )
        return token

    def by_session(self, token: str) -> Person | None:
        row = self._db.row(
            "SELECT p.id, p.name, p.role, s.csrf, p.password_hash IS NOT NULL"
            " FROM sessions s JOIN people p ON p.id = s.person_id"
            " WHERE s.token_hash = :hash AND s.expires_s > :now",
            {"hash": digest(token), "now": time.time()},
        )
        return Person(row[0], row[1], row[2], row[3], bool(row[4])) if row is not None else None

    def logout(self, token: str) -> None:
        with self._db.write() as db:
            db.execute(
                text("DELETE FROM sessions WHERE token_hash = :hash"), {"hash": digest(token)}
            )


def unauthorised() -> Problem:
    return Problem(
        401,
        "not-signed-in",
        "sign in, or send a device's token",
        headers={"WWW-Authenticate": "Bearer"},
    )


def digest(secret: str) -> str:
    """What is stored in place of a random secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
