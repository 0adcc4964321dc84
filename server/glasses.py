"""Paired glasses: let in once by a one-time code, from then on by a token, until they are revoked.

Codes and tokens are random and long, and stored as SHA-256.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text

from server.database import Database, utc_now
from server.keys import PAIRING, decode, identifier, signed_by
from server.people import digest, unauthorised
from server.problems import Problem
from server.settings import ServerSettings

CODE_LETTERS = "ABCDEFGHJKMNPQRSTVWXYZ23456789"  # none that look alike
CODE_LENGTH = 8
_MAX_MISSES = 10
_SEEN_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Device:
    id: str
    name: str
    public_key: str
    paired_utc: str
    last_seen_utc: str | None
    revoked_utc: str | None


class Glasses:
    """Paired devices: one-time codes, tokens, revocation."""

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
        self._seen: dict[str, float] = {}

    def new_code(self) -> str:
        """A one-time pairing code of eight letters and digits, told once."""
        code = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
        now = time.time()
        with self._db.write() as db:
            db.execute(
                text("DELETE FROM pairing_codes WHERE expires_s < :old"), {"old": now - 86400}
            )
            db.execute(
                text("INSERT INTO pairing_codes VALUES (:hash, :now, :until, 0, NULL)"),
                {"hash": digest(code), "now": now, "until": now + self._settings.pairing_code_s},
            )
        return code

    def pair(self, code: str, public_key: str, name: str, proof: str) -> tuple[Device, str]:
        """Trade a code for a token; `proof` shows that the caller holds the key's other half.

        Raises Problem 403 (unknown, used or old code; all codes die after ten misses) and 422.
        """
        code = code.strip().upper().replace("-", "").replace(" ", "")
        try:
            sound = len(decode(public_key)) == 32
        except ValueError:
            sound = False
        if not sound or not signed_by(public_key, PAIRING, code.encode(), proof):
            raise Problem(422, "bad-proof", "the code is not signed by the key that was sent")
        device_id, token = identifier(public_key), f"bhd_{secrets.token_urlsafe(32)}"
        self._use(code)
        with self._db.write() as db:
            db.execute(
                text(
                    "INSERT INTO devices (id, name, public_key, token_hash, paired_utc) VALUES"
                    " (:id, :name, :key, :hash, :now) ON CONFLICT (id) DO UPDATE SET"
                    " name = :name, token_hash = :hash, paired_utc = :now, revoked_utc = NULL"
                ),
                {
                    "id": device_id,
                    "name": name.strip()[:60] or "Glasses",
                    "key": public_key,
                    "hash": digest(token),
                    "now": utc_now(),
                },
            )
        self._changed()
        return self.device(device_id), token

    def _use(self, code: str) -> None:
        hashed, now = digest(code), time.time()
        with self._db.write() as db:
            rows = db.execute(
                text(
                    "SELECT code_hash FROM pairing_codes"
                    " WHERE used_utc IS NULL AND expires_s > :now AND misses < :most"
                ),
                {"now": now, "most": _MAX_MISSES},
            ).scalars()
            # Every live code is compared, in the same time whether it fits or not.
            fits = [stored for stored in rows if hmac.compare_digest(stored, hashed)]
            if fits:
                db.execute(
                    text("UPDATE pairing_codes SET used_utc = :now WHERE code_hash = :hash"),
                    {"now": utc_now(), "hash": fits[0]},
                )
            else:
                db.execute(
                    text("UPDATE pairing_codes SET misses = misses + 1 WHERE used_utc IS NULL")
                )
        if not fits:
            raise Problem(
                403, "bad-code", "the code is wrong, used or too old; ask the server for a new one"
            )

    def by_token(self, token: str) -> Device:
        """The device that holds this token. Raises Problem 401, 403 if it was revoked."""
        row = self._db.row(
            "SELECT id, name, public_key, paired_utc, last_seen_utc, revoked_utc FROM devices"
            " WHERE token_hash = :hash",
            {"hash": digest(token)},
        )
        if row is None:
            raise unauthorised()
        device = Device(*row)
        if device.revoked_utc is not None:
            raise Problem(403, "revoked", "these glasses were revoked; pair them again")
        self._saw(device.id)
        return device

    def _saw(self, device_id: str) -> None:
        now = time.monotonic()
        if now - self._seen.get(device_id, -1e9) < _SEEN_EVERY_S:
            return
        self._seen[device_id] = now
        with self._db.write() as db:
            db.execute(
                text("UPDATE devices SET last_seen_utc = :now WHERE id = :id"),
                {"now": utc_now(), "id": device_id},
            )

    def device(self, device_id: str) -> Device:
        """One device. Raises Problem 404."""
        found = [device for device in self.all() if device.id == device_id]
        if not found:
            raise Problem(404, "no-such-device", "no glasses of that id were ever paired")
        return found[0]

    def all(self) -> list[Device]:
        with self._db.read() as db:
            rows = db.execute(
                text(
                    "SELECT id, name, public_key, paired_utc, last_seen_utc, revoked_utc FROM devices"
                    " ORDER BY revoked_utc IS NOT NULL, paired_utc"
                )
            ).all()
        return [Device(*row) for row in rows]

    def revoke(self, device_id: str) -> None:
        """The token is worthless from now on; what was received stays."""
        self.device(device_id)
        with self._db.write() as db:
            db.execute(
                text("UPDATE devices SET revoked_utc = coalesce(revoked_utc, :now) WHERE id = :id"),
                {"now": utc_now(), "id": device_id},
            )
        self._changed()
