"""The journal of the sync: where each snippet of a spool stands, and which moves are legal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

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


UNDELIVERED = (S.QUEUED, S.UPLOADING, S.VERIFYING, S.WAITING)

NEXT_STEP = {
    S.QUEUED: "goes with the next round",
    S.UPLOADING: "goes on where it was",
    S.VERIFYING: "goes on where it was",
    S.RECEIPTED: "is let go here",
    S.DELETABLE: "is let go here, unless it shall stay (--keep)",
    S.DELETED: "nothing; the server has it",
    S.WAITING: "is tried again by itself",
    S.REFUSED: "stays here; look at the reason, then 'beheld sync --retry-refused'",
}
"""What happens next, in plain words."""
MOST_TOLD = 200


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


def plain_row(row: SyncRow) -> dict[str, Any]:
    """A row for people and for the server; the time of the next try in UTC, if there is one."""
    waits = row.state is S.WAITING
    when = datetime.fromtimestamp(row.next_try_s, UTC) if waits else None
    return {
        "snippet_id": row.snippet_id,
        "state": row.state.value,
        "reason": row.reason,
        "attempts": row.attempts,
        "next_step": NEXT_STEP[row.state],
        "next_try_utc": when.isoformat(timespec="seconds") if when else None,
    }


def sync_document(rows: Sequence[SyncRow], now_s: float) -> dict[str, Any]:
    """Where all snippets stand: how many in each state, and those that are still here."""
    here = [row for row in rows if row.state is not S.DELETED]
    return {
        "at_utc": datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds"),
        "counts": dict(Counter(row.state.value for row in rows)),
        "snippets": [plain_row(row) for row in here[:MOST_TOLD]],
    }


def snippet_folders(spool: Path) -> list[Path]:
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
    here = [read_row(spool, folder.name) for folder in snippet_folders(spool)]
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
