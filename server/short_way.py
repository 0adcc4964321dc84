"""The short way of an upload: PATCH is answered by its route's own function, past the framework.

Finding the route among a hundred others, and what it depends on, costs a small upload more than its
bytes do. Everything else goes the usual way.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from server import tus
from server.access import Services, current_device
from server.problems import Problem

_UPLOAD = re.compile(rf"{tus.router.prefix}/([^/]+)/([^/]+)")


def is_upload(scope: Scope) -> bool:
    """Whether a request is a PATCH of an upload."""
    return (
        scope["type"] == "http"
        and scope["method"] == "PATCH"
        and _UPLOAD.fullmatch(scope["path"]) is not None
    )


class ShortWay:
    """Answers what `is_upload`; `on_problem` makes the answer to a Problem, as for the framework."""

    def __init__(
        self, services: Services, on_problem: Callable[[Request, Exception], Awaitable[Response]]
    ) -> None:
        self._services, self._on_problem = services, on_problem
        self._route = next(r for r in tus.router.routes if getattr(r, "endpoint", 0) is tus.append)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        snippet_id, name = scope["path"].split("/")[-2:]
        scope["route"] = self._route
        request = Request(scope, receive)
        try:
            device = await current_device(request, self._services)
            await tus.require_version(request)
            answer = await tus.append(snippet_id, name, device, self._services, request, None)
        except Problem as problem:
            answer = await self._on_problem(request, problem)
        except ClientDisconnect:
            return  # what came is kept; nobody is there to be told
        await answer(scope, receive, send)
