"""Everything out, and everything gone: export as plain files, erase with a look at what is left."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import text

from server.access import Services
from server.disk import sync_folder
from server.entries import Entry
from server.migrations import is_postgres
from server.problems import ServerError
from server.settings import ServerSettings

LOCK = "serving.lock"
README = """Everything a Beheld server kept, as plain files.

moments/<day>/<time> <what> <id>/  one moment: its video, thumbnail, record (moment.json), what the glasses
                                   signed (manifest.json), the receipt (custody.json), what you said of it
                                   (marks.json), and what retention let go of it (released.json)
moments.json                       one list of all of them
devices.json                       the glasses that were paired
erased/                            receipts of moments you erased
SHA256SUMS                         check with: sha256sum -c SHA256SUMS
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """How much was written, and which files are not what the glasses signed."""

    moments: int
    files: int
    bytes: int
    faults: tuple[str, ...]


@contextmanager
def serving(data_dir: Path) -> Iterator[None]:
    """Held by every running server, together."""
    with _lock_file(data_dir, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """No server runs over the folder while the block does. Raises ServerError if one does."""
    with _lock_file(data_dir, fcntl.LOCK_EX):
        yield


def export(
    services: Services, target: Path, progress: Callable[[int], None] = lambda done: None
) -> Exported:
    """Write everything to an empty or new folder; says how much it was and what of it is damaged.

    Raises ServerError if the folder is not empty.
    """
    if target.exists() and any(target.iterdir()):
        raise ServerError(f"{target}: is not empty; name a new folder")
    target.mkdir(parents=True, exist_ok=True)
    entries = _all_entries(services)
    sums: list[str] = []
    faults: list[str] = []
    size = 0
    for number, entry in enumerate(entries):
        folder = target / "moments" / entry.local_day / _folder_name(entry)
        folder.mkdir(parents=True)
        found = services.custody.faults(entry.device_id, entry.snippet_id)
        faults += [f"{folder.relative_to(target)}: {fault}" for fault in found]
        for name in services.media.kept.sizes(entry.device_id, entry.snippet_id):
            digest, copied = _copy(services, entry, name, folder / name)
            size += copied
            sums.append(f"{digest}  {(folder / name).relative_to(target)}")
        progress(number + 1)
    for device_id, snippet_id, note in services.media.kept.buried():
        place = target / "erased" / device_id
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{snippet_id}.json").write_bytes(note)
    listed = [{**asdict(entry), "folder": _folder_name(entry)} for entry in entries]
    (target / "moments.json").write_text(json.dumps(listed, indent=1))
    devices = [asdict(device) for device in services.glasses.all()]
    (target / "devices.json").write_text(json.dumps(devices, indent=1))
    (target / "SHA256SUMS").write_text("".join(f"{line}\n" for line in sums))
    (target / "README.txt").write_text(README)
    return Exported(moments=len(entries), files=len(sums), bytes=size, faults=tuple(faults))


def erase(settings: ServerSettings, services: Services) -> list[str]:
    """Let go of everything: media, index, keys, copies; answers what is left, which must be nothing.

    Raises ServerError while a server runs over the folder. The data folder itself stays, empty. Blocks
    of a disk that were written stay readable to who takes it apart, as with any deletion.
    """
    with alone(settings.data_dir):
        services.media.kept.clear()
        left = [f"{device}/{snippet}" for device, snippet in services.media.kept.everything()]
        left += [
            f"erased {device}/{snippet}" for device, snippet, _ in services.media.kept.buried()
        ]
        with services.database.write() as db:
            if is_postgres(db):
                tables = db.execute(
                    text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
                ).scalars()
                for table in list(tables):
                    db.execute(text(f'DROP TABLE "{table}" CASCADE'))
                left += db.execute(
                    text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
                ).scalars()
        services.database.close()
        for path in settings.data_dir.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        sync_folder(settings.data_dir)
    return left + [str(path) for path in settings.data_dir.iterdir()]


def _all_entries(services: Services) -> list[Entry]:
    entries: list[Entry] = []
    cursor: str | None = None
    while True:
        page = services.index.select(cursor=cursor, limit=500)
        entries += page.entries
        cursor = page.next_cursor
        if cursor is None:
            return entries[::-1]


def _folder_name(entry: Entry) -> str:
    title = "".join(c if c.isalnum() else " " for c in entry.title).split()
    what = " ".join(title)[:40]
    return " ".join(filter(None, (entry.local_time.replace(":", "."), what, entry.key[:8])))


def _copy(services: Services, entry: Entry, name: str, target: Path) -> tuple[str, int]:
    """SHA-256 and size of a file that was copied."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        for block in services.media.kept.blocks(entry.device_id, entry.snippet_id, name):
            digest.update(block)
            size += file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), size


@contextmanager
def _lock_file(data_dir: Path, how: int) -> Iterator[None]:
    handle = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServerError(f"{data_dir}: a server is running over it; stop it first") from error
        yield
    finally:
        os.close(handle)
