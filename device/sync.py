"""From the spool to the companion server: deleted here only after a verified receipt.

Each snippet has a row in a journal beside the spool (`.sync/<id>.json`, replaced atomically), so that
a program killed anywhere goes on where it was. The only place that removes a snippet is `_delete`,
and it reads the receipt from the disk and checks it again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from device.codec import dumps
from device.errors import StorageError, SyncError
from device.identity import MANIFEST as PURPOSE
from device.identity import Credentials, Identity, signed_by, write_private
from device.journal import (
    JOURNAL,
    MOVES,
    UNDELIVERED,
    SyncRow,
    SyncState,
    read_row,
    snippet_folders,
    status,
    sync_document,
)
from device.sealing import EXTENSION
from device.session_report import send_reports
from device.upload import FIRST, Later, Receipt, Refused, Uplink, believe

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
S = SyncState
_LOOK_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSettings:
    first_wait_s: float = 2.0
    """After the first failure; doubled with each, up to `longest_wait_s`, and jittered."""
    longest_wait_s: float = 900.0
    keep_after_receipt: bool = False
    """Leave receipted snippets on the glasses."""
    chunk_kb: int = 8192
    """Bytes of one request; a cut costs at most what was not yet on the server's disk."""


@dataclass(slots=True)
class SyncReport:
    """What one round came to."""

    receipts: int = 0
    """Verified receipts obtained in this round."""
    deleted: int = 0
    waiting: int = 0
    refused: int = 0
    sent_bytes: int = 0
    reasons: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Round:
    """What one round shares among its snippets."""

    uplink: Uplink
    report: SyncReport
    progress: Callable[[int], None]
    offsets: dict[str, dict[str, int]] = field(default_factory=dict)
    """Snippets whose previews are on the server: how far each of their files had come before."""
    outage: Later | None = None
    """Why nothing more is tried in this round."""


_Part = Callable[[Path, SyncRow, _Round], SyncRow]


class Syncer:
    """Moves snippets of one spool to one paired server.

    `may_send` returns why nothing may be sent now (metered network, battery low), or None.
    """

    def __init__(
        self,
        spool: Path,
        credentials: Credentials,
        identity: Identity,
        settings: SyncSettings | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        may_send: Callable[[], str | None] = lambda: None,
        now_s: Callable[[], float] = time.time,
        seed: int | None = None,
    ) -> None:
        self._spool = spool
        self._credentials = credentials
        self._identity = identity
        self._settings = settings or SyncSettings()
        self._transport = transport
        self._may_send = may_send
        self._now_s = now_s
        self._random = random.Random(seed)
        self._outages = 0
        self._quiet_until_s = 0.0

    def run_once(
        self, *, retry_refused: bool = False, progress: Callable[[int], None] = lambda n: None
    ) -> SyncReport:
        """Try every snippet whose time has come, oldest first: all previews, then video by video.

        Raises SyncError if another program syncs this spool, StorageError if it cannot be written.
        """
        report = SyncReport()
        with self._alone():
            self._sweep()
            with self._uplink() as uplink:
                turn = _Round(uplink, report, progress)
                may_try = self._has_come(self._quiet_until_s)
                folders = snippet_folders(self._spool)
                for folder in folders:
                    row = read_row(self._spool, folder.name)
                    if row.state is S.REFUSED and retry_refused:
                        row = self._move(row, S.QUEUED)
                    if may_try and row.state in UNDELIVERED and self._has_come(row.next_try_s):
                        self._attempt(folder, row, turn, self._begin)
                for folder in folders:
                    self._advance(folder, read_row(self._spool, folder.name), turn)
                if may_try and turn.outage is None and self._may_send() is None:
                    send_reports(self._spool, uplink, self._identity)
                    self._tell(uplink)
        return report

    def _uplink(self) -> Uplink:
        return Uplink(
            self._credentials,
            transport=self._transport,
            chunk_bytes=self._settings.chunk_kb << 10,
        )

    def next_try_s(self) -> float | None:
        """Seconds until the next snippet is due; None if none is waiting."""
        due = [
            row.next_try_s
            for row in status(self._spool)
            if row.state not in (S.REFUSED, S.DELETED)
            and not (row.state is S.DELETABLE and self._settings.keep_after_receipt)
        ]
        return max(0.0, max(min(due), self._quiet_until_s) - self._now_s()) if due else None

    # --- one snippet ------------------------------------------------------------------------------

    def _advance(self, folder: Path, row: SyncRow, turn: _Round) -> None:
        if folder.name in turn.offsets:
            row = self._attempt(folder, row, turn, self._finish)
        if row.state is S.RECEIPTED:
            row = self._move(row, S.DELETABLE, reason="the server has it, verified")
        if row.state is S.DELETABLE and not self._settings.keep_after_receipt:
            self._delete(folder, row, turn.report)
        report = turn.report
        report.waiting += row.state is S.WAITING
        report.refused += row.state is S.REFUSED
        if row.state in (S.WAITING, S.REFUSED) and row.reason not in report.reasons:
            report.reasons.append(row.reason)

    def _has_come(self, time_s: float) -> bool:
        """It is time; a wait longer than we ever set means that the clock was moved."""
        left_s = time_s - self._now_s()
        return left_s <= 0 or left_s > 4 * self._settings.longest_wait_s

    def _attempt(self, folder: Path, row: SyncRow, turn: _Round, part: _Part) -> SyncRow:
        """Do a part of a delivery; what speaks against it becomes the snippet's state."""
        try:
            if turn.outage is not None:
                raise turn.outage  # nobody answered the one before: the others need not ask
            return part(folder, row, turn)
        except Refused as refusal:
            return self._move(read_row(self._spool, folder.name), S.REFUSED, reason=str(refusal))
        except Later as later:
            row = read_row(self._spool, folder.name)
            damage = _damage(folder) if later.suspect and row.attempts > 1 else None
            if damage is not None:
                return self._move(row, S.REFUSED, reason=damage)
            if later.outage:
                next_s = self._outage(later, turn)
            else:
                next_s = self._now_s() + self._wait_s(row.attempts, later.wait_s)
            return self._move(row, S.WAITING, reason=later.reason, next_try_s=next_s)

    def _outage(self, later: Later, turn: _Round) -> float:
        """When to try again what no snippet of this round can do; longer after each such round."""
        if turn.outage is None:
            turn.outage = later
            self._outages += 1
            self._quiet_until_s = self._now_s() + self._wait_s(self._outages, later.wait_s)
        return self._quiet_until_s

    def _begin(self, folder: Path, row: SyncRow, turn: _Round) -> SyncRow:
        """Announce it and send what lets it be seen; the rest follows when all others are so far."""
        self._require_leave()
        manifest = _manifest(folder)
        row = self._move(row, S.UPLOADING, reason="", attempts=row.attempts + 1)
        found = turn.uplink.announce(folder.name, manifest, self._signature(folder, manifest))
        self._outages = 0
        if isinstance(found, Receipt):
            return self._receipted(row, found, turn)
        self._send(folder, manifest, found, turn, previews=True)
        turn.offsets[folder.name] = found
        return row

    def _finish(self, folder: Path, row: SyncRow, turn: _Round) -> SyncRow:
        """Send what is left of it and have it verified."""
        self._require_leave()
        manifest = _manifest(folder)
        self._send(folder, manifest, turn.offsets[folder.name], turn, previews=False)
        row = self._move(row, S.VERIFYING)
        return self._receipted(row, turn.uplink.commit(folder.name, manifest), turn)

    def _require_leave(self) -> None:
        """Raises Later for all if now is not the time to send; it is looked at again in a minute."""
        if why := self._may_send():
            raise Later(why, _LOOK_AGAIN_S, outage=True)

    def _receipted(self, row: SyncRow, receipt: Receipt, turn: _Round) -> SyncRow:
        turn.report.receipts += 1
        return self._move(
            row, S.RECEIPTED, receipt=receipt.text, signature=receipt.signature, next_try_s=0.0
        )

    def _signature(self, folder: Path, manifest: bytes) -> str:
        """As it was signed when the snippet was written; signed now if nobody did so then."""
        try:
            signature = (folder / SIGNATURE).read_text()
        except FileNotFoundError:
            return self._identity.sign(PURPOSE, manifest)
        except (OSError, ValueError):
            signature = ""
        if not signed_by(self._identity.public_key, PURPOSE, manifest, signature):
            raise Refused(
                f"{folder / MANIFEST}: does not fit its signature; damaged on the glasses, or written "
                f"under another key (remove {SIGNATURE} to sign it as it is)"
            )
        return signature

    def _send(
        self,
        folder: Path,
        manifest: bytes,
        offsets: dict[str, int],
        turn: _Round,
        *,
        previews: bool,
    ) -> None:
        def count(sent: int) -> None:
            turn.report.sent_bytes += sent
            turn.progress(sent)

        names = [str(file["name"]) for file in json.loads(manifest)["files"]]
        for name in names:
            if (name.removesuffix(EXTENSION) in FIRST) is not previews:
                continue
            try:
                turn.uplink.send(folder, name, offsets.get(name, 0), count)
            except OSError as error:
                raise Refused(f"{folder / name}: cannot be read ({error})") from error

    def _tell(self, uplink: Uplink) -> None:
        """Let the server know where all stands; if it will not hear it, nothing is lost."""
        with suppress(Later, Refused):
            uplink.tell(dumps(sync_document(status(self._spool), self._now_s())).encode())

    def _wait_s(self, attempts: int, wish_s: float | None) -> float:
        longest = self._settings.longest_wait_s
        wait_s = min(longest, self._settings.first_wait_s * 2.0 ** min(max(0, attempts - 1), 30))
        return max(wait_s * self._random.uniform(0.5, 1.0), wish_s or 0.0)

    def _delete(self, folder: Path, row: SyncRow, report: SyncReport) -> None:
        """The only way a snippet leaves the glasses: its receipt, read again, fits what lies there."""
        try:
            given = {"receipt": row.receipt, "signature": row.signature}
            believe(given, _manifest(folder), self._credentials)
        except (Later, Refused):  # another server was paired meanwhile, or the snippet is another
            again = replace(row, state=S.QUEUED, receipt="", signature="", next_try_s=0.0)
            self._write(replace(again, reason="its receipt is not the paired server's; sent again"))
            return
        grave = self._spool / f".deleted-{folder.name}"
        with _storage(grave):
            folder.rename(grave)
            self._move(row, S.DELETED)
            shutil.rmtree(grave)
        report.deleted += 1

    # --- the journal ------------------------------------------------------------------------------

    def _move(self, row: SyncRow, state: SyncState, **changes: Any) -> SyncRow:
        if state not in MOVES[row.state]:
            raise AssertionError(f"no move from {row.state} to {state}")
        moved = replace(row, state=state, **changes)
        self._write(moved)
        return moved

    def _write(self, row: SyncRow) -> None:
        path = self._spool / JOURNAL / f"{row.snippet_id}.json"
        with _storage(path):
            write_private(path, json.dumps(asdict(row)).encode())

    def _sweep(self) -> None:
        """Finish a deletion that was killed between its rename and its end."""
        for grave in self._spool.glob(".deleted-*"):
            row = read_row(self._spool, grave.name.removeprefix(".deleted-"))
            with _storage(grave):
                if row.state is S.DELETED:
                    shutil.rmtree(grave)
                elif row.state is S.DELETABLE and not (self._spool / row.snippet_id).exists():
                    grave.rename(self._spool / row.snippet_id)  # deleted again, by the book

    @contextmanager
    def _alone(self) -> Iterator[None]:
        path = self._spool / JOURNAL / "lock"
        with _storage(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise SyncError(f"{self._spool}: another program is syncing this spool") from error
        finally:
            os.close(handle)


def _manifest(folder: Path) -> bytes:
    try:
        raw = (folder / MANIFEST).read_bytes()
        json.loads(raw)["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{folder / MANIFEST}: cannot be read ({error})") from error
    return raw


def _damage(folder: Path) -> str | None:
    """What is not as its manifest says, if anything: then sending it again cannot help."""
    for file in json.loads((folder / MANIFEST).read_bytes())["files"]:
        path = folder / file["name"]
        try:
            with path.open("rb") as handle:
                if hashlib.file_digest(handle, "sha256").hexdigest() != file["sha256"]:
                    return f"{path}: is not what its manifest says; damaged on the glasses"
        except OSError as error:
            return f"{path}: cannot be read ({error.strerror})"
    return None


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); free some space or check the folder"
        ) from error
