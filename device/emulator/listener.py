"""A Unix socket somebody listens on, a thread for each who calls."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from device.errors import ConfigError


class Listener:
    """Listens at `path`, where nothing of an earlier program is left in the way, until `close`."""

    def __init__(self, path: Path, serve: Callable[[socket.socket], None]) -> None:
        """`serve` has each connection in a thread of its own. Raises ConfigError."""
        self.path = path
        self._serve = serve
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            self._socket.bind(str(path))
        except OSError as error:  # also for a path above the 107 bytes that such a socket may have
            self._socket.close()
            raise ConfigError(
                f"{path}: no socket can be made there ({error.strerror or error})"
            ) from error
        self._socket.listen(4)
        threading.Thread(target=self._accept, name=f"listener {path.name}", daemon=True).start()

    def close(self) -> None:
        """Who is connected stays so; nobody else will be."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(
                target=self._serve, args=(connection,), name=self.path.name, daemon=True
            ).start()
