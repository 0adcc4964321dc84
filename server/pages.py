"""The pages people read: server-rendered, with a little JavaScript of our own on top."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import segno
from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates

from server import evidence, feelings, story, units
from server.access import CurrentPerson, Services, Use
from server.judging import EMOTIONS
from server.people import Person
from server.problems import TITLES, Problem
from server.query import Query as SearchQuery

templates = Jinja2Templates(directory=Path(__file__).parent / "templates")
templates.env.filters["seconds"] = units.seconds
templates.env.filters["joules"] = units.joules
templates.env.filters["plain"] = units.plain
templates.env.filters["day_short"] = story.day_short
templates.env.trim_blocks = templates.env.lstrip_blocks = True

router = APIRouter(include_in_schema=False)


def render(
    request: Request, name: str, person: Person | None, *, status: int = 200, **values: Any
) -> Response:
    """One page with what every page shows."""
    services: Services = request.app.state.services
    context = {
        "person": person,
        "here": request.url.path,
        "unreviewed": services.finder.count(SearchQuery(reviewed=False)) if person else 0,
        **values,
    }
    return templates.TemplateResponse(request, name, context, status_code=status)


def problem_page(request: Request, problem: Problem) -> Response:
    """A problem in plain words for a browser."""
    title = TITLES.get(problem.status, "Problem")
    answer = render(
        request, "problem.html", None, status=problem.status, title=title, detail=problem.detail
    )
    answer.headers.update(problem.headers)
    return answer


@router.get("/")
def today(request: Request, person: CurrentPerson, services: Use) -> Response:
    """The newest days, each in chapters; the newest on top."""
    return _days_page(request, person, services, before=None)


@router.get("/before/{day}")
def earlier(day: str, request: Request, person: CurrentPerson, services: Use) -> Response:
    """The days before that one."""
    return _days_page(request, person, services, before=day)


def _days_page(
    request: Request, person: Person, services: Services, before: str | None, most: int = 5
) -> Response:
    days = services.index.days()
    past = [day for day in days if before is None or day.day < before]
    shown = [_day(services, day.day) | {"sums": day} for day in past[:most]]
    return render(
        request,
        "days.html",
        person,
        days=shown,
        all_days=days,
        older=past[most - 1].day if len(past) > most else None,
        tags=services.index.common_tags(),
        newest=services.index.last_number(),
        devices=[d for d in services.glasses.all() if d.revoked_utc is None],
    )


@router.get("/days/{day}")
def day(day: str, request: Request, person: CurrentPerson, services: Use) -> Response:
    """One day of the wearer."""
    sums = [d for d in services.index.days() if d.day == day]
    if not sums:
        raise Problem(404, "no-such-day", "nothing was kept on that day")
    return render(
        request,
        "days.html",
        person,
        days=[_day(services, day) | {"sums": sums[0]}],
        all_days=services.index.days(),
        older=None,
        tags=services.index.common_tags(),
        newest=services.index.last_number(),
        devices=[],
    )


def _day(services: Services, day: str) -> dict[str, Any]:
    entries = services.index.of_day(day)
    zone = ZoneInfo(entries[-1].zone if entries else "UTC")
    return {
        "day": day,
        "title": story.day_title(day, datetime.now(zone).date()),
        "chapters": story.chapters(entries, services.settings.episode_gap_min),
    }


@router.get("/moments/{key}")
def moment(key: str, request: Request, person: CurrentPerson, services: Use) -> Response:
    """One moment: its video with the gaze in step, why it was kept, and what it cost."""
    entry = services.index.entry(key)
    raw = services.media.record(entry.device_id, entry.snippet_id)
    before, after = services.index.neighbours(entry)
    before_it, made_it = evidence.steps(raw)
    models = raw.get("models")
    zone = ZoneInfo(entry.zone)
    return render(
        request,
        "moment.html",
        person,
        entry=entry,
        raw={**raw, "video": evidence.video(raw)},
        day_title=story.day_title(entry.local_day, datetime.now(zone).date()),
        headline=story.headline(entry),
        earlier=before_it,
        steps=made_it,
        begin_s=max(0.0, (entry.start_ns - evidence.origin_ns(raw)) / 1e9 - 0.5),
        thresholds=evidence.thresholds(raw),
        energy=evidence.energy(raw),
        feelings=evidence.feelings(raw),
        ribbon=feelings.ribbon(raw, evidence.origin_ns(raw)),
        influence=feelings.influence_words(entry.influence),
        because=feelings.because(raw),
        mood=feelings.mood_words(entry.valence, entry.arousal),
        felt_region=feelings.region(raw),
        emotions=EMOTIONS,
        decisions=evidence.decisions(raw),
        session=services.reports.of_session(entry.device_id, entry.session_id),
        alike=[hit.entry for hit in services.finder.alike(key, limit=6)],
        chart=evidence.chart(raw, entry),
        models=models if isinstance(models, dict) else {},
        before=before,
        after=after,
    )


@router.post("/moments/{key}/keep")
def keep(key: str, person: CurrentPerson, services: Use, kept: Annotated[bool, Form()]) -> Response:
    services.judging.mark(key, kept=kept, reviewed=True)
    return RedirectResponse(f"/moments/{key}", status_code=303)


@router.post("/moments/{key}/emotion")
def emotion(
    key: str, person: CurrentPerson, services: Use, emotion: Annotated[str, Form(max_length=40)]
) -> Response:
    """Say how it felt."""
    services.judging.feel(key, emotion)
    return RedirectResponse(f"/moments/{key}", status_code=303)


@router.post("/moments/{key}/names")
def names(
    key: str, person: CurrentPerson, services: Use, names: Annotated[str, Form(max_length=400)]
) -> Response:
    """Correct what was looked at, as names between commas."""
    services.judging.name(key, names.split(","))
    return RedirectResponse(f"/moments/{key}", status_code=303)


@router.post("/moments/{key}/discard")
def discard(key: str, person: CurrentPerson, services: Use) -> Response:
    """Erase a moment with its files."""
    entry = services.judging.discard(key)
    return RedirectResponse(f"/#day-{entry.local_day}", status_code=303)


@router.get("/devices")
def devices(request: Request, person: CurrentPerson, services: Use) -> Response:
    """Paired glasses."""
    return render(
        request,
        "devices.html",
        person,
        glasses=_glasses(services),
        arriving=services.sync_states.previews(),
        code=None,
    )


def _glasses(services: Services) -> list[dict[str, Any]]:
    """Each pair with what is on its way and what came last."""
    newest: dict[str, Any] = {
        report.device_id: report for report in reversed(services.reports.newest(limit=60))
    }
    standing = services.sync_states.all()
    return [
        {
            "device": device,
            "moments": services.finder.count(SearchQuery(device=device.id)),
            "standing": standing.get(device.id),
            "session": newest.get(device.id),
            "seen": story.seen_words(newest[device.id]) if device.id in newest else None,
        }
        for device in services.glasses.all()
    ]


@router.post("/devices/code")
def new_code(request: Request, person: CurrentPerson, services: Use) -> Response:
    """A one-time code, as text and as QR."""
    code = services.glasses.new_code()
    url = services.settings.public_url or str(request.base_url).rstrip("/")
    told = [code, services.key.server_id, services.settings.tls_fingerprint]
    whole = f"beheld-pair:{url}#{'.'.join(filter(None, told))}"
    pinned = services.settings.tls_fingerprint  # typed without it, the certificate is not compared
    return render(
        request,
        "devices.html",
        person,
        glasses=_glasses(services),
        arriving=services.sync_states.previews(),
        code=code,
        command=f"beheld pair '{whole}'" if pinned else f"beheld pair {url} {code}",
        qr=segno.make(whole, micro=False).svg_inline(scale=5, border=2, omitsize=True),
        minutes=services.settings.pairing_code_s // 60,
    )


@router.post("/devices/{device_id}/revoke")
def revoke(device_id: str, person: CurrentPerson, services: Use) -> Response:
    services.glasses.revoke(device_id)
    return RedirectResponse("/devices", status_code=303)
