"""Passkeys of the owner (WebAuthn): added while signed in, then enough to sign in without a password.

A passkey belongs to the name the server is reached by; the browser lends it to no other. Challenges are
random, kept as hashes, used once, and die after some minutes. The cryptography is py_webauthn's.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import text
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import parse_client_data_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from server.database import Database, utc_now
from server.keys import decode, encode
from server.problems import Problem

CHALLENGE_S = 300.0
_MOST = 20  # passkeys of one owner
_BAD = (
    WebAuthnException,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
)  # whatever nonsense does


@dataclass(frozen=True, slots=True)
class Site:
    """Where the browser is: `name` is the relying party's id, `origin` what the browser says it is."""

    name: str
    origin: str

    @classmethod
    def of(cls, address: str) -> Site:
        """From the address the server is reached at. Raises Problem 422 where no passkey can be."""
        parts = urlsplit(address)
        host = parts.hostname or ""
        try:
            ipaddress.ip_address(host)
            host = ""
        except ValueError:
            pass
        if not host or (parts.scheme != "https" and host != "localhost"):
            raise Problem(
                422,
                "no-passkey-here",
                "a passkey needs https and a name: open this page by the server's name (or as "
                "'localhost'), not by a number",
            )
        return cls(host, f"{parts.scheme}://{parts.netloc}")


@dataclass(frozen=True, slots=True)
class Passkey:
    """One passkey. `key` names it in addresses; `site` is the name it works at."""

    key: str
    name: str
    site: str
    created_utc: str
    used_utc: str | None


class Passkeys:
    """Adds, lists, removes and believes passkeys."""

    def __init__(
        self, database: Database, server_id: str, *, changed: Callable[[], None] = lambda: None
    ) -> None:
        """`changed` hears of everything that a lost index would have to know again."""
        self._db = database
        self._user = hashlib.sha256(f"owner of {server_id}".encode()).digest()
        self._changed = changed

    def all(self) -> list[Passkey]:
        """Every passkey, oldest first."""
        with self._db.read() as db:
            rows = db.execute(
                text(
                    "SELECT id, name, site, created_utc, used_utc FROM passkeys"
                    " ORDER BY created_utc, id"
                )
            ).all()
        return [
            Passkey(_key(str(row[0])), str(row[1]), str(row[2]), str(row[3]), row[4])
            for row in rows
        ]

    def creation_options(self, site: Site, server_name: str) -> dict[str, Any]:
        """What the browser is asked to make, with a fresh challenge (JSON of WebAuthn level 3)."""
        with self._db.read() as db:
            known = db.execute(
                text("SELECT id FROM passkeys WHERE site = :site"), {"site": site.name}
            ).scalars()
            there = [PublicKeyCredentialDescriptor(id=decode(str(one))) for one in known]
        if len(there) >= _MOST:
            raise Problem(409, "too-many-passkeys", "remove one of your passkeys first")
        options = generate_registration_options(
            rp_id=site.name,
            rp_name=server_name,
            user_id=self._user,
            user_name="owner",
            challenge=self._challenge("add", site),
            exclude_credentials=there,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
        )
        found: dict[str, Any] = json.loads(options_to_json(options))
        return found

    def add(self, site: Site, name: str, credential: Any) -> Passkey:
        """Remember a passkey the browser made for our challenge. Raises Problem 409 or 422."""
        try:
            made = verify_registration_response(
                credential=credential,
                expected_challenge=self._spent("add", site, credential),
                expected_rp_id=site.name,
                expected_origin=site.origin,
                require_user_verification=True,
            )
        except _BAD as error:
            raise Problem(
                422, "bad-passkey", "this passkey cannot be believed; try again"
            ) from error
        name = " ".join(name.split())[:60] or "Passkey"
        identity, now = encode(made.credential_id), utc_now()
        row = {
            "id": identity,
            "name": name,
            "site": site.name,
            "key": encode(made.credential_public_key),
            "count": made.sign_count,
            "now": now,
        }
        with self._db.write() as db:
            added = db.execute(
                text(
                    "INSERT INTO passkeys (id, name, site, public_key, sign_count, created_utc)"
                    " VALUES (:id, :name, :site, :key, :count, :now)"
                    " ON CONFLICT DO NOTHING RETURNING id"
                ),
                row,
            ).scalar_one_or_none()
        if added is None:
            raise Problem(409, "known-passkey", "this passkey is known already")
        self._changed()
        return Passkey(_key(identity), name, site.name, now, None)

    def remove(self, key: str) -> None:
        """It signs nobody in any more. Raises Problem 404."""
        with self._db.write() as db:
            ids = db.execute(text("SELECT id FROM passkeys")).scalars().all()
            gone = [one for one in ids if _key(str(one)) == key]
            for one in gone:
                db.execute(text("DELETE FROM passkeys WHERE id = :id"), {"id": one})
        if not gone:
            raise Problem(404, "no-such-passkey", "there is no such passkey (any more)")
        self._changed()

    def request_options(self, site: Site) -> dict[str, Any]:
        """What the browser is asked to sign, by whichever passkey of this name it has."""
        options = generate_authentication_options(
            rp_id=site.name,
            challenge=self._challenge("sign-in", site),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        found: dict[str, Any] = json.loads(options_to_json(options))
        return found

    def believe(self, site: Site, credential: Any) -> None:
        """Returns if a passkey of the owner signed our challenge just now. Raises Problem 403."""
        try:
            challenge = self._spent("sign-in", site, credential)
            row = self._db.row(
                "SELECT id, public_key, sign_count FROM passkeys WHERE id = :id AND site = :site",
                {"id": str(credential["id"]), "site": site.name},
            )
            if row is None:
                raise KeyError("unknown")
            shown = verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=site.name,
                expected_origin=site.origin,
                credential_public_key=decode(str(row[1])),
                credential_current_sign_count=int(row[2]),
                require_user_verification=True,
            )
        except _BAD as error:
            raise Problem(403, "bad-passkey", "this passkey is not known here") from error
        with self._db.write() as db:
            db.execute(
                text("UPDATE passkeys SET sign_count = :count, used_utc = :now WHERE id = :id"),
                {"count": shown.new_sign_count, "now": utc_now(), "id": row[0]},
            )

    def _challenge(self, purpose: str, site: Site) -> bytes:
        challenge, now = secrets.token_bytes(32), time.time()
        with self._db.write() as db:
            db.execute(text("DELETE FROM challenges WHERE expires_s < :now"), {"now": now})
            db.execute(
                text("INSERT INTO challenges VALUES (:hash, :until)"),
                {"hash": _digest(purpose, site, challenge), "until": now + CHALLENGE_S},
            )
        return challenge

    def _spent(self, purpose: str, site: Site, credential: Any) -> bytes:
        """The challenge of an answer, which is worth nothing after this. Raises ValueError."""
        told = parse_client_data_json(decode(credential["response"]["clientDataJSON"].rstrip("=")))
        with self._db.write() as db:
            ours = db.execute(
                text(
                    "DELETE FROM challenges WHERE hash = :hash AND expires_s > :now RETURNING hash"
                ),
                {"hash": _digest(purpose, site, told.challenge), "now": time.time()},
            ).scalar_one_or_none()
        if ours is None:
            raise ValueError("not a challenge of ours, or used, or too old")
        return told.challenge


def _key(credential_id: str) -> str:
    return hashlib.sha256(credential_id.encode()).hexdigest()[:16]


def _digest(purpose: str, site: Site, challenge: bytes) -> str:
    return hashlib.sha256(f"{purpose} {site.name} ".encode() + challenge).hexdigest()
