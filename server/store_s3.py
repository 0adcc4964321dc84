"""Snippets in an S3-compatible store, for many wearers and several server processes.

    <prefix>/media/<device>/<snippet>/<file>
    <prefix>/erased/<device>/<snippet>

An object is durable and whole, or not there, when its PUT is answered. `custody.json` is put last and
deleted first, so a snippet that was cut short on its way in or out is never taken for a stored one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from server.disk import sync_folder
from server.manifest import CUSTODY, safe_name
from server.problems import ServerError

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

_READ_BYTES = 1 << 20


class ObjectStore:
    """A bucket, or a folder in it. Keys and region come from the usual AWS_ variables."""

    def __init__(self, url: str, endpoint: str = "") -> None:
        """`url` is `s3://bucket/prefix`. Raises ServerError if it cannot be reached or written."""
        try:
            import obstore
            from obstore.exceptions import BaseError
            from obstore.store import S3Store
        except ModuleNotFoundError as error:
            raise ServerError(
                "an S3 store needs the extra 's3' (pip install 'beheld[server,s3]')"
            ) from error
        options: S3Config = {"endpoint": endpoint} if endpoint else {}
        plain_http = endpoint.startswith("http://")
        try:
            self._store: S3Store = S3Store.from_url(
                url,
                config=options,
                client_options={"allow_http": plain_http, "timeout": "60s"},
                retry_config={"max_retries": 4},
            )
            obstore.put(self._store, "beheld", b"Beheld keeps moments here\n")
        except (BaseError, OSError, ValueError) as error:
            why = str(error).strip().splitlines()[0][:200]
            raise ServerError(
                f"{url}: the store cannot be written ({why}); check --media-url, --media-endpoint "
                "and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION"
            ) from error
        self._do = obstore

    def take(self, device_id: str, snippet_id: str, folder: Path) -> None:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        for path in sorted(files, key=lambda path: path.name == CUSTODY):  # custody last
            self._do.put(self._store, _key(device_id, snippet_id, path.name), path)
        shutil.rmtree(folder)
        sync_folder(folder.parent)

    def has(self, device_id: str, snippet_id: str, name: str) -> bool:
        try:
            self._do.head(self._store, _key(device_id, snippet_id, name))
        except FileNotFoundError:
            return False
        return True

    def read(self, device_id: str, snippet_id: str, name: str) -> bytes:
        return bytes(self._do.get(self._store, _key(device_id, snippet_id, name)).bytes())

    def write(self, device_id: str, snippet_id: str, name: str, data: bytes) -> None:
        self._do.put(self._store, _key(device_id, snippet_id, name), data)

    def sizes(self, device_id: str, snippet_id: str) -> dict[str, int]:
        prefix = _key(device_id, snippet_id)
        found = {key[len(prefix) + 1 :]: size for key, size in self._listed(prefix)}
        if not found:
            raise FileNotFoundError(prefix)
        return found

    def blocks(
        self, device_id: str, snippet_id: str, name: str, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        key = _key(device_id, snippet_id, name)
        if end is None:
            end = int(self._do.head(self._store, key)["size"])
        if start >= end:
            return
        got = self._do.get(self._store, key, options={"range": (start, end)})
        for block in got.stream(min_chunk_size=_READ_BYTES):
            yield bytes(block)

    def path(self, device_id: str, snippet_id: str, name: str) -> Path | None:
        return None

    def drop(self, device_id: str, snippet_id: str, name: str) -> None:
        self._delete([_key(device_id, snippet_id, name)])

    def remove(self, device_id: str, snippet_id: str) -> None:
        self._delete([_key(device_id, snippet_id, CUSTODY)])
        self._delete([key for key, _ in self._listed(_key(device_id, snippet_id))])

    def everything(self) -> Iterator[tuple[str, str]]:
        found = {tuple(key.split("/")[1:3]) for key, _ in self._listed("media")}
        yield from sorted((device_id, snippet_id) for device_id, snippet_id in found)

    def bury(self, device_id: str, snippet_id: str, note: bytes) -> None:
        key = f"erased/{safe_name(device_id)}/{safe_name(snippet_id)}"
        self._do.put(self._store, key, note)

    def buried(self) -> Iterator[tuple[str, str, bytes]]:
        for key, _ in sorted(self._listed("erased")):
            _, device_id, snippet_id = key.split("/")
            yield device_id, snippet_id, bytes(self._do.get(self._store, key).bytes())

    def clear(self) -> None:
        keys = [key for root in ("media", "erased") for key, _ in self._listed(root)]
        self._delete(sorted(keys, key=lambda key: not key.endswith(f"/{CUSTODY}")))

    def _listed(self, prefix: str) -> Iterator[tuple[str, int]]:
        for page in self._do.list(self._store, prefix=f"{prefix}/"):
            for item in page:
                yield item["path"], int(item["size"])

    def _delete(self, keys: list[str]) -> None:
        try:
            if keys:
                self._do.delete(self._store, keys)
        except FileNotFoundError:
            return


def _key(device_id: str, snippet_id: str, *names: str) -> str:
    return "/".join(("media", *(safe_name(part) for part in (device_id, snippet_id, *names))))
