"""The glasses' own page and metrics on a local port, on the standard library's server alone.

For setting the glasses up: what the cameras see, where the gaze falls, what is wrong. Everything needs
the token of `page-token` in the data folder, but `/metrics`, which holds no content, asked from this
machine. Nothing here writes; the one button does what the button on the frame does.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import secrets
import threading
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from device.errors import ConfigError, StorageError
from device.glasses.metrics import CONTENT_TYPE, exposition
from device.glasses.session import Glasses
from device.glasses.views import eye_jpeg, moment_jpeg, scene_jpeg, state

log = logging.getLogger(__name__)

STATIC = Path(__file__).with_name("static")
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
COOKIE = "beheld_page"
SECURITY = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Page:
    """Serves one run until `close`. Raises ConfigError if the port is taken."""

    def __init__(self, glasses: Glasses) -> None:
        settings = glasses.settings.page
        self.token = load_token(glasses.data / "page-token")
        handler = type("Handler", (_Handler,), {"glasses": glasses, "token": self.token})
        try:
            self._server = ThreadingHTTPServer((settings.address, settings.port), handler)
        except OSError as error:
            raise ConfigError(
                f"page.port {settings.port} on {settings.address} cannot be used "
                f"({error.strerror}); choose another port, or 0 for a free one"
            ) from error
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="page", daemon=True).start()

    @property
    def url(self) -> str:
        """Address of the page, without the token."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/"

    @property
    def link(self) -> str:
        """Address that signs in."""
        return f"{self.url}?token={self.token}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def load_token(path: Path) -> str:
    """The token of these glasses, made at first; readable for their user alone."""
    try:
        if path.exists():
            token = path.read_text(encoding="ascii").strip()
            if len(token) >= 24:
                return token
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        token = secrets.token_urlsafe(24)
        path.write_text(token + "\n", encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path}: the page's token cannot be kept there ({error})") from error
    return token


class _Handler(BaseHTTPRequestHandler):
    glasses: Glasses
    token: str
    server_version, sys_version = "beheld", ""
    timeout = 10

    def do_GET(self) -> None:
        """Every read."""
        url = urlsplit(self.path)
        if not self._own_name():
            self._plain(403, "this page answers to its address only")
        elif url.path == "/metrics" and (self._from_here() or self._signed_in()):
            self._send(200, exposition(self.glasses).encode(), CONTENT_TYPE)
        elif url.path == "/favicon.ico":
            self._send(204, b"", "image/x-icon")
        elif "token" in parse_qs(url.query):
            self._sign_in(parse_qs(url.query)["token"][0])
        elif not self._signed_in():
            self._plain(401, "this page needs its token: open it as /?token=TOKEN, see page-token")
        else:
            self._content(url.path)

    def do_POST(self) -> None:
        """The button."""
        origin = self.headers.get("Origin")
        same = origin is None or urlsplit(origin).netloc == self.headers.get("Host")
        if not self._own_name() or not same or not self._signed_in():
            self._plain(401, "this page needs its token")
        elif urlsplit(self.path).path == "/button":
            self.glasses.live.tell("button", True)
            self._send(204, b"", "text/plain")
        else:
            self._plain(404, "there is nothing here")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are not logged: their addresses say who looked."""

    # --- who asks -----------------------------------------------------------------------------------

    def _own_name(self) -> bool:
        """A foreign name that points here (DNS rebinding) is refused."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0].strip("[]")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return host in ("localhost", "") or host.endswith(".local")
        return True

    def _from_here(self) -> bool:
        return ipaddress.ip_address(self.client_address[0]).is_loopback

    def _signed_in(self) -> bool:
        bearer = self.headers.get("Authorization", "")
        if bearer.startswith("Bearer ") and self._right(bearer.removeprefix("Bearer ")):
            return True
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self._right(cookie.value)

    def _right(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())

    def _sign_in(self, token: str) -> None:
        if not self._right(token):
            self._plain(401, "this is not the token of these glasses")
            return
        self.send_response(303)
        self.send_header("Location", "/")
        cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"
        self.send_header("Set-Cookie", cookie)
        self._finish(b"")

    # --- what is given ------------------------------------------------------------------------------

    def _content(self, path: str) -> None:
        glasses = self.glasses
        if path in FILES:
            name, kind = FILES[path]
            self._send(200, (STATIC / name).read_bytes(), kind)
        elif path == "/state.json":
            self._send(200, json.dumps(state(glasses)).encode(), "application/json")
        elif path in ("/eye/left.jpg", "/eye/right.jpg"):
            self._picture(eye_jpeg(glasses, path[5:].removesuffix(".jpg")))
        elif path == "/scene.jpg":
            self._picture(scene_jpeg(glasses))
        elif path.startswith("/moment/"):
            self._picture(moment_jpeg(glasses, path.removeprefix("/moment/").removesuffix(".jpg")))
        else:
            self._plain(404, "there is nothing here")

    def _picture(self, jpeg: bytes | None) -> None:
        if jpeg is None:
            self._send(204, b"", "image/jpeg")
        else:
            self._send(200, jpeg, "image/jpeg")

    def _plain(self, status: int, text: str) -> None:
        self._send(status, f"{text}\n".encode(), "text/plain; charset=utf-8")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self._finish(body)

    def _finish(self, body: bytes) -> None:
        for name, value in SECURITY.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            log.debug("a reader of the page went away")
