"""`/api/v1`: viewers and links to one moment, for the owner."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from server.access import CurrentPerson, Use
from server.api_problems import problems
from server.guests import LONGEST_HOURS

router = APIRouter(prefix="/api/v1", tags=["access"])


class ViewerEntry(BaseModel):
    """Someone who may look and change nothing."""

    id: int
    name: str = Field(examples=["Ada"])
    sessions: int = Field(description="browsers they are signed in with")


class Invitation(BaseModel):
    name: str = Field(min_length=1, max_length=60, examples=["Ada"])


class Invited(BaseModel):
    """`login_url` signs them in, once, within the hour; it is told once."""

    person: ViewerEntry
    login_url: str = Field(examples=["https://home.example/login?key=..."])


class ShareWish(BaseModel):
    hours: int = Field(default=168, ge=1, le=LONGEST_HOURS)


class ShareEntry(BaseModel):
    """A link to one moment; its address is told only when it is made."""

    number: int
    moment_key: str
    title: str = Field(examples=["cup"])
    created_utc: str
    expires_utc: str
    ended: bool
    opened: int = Field(description="how often its page was opened")


class Shared(BaseModel):
    share: ShareEntry
    url: str = Field(examples=["https://home.example/shared/..."])


@router.get("/people", summary="Viewers", responses=problems(401, 403))
def people(person: CurrentPerson, services: Use) -> list[ViewerEntry]:
    return [ViewerEntry(**asdict(viewer)) for viewer in services.viewers.all()]


@router.post("/people", status_code=201, responses=problems(401, 403, 422))
def invite(asked: Invitation, person: CurrentPerson, services: Use, request: Request) -> Invited:
    """Let someone look at all moments. The same name again gives a new sign-in link."""
    viewer, key = services.viewers.invite(asked.name)
    url = f"{address(request, services.settings.public_url)}/login?key={key}"
    return Invited(person=ViewerEntry(**asdict(viewer)), login_url=url)


@router.delete("/people/{number}", status_code=204, responses=problems(401, 403, 404, 422))
def uninvite(number: int, person: CurrentPerson, services: Use) -> Response:
    """A stranger again, in every browser at once."""
    services.viewers.remove(number)
    return Response(status_code=204)


@router.post("/moments/{key}/shares", status_code=201, responses=problems(401, 403, 404, 422))
def share(
    key: str, asked: ShareWish, person: CurrentPerson, services: Use, request: Request
) -> Shared:
    """A link that shows this one moment (video, picture, title, time) to whoever has it, for a time."""
    entry = services.index.entry(key)
    made, token = services.shares.make(entry.key, asked.hours)
    url = f"{address(request, services.settings.public_url)}/shared/{token}"
    return Shared(share=ShareEntry(**asdict(made)), url=url)


@router.get("/shares", summary="Links to moments", responses=problems(401, 403))
def shares(person: CurrentPerson, services: Use) -> list[ShareEntry]:
    return [ShareEntry(**asdict(made)) for made in services.shares.all()]


@router.delete("/shares/{number}", status_code=204, responses=problems(401, 403, 404, 422))
def end(number: int, person: CurrentPerson, services: Use) -> Response:
    """The link shows nothing any more."""
    services.shares.end(number)
    return Response(status_code=204)


def address(request: Request, public_url: str) -> str:
    """Where this server is reached, as far as we know."""
    return public_url or str(request.base_url).rstrip("/")
