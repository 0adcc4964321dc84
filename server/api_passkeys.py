"""`/api/v1`: passkeys of the owner, and signing in with one. What the browser's WebAuthn speaks, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from server.access import CurrentPerson, Services, Use, address_of
from server.api_access import address
from server.api_problems import problems
from server.pages_settings import remember
from server.passkeys import Site
from server.problems import Problem

router = APIRouter(prefix="/api/v1", tags=["access"])
_MOST_BYTES = 64 << 10
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
        "description": "PublicKeyCredential.toJSON() of the browser",
    }
}


class PasskeyEntry(BaseModel):
    """A passkey. It works where the server is reached by the name `site`."""

    key: str = Field(examples=["5f2c81d09be3a774"])
    name: str = Field(examples=["Telephone"])
    site: str = Field(examples=["beheld.example.org"])
    created_utc: str
    used_utc: str | None


@router.get("/passkeys", responses=problems(401))
def passkeys(person: CurrentPerson, services: Use) -> list[PasskeyEntry]:
    return [PasskeyEntry(**asdict(passkey)) for passkey in services.passkeys.all()]


@router.post("/passkeys/options", responses=problems(401, 403, 409, 422))
def creation_options(request: Request, person: CurrentPerson, services: Use) -> dict[str, Any]:
    """What to give `navigator.credentials.create`, as JSON."""
    return services.passkeys.creation_options(_site(request, services), services.settings.name)


@router.post(
    "/passkeys",
    status_code=201,
    responses=problems(401, 403, 409, 413, 422),
    openapi_extra=_BODY,
)
async def add(
    request: Request,
    person: CurrentPerson,
    services: Use,
    name: Annotated[str, Query(max_length=60)] = "",
) -> PasskeyEntry:
    """Remember the passkey the browser made."""
    credential = await _credential(request)
    site = _site(request, services)
    made = await to_thread.run_sync(services.passkeys.add, site, name, credential)
    return PasskeyEntry(**asdict(made))


@router.delete("/passkeys/{key}", status_code=204, responses=problems(401, 403, 404, 422))
def remove(key: str, person: CurrentPerson, services: Use) -> Response:
    """It signs nobody in any more; who is signed in stays so."""
    services.passkeys.remove(key)
    return Response(status_code=204)


@router.post("/login/options", responses=problems(422, 429))
def request_options(request: Request, services: Use) -> dict[str, Any]:
    """What to give `navigator.credentials.get`, as JSON."""
    services.login_limit.spend(address_of(request))
    return services.passkeys.request_options(_site(request, services))


@router.post(
    "/login",
    status_code=204,
    responses=problems(403, 413, 422, 429),
    openapi_extra=_BODY,
)
async def login(request: Request, services: Use) -> Response:
    """Sign in by what a passkey signed; the session comes as a cookie."""
    services.login_limit.spend(address_of(request))
    site, credential = _site(request, services), await _credential(request)
    await to_thread.run_sync(services.passkeys.believe, site, credential)
    browser = request.headers.get("user-agent", "")
    token = await to_thread.run_sync(services.people.login_believed, browser)
    return remember(Response(status_code=204), token, services)


def _site(request: Request, services: Services) -> Site:
    return Site.of(address(request, services.settings.public_url))


async def _credential(request: Request) -> dict[str, Any]:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MOST_BYTES:
            raise Problem(413, "too-large", "no passkey says so much")
    try:
        given = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Problem(422, "bad-passkey", "this is not JSON") from error
    if not isinstance(given, dict):
        raise Problem(422, "bad-passkey", "this is not what a passkey says")
    return given
