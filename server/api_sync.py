"""`/api/v1` for the sync: glasses tell where their snippets stand; the owner sees what is on its way."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from server.access import CurrentDevice, CurrentPerson, Use
from server.api_problems import problems
from server.sync_states import MAX_STATE_BYTES, Preview, SyncStanding

router = APIRouter(prefix="/api/v1")


class ArrivingMoment(BaseModel):
    """A moment whose record has come and whose video has not."""

    device_id: str
    snippet_id: str
    start_utc: str = Field(examples=["2026-05-04T07:41:09.320+00:00"])
    local_day: str = Field(examples=["2026-05-04"])
    local_time: str = Field(examples=["09:41:09"])
    title: str = Field(examples=["cup"])
    come_bytes: int = Field(examples=[1048576])
    bytes: int = Field(examples=[6291456])
    thumbnail: str | None = Field(examples=["/api/v1/arriving/7f0c2b9e/m-000071/thumbnail"])


@router.put(
    "/snippets",
    tags=["custody"],
    status_code=204,
    responses=problems(401, 403, 413, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": SyncStanding.model_json_schema()}},
        }
    },
)
async def tell(device: CurrentDevice, services: Use, request: Request) -> Response:
    """Tell where the snippets on these glasses stand; the owner's page shows it."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_STATE_BYTES:
            break  # refused by its length
    await to_thread.run_sync(services.sync_states.take, device.id, bytes(raw))
    return Response(status_code=204)


@router.get("/sync", tags=["glasses"], responses=problems(401))
def standing(person: CurrentPerson, services: Use) -> dict[str, SyncStanding]:
    """What each pair of glasses told last of its snippets, by device."""
    return services.sync_states.all()


@router.get("/arriving", tags=["moments"], responses=problems(401))
def arriving(person: CurrentPerson, services: Use) -> list[ArrivingMoment]:
    """Moments on their way: the preview is here, the video is not yet. Newest first."""
    return [_entry(preview) for preview in services.sync_states.previews()]


@router.get(
    "/arriving/{device_id}/{snippet_id}/thumbnail",
    tags=["moments"],
    response_class=Response,
    responses=problems(401, 404, 422),
)
def thumbnail(device_id: str, snippet_id: str, person: CurrentPerson, services: Use) -> Response:
    """The picture of a moment on its way."""
    return Response(services.sync_states.thumbnail(device_id, snippet_id), media_type="image/jpeg")


def _entry(preview: Preview) -> ArrivingMoment:
    where = f"/api/v1/arriving/{preview.device_id}/{preview.snippet_id}/thumbnail"
    return ArrivingMoment(
        device_id=preview.device_id,
        snippet_id=preview.snippet_id,
        start_utc=preview.record.start_utc,
        local_day=preview.record.local_day,
        local_time=preview.record.local_time,
        title=preview.record.title,
        come_bytes=preview.come_bytes,
        bytes=preview.bytes,
        thumbnail=where if preview.has_thumbnail else None,
    )
