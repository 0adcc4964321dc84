"""The campaign's own books: what was written, where it is now, and what was promised.

Shares no code with the glasses or the server: it reads both disks itself, hashes with hashlib, and
verifies signatures with the cryptography library. Its verdict is what `beheld bench custody` prints.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PURPOSE = b"beheld-receipt-v1\n"


@dataclass(slots=True)
class Written:
    """One snippet as it was when it was written: the digest of every file, and where it lay."""

    folder: Path
    stored: Path
    """Where the server must have it once it has promised so."""
    on_device: dict[str, str]
    """Name -> sha256 of each file in the spool, the manifest included."""
    on_server: dict[str, str]
    """Name -> sha256 as the server must store it (opened, if it was sealed)."""
    spoilt: set[str] = field(default_factory=set)
    """Files of the spool that the campaign itself damaged for a while."""
    promised: set[str] = field(default_factory=set)
    """Every receipt text that was genuinely signed for it."""


@dataclass(slots=True)
class Ledger:
    """Books of one server and one pair of glasses. `public_key`: the server's, raw base64url."""

    public_key: str
    written: dict[str, Written] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    wrong_receipts: set[str] = field(default_factory=set)
    unreceipted_deletes: set[str] = field(default_factory=set)
    delivered: set[str] = field(default_factory=set)
    why: list[str] = field(default_factory=list)

    def wrote(self, folder: Path, stored: Path, plain: dict[str, bytes]) -> None:
        """Enter a snippet that was just written; `plain`: what the server must store."""
        self.written[folder.name] = Written(
            folder=folder,
            stored=stored,
            on_device={path.name: _digest(path) for path in folder.iterdir()},
            on_server={name: hashlib.sha256(data).hexdigest() for name, data in plain.items()},
        )

    def look(self, names: Iterable[str], answers: list[dict[str, Any]]) -> None:
        """Compare both disks and every receipt heard of with the books, for these snippets."""
        for name in names:
            heard = [a for a in answers if a.get("snippet_id") == name]
            self._look_at(name, self.written[name], heard)

    def _look_at(self, name: str, entry: Written, answers: list[dict[str, Any]]) -> None:
        here = any(_has(place, entry.on_device, entry.spoilt) for place in _places(entry.folder))
        there = _has(entry.stored, entry.on_server)
        journal = _journal(entry.folder)
        receipts = [answer["receipt"] for answer in answers if answer.get("receipt")]
        believed = journal.get("receipt"), journal.get("signature")
        for text, signature in [*((r["receipt"], r["signature"]) for r in receipts), believed]:
            if not text:
                continue
            if self._signed(text, signature) and self._is_for(text, entry):
                entry.promised.add(text)
                if not there:
                    self._note(self.wrong_receipts, name, "promised, but not what the server has")
            elif (text, signature) == believed:
                self._note(self.wrong_receipts, name, "a receipt was believed that is none")
        if len(entry.promised) > 1:
            self._note(self.wrong_receipts, name, "two different receipts")
        if not here and not there:
            self._note(self.lost, name, "neither on the glasses nor on the server")
        if not here:
            if self._signed(*believed) and self._is_for(str(believed[0]), entry):
                self.delivered.add(name)
            else:
                self._note(self.unreceipted_deletes, name, "gone without a receipt")

    def _is_for(self, text: str, entry: Written) -> bool:
        promise = json.loads(text)
        manifest = entry.on_device["manifest.json"]
        return bool(
            promise["manifest_sha256"] == manifest and promise["snippet_id"] == entry.folder.name
        )

    def _signed(self, text: str | None, signature: str | None) -> bool:
        try:
            key = Ed25519PublicKey.from_public_bytes(_decode(self.public_key))
            key.verify(_decode(signature or ""), PURPOSE + (text or "").encode())
        except (InvalidSignature, ValueError):
            return False
        return True

    def _note(self, found: set[str], name: str, why: str) -> None:
        if name not in found:
            found.add(name)
            self.why.append(f"{name}: {why}")


def _places(folder: Path) -> tuple[Path, Path]:
    """Where the glasses may have a whole snippet: in place, or renamed on the way to deletion."""
    return folder, folder.with_name(f".deleted-{folder.name}")


def _has(folder: Path, digests: dict[str, str], spoilt: Collection[str] = ()) -> bool:
    """Every file is there with its digest; those we spoilt ourselves must only be there."""
    try:
        return all(
            (folder / name).is_file() if name in spoilt else _digest(folder / name) == digest
            for name, digest in digests.items()
        )
    except OSError:
        return False


def _journal(folder: Path) -> dict[str, Any]:
    try:
        row = json.loads((folder.parent / ".sync" / f"{folder.name}.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return row if isinstance(row, dict) else {}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
