"""`/api/v1` around the moments: feedback for the glasses, whole sessions, a week's feelings, privacy."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field

from server import reflection
from server.access import CurrentDevice, CurrentPerson, Use
from server.api_problems import problems
from server.conditional import answer
from server.entries import Entry
from server.index import Index
from server.session_reports import MAX_REPORT_BYTES, SessionReport

router = APIRouter(prefix="/api/v1")


class FeedbackItem(BaseModel):
    """What the owner said of one of this device's moments; `number` is its place in the order."""

    number: int = Field(examples=[12])
    snippet_id: str = Field(examples=["m-000071-4c1d"])
    moment_key: str = Field(examples=["7f0c2b9e64d1a8053e11"])
    at_utc: str = Field(examples=["2026-05-04T19:12:44.001+00:00"])
    kind: Literal["emotion", "keep", "names"]
    emotion: str | None = Field(examples=["surprise"], description="what it was, for an emotion")
    keep: bool | None = Field(description="false: not worth keeping; the moment was discarded")
    names: list[str] | None = Field(examples=[None])
    probabilities: dict[str, float] | None = Field(
        examples=[{"fear": 0.55, "surprise": 0.3}], description="what had been estimated"
    )


class FeedbackPage(BaseModel):
    """In order; ask again with `after=next`."""

    next: int = Field(examples=[12])
    items: list[FeedbackItem]


class ReportTaken(BaseModel):
    """The report is on the server's disk; its digest tells that it is the one that was sent."""

    session_id: str = Field(examples=["morning-walk"])
    sha256: str


class BlindStretch(BaseModel):
    """Seconds from the session's start in which a stream was not seen, and why."""

    start_s: float = Field(examples=[812.4])
    end_s: float = Field(examples=[840.0])
    stream: str = Field(examples=["eye"])
    cause: str = Field(examples=["glasses were taken off"])


class SessionEntry(BaseModel):
    """One session: seen, not seen, and its energy."""

    number: int
    device_id: str
    session_id: str
    start_utc: str = Field(examples=["2026-05-04T06:02:00.000+00:00"])
    local_day: str = Field(examples=["2026-05-04"])
    session_s: float = Field(examples=[11400.0])
    seen_s: float = Field(examples=[11058.0])
    gaps: list[BlindStretch]
    moments: int = Field(examples=[14])
    energy_j: float | None = Field(examples=[1320.5])
    energy_low_j: float | None
    energy_high_j: float | None
    always_on_j: float | None = Field(
        examples=[9877.0], description="what recording everything would have cost"
    )
    by_component_j: dict[str, float]


class Sessions(BaseModel):
    """Newest first; ask again with `before=next_before`."""

    sessions: list[SessionEntry]
    next_before: int | None


class EmotionShare(BaseModel):
    emotion: str = Field(examples=["happy"])
    share: float = Field(examples=[0.24])
    low: float = Field(examples=[0.15])
    high: float = Field(examples=[0.36])
    moments: int = Field(examples=[9], description="moments in which it was the strongest")


class EmotionThing(BaseModel):
    thing: str = Field(examples=["dog"])
    emotion: str = Field(examples=["happy"])
    moments: int = Field(examples=[6])
    of: int = Field(examples=[8], description="moments with this thing")
    times: float = Field(examples=[2.4], description="how many times as often as by chance")


class ReflectionWeek(BaseModel):
    """A week's feelings as far as they are known; see docs/server.md for what this cannot know."""

    monday: str = Field(examples=["2026-05-04"])
    sunday: str = Field(examples=["2026-05-10"])
    moments: int
    known: int
    corrected: int
    sureness: float | None = Field(examples=[0.58])
    shares: list[EmotionShare]
    together: list[EmotionThing]


class EmotionSwitch(BaseModel):
    keep_emotion: bool


class Erased(BaseModel):
    moments: int = Field(description="moments that had emotion data")


@router.get("/feedback", tags=["glasses"], responses=problems(401, 403, 422))
def feedback(
    device: CurrentDevice,
    services: Use,
    after: Annotated[int, Query(ge=0, le=2**62, description="the last number seen")] = 0,
) -> FeedbackPage:
    """The owner's judgements of this device's moments since that number, in order."""
    items = services.judging.feedback(device.id, after)
    told = [FeedbackItem(**(asdict(item) | {"names": _listed(item.names)})) for item in items]
    return FeedbackPage(next=items[-1].number if items else after, items=told)


@router.put(
    "/sessions/{name}",
    tags=["custody"],
    responses=problems(401, 403, 413, 422, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
            "description": "the report of a session, the exact bytes that were signed; they may be "
            "sealed (age) to the recipient that the pairing told",
        }
    },
)
async def take_session(
    name: str,
    request: Request,
    device: CurrentDevice,
    services: Use,
    beheld_signature: Annotated[str, Header(max_length=128)],
) -> ReportTaken:
    """Hand over what a whole session came to: seen, not seen and why, energy. Idempotent."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_REPORT_BYTES:
            break  # refused by its length
    digest = await to_thread.run_sync(
        services.reports.take, device.id, device.public_key, name, bytes(raw), beheld_signature
    )
    services.events.wake()
    return ReportTaken(session_id=name, sha256=digest)


@router.get("/sessions", tags=["moments"], response_model=Sessions, responses=problems(401, 422))
def sessions(
    request: Request,
    person: CurrentPerson,
    services: Use,
    before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Sessions newest first: how much was seen, what was not, and what it cost."""
    found = services.reports.newest(before=before, limit=limit + 1)
    more = found[limit - 1].number if len(found) > limit else None
    told = [session_entry(report) for report in found[:limit]]
    return answer(request, Sessions(sessions=told, next_before=more))


@router.get(
    "/reflection", tags=["moments"], response_model=ReflectionWeek, responses=problems(401, 422)
)
def reflect(
    request: Request,
    person: CurrentPerson,
    services: Use,
    day: Annotated[
        date | None, Query(description="any day of the week; else the newest with moments")
    ] = None,
) -> Response:
    """A week in feelings: shares with their 90 % range, and things that went with a feeling."""
    found = week_of(services.index, day)
    return answer(
        request,
        ReflectionWeek(
            monday=found.monday,
            sunday=found.sunday,
            moments=found.moments,
            known=found.known,
            corrected=found.corrected,
            sureness=found.sureness,
            shares=[EmotionShare(**asdict(share)) for share in found.shares],
            together=[EmotionThing(**asdict(pair)) for pair in found.together],
        ),
    )


@router.put("/emotion", tags=["privacy"], responses=problems(401, 403, 422))
def switch_emotion(said: EmotionSwitch, person: CurrentPerson, services: Use) -> EmotionSwitch:
    """Keep emotion data from now on, or take it out of everything that arrives."""
    services.privacy.switch(said.keep_emotion)
    return said


@router.delete("/emotion", tags=["privacy"], responses=problems(401, 403))
def erase_emotion(person: CurrentPerson, services: Use) -> Erased:
    """Erase all emotion data: records, index, words, vectors, corrections, old copies of the index."""
    return Erased(moments=services.privacy.erase_emotion())


def week_of(index: Index, day: date | None) -> reflection.Week:
    """The week of a day; of the newest moment if no day is given."""
    if day is None:
        days = index.days(1)
        day = date.fromisoformat(days[0].day) if days else date.today()
    monday = reflection.monday_of(day)
    values = {"monday": monday.isoformat(), "sunday": (monday + timedelta(days=6)).isoformat()}
    where = ["m.local_day BETWEEN :monday AND :sunday"]
    entries: list[Entry] = []
    cursor = None
    while True:
        page = index.select(where, values, cursor=cursor, limit=500)
        entries += page.entries
        cursor = page.next_cursor
        if cursor is None:
            return reflection.week(entries, monday)


def session_entry(report: SessionReport) -> SessionEntry:
    return SessionEntry(
        number=report.number,
        device_id=report.device_id,
        session_id=report.session_id,
        start_utc=report.start_utc,
        local_day=report.local_day,
        session_s=report.session_s,
        seen_s=report.seen_s,
        gaps=[BlindStretch(**asdict(gap)) for gap in report.gaps],
        moments=report.moments,
        energy_j=report.energy_j,
        energy_low_j=report.energy_low_j,
        energy_high_j=report.energy_high_j,
        always_on_j=report.always_on_j,
        by_component_j=dict(report.by_component_j),
    )


def _listed(names: Any) -> list[str] | None:
    return None if names is None else list(names)
