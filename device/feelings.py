"""Leaving nothing of feelings behind on the glasses.

Gone afterwards: the personal file with all its versions, what corrections said of feelings, the emotion of
every snippet still waiting here and of the records of sessions (beside the spool, and in `sessions/` beside
it), whole moments that were kept for nothing but an emotion, and what a killed program left of a snippet
half written or half deleted. What is sealed cannot be opened here: it is counted, and removed only if asked.
What the server holds is the server's to erase. Recordings hold eye video, as they always did, but no feeling.

A run that goes on meanwhile knows feelings of before, and what it estimates rests on them; so until it ends
it writes no feelings any more (`Witness`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from device import feedback, personal
from device.codec import dumps
from device.sealing import EXTENSION, Protection
from device.spool import (
    MANIFEST,
    MOMENT,
    SIGNATURE,
    atomic_write,
    make_manifest,
    snippet_folders,
    stored_file,
)

NETWORKS = ("eye_emotion", "affect", "emoship")
REASON = "emotion"
RECORDS = "moments.json"


@dataclass(slots=True)
class Erased:
    """What went, and what could not be reached."""

    personal_files: int = 0
    corrections: int = 0
    snippets: int = 0
    """Of which the emotion was removed."""
    moments: int = 0
    """Removed whole: they were kept for an emotion alone."""
    leftovers: int = 0
    """Snippets half written or half deleted; removed whole."""
    sealed_removed: int = 0
    sealed_left: int = 0
    """Sealed snippets and records that may hold an emotion, and are only readable at home."""


class Witness:
    """Of one run: whether feelings were erased since it began."""

    def __init__(self, home: Path) -> None:
        """Make it before anything personal is read. Raises StorageError."""
        self._home = home
        with personal.locked(home) as mark:
            self._began = mark

    @contextmanager
    def still(self) -> Iterator[bool]:
        """Whether the run may still write feelings. Nothing is erased until the block ends."""
        with personal.locked(self._home) as mark:
            yield mark == self._began

    @contextmanager
    def allowed(self, record: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        """A moment's record as it may be written within the block; None: not at all."""
        with self.still() as still:
            yield record if still else next(iter(left([record])), None)


def left(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records of moments with nothing of feelings; those kept for an emotion alone are left out."""
    return [without(r) for r in records if set(r.get("reasons", ())) != {REASON}]


def erase(home: Path, spool: Path, protection: Protection, *, with_sealed: bool = False) -> Erased:
    """Erase; see the module. A run that goes on is waited for while it writes. Raises StorageError."""
    with personal.locked(home):  # whatever is written afterwards has seen the mark
        done = Erased(personal_files=personal.erase(home), corrections=_forget_corrections(home))
        for leftover in (p for name in (".writing-*", ".deleted-*") for p in spool.glob(name)):
            shutil.rmtree(leftover)
            done.leftovers += 1
    for folder in snippet_folders(spool):
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if "sealed_to" in manifest:
            done.sealed_removed += with_sealed
            done.sealed_left += not with_sealed
            if with_sealed:
                shutil.rmtree(folder)
            continue
        record = json.loads((folder / MOMENT).read_text(encoding="utf-8"))
        if not _feels(record):
            continue
        if set(record.get("reasons", ())) == {REASON}:
            shutil.rmtree(folder)
            done.moments += 1
            continue
        _rewrite(folder, without(record), protection)
        done.snippets += 1
    for folder in (spool.parent, *(spool.parent / "sessions").glob("*/")):
        _clean_records(folder / RECORDS, done, with_sealed=with_sealed)
    return done


def _clean_records(path: Path, done: Erased, *, with_sealed: bool) -> None:
    """A session's list of moments, plain or sealed."""
    closed = path.with_name(path.name + EXTENSION)
    if closed.is_file():
        done.sealed_removed += with_sealed
        done.sealed_left += not with_sealed
        if with_sealed:
            closed.unlink()
    if path.is_file():
        records = json.loads(path.read_text(encoding="utf-8"))
        kept = left(records)
        if kept != records:
            atomic_write(path, dumps(kept).encode())


def without(record: Mapping[str, Any]) -> dict[str, Any]:
    """A moment's record with nothing of feelings in it."""
    evidence = dict(record.get("evidence", {}))
    changes = evidence.get("changes", [])
    evidence["changes"] = [c for c in changes if "non-neutral" not in str(c.get("why", ""))]
    models = {n: m for n, m in record.get("models", {}).items() if n not in NETWORKS}
    reasons = [r for r in record.get("reasons", ()) if r != REASON]
    return {**record, "emotion": None, "reasons": reasons, "models": models, "evidence": evidence}


def _feels(record: Mapping[str, Any]) -> bool:
    return without(record) != {**record, "evidence": {"changes": [], **record.get("evidence", {})}}


def _rewrite(folder: Path, record: dict[str, Any], protection: Protection) -> None:
    """The manifest last: until then the old one no longer fits, and nothing unfit is sent."""
    atomic_write(folder / MOMENT, dumps(record).encode())
    skip = {MANIFEST, SIGNATURE}
    files = [asdict(stored_file(p)) for p in sorted(folder.iterdir()) if p.name not in skip]
    manifest = dumps(make_manifest(files, record)).encode()
    (folder / SIGNATURE).unlink(missing_ok=True)
    atomic_write(folder / MANIFEST, manifest)
    if protection.sign is not None:
        atomic_write(folder / SIGNATURE, protection.sign(manifest).encode())


def _forget_corrections(home: Path) -> int:
    """Corrections of feelings keep their number only, so that they are not fetched again; others lose what
    was thought of the feeling."""
    items = feedback.read(home)
    felt = [i for i in items if i.get("kind") == "emotion"]
    if items:
        kept = [
            {"number": i["number"], "kind": "erased"}
            if i.get("kind") == "emotion"
            else {k: v for k, v in i.items() if k not in ("emotion", "probabilities")}
            for i in items
        ]
        text = "".join(json.dumps(item, sort_keys=True) + "\n" for item in kept)
        atomic_write(home / feedback.NAME, text.encode())
    return len(felt)
