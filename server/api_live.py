"""`/api/v1/events`: what happens, over a WebSocket, as it happens.

Each message is one JSON object with a `type`:

* `hello` first, with `moment` and `session`, the numbers everything after is newer than;
* `moment` with `number` and `moment` (as in `GET /api/v1/moments/{key}`) for each one that was stored;
* `session` with `number` and `session` (as in `GET /api/v1/sessions`) for each report that came;
* `ping` every half minute in which nothing happened.

A client that was away asks for what it missed with `?moment=NUMBER&session=NUMBER`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from server.access import COOKIE, Services
from server.api_moments import moment_entry
from server.api_wearer import session_entry
from server.events import LOOK_AGAIN_S

PING_S = 30.0
UNAUTHORISED = 4401
router = APIRouter(prefix="/api/v1")


@router.websocket("/events")
async def events(socket: WebSocket) -> None:
    """Tell what happens until the other side goes. Closed with 4401 for whoever is not signed in."""
    services: Services = socket.app.state.services
    if not await to_thread.run_sync(_may_listen, socket, services):
        await socket.accept()
        await socket.close(UNAUTHORISED, "not signed in")
        return
    moment, session = await to_thread.run_sync(_from, socket, services)
    await socket.accept()
    with suppress(WebSocketDisconnect, RuntimeError):  # RuntimeError: closed while we were telling
        await socket.send_json({"type": "hello", "moment": moment, "session": session})
        gone = asyncio.create_task(_until_gone(socket))
        try:
            await _tell(socket, services, moment, session, gone)
        finally:
            gone.cancel()


async def _tell(
    socket: WebSocket, services: Services, moment: int, session: int, gone: asyncio.Task[None]
) -> None:
    quiet_s = 0.0
    async with services.events.listening() as news:
        while not gone.done():
            if not await to_thread.run_sync(_may_listen, socket, services):
                await socket.close(UNAUTHORISED, "signed out")
                return
            messages = await to_thread.run_sync(_news, services, moment, session)
            for message in messages:
                await socket.send_json(message)
                moment = message["number"] if message["type"] == "moment" else moment
                session = message["number"] if message["type"] == "session" else session
            if messages:
                quiet_s = 0.0
                continue
            waiting = asyncio.create_task(news.wait())
            await asyncio.wait(
                {waiting, gone}, timeout=LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED
            )
            waiting.cancel()
            news.clear()
            quiet_s += LOOK_AGAIN_S
            if quiet_s >= PING_S:
                await socket.send_json({"type": "ping"})
                quiet_s = 0.0


async def _until_gone(socket: WebSocket) -> None:
    """Ends when the other side does; what it says is not asked for."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.receive()


def _may_listen(socket: WebSocket, services: Services) -> bool:
    """Signed in by cookie (then only from our own pages) or by `Authorization: Bearer SESSION`."""
    kind, _, token = socket.headers.get("authorization", "").partition(" ")
    if not token:
        origin = socket.headers.get("origin")
        if origin is None or origin.partition("://")[2] != socket.headers.get("host"):
            return False
        token = socket.cookies.get(COOKIE, "")
    elif kind.lower() != "bearer":
        return False
    return bool(token) and services.people.by_session(token) is not None


def _from(socket: WebSocket, services: Services) -> tuple[int, int]:
    given = socket.query_params
    newest = services.index.last_number(), services.reports.last_number()
    asked = (given.get("moment", ""), given.get("session", ""))
    moment, session = (
        min(int(text), last) if text.isascii() and text.isdigit() and len(text) < 19 else last
        for text, last in zip(asked, newest, strict=True)
    )
    return moment, session


def _news(services: Services, moment: int, session: int) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = [
        {"type": "moment", "number": entry.number, "moment": moment_entry(entry).model_dump()}
        for entry in services.index.since(moment)
    ]
    if services.reports.last_number() > session:
        newer = [report for report in services.reports.newest(limit=50) if report.number > session]
        told += [
            {
                "type": "session",
                "number": report.number,
                "session": session_entry(report).model_dump(),
            }
            for report in sorted(newer, key=lambda report: report.number)
        ]
    return told
