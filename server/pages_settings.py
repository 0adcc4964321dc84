"""Pages of the owner's choices, and the way in and out: settings, password, sign-in."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from server.access import COOKIE, CurrentPerson, Services, Use, address_of
from server.pages import render
from server.people import Person
from server.preferences import RETENTION
from server.problems import Problem

router = APIRouter(include_in_schema=False)


@router.get("/settings")
def settings(
    request: Request,
    person: CurrentPerson,
    services: Use,
    erased: Annotated[int | None, Query(ge=0, le=2**31)] = None,
) -> Response:
    """Password, storage and the way out."""
    return _settings_page(request, person, services, erased=erased)


def _settings_page(
    request: Request,
    person: Person,
    services: Services,
    erased: int | None = None,
    asked: dict[str, Any] | None = None,
) -> Response:
    """`asked`: what the owner wants of retention, with what would go, until they are sure of it."""
    return render(
        request,
        "settings.html",
        person,
        stored=services.index.stored_bytes(),
        forecast=services.retention.forecast(),
        settings=services.retention.settings,
        asked=asked,
        keep_emotion=services.preferences.keep_emotion,
        erased=erased,
        understands=services.finder.understands,
        passkeys=services.passkeys.all(),
    )


Wish = Annotated[int, Form(ge=0, le=10**7)]


@router.post("/settings/retention")
def retention(
    request: Request,
    person: CurrentPerson,
    services: Use,
    video_days: Wish,
    preview_days: Wish,
    record_days: Wish,
    retention_mb: Wish,
    sure: Annotated[bool, Form()] = False,
) -> Response:
    """How long things stay; what would go at once is told first, and only then done if one is sure."""
    wishes: dict[str, Any] = dict(
        zip(RETENTION, (video_days, preview_days, record_days, retention_mb), strict=True)
    )
    steps = services.retention.plan(settings=replace(services.settings, **wishes))
    if steps and not sure:
        gone = Counter(step.tier for step in steps)
        size = sum(step.bytes for step in steps)
        asked = {"wishes": wishes, "gone": gone, "bytes": size}
        return _settings_page(request, person, services, asked=asked)
    services.preferences.set_all({name: str(value) for name, value in wishes.items()})
    return RedirectResponse("/settings#storage", status_code=303)


@router.post("/settings/emotion")
def switch_emotion(person: CurrentPerson, services: Use, keep: Annotated[bool, Form()]) -> Response:
    """Keep emotion data from now on, or none of what arrives."""
    services.privacy.switch(keep)
    return RedirectResponse("/settings#privacy", status_code=303)


@router.post("/settings/emotion/erase")
def erase_emotion(person: CurrentPerson, services: Use) -> Response:
    """Erase all emotion data there is."""
    count = services.privacy.erase_emotion()
    return RedirectResponse(f"/settings?erased={count}#privacy", status_code=303)


@router.post("/settings/password")
def password(
    request: Request,
    person: CurrentPerson,
    services: Use,
    password: Annotated[str, Form(max_length=200)],
) -> Response:
    """Set the owner's password; other browsers are signed out."""
    services.people.set_password(password)
    token = services.people.login_by_password(password, request.headers.get("user-agent", ""))
    return _signed_in("/settings", token, services)


@router.get("/login")
def login_page(
    request: Request, services: Use, key: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    """The sign-in form; a one-time link signs in at once."""
    signed_in = services.people.by_session(request.cookies.get(COOKIE, ""))
    if signed_in is not None:
        return RedirectResponse("/", status_code=303)
    if key:
        services.login_limit.spend(address_of(request))
        token = services.people.login_by_key(key, request.headers.get("user-agent", ""))
        return _signed_in("/", token, services)
    return render(request, "login.html", None, wrong=False, passkeys=bool(services.passkeys.all()))


@router.post("/login")
def login(
    request: Request, services: Use, password: Annotated[str, Form(max_length=200)]
) -> Response:
    services.login_limit.spend(address_of(request))
    try:
        token = services.people.login_by_password(password, request.headers.get("user-agent", ""))
    except Problem:
        known = bool(services.passkeys.all())
        return render(request, "login.html", None, status=403, wrong=True, passkeys=known)
    return _signed_in("/", token, services)


@router.post("/logout")
def logout(request: Request, person: CurrentPerson, services: Use) -> Response:
    services.people.logout(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE)
    return answer


def _signed_in(target: str, token: str, services: Services) -> Response:
    return remember(RedirectResponse(target, status_code=303), token, services)


def remember(answer: Response, token: str, services: Services) -> Response:
    """The answer, with the session as a cookie that no script can read."""
    answer.set_cookie(
        COOKIE,
        token,
        max_age=services.settings.session_days * 86400,
        httponly=True,
        samesite="lax",
        secure=services.settings.secure_cookies,
    )
    return answer
