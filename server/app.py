"""The companion server as one ASGI application: `create_app(settings)`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from server import (
    api,
    api_access,
    api_live,
    api_moments,
    api_passkeys,
    api_sync,
    api_wearer,
    observe,
    pages,
    pages_access,
    pages_life,
    pages_settings,
    tus,
)
from server.access import SecurityHeaders, Services
from server.api_problems import problems
from server.custody import Custody
from server.database import Database
from server.events import LOOK_AGAIN_S, EventHub
from server.finding import Encoder, Finder
from server.glasses import Glasses
from server.guests import Shares, Viewers
from server.index import Index
from server.judging import Judging
from server.keys import ServerKey
from server.leaving import serving
from server.marks import Marks
from server.media import MediaFolder
from server.passkeys import Passkeys
from server.people import People, RateLimit
from server.preferences import Preferences
from server.privacy import Privacy
from server.problems import Problem, ServerError
from server.retention import Retention
from server.roster import Roster
from server.sealing import SealKey
from server.session_reports import SessionReports
from server.settings import ServerSettings
from server.short_way import ShortWay, is_upload
from server.sync_states import SyncStates

HERE = Path(__file__).parent
_TIDY_S = 3600.0
TAGS = {
    "custody": "From the glasses to here: announce a signed manifest, commit, and get a signed receipt. "
    "Only a receipt lets the glasses delete.",
    "uploads": "The bytes in between, by tus 1.0: resumable at any byte, on the disk when answered.",
    "moments": "What was looked at: days, moments, their files, what is on its way, whole sessions. The "
    "owner judges; viewers look.",
    "glasses": "Pairing by one-time code, what the owner said for the glasses to learn from, revocation.",
    "access": "Viewers, links to one moment that end, and the owner's passkeys.",
    "privacy": "Emotion data: the switch and the eraser.",
    "server": "Whether it is alive and ready. Metrics for Prometheus are at `/metrics`.",
}
"""What the groups of the API are for."""
ROUTERS = (
    api.router,
    tus.router,
    api_moments.router,
    api_wearer.router,
    api_live.router,
    api_sync.router,
    pages.router,
    pages_life.router,
    pages_settings.router,
    api_access.router,
    api_passkeys.router,
    pages_access.router,
    observe.router,
)
"""Every route there is: tests walk over them."""


class Companion(FastAPI):
    """The framework, and before it the short way of uploads."""

    uploads: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        way = self.uploads if is_upload(scope) else super().__call__
        await way(scope, receive, send)


def create_app(settings: ServerSettings, encoder: Encoder | None = None) -> FastAPI:
    """Build the server over its data folder; an empty folder becomes a new server.

    `encoder` is the sentence network of search by meaning; without one there is search by words only.
    Raises ServerError if the folder cannot be used or was written by a newer version.
    """
    services = make_services(settings, encoder)
    app = Companion(
        title="Beheld companion server",
        version=_version(),
        description="Moments the wearer truly looked at: custody, browsing, search.",
        openapi_tags=[{"name": name, "description": said} for name, said in TAGS.items()],
        lifespan=_lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # served by a route that asks who you are
    )
    app.state.services = services
    for router in ROUTERS:
        app.include_router(router, responses=problems(422))
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.state.counters = observe.Counters()
    app.add_middleware(SecurityHeaders)
    app.add_middleware(observe.Observe, counters=app.state.counters)
    short = ShortWay(services, _on_problem)
    app.uploads = observe.Observe(SecurityHeaders(short), app.state.counters)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    return app


def make_services(
    settings: ServerSettings,
    encoder: Encoder | None = None,
    progress: Callable[[int], None] = lambda indexed: None,
) -> Services:
    """Open everything a server works with, and mend what a crash left half done.

    `progress` hears how many snippets had to be indexed again.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        media = MediaFolder(settings)
        key = ServerKey(settings.data_dir / "server.key")
        seal_key = SealKey(settings.data_dir / "seal.key")
        if not os.access(settings.data_dir, os.W_OK):
            raise PermissionError(13, "no permission to write")
    except OSError as error:
        raise ServerError(
            f"{settings.data_dir}: cannot be used ({error.strerror}); choose another --data-dir"
        ) from error
    database = Database(
        settings.database_url or settings.database,
        backups=settings.data_dir / "backups",
        without_backup=settings.migrate_without_backup,
    )
    roster = Roster(settings.data_dir / "roster.json", database)
    roster.restore()
    index = Index(database)
    finder = Finder(database, index, encoder)
    marks = Marks(database, media)
    preferences = Preferences(database, changed=roster.save)
    privacy = Privacy(database, index, media, preferences, settings.data_dir / "backups", marks)
    events = EventHub()
    custody = Custody(
        settings,
        media,
        index,
        key,
        seal_key,
        arrived=privacy.arrived,
        indexed=events.wake,
        marks=marks,
    )
    custody.reconcile(progress)
    reports = SessionReports(database, settings.data_dir, seal_key)
    reports.reconcile()
    media.expire()
    return Services(
        settings=settings,
        database=database,
        media=media,
        index=index,
        finder=finder,
        judging=Judging(database, index, custody, marks),
        reports=reports,
        preferences=preferences,
        privacy=privacy,
        events=events,
        custody=custody,
        retention=Retention(settings, database, media, custody, preferences),
        key=key,
        seal_key=seal_key,
        glasses=Glasses(database, settings, changed=roster.save),
        sync_states=SyncStates(database, media, seal_key, settings),
        people=People(database, settings, changed=roster.save),
        passkeys=Passkeys(database, key.server_id, changed=roster.save),
        pairing_limit=RateLimit(settings.pairing_tries_per_min),
        login_limit=RateLimit(settings.login_tries_per_min),
        share_limit=RateLimit(settings.login_tries_per_min),
        upload_limit=RateLimit(settings.uploads_per_min),
        viewers=Viewers(database, settings, roster.save),
        shares=Shares(database),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    beside = [asyncio.create_task(_tidy(services)), asyncio.create_task(_encode(services))]
    with serving(services.settings.data_dir):
        yield
    for task in beside:
        task.cancel()
    services.database.close()


async def _encode(services: Services) -> None:
    """Give new moments their vectors as they come, beside everything else."""
    async with services.events.listening() as news:
        while services.finder.understands:
            await to_thread.run_sync(services.finder.catch_up)
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), LOOK_AGAIN_S)
            news.clear()


async def _tidy(services: Services) -> None:
    """Every hour let go of what retention says and of uploads nobody went on with."""
    while True:
        await asyncio.sleep(_TIDY_S)
        await to_thread.run_sync(services.retention.apply)
        await to_thread.run_sync(services.media.expire)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    if request.url.path.startswith("/api/"):
        return JSONResponse(
            error.document(request.url.path),
            status_code=error.status,
            headers=error.headers,
            media_type="application/problem+json",
        )
    if error.status == 401:
        return RedirectResponse("/login", status_code=303)
    return pages.problem_page(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = "there is nothing at this address" if error.status_code == 404 else str(error.detail)
    problem = Problem(error.status_code, "http", detail, headers=error.headers)
    return await _on_problem(request, problem)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return await _on_problem(request, Problem(422, "invalid", f"{where}: {first['msg']}"))


def _version() -> str:
    try:
        return version("beheld")
    except PackageNotFoundError:
        return "0"
