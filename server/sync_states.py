"""Where the snippets on each pair of glasses stand, as the glasses told last; and what is on its way here.

The glasses keep the truth (`beheld sync status`); this is for the owner's page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import text

from device.types import StoredFile
from server import record as records
from server.database import Database
from server.manifest import MANIFEST, MOMENT, THUMBNAIL, Manifest, SealedFile, parse
from server.media import MediaFolder
from server.problems import Problem
from server.sealing import SealKey
from server.settings import ServerSettings

MAX_STATE_BYTES = 256 << 10
_MOST_BYTES = 32 << 20  # of a record or a picture; it is read whole


class SnippetStanding(BaseModel):
    """One snippet on the glasses."""

    snippet_id: str = Field(max_length=100)
    state: str = Field(max_length=20, examples=["waiting"])
    reason: str = Field(max_length=1000, examples=["the server cannot be reached (timed out)"])
    attempts: int = Field(examples=[3])
    next_step: str = Field(max_length=200, examples=["is tried again by itself"])
    next_try_utc: str | None = Field(max_length=40, examples=["2026-05-04T07:55:10+00:00"])


class SyncStanding(BaseModel):
    """What a pair of glasses told of its spool after its last round."""

    at_utc: str = Field(max_length=40, examples=["2026-05-04T07:54:31+00:00"])
    counts: dict[str, int] = Field(examples=[{"waiting": 1, "deleted": 12}])
    snippets: list[SnippetStanding] = Field(max_length=1000)


@dataclass(frozen=True, slots=True)
class Preview:
    """A snippet on its way here whose record (and picture, if it has one) has come."""

    device_id: str
    snippet_id: str
    record: records.Record
    has_thumbnail: bool
    come_bytes: int
    bytes: int


class SyncStates:
    """Reads and writes of `devices.sync_state`; looks into the folder of arriving snippets."""

    def __init__(
        self, database: Database, media: MediaFolder, seal_key: SealKey, settings: ServerSettings
    ) -> None:
        self._db = database
        self._media = media
        self._seal_key = seal_key
        self._settings = settings

    def take(self, device_id: str, raw: bytes) -> None:
        """Remember what the glasses told. Raises Problem 413 or 422."""
        if len(raw) > MAX_STATE_BYTES:
            raise Problem(413, "state-too-large", f"a state may have {MAX_STATE_BYTES >> 10} KiB")
        try:
            told = SyncStanding.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise Problem(422, "bad-state", f"{where or 'the state'}: {first['msg']}") from error
        with self._db.write() as db:
            db.execute(
                text("UPDATE devices SET sync_state = :state WHERE id = :id"),
                {"state": told.model_dump_json(), "id": device_id},
            )

    def all(self) -> dict[str, SyncStanding]:
        """What each pair of glasses told last."""
        with self._db.read() as db:
            rows = db.execute(
                text("SELECT id, sync_state FROM devices WHERE sync_state IS NOT NULL")
            ).all()
        return {str(row[0]): SyncStanding.model_validate_json(row[1]) for row in rows}

    def previews(self) -> list[Preview]:
        """Snippets on their way whose record has come whole, the newest moment first."""
        found = (self._preview(folder) for folder in sorted(self._media.incoming.glob("*/[!.]*")))
        return sorted(filter(None, found), key=lambda p: p.record.start_utc, reverse=True)

    def thumbnail(self, device_id: str, snippet_id: str) -> bytes:
        """The picture of an arriving snippet. Raises Problem 404."""
        folder = self._media.arriving(device_id, snippet_id)
        manifest = self._manifest(folder)
        data = None if manifest is None else self._whole(folder, manifest, THUMBNAIL)
        if data is None:
            raise Problem(404, "no-such-preview", "no picture of it has come (or all of it has)")
        return data

    def _preview(self, folder: Path) -> Preview | None:
        manifest = self._manifest(folder)
        data = None if manifest is None else self._whole(folder, manifest, MOMENT)
        if manifest is None or data is None:
            return None
        come = {path.name: path.stat().st_size for path in _files(folder)}
        picture = _travelling(manifest, THUMBNAIL)
        return Preview(
            device_id=folder.parent.name,
            snippet_id=folder.name,
            record=records.read(
                records.parse(data),
                session_id=manifest.session_id,
                fallback_utc=manifest.created_utc,
            ),
            has_thumbnail=picture is not None and come.get(picture.name) == picture.bytes,
            come_bytes=sum(come.get(file.name, 0) for file in manifest.files),
            bytes=manifest.bytes,
        )

    def _manifest(self, folder: Path) -> Manifest | None:
        try:
            return parse((folder / MANIFEST).read_bytes(), self._settings)
        except (OSError, Problem):
            return None

    def _whole(self, folder: Path, manifest: Manifest, name: str) -> bytes | None:
        """A file of it, opened if it is sealed, if it is here and as its manifest says."""
        file = _travelling(manifest, name)
        if file is None or file.bytes > _MOST_BYTES:
            return None
        try:
            data = (folder / file.name).read_bytes()
        except OSError:
            return None  # just moved into the store
        if hashlib.sha256(data).hexdigest() != file.sha256:
            return None
        return self._seal_key.opened(data) if isinstance(file, SealedFile) else data


def _travelling(manifest: Manifest, name: str) -> StoredFile | None:
    """The file by its plain name, as it travels; None if the snippet has none."""
    for file in manifest.files:
        if (file.plain.name if isinstance(file, SealedFile) else file.name) == name:
            return file
    return None


def _files(folder: Path) -> Iterator[Path]:
    try:
        yield from (path for path in folder.iterdir() if path.is_file())
    except FileNotFoundError:
        return
