"""Taking a snippet over from the glasses: announced, uploaded, verified, stored, receipted.

The order makes every crash harmless: (1) each file is on the disk and its hash is checked by reading
it back; (2) the receipt is written beside the files; (3) the folder is renamed into the store; (4) the
index takes it up; (5) only then the receipt is answered. A crash after (3) is mended by whoever asks
next, or at the next start; a second commit answers the same receipt, byte for byte.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from server import record
from server.checking import faults
from server.disk import flush, locked, sha256_of, write_durably, write_whole
from server.entries import moment_key
from server.index import Index
from server.keys import MANIFEST as MANIFEST_PURPOSE
from server.keys import ServerKey, signed_by
from server.manifest import (
    CUSTODY,
    MANIFEST,
    RELEASED,
    SIGNATURE,
    Manifest,
    SealedFile,
    parse,
)
from server.marks import Marks
from server.media import MediaFolder
from server.problems import Problem
from server.receipts import Receipt, same, sign
from server.sealing import SealKey, fresh_folder
from server.settings import ServerSettings

log = logging.getLogger("beheld.server")
_BATCH = 100  # snippets that are indexed in one transaction


@dataclass(frozen=True, slots=True)
class Arriving:
    """Where each file of an announced snippet stands."""

    snippet_id: str
    offsets: dict[str, int]


class Custody:
    """Everything between a signed manifest and a signed receipt."""

    def __init__(
        self,
        settings: ServerSettings,
        media: MediaFolder,
        index: Index,
        key: ServerKey,
        seal_key: SealKey,
        *,
        arrived: Callable[[str, str], None] = lambda device_id, snippet_id: None,
        indexed: Callable[[], None] = lambda: None,
        marks: Marks,
    ) -> None:
        """`arrived` may change a stored snippet before it is indexed; `indexed` hears of each one."""
        self._arrived = arrived
        self._indexed = indexed
        self._marks = marks
        self._settings = settings
        self._media = media
        self._index = index
        self._key = key
        self._seal_key = seal_key

    def announce(
        self, device_id: str, public_key: str, snippet_id: str, raw: bytes, signature: str
    ) -> Receipt | Arriving:
        """Take a signed manifest. A snippet already stored answers with its receipt."""
        manifest = parse(raw, self._settings)
        if manifest.snippet_id != snippet_id:
            raise Problem(
                422, "bad-manifest", "the manifest names another snippet than the address"
            )
        if not signed_by(public_key, MANIFEST_PURPOSE, raw, signature):
            raise Problem(
                422, "bad-signature", "the manifest is not signed by the key of this device"
            )
        known = self.receipt(device_id, snippet_id)
        if known is not None:
            return same(known, manifest)
        if manifest.sealed_to not in ("", self._seal_key.recipient):
            raise Problem(
                422,
                "sealed-to-another",
                "this is sealed to another key than this server's; open it with the key it was sealed "
                "to ('beheld seal open') and send what comes of it",
            )
        self._require_quota(device_id, manifest)
        self._media.announce(device_id, manifest, signature)
        return self.arriving(device_id, manifest)

    def arriving(self, device_id: str, manifest: Manifest) -> Arriving:
        offsets = {
            file.name: self._media.offset(device_id, manifest.snippet_id, file.name)
            for file in manifest.files
        }
        return Arriving(snippet_id=manifest.snippet_id, offsets=offsets)

    def manifest(self, device_id: str, snippet_id: str) -> Manifest:
        """The manifest of an arriving or stored snippet. Raises Problem 404."""
        try:
            raw = (self._media.arriving(device_id, snippet_id) / MANIFEST).read_bytes()
        except FileNotFoundError:
            try:
                raw = self._media.kept.read(device_id, snippet_id, MANIFEST)
            except FileNotFoundError as error:
                raise Problem(
                    404, "no-such-upload", "announce the snippet's manifest first"
                ) from error
        return parse(raw, self._settings)

    def receipt(self, device_id: str, snippet_id: str) -> Receipt | None:
        """The receipt given before, if any; finishes a commit that a crash cut short."""
        known = self._index.receipt(device_id, snippet_id)
        if known is not None:
            return Receipt(*known)
        if self._media.kept.has(device_id, snippet_id, CUSTODY):
            return self.adopt(device_id, snippet_id)
        return None

    def commit(self, device_id: str, public_key: str, snippet_id: str) -> Receipt:
        """Verify, store, index, and only then sign for it. Problem 409 or 422 if it is not so far."""
        known = self.receipt(device_id, snippet_id)
        if known is not None:
            return known
        folder = self._media.arriving(device_id, snippet_id)
        with locked(folder):
            manifest = parse((folder / MANIFEST).read_bytes(), self._settings)
            signature = (folder / SIGNATURE).read_text()
            if not signed_by(public_key, MANIFEST_PURPOSE, manifest.raw, signature):
                raise Problem(422, "bad-signature", "the manifest is not signed by this device")
            self._verify(folder, manifest)
            opened = self._open(folder, manifest) if manifest.sealed_to else None
            receipt = sign(self._key, device_id, manifest)
            custody = {
                "format": 1,
                "device_id": device_id,
                "device_public_key": public_key,
                "manifest_signature": signature,
                **receipt.document(),
            }
            write_whole(
                (opened or folder) / CUSTODY, json.dumps(custody, indent=1).encode(), flushed=True
            )  # and its name, with the folder
            self._media.store(device_id, snippet_id, opened)
        return self.adopt(device_id, snippet_id)

    def adopt(self, device_id: str, snippet_id: str) -> Receipt:
        """Take a stored snippet into the index (again); the receipt beside it is the one answered."""
        kept = self._media.kept
        custody = json.loads(kept.read(device_id, snippet_id, CUSTODY))
        manifest = parse(kept.read(device_id, snippet_id, MANIFEST), self._settings)
        receipt = Receipt(custody["receipt"], custody["signature"])
        promised = json.loads(receipt.receipt)
        self._arrived(device_id, snippet_id)
        self._index.take(
            device_id,
            manifest,
            self._media.record(device_id, snippet_id),
            released=frozenset(self._media.note(device_id, snippet_id, RELEASED)),
            receipt=(receipt.receipt, receipt.signature),
            received_utc=promised["received_utc"],
        )
        self._marks.recall(device_id, snippet_id)
        self._indexed()
        return receipt

    def reconcile(self, progress: Callable[[int], None] = lambda done: None) -> int:
        """Index every stored snippet the index does not know; says how many.

        Also finishes what was begun of erasing, and knows the receipts of the erased again. What cannot
        be read is passed over: `check` names it, and everything else is there.
        """
        known = self._index.known()
        self._remember_erased(known)
        count = 0
        missing = (one for one in self._media.kept.everything() if one not in known)
        while some := list(islice(missing, _BATCH)):
            with self._index.together():
                for device_id, snippet_id in some:
                    count += self._adopted(device_id, snippet_id)
            progress(count)
        for number, device_id, snippet_id, received_utc in self._index.unfilled():
            raw = self._media.record(device_id, snippet_id)
            found = record.read(raw, session_id="", fallback_utc=received_utc)
            self._index.fill(number, raw, found)
        return count

    def _adopted(self, device_id: str, snippet_id: str) -> bool:
        try:
            if not self._media.kept.has(device_id, snippet_id, CUSTODY):
                return False
            self.adopt(device_id, snippet_id)
        except (OSError, ValueError, KeyError, TypeError, Problem):
            log.warning("a stored snippet cannot be read; 'beheld server check' names it")
            return False
        return True

    def _remember_erased(self, known: set[tuple[str, str]]) -> None:
        for device_id, snippet_id, note in self._media.kept.buried():
            left = json.loads(note)
            self._index.take_receipt(device_id, snippet_id, (left["receipt"], left["signature"]))
            self._marks.recall_erased(device_id, snippet_id, left)
            if (device_id, snippet_id) in known or self._media.kept.has(
                device_id, snippet_id, CUSTODY
            ):
                self.erase(device_id, snippet_id)

    def erase(
        self, device_id: str, snippet_id: str, feedback: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Let a moment and its files go. The receipt stays, so the glasses do not send it again.

        `feedback` is what the glasses were told of it, and stays as well.
        """
        receipt = self.receipt(device_id, snippet_id)
        if (
            receipt is not None
        ):  # remembered first: a crash from here on is mended at the next start
            note = json.dumps({**receipt.document(), "feedback": list(feedback)})
            self._media.kept.bury(device_id, snippet_id, note.encode())
        self._media.kept.remove(device_id, snippet_id)
        self._index.forget(moment_key(device_id, snippet_id))

    def check(self, progress: Callable[[int], None] = lambda done: None) -> list[str]:
        """Read back every stored byte; one line for each thing that is not as it was signed for."""
        found = []
        for number, (device_id, snippet_id) in enumerate(self._media.kept.everything()):
            found += [f"{device_id}/{snippet_id}: {f}" for f in self.faults(device_id, snippet_id)]
            progress(number + 1)
        return found

    def faults(self, device_id: str, snippet_id: str) -> list[str]:
        """What of one stored snippet is not as it was signed for."""
        return faults(self._media, self._settings, device_id, snippet_id)

    def _verify(self, folder: Path, manifest: Manifest) -> None:
        sizes = {file.name: (folder / file.name).stat().st_size for file in manifest.files}
        if any(sizes[file.name] != file.bytes for file in manifest.files):
            there = ", ".join(f"{f.name} {sizes[f.name]}/{f.bytes}" for f in manifest.files)
            raise Problem(409, "incomplete", f"not all bytes have come: {there}")
        flush(folder / MANIFEST)
        for file in manifest.files:
            flush(folder / file.name)  # bytes of a request that was killed were never flushed
            if sha256_of(folder / file.name) != file.sha256:
                with (folder / file.name).open("r+b") as damaged:
                    damaged.truncate(0)
                raise Problem(
                    422,
                    "hash-mismatch",
                    f"{file.name} is not what its manifest says; send it again",
                )

    def _open(self, folder: Path, manifest: Manifest) -> Path:
        """The plain files in a folder of their own, checked and durable. Problem 422 or 507."""
        self._media.require_room(manifest.bytes)
        opened = fresh_folder(folder.with_name(f".opened-{folder.name}"))
        for file in manifest.files:
            assert isinstance(file, SealedFile)  # as the manifest was parsed
            self._seal_key.open(folder / file.name, opened, file)
        write_durably(opened / MANIFEST, manifest.raw)
        return opened

    def _require_quota(self, device_id: str, manifest: Manifest) -> None:
        """What is stored, what others have announced, and this must fit together. Problem 507."""
        quota = self._settings.quota_mb << 20
        if not quota:
            return
        others = self._media.announced_bytes(but=(device_id, manifest.snippet_id))
        if self._index.stored_bytes() + others + manifest.bytes > quota:
            raise Problem(
                507,
                "quota",
                f"the owner allows {self._settings.quota_mb} MiB and this would exceed it; "
                "raise quota_mb or let old moments go",
            )
