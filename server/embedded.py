"""The server inside another program: uvicorn in a thread of its own, for the demo and for tests."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from server.access import Services
from server.app import create_app
from server.finding import Encoder
from server.problems import ServerError
from server.settings import ServerSettings
from server.tls import Certificate

_START_S = 20.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers at `url` until `stop()`."""

    url: str
    app: FastAPI
    _server: uvicorn.Server
    _thread: threading.Thread

    @property
    def services(self) -> Services:
        found: Services = self.app.state.services
        return found

    def login_link(self) -> str:
        """An address that signs the owner in, once."""
        return f"{self.url}/login?key={self.services.people.new_login_key()}"

    def pairing_code(self) -> str:
        """A code for one pair of glasses."""
        return self.services.glasses.new_code()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=_START_S)


def start(
    data_dir: Path,
    port: int = 0,
    host: str = "127.0.0.1",
    settings: ServerSettings | None = None,
    certificate: Certificate | None = None,
    encoder: Encoder | None = None,
) -> Running:
    """Serve `data_dir` (port 0: any free one), by https with a certificate.

    Raises ServerError if it cannot start.
    """
    app = create_app(settings or ServerSettings(data_dir=data_dir), encoder)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
        ssl_certfile=certificate.certificate if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_serve, args=(server,), name="beheld-server", daemon=True)
    thread.start()
    until = time.monotonic() + _START_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise ServerError(f"{host}:{port}: the server cannot listen there; choose another port")
        time.sleep(0.01)
    bound = server.servers[0].sockets[0].getsockname()[1]
    scheme = "https" if certificate else "http"
    return Running(f"{scheme}://{host}:{bound}", app, server, thread)


def _serve(server: uvicorn.Server) -> None:
    try:
        server.run()
    except SystemExit:  # how uvicorn says that the port is taken; `start` tells it plainly
        return
