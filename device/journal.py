"""The journal of the sync: where each snippet of a spool stands, and which moves are legal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from device.errors import InputError

JOURNAL = ".sync"
"""Folder in the spool with one row a snippet, each replaced atomically."""


class SyncState(StrEnum):
    QUEUED = "queued"
    """Nothing was tried yet."""
    UPLOADING = "uploading"
    VERIFYING = "verifying"
    """All bytes are sent; the server is checking them."""
    RECEIPTED = "receipted"
    """The server's receipt is verified and on our disk."""
    DELETABLE = "deletable"
    DELETED = "deleted"
    WAITING = "waiting"
    """Something temporary; `next_try_s` says when we try again."""
    REFUSED = "refused"
    """Trying the same again cannot help; the snippet stays."""


S = SyncState
MOVES = {
    S.QUEUED: {S.UPLOADING, S.WAITING, S.REFUSED},
    S.UPLOADING: {S.UPLOADING, S.VERIFYING, S.RECEIPTED, S.WAITING, S.REFUSED},
    S.VERIFYING: {S.UPLOADING, S.RECEIPTED, S.WAITING, S.REFUSED},
    S.WAITING: {S.UPLOADING, S.WAITING, S.REFUSED},
    S.RECEIPTED: {S.DELETABLE},
    S.DELETABLE: {S.DELETED},
    S.REFUSED: {S.QUEUED},
    S.DELETED: set[SyncState](),
}
"""The legal moves; a missing one is a fault of ours. UPLOADING to itself: resumed after a kill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRow:
    """Where one snippet stands. Wall-clock seconds, because it outlives the program."""

    snippet_id: str
    state: SyncState = SyncState.QUEUED
    reason: str = ""
    attempts: int = 0
    next_try_s: float = 0.0
    receipt: str = ""
    signature: str = ""


def sealed(spool: Path) -> list[Path]:
    """Folders of complete snippets, oldest id first. Raises InputError if the spool is unreadable."""
    try:
        return sorted(
            path for path in spool.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            f"{spool}: cannot be read ({error.strerror}); name another --spool"
        ) from error


def status(spool: Path) -> list[SyncRow]:
    """Every snippet in the spool and where it stands, oldest first; then those delivered."""
    here = [read_row(spool, folder.name) for folder in sealed(spool)]
    names = {row.snippet_id for row in here}
    rows = [read_row(spool, path.stem) for path in sorted((spool / JOURNAL).glob("*.json"))]
    gone = [row for row in rows if row.snippet_id not in names and row.state is S.DELETED]
    return here + gone


def read_row(spool: Path, snippet_id: str) -> SyncRow:
    """A snippet's row; a missing or unreadable one means queued, which loses nothing."""
    try:
        given = json.loads((spool / JOURNAL / f"{snippet_id}.json").read_bytes())
        row = SyncRow(**{**given, "state": SyncState(given["state"]), "snippet_id": snippet_id})
    except (OSError, ValueError, TypeError, KeyError):
        return SyncRow(snippet_id=snippet_id)
    if row.state is S.DELETED and (spool / snippet_id).is_dir():
        return SyncRow(snippet_id=snippet_id)  # the same session was recorded again
    return row
