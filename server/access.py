"""Who asks: the dependencies every route takes, and the headers every answer carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.custody import Custody
from server.database import Database
from server.events import EventHub
from server.finding import Finder
from server.glasses import Device, Glasses
from server.guests import Shares, Viewers
from server.index import Index
from server.judging import Judging
from server.keys import ServerKey
from server.media import MediaFolder
from server.passkeys import Passkeys
from server.people import People, Person, RateLimit, unauthorised
from server.preferences import Preferences
from server.privacy import Privacy
from server.problems import Problem
from server.retention import Retention
from server.sealing import SealKey
from server.session_reports import SessionReports
from server.settings import ServerSettings
from server.sync_states import SyncStates

COOKIE = "beheld_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

PUBLIC = frozenset(
    {
        "/api/v1/health",
        "/api/v1/ready",
        "/api/v1/pair",
        "/login",
        "/api/v1/login",
        "/api/v1/login/options",
        "/static/{path:path}",
        "/metrics",
        "/shared/{token}",
        "/shared/{token}/files/{name}",
    }
)
"""Every path that answers a stranger (`/metrics`: one on this machine; `/shared`: one with a link).

A test asks all others without credentials and expects no.
"""

VIEWER = frozenset(
    {
        "/",
        "/before/{day}",
        "/days/{day}",
        "/moments/{key}",
        "/search",
        "/api/v1/days",
        "/api/v1/moments",
        "/api/v1/moments/{key}",
        "/api/v1/moments/{key}/files/{name}",
    }
)
"""What a viewer may look at (GET). A path that is not named here is the owner's alone."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_RAW = [
    (name.lower().encode(), value.encode())
    for name, value in {**HEADERS, "Cache-Control": "no-store"}.items()
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything the routes use, made once by `server.app.create_app`."""

    settings: ServerSettings
    database: Database
    media: MediaFolder
    index: Index
    finder: Finder
    judging: Judging
    reports: SessionReports
    preferences: Preferences
    privacy: Privacy
    events: EventHub
    custody: Custody
    retention: Retention
    key: ServerKey
    seal_key: SealKey
    glasses: Glasses
    sync_states: SyncStates
    viewers: Viewers
    shares: Shares
    people: People
    passkeys: Passkeys
    pairing_limit: RateLimit
    login_limit: RateLimit
    share_limit: RateLimit
    upload_limit: RateLimit


async def services_of(request: Request) -> Services:  # plain functions cost a thread each
    found: Services = request.app.state.services
    return found


Use = Annotated[Services, Depends(services_of)]


async def current_device(request: Request, services: Use) -> Device:
    """The glasses that hold the bearer token. Raises Problem 401 or 403."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.startswith("bhd_"):
        raise unauthorised()
    return services.glasses.by_token(token)


async def current_person(request: Request, services: Use) -> Person:
    """Who is signed in, by cookie or by `Authorization: Bearer SESSION`.

    A cookie travels by itself, so a request that changes something must also bring the session's
    CSRF token (form field `csrf` or header `X-CSRF-Token`). Raises Problem 401 or 403.
    """
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    by_cookie = not given
    token = request.cookies.get(COOKIE, "") if by_cookie else given
    person = services.people.by_session(token) if token and kind.lower() in ("", "bearer") else None
    if person is None:
        raise unauthorised()
    if by_cookie and request.method not in SAFE_METHODS:
        await _require_csrf(request, person)
    if person.role != "owner" and not _may_look(request):
        raise Problem(403, "owner-only", "this is the owner's alone; you may look at moments")
    return person


def _may_look(request: Request) -> bool:
    path = request.scope["route"].path
    return path == "/logout" or (request.method in SAFE_METHODS and path in VIEWER)


async def _require_csrf(request: Request, person: Person) -> None:
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Problem(403, "cross-site", "this came from another site")
    given = request.headers.get("x-csrf-token", "")
    if not given and request.headers.get("content-type", "").startswith(
        "application/x-www-form-urlencoded"
    ):
        given = str((await request.form()).get("csrf", ""))
    if given != person.csrf:
        raise Problem(403, "csrf", "the page is out of date; load it again and repeat")


CurrentDevice = Annotated[Device, Depends(current_device)]
CurrentPerson = Annotated[Person, Depends(current_person)]


def address_of(request: Request) -> str:
    return request.client.host if request.client else "unknown"


class SecurityHeaders:
    """Adds `HEADERS` to every answer, and forbids caches to keep what is private."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                said = {name.lower() for name, _ in given}
                message["headers"] = given + [pair for pair in _RAW if pair[0] not in said]
            await send(message)

        await self._app(scope, receive, with_headers)
