"""One PATCH as it arrives: opened, appended to block by block, and closed, each in a worker thread.

The locks are the system's, so what a thread opens another may close.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from server.custody import Custody
from server.media import MediaFolder
from server.problems import Problem

Check = tuple[Any, bytes]
"""A running digest, and what it must come to."""


class Reception:
    """The file of one request, locked until `finish` or `cut`."""

    def __init__(
        self,
        custody: Custody,
        media: MediaFolder,
        place: tuple[str, str, str],
        start: int,
        length: int,
        check: Check | None,
    ) -> None:
        """`place`: device, snippet, file. Raises Problem 404, 409, 423 or 507; then nothing is held."""
        device_id, snippet_id, name = place
        self._file = custody.manifest(device_id, snippet_id).file(name)
        self._start, self._check = start, check
        self._busy = threading.Lock()
        with ExitStack() as stack:
            self._upload = stack.enter_context(media.upload(device_id, snippet_id, name))
            if self._upload.size != start:
                raise Problem(
                    409,
                    "wrong-offset",
                    f"{name} has come as far as byte {self._upload.size}, not {start}",
                    headers={"Upload-Offset": str(self._upload.size)},
                )
            media.require_room(min(self._file.bytes - start, length))
            self._held = stack.pop_all()

    def take(self, block: Sequence[bytes]) -> None:
        """Append a block, in the pieces it came in.

        Raises Problem 413 if it does not belong to the file any more, or 507.
        """
        with self._busy:
            if self._upload.size + sum(map(len, block)) > self._file.bytes:
                raise Problem(
                    413, "too-long", f"the file was announced with {self._file.bytes} bytes"
                )
            if self._check is not None:
                for piece in block:
                    self._check[0].update(piece)
            self._upload.append(block)

    def finish(self) -> int:
        """The offset, when all is on the disk. Raises Problem 460 if the digest is another."""
        with self._busy:
            if self._check is not None and not hmac.compare_digest(
                self._check[0].digest(), self._check[1]
            ):
                self._upload.truncate(self._start)
                raise Problem(460, "checksum", "the bytes are not what Upload-Checksum says")
            self._upload.sync()
            self._held.close()
            return self._upload.size

    def cut(self) -> None:
        """Keep what came, durably, and let go."""
        with self._busy, self._held:
            self._upload.sync()
