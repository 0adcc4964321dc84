"""Pages around the moments: finding one, reviewing new ones, a week's feelings, whole sessions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from server import evidence, feelings, story
from server.access import CurrentPerson, Services, Use
from server.api_moments import Asked
from server.api_wearer import week_of
from server.asking import MOST, Candidate, choose
from server.entries import Entry
from server.judging import EMOTIONS
from server.pages import render
from server.query import Query as SearchQuery

router = APIRouter(include_in_schema=False)

TIMES = (
    ("morning", "05:00", "12:00"),
    ("afternoon", "12:00", "17:00"),
    ("evening", "17:00", "22:00"),
    ("night", "22:00", "05:00"),
)
LENGTHS = (2, 5, 10, 30)
INFLUENCES = (("eyes", "mostly the eyes"), ("both", "both alike"), ("scene", "mostly the scene"))


@router.get("/search")
def search(
    request: Request,
    query: Asked,
    person: CurrentPerson,
    services: Use,
    like: Annotated[str, Query(max_length=40)] = "",
    part: Annotated[str, Query(max_length=20)] = "",
    cursor: Annotated[str | None, Query(max_length=80)] = None,
) -> Response:
    """Moments by words, by what is meant, by looks, and by every filter."""
    query = _with_part(query, part)
    page = services.finder.find(query, cursor=cursor, limit=48)
    near = _near(services, query, like, {entry.key for entry in page.entries}, first=cursor is None)
    return render(
        request,
        "search.html",
        person,
        q=query.words,
        query=query,
        like=services.index.entry(like) if like else None,
        entries=() if like else page.entries,
        near=near,
        total=services.finder.count(query) if not like else len(near),
        more=query.address(cursor=page.next_cursor, part=part) if page.next_cursor else None,
        chips=_chips(query, part, services, like),
        part=part,
        tags=services.index.common_tags(),
        times=TIMES,
        lengths=LENGTHS,
        influences=INFLUENCES,
        emotions=EMOTIONS,
        devices=services.glasses.all(),
        understands=services.finder.understands,
    )


def _with_part(query: SearchQuery, part: str) -> SearchQuery:
    """The part of the day, by its hours."""
    for name, begin, end in TIMES:
        if part == name:
            return replace(query, from_time=begin, until_time=end)
    return query


def _near(
    services: Services, query: SearchQuery, like: str, shown: set[str], *, first: bool
) -> list[Entry]:
    """What looks like a moment, or what is close to the words in meaning and not listed already."""
    if like:
        return [hit.entry for hit in services.finder.alike(like, query, limit=48)]
    if not query.words or not first or not services.finder.understands:
        return []
    rest = replace(query, words="")
    hits = services.finder.by_meaning(query.words, rest, limit=24)
    return [hit.entry for hit in hits if hit.entry.key not in shown][:12]


def _chips(query: SearchQuery, part: str, services: Services, like: str) -> list[tuple[str, str]]:
    """Each filter in force in words, with the address that is without it."""
    names = {device.id: device.name for device in services.glasses.all()}
    keep = {"part": part or None, "like": like or None}
    base = replace(query, from_time=None, until_time=None) if part else query

    def without(**changes: Any) -> str:
        return base.address(**(keep | changes))

    chips = [
        (thing, without(thing=[t for t in query.things if t != thing])) for thing in query.things
    ]
    told = (
        ("emotion", query.emotion),
        ("influence", dict(INFLUENCES).get(query.influence or "")),
        ("least_s", None if query.least_s is None else f"{query.least_s:g} s or longer"),
        ("device", names.get(query.device or "", query.device)),
        ("kept", None if query.kept is None else "kept" if query.kept else "not kept"),
        (
            "reviewed",
            None if query.reviewed is None else "reviewed" if query.reviewed else "not reviewed",
        ),
        ("part", part or None),
        ("from_day", query.from_day and f"from {query.from_day}"),
        ("until_day", query.until_day and f"until {query.until_day}"),
    )
    return chips + [(words, without(**{name: None})) for name, words in told if words]


@router.get("/review")
def review(
    request: Request,
    person: CurrentPerson,
    services: Use,
    skip: Annotated[str | None, Query(max_length=80)] = None,
    ask: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """The newest moment that was not reviewed yet, one at a time; by keys or by clicks.

    `ask` shows that moment instead: one whose feeling the glasses would learn most from.
    """
    query = SearchQuery(reviewed=False)
    page = services.finder.find(query, cursor=skip, limit=1)
    entry = page.entries[0] if page.entries else None
    if ask:
        entry = services.index.entry(ask)
    raw = services.media.record(entry.device_id, entry.snippet_id) if entry else {}
    return render(
        request,
        "review.html",
        person,
        entry=entry,
        left=services.finder.count(query),
        any=bool(services.index.days(1)),
        headline=story.headline(entry) if entry else "",
        begin_s=max(0.0, (entry.start_ns - evidence.origin_ns(raw)) / 1e9 - 0.5) if entry else 0.0,
        feelings=evidence.feelings(raw),
        influence=feelings.influence_words(entry.influence) if entry else None,
        emotions=EMOTIONS,
        questions=_questions(services),
        asked=ask,
        skip=skip,
        next_skip=page.next_cursor,
    )


def _questions(services: Services) -> list[Entry]:
    """Moments of the last days whose feeling is worth asking for, at most three a day in all."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    left = MOST - services.judging.feelings_said_since(today.isoformat(timespec="milliseconds"))
    if left <= 0 or not services.preferences.keep_emotion:
        return []
    page = services.index.select(["NOT m.reviewed", "m.probabilities IS NOT NULL"], limit=200)
    entries = {entry.key: entry for entry in page.entries}
    looks = services.finder.looks_of([entry.number for entry in page.entries])
    candidates = [
        Candidate(
            key=entry.key,
            probabilities=entry.probabilities or {},
            embedding=looks.get(entry.number, ()),
            answered=entry.corrected,
        )
        for entry in page.entries
    ]
    return [entries[chosen.key] for chosen in choose(candidates, left)]


@router.post("/review/{key}")
def reviewed(
    key: str,
    person: CurrentPerson,
    services: Use,
    verdict: Annotated[Literal["keep", "fine", "discard"], Form()],
    names: Annotated[str, Form(max_length=400)] = "",
    emotion: Annotated[str, Form(max_length=40)] = "",
    skip: Annotated[str, Form(max_length=80)] = "",
) -> Response:
    """Judge one moment and go on to the next."""
    entry = services.index.entry(key)
    if verdict == "discard":
        services.judging.discard(key)
    else:
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        if wanted and wanted != list(entry.attended):
            services.judging.name(key, wanted)
        if emotion and (emotion != entry.emotion):
            services.judging.feel(key, emotion)
        services.judging.mark(key, kept=True if verdict == "keep" else None, reviewed=True)
    query = SearchQuery().address(skip=skip) if skip else ""
    return RedirectResponse(f"/review?{query}" if query else "/review", status_code=303)


@router.get("/reflection")
def reflection(
    request: Request,
    person: CurrentPerson,
    services: Use,
    day: date | None = None,
) -> Response:
    """A week in feelings, with how sure they are and what this cannot know."""
    week = week_of(services.index, day)
    monday = date.fromisoformat(week.monday)
    newest = services.index.days(1)
    return render(
        request,
        "reflection.html",
        person,
        week=week,
        title=_week_title(monday),
        before=(monday - timedelta(days=7)).isoformat(),
        after=(monday + timedelta(days=7)).isoformat()
        if newest and newest[0].day > week.sunday
        else None,
        stacks=[(name, _stack(table)) for name, table in week.by_day],
        keep_emotion=services.preferences.keep_emotion,
    )


def _week_title(monday: date) -> str:
    sunday = monday + timedelta(days=6)
    begin = f"{monday.day}" if monday.month == sunday.month else f"{monday.day} {monday:%B}"
    return f"{begin} to {sunday.day} {sunday:%B} {sunday.year}"


def _stack(table: Any) -> list[tuple[str, float, float]]:
    """(emotion, y, height) of a day's column, 100 high, neutral at the foot left out."""
    y, found = 100.0, []
    for name in feelings.SHOWN:
        height = 100 * table.get(name, 0.0)
        if height > 0.5:
            y -= height
            found.append((name, y, height))
    return found


@router.get("/sessions")
def sessions(
    request: Request,
    person: CurrentPerson,
    services: Use,
    before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> Response:
    """Whole sessions: how much was seen, what was not and why, and what it cost."""
    found = services.reports.newest(before=before, limit=13)
    names = {device.id: device.name for device in services.glasses.all()}
    return render(
        request,
        "sessions.html",
        person,
        sessions=[
            {
                "report": report,
                "device": names.get(report.device_id, "glasses"),
                "title": f"{story.day_short(report.local_day)}, {report.local_time[:5]}"
                if report.time_known
                else "Time unknown",
                "seen": story.seen_words(report),
                "gaps": story.gap_words(report),
                "parts": evidence.bars(report.by_component_j),
                "share": 100 * report.energy_j / report.always_on_j
                if report.energy_j is not None and report.always_on_j
                else None,
            }
            for report in found[:12]
        ],
        older=found[11].number if len(found) > 12 else None,
    )
