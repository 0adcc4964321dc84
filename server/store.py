"""Where verified snippets are kept: the protocol, and the folder that is the default.

    media/<device>/<snippet>/     the snippet's files, manifest.json, custody.json, marks.json
    erased/<device>/<snippet>     the receipt of a moment its owner erased, and nothing of the moment

`custody.json` arrives last and leaves first: a snippet without it is not there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from server.disk import sync_folder, write_durably
from server.manifest import safe_name

_READ_BYTES = 1 << 20


class MediaStore(Protocol):
    """Complete snippets. What is written is durable when the call returns.

    Reading what is not there raises FileNotFoundError; names that are none raise Problem 422.
    """

    def take(self, device_id: str, snippet_id: str, folder: Path) -> None:
        """Move a verified folder into the store; afterwards `folder` is gone."""

    def has(self, device_id: str, snippet_id: str, name: str) -> bool: ...

    def read(self, device_id: str, snippet_id: str, name: str) -> bytes: ...

    def write(self, device_id: str, snippet_id: str, name: str, data: bytes) -> None:
        """Put a sidecar beside the files, or replace it in one step."""

    def sizes(self, device_id: str, snippet_id: str) -> dict[str, int]:
        """Bytes of every file that is there, by name."""

    def blocks(
        self, device_id: str, snippet_id: str, name: str, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        """The bytes from `start` up to, not including, `end`."""

    def path(self, device_id: str, snippet_id: str, name: str) -> Path | None:
        """The file itself where it is one on this machine, else None."""

    def drop(self, device_id: str, snippet_id: str, name: str) -> None:
        """Let one file go; nothing happens if it is gone."""

    def remove(self, device_id: str, snippet_id: str) -> None:
        """Let a whole snippet go; nothing happens if it is gone."""

    def everything(self) -> Iterator[tuple[str, str]]:
        """(device id, snippet id) of every stored snippet, in a stable order."""

    def bury(self, device_id: str, snippet_id: str, note: bytes) -> None:
        """Remember what the owner erased."""

    def buried(self) -> Iterator[tuple[str, str, bytes]]:
        """(device id, snippet id, note) of all that was erased."""

    def clear(self) -> None:
        """Everything goes: snippets and what is remembered of erased ones."""


class FolderStore:
    """Plain files, readable without Beheld; a snippet appears and goes by one rename."""

    def __init__(self, root: Path) -> None:
        self.media, self.erased = root / "media", root / "erased"
        for folder in (self.media, self.erased):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def folder(self, device_id: str, snippet_id: str) -> Path:
        return self.media / safe_name(device_id) / safe_name(snippet_id)

    def take(self, device_id: str, snippet_id: str, folder: Path) -> None:
        target = self.folder(device_id, snippet_id)
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(self.media)
        sync_folder(folder)
        folder.rename(target)
        sync_folder(target.parent)
        sync_folder(folder.parent)

    def has(self, device_id: str, snippet_id: str, name: str) -> bool:
        return self.path(device_id, snippet_id, name) is not None

    def read(self, device_id: str, snippet_id: str, name: str) -> bytes:
        return (self.folder(device_id, snippet_id) / safe_name(name)).read_bytes()

    def write(self, device_id: str, snippet_id: str, name: str, data: bytes) -> None:
        write_durably(self.folder(device_id, snippet_id) / safe_name(name), data)

    def sizes(self, device_id: str, snippet_id: str) -> dict[str, int]:
        folder = self.folder(device_id, snippet_id)
        return {path.name: path.stat().st_size for path in folder.iterdir()}

    def blocks(
        self, device_id: str, snippet_id: str, name: str, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        with (self.folder(device_id, snippet_id) / safe_name(name)).open("rb", buffering=0) as file:
            left = (file.seek(0, 2) if end is None else end) - file.seek(start)
            while left > 0 and (block := file.read(min(left, _READ_BYTES))):
                left -= len(block)
                yield block

    def path(self, device_id: str, snippet_id: str, name: str) -> Path | None:
        path = self.folder(device_id, snippet_id) / safe_name(name)
        return path if path.is_file() else None

    def drop(self, device_id: str, snippet_id: str, name: str) -> None:
        folder = self.folder(device_id, snippet_id)
        (folder / safe_name(name)).unlink(missing_ok=True)
        if folder.is_dir():
            sync_folder(folder)

    def remove(self, device_id: str, snippet_id: str) -> None:
        folder = self.folder(device_id, snippet_id)
        if folder.is_dir():
            grave = folder.with_name(f".erased-{folder.name}")
            folder.rename(grave)
            sync_folder(folder.parent)
            shutil.rmtree(grave)

    def everything(self) -> Iterator[tuple[str, str]]:
        for device in sorted(path for path in self.media.iterdir() if path.is_dir()):
            for folder in sorted(path for path in device.iterdir() if path.is_dir()):
                if not folder.name.startswith("."):
                    yield device.name, folder.name

    def bury(self, device_id: str, snippet_id: str, note: bytes) -> None:
        folder = self.erased / safe_name(device_id)
        folder.mkdir(exist_ok=True, mode=0o700)
        sync_folder(self.erased)
        write_durably(folder / safe_name(snippet_id), note)

    def buried(self) -> Iterator[tuple[str, str, bytes]]:
        for path in sorted(self.erased.glob("*/[!.]*")):
            yield path.parent.name, path.name, path.read_bytes()

    def clear(self) -> None:
        for folder in (self.media, self.erased):
            for inside in folder.iterdir():
                shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
            sync_folder(folder)
