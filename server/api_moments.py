"""`/api/v1` for moments: lists, search in every way the page has, and the owner's judgement."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Query as Parameter
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field, RootModel

from server.access import CurrentPerson, Use
from server.answer import file_answer
from server.api_problems import problems
from server.conditional import answer, require_unchanged
from server.entries import Day, Entry
from server.manifest import MANIFEST
from server.query import Query

EXAMPLE_KEY = "7f0c2b9e64d1a8053e11"

router = APIRouter(prefix="/api/v1", tags=["moments"])

Time = Annotated[str | None, Parameter(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", examples=["07:30"])]
DayName = Annotated[str | None, Parameter(pattern=r"^\d{4}-\d\d-\d\d$", examples=["2026-05-04"])]


class MomentTag(BaseModel):
    """A name for something in view; `attended` if the wearer looked at it."""

    name: str = Field(examples=["cup"])
    probability: float | None = Field(examples=[0.83])
    attended: bool
    origin: str = Field(examples=["glasses", "owner"])


class MomentEntry(BaseModel):
    """One moment in a list. Times are ISO 8601; `local_*` are the wearer's own."""

    key: str = Field(examples=[EXAMPLE_KEY])
    snippet_id: str = Field(examples=["m-000071-4c1d"])
    device_id: str = Field(examples=["5b1f0c77a8e94d2f8a0b6d3c1e9f4a70"])
    session_id: str = Field(examples=["morning-walk"])
    start_utc: str = Field(examples=["2026-05-04T07:41:09.320+00:00"])
    local_day: str = Field(examples=["2026-05-04"])
    local_time: str = Field(examples=["09:41:09"])
    zone: str = Field(examples=["Europe/Berlin"])
    duration_s: float = Field(examples=[3.4])
    title: str = Field(examples=["cup"])
    reasons: list[str] = Field(examples=[["attention"]])
    tags: list[MomentTag]
    place: str = Field(examples=[""], description="where it was, if the glasses said so")
    energy_mj: float | None = Field(examples=[812.5])
    emotion: str | None = Field(examples=["happy"], description="null if unknown or switched off")
    emotion_corrected: bool = Field(description="the emotion is what the owner said")
    probabilities: dict[str, float] | None = Field(
        examples=[{"happy": 0.61, "neutral": 0.2}], description="the glasses' estimate, per class"
    )
    influence: float | None = Field(
        examples=[0.72], description="0..1: how much the scene, rather than the eyes, carries it"
    )
    valence: float | None = Field(examples=[0.4])
    arousal: float | None = Field(examples=[0.1])
    bytes: int = Field(examples=[412233])
    files: dict[str, str] = Field(
        description="name of a file -> its address",
        examples=[{"scene.mp4": f"/api/v1/moments/{EXAMPLE_KEY}/files/scene.mp4"}],
    )
    kept: bool
    reviewed: bool
    nearness: float | None = Field(
        default=None, examples=[0.44], description="0..1, only when asked by `meaning` or `like`"
    )


class MomentPage(BaseModel):
    """Newest first (nearest first with `meaning` or `like`); `next_cursor` leads to those after."""

    moments: list[MomentEntry]
    next_cursor: str | None = Field(examples=[f"2026-05-04T07:41:09.320+00:00~{EXAMPLE_KEY}"])


class DayEntry(BaseModel):
    day: str = Field(examples=["2026-05-04"])
    moments: int = Field(examples=[14])
    attended_s: float = Field(examples=[51.2])
    energy_mj: float = Field(examples=[9120.5])


class Days(RootModel[list[DayEntry]]):
    """Newest first."""


class Judgement(BaseModel):
    """What the owner says of a moment; what is left out stays as it is."""

    kept: bool | None = None
    reviewed: bool | None = None
    names: list[str] | None = Field(
        default=None,
        max_length=32,
        examples=[["grandmother's teapot"]],
        description="what it is called; replaces the attended tags",
    )
    emotion: Literal["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"] | None = (
        Field(default=None, description="what it felt like; replaces the glasses' estimate")
    )


def asked(
    q: Annotated[
        str, Parameter(max_length=200, description="words, all of which must fit", examples=["cup"])
    ] = "",
    day: DayName = None,
    thing: Annotated[
        list[str] | None,
        Parameter(max_length=8, description="names that were looked at, all of them"),
    ] = None,
    emotion: Annotated[str | None, Parameter(max_length=40, examples=["happy"])] = None,
    influence: Annotated[Literal["eyes", "both", "scene"] | None, Parameter()] = None,
    least_s: Annotated[
        float | None, Parameter(ge=0, le=86400, description="looked at for at least so long")
    ] = None,
    from_time: Time = None,
    until_time: Time = None,
    from_day: DayName = None,
    until_day: DayName = None,
    device: Annotated[str | None, Parameter(max_length=64)] = None,
    kept: bool | None = None,
    reviewed: bool | None = None,
) -> Query:
    """The query of an address, for the API and the page alike. Raises Problem 422."""
    return Query(
        words=q,
        things=tuple(name[:80] for name in thing or () if name),
        emotion=emotion or None,
        influence=influence,
        least_s=least_s,
        from_time=from_time,
        until_time=until_time,
        from_day=day or from_day,
        until_day=day or until_day,
        device=device or None,
        kept=kept,
        reviewed=reviewed,
    )


Asked = Annotated[Query, Depends(asked)]


@router.get("/days", response_model=Days, responses=problems(401))
def days(request: Request, person: CurrentPerson, services: Use) -> Response:
    """The wearer's days that have moments, newest first."""
    return answer(request, Days([_day(day) for day in services.index.days()]))


@router.get("/moments", response_model=MomentPage, responses=problems(401, 404, 422, 501))
def moments(
    request: Request,
    query: Asked,
    person: CurrentPerson,
    services: Use,
    meaning: Annotated[
        str,
        Parameter(
            max_length=200,
            description="what it was about, in your words; nearest first",
            examples=["where did I drink coffee"],
        ),
    ] = "",
    like: Annotated[
        str,
        Parameter(max_length=40, description="key of a moment; what looks alike, nearest first"),
    ] = "",
    cursor: Annotated[str | None, Parameter(max_length=80)] = None,
    limit: Annotated[int, Parameter(ge=1, le=200)] = 50,
) -> Response:
    """Moments that pass all filters: newest first, or nearest first by meaning or by looks."""
    if meaning or like:
        hits = (
            services.finder.alike(like, query, limit=limit)
            if like
            else services.finder.by_meaning(meaning, query, limit=limit)
        )
        near = [moment_entry(hit.entry, nearness=hit.nearness) for hit in hits]
        return answer(request, MomentPage(moments=near, next_cursor=None))
    page = services.finder.find(query, cursor=cursor, limit=limit)
    found = [moment_entry(entry) for entry in page.entries]
    return answer(request, MomentPage(moments=found, next_cursor=page.next_cursor))


@router.get("/moments/{key}", response_model=MomentEntry, responses=problems(401, 404))
def moment(key: str, request: Request, person: CurrentPerson, services: Use) -> Response:
    """One moment. Its `moment.json` has the whole record, with the evidence of every decision."""
    return answer(request, moment_entry(services.index.entry(key)))


@router.patch(
    "/moments/{key}", response_model=MomentEntry, responses=problems(401, 403, 404, 412, 422)
)
def judge(
    key: str, said: Judgement, request: Request, person: CurrentPerson, services: Use
) -> Response:
    """Keep a moment for good, mark it as reviewed, correct what it is called or how it felt.

    What is corrected goes back to the glasses, which learn from it. `If-Match` makes it conditional.
    """
    require_unchanged(request, moment_entry(services.index.entry(key)))
    if said.names is not None:
        services.judging.name(key, said.names)
    if said.emotion is not None:
        services.judging.feel(key, said.emotion)
    entry = services.judging.mark(key, kept=said.kept, reviewed=said.reviewed)
    return answer(request, moment_entry(entry))


@router.delete("/moments/{key}", status_code=204, responses=problems(401, 403, 404))
def discard(key: str, person: CurrentPerson, services: Use) -> Response:
    """Erase a moment with its files. Its receipt stays, so the glasses do not send it again."""
    services.judging.discard(key)
    return Response(status_code=204)


@router.get(
    "/moments/{key}/files/{name}", response_class=FileResponse, responses=problems(401, 404)
)
def file(key: str, name: str, request: Request, person: CurrentPerson, services: Use) -> Response:
    """One file of a moment; answers byte ranges and ETags. Names are those of its manifest."""
    entry = services.index.entry(key)
    if name != MANIFEST:
        services.custody.manifest(entry.device_id, entry.snippet_id).stored_file(name)
    return file_answer(services.media.kept, request, entry.device_id, entry.snippet_id, name)


def moment_entry(entry: Entry, nearness: float | None = None) -> MomentEntry:
    """An index entry as the API tells it."""
    names = ["moment.json"]
    names += ["scene.mp4"] if entry.has_video else []
    names += ["thumbnail.jpg"] if entry.has_thumbnail else []
    return MomentEntry(
        key=entry.key,
        snippet_id=entry.snippet_id,
        device_id=entry.device_id,
        session_id=entry.session_id,
        start_utc=entry.start_utc,
        local_day=entry.local_day,
        local_time=entry.local_time,
        zone=entry.zone,
        duration_s=entry.duration_s,
        title=entry.title,
        reasons=list(entry.reasons),
        tags=[MomentTag(**tag) for tag in entry.tags],
        place=entry.place,
        energy_mj=entry.energy_mj,
        emotion=entry.emotion,
        emotion_corrected=entry.corrected,
        probabilities=entry.probabilities,
        influence=entry.influence,
        valence=entry.valence,
        arousal=entry.arousal,
        bytes=entry.bytes,
        files={name: f"/api/v1/moments/{entry.key}/files/{name}" for name in names},
        kept=entry.kept,
        reviewed=entry.reviewed,
        nearness=nearness,
    )


def _day(day: Day) -> DayEntry:
    return DayEntry(
        day=day.day, moments=day.moments, attended_s=day.attended_s, energy_mj=day.energy_mj
    )
