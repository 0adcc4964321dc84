"""Pages about who may look: viewers and links, for the owner; the page behind a link, for whoever has it."""

from __future__ import annotations

from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from server.access import CurrentPerson, Services, Use, address_of
from server.answer import file_answer
from server.api_access import address
from server.manifest import THUMBNAIL, VIDEO
from server.pages import render
from server.people import Person
from server.problems import Problem

router = APIRouter(include_in_schema=False)
SHOWN = (VIDEO, THUMBNAIL)
"""What a link shows of a moment: not its record, which holds gaze, feeling and evidence."""


@router.get("/settings/access")
def access(request: Request, person: CurrentPerson, services: Use) -> Response:
    """Viewers and links."""
    return _page(request, person, services)


@router.post("/settings/access/people")
def invite(
    request: Request,
    person: CurrentPerson,
    services: Use,
    name: Annotated[str, Form(max_length=60)],
) -> Response:
    viewer, key = services.viewers.invite(name)
    link = f"{address(request, services.settings.public_url)}/login?key={key}"
    return _page(request, person, services, link=link, link_for=viewer.name)


@router.post("/settings/access/people/{number}/remove")
def uninvite(number: int, person: CurrentPerson, services: Use) -> Response:
    services.viewers.remove(number)
    return RedirectResponse("/settings/access", status_code=303)


@router.post("/settings/passkeys/{key}/remove")
def remove_passkey(key: str, person: CurrentPerson, services: Use) -> Response:
    services.passkeys.remove(key)
    return RedirectResponse("/settings", status_code=303)


@router.post("/settings/access/shares/{number}/end")
def end(number: int, person: CurrentPerson, services: Use) -> Response:
    services.shares.end(number)
    return RedirectResponse("/settings/access", status_code=303)


@router.post("/moments/{key}/share")
def share(
    key: str,
    request: Request,
    person: CurrentPerson,
    services: Use,
    hours: Annotated[int, Form()] = 168,
) -> Response:
    entry = services.index.entry(key)
    _, token = services.shares.make(entry.key, hours)
    link = f"{address(request, services.settings.public_url)}/shared/{token}"
    return _page(request, person, services, link=link, link_for=entry.title)


@router.get("/shared/{token}")
def shared(token: str, request: Request, services: Use) -> Response:
    """The one moment of a link, and nothing that leads further."""
    entry = services.index.entry(_moment(token, request, services, opening=True))
    zone = ZoneInfo(entry.zone)
    answer = render(request, "shared.html", None, entry=entry, token=token, zone=zone)
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Robots-Tag"] = "noindex"
    return answer


@router.get("/shared/{token}/files/{name}")
def shared_file(token: str, name: str, request: Request, services: Use) -> Response:
    """Video or picture of the one moment of a link."""
    entry = services.index.entry(_moment(token, request, services))
    if name not in SHOWN:
        raise Problem(404, "no-such-file", "there is nothing at this address")
    answer = file_answer(services.media.kept, request, entry.device_id, entry.snippet_id, name)
    answer.headers["Cache-Control"] = "private, no-store"  # the link ends, and so does this
    return answer


def _moment(token: str, request: Request, services: Services, *, opening: bool = False) -> str:
    try:
        return services.shares.moment_of(token, opening=opening)
    except Problem:
        services.share_limit.spend(address_of(request))  # guessing is slow
        raise


def _page(request: Request, person: Person, services: Services, **told: Any) -> Response:
    return render(
        request,
        "access.html",
        person,
        viewers=services.viewers.all(),
        shares=services.shares.all(),
        **told,
    )
