"""`/api/v1`: pairing, custody and the moments, for machines. Errors are problem+json."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field

from server.access import CurrentDevice, CurrentPerson, Use, address_of
from server.answer import file_answer
from server.custody import Arriving, Receipt
from server.index import Day, Entry
from server.keys import SEAL
from server.manifest import MANIFEST
from server.people import Device

EXAMPLE_KEY = "7f0c2b9e64d1a8053e11"

router = APIRouter(prefix="/api/v1")


class ProblemDocument(BaseModel):
    """RFC 9457. `type` names the kind of problem, `detail` says it plainly with the remedy."""

    type: str = Field(examples=["urn:beheld:problem:no-such-moment"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no such moment (any more)"])
    instance: str = Field(examples=["/api/v1/moments/0"])


class PairingRequest(BaseModel):
    """What a pair of glasses sends once: the code, its public key and the proof that it is its own."""

    code: str = Field(max_length=40, examples=["K7PMW2QX"])
    public_key: str = Field(max_length=64, description="Ed25519, raw, base64url without padding")
    proof: str = Field(
        max_length=128, description="signature over 'beheld-pairing-v1' LF and the code, base64url"
    )
    name: str = Field(default="Glasses", max_length=60, examples=["Morning glasses"])


class Paired(BaseModel):
    """The token is told once; the server keeps only its hash. Receipts verify with the key.

    `seal_recipient` is the age recipient that snippets are sealed to on the glasses; `seal_signature` is
    the server's, over 'beheld-seal-v1' LF and the recipient.
    """

    device_id: str
    token: str
    server_id: str
    server_public_key: str
    server_name: str
    seal_recipient: str = Field(
        examples=["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
    )
    seal_signature: str


class SignedReceipt(BaseModel):
    """`signature` covers 'beheld-receipt-v1' LF and the exact text of `receipt` (itself JSON)."""

    receipt: str
    signature: str


class SnippetState(BaseModel):
    """`arriving` with the offset of each file, or `stored` with the signed receipt."""

    snippet_id: str
    state: str = Field(examples=["arriving", "stored"])
    offsets: dict[str, int] = Field(default_factory=dict, examples=[{"scene.mp4": 1048576}])
    receipt: SignedReceipt | None = None


class MomentTag(BaseModel):
    name: str = Field(examples=["cup"])
    probability: float | None = Field(examples=[0.83])
    attended: bool
    origin: str = Field(examples=["glasses", "owner"])


class MomentEntry(BaseModel):
    """One moment in a list. Times are ISO 8601; `local_*` are the wearer's own."""

    key: str = Field(examples=[EXAMPLE_KEY])
    snippet_id: str
    device_id: str
    session_id: str
    start_utc: str = Field(examples=["2026-05-04T07:41:09.320+00:00"])
    local_day: str = Field(examples=["2026-05-04"])
    local_time: str = Field(examples=["09:41:09"])
    zone: str = Field(examples=["Europe/Berlin"])
    duration_s: float = Field(examples=[3.4])
    title: str = Field(examples=["cup"])
    reasons: list[str] = Field(examples=[["attention"]])
    tags: list[MomentTag]
    energy_mj: float | None = Field(examples=[812.5])
    emotion: str | None = Field(examples=["happy"])
    bytes: int
    files: dict[str, str] = Field(description="name of a file -> its address")
    kept: bool
    reviewed: bool


class MomentPage(BaseModel):
    """Newest first; ask again with `next_cursor` for those after."""

    moments: list[MomentEntry]
    next_cursor: str | None


class DayEntry(BaseModel):
    day: str = Field(examples=["2026-05-04"])
    moments: int
    attended_s: float
    energy_mj: float


class DeviceEntry(BaseModel):
    id: str
    name: str
    paired_utc: str
    last_seen_utc: str | None
    revoked_utc: str | None


class Code(BaseModel):
    code: str = Field(examples=["K7PMW2QX"])
    expires_in_s: int


class Judgement(BaseModel):
    """What the owner says of a moment; what is left out stays as it is."""

    kept: bool | None = None
    reviewed: bool | None = None
    names: list[str] | None = Field(
        default=None, max_length=32, description="what it is called; replaces the attended tags"
    )


class Health(BaseModel):
    status: str = Field(examples=["ok"])


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {"application/problem+json": {}}
    return {status: {"model": ProblemDocument, "content": content} for status in statuses}


@router.get("/health", tags=["server"], summary="The server is alive")
def health() -> Health:
    return Health(status="ok")


@router.get("/ready", tags=["server"], summary="The index answers", responses=_problems(500))
def ready(services: Use) -> Health:
    services.index.stored_bytes()
    return Health(status="ok")


@router.post("/pair", tags=["glasses"], status_code=201, responses=_problems(403, 422, 429))
def pair(asked: PairingRequest, services: Use, request: Request) -> Paired:
    """Trade a one-time code for a device token. Few tries a minute; a code works once."""
    services.pairing_limit.spend(address_of(request))
    device, token = services.glasses.pair(asked.code, asked.public_key, asked.name, asked.proof)
    return Paired(
        device_id=device.id,
        token=token,
        server_id=services.key.server_id,
        server_public_key=services.key.public,
        server_name=services.settings.name,
        seal_recipient=services.seal_key.recipient,
        seal_signature=services.key.sign(SEAL, services.seal_key.recipient.encode()),
    )


@router.put(
    "/snippets/{snippet_id}",
    tags=["custody"],
    responses=_problems(401, 403, 409, 413, 422, 423, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
            "description": "the exact bytes of manifest.json, as they were signed",
        }
    },
)
async def announce(
    snippet_id: str,
    device: CurrentDevice,
    services: Use,
    request: Request,
    beheld_signature: Annotated[str, Header(max_length=128)],
) -> SnippetState:
    """Announce a snippet by its signed manifest, and learn how far each of its files came.

    Idempotent: asking again is how an upload is resumed, and a stored snippet answers its receipt.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > services.settings.max_manifest_kb << 10:
            break  # the parser refuses it by its length
    found = await to_thread.run_sync(
        services.custody.announce,
        device.id,
        device.public_key,
        snippet_id,
        bytes(raw),
        beheld_signature,
    )
    return _state(snippet_id, found)


@router.get("/snippets/{snippet_id}", tags=["custody"], responses=_problems(401, 403, 404))
def snippet(snippet_id: str, device: CurrentDevice, services: Use) -> SnippetState:
    """Where a snippet stands: its receipt, or how far its files came."""
    receipt = services.custody.receipt(device.id, snippet_id)
    if receipt is not None:
        return _state(snippet_id, receipt)
    manifest = services.custody.manifest(device.id, snippet_id)
    return _state(snippet_id, services.custody.arriving(device.id, manifest))


@router.post(
    "/snippets/{snippet_id}/commit",
    tags=["custody"],
    responses=_problems(401, 403, 404, 409, 422, 423, 507),
)
def commit(snippet_id: str, device: CurrentDevice, services: Use) -> SnippetState:
    """Have all hashes checked and the snippet stored; the answer is the signed receipt.

    Asking twice gives the same receipt, byte for byte.
    """
    receipt = services.custody.commit(device.id, device.public_key, snippet_id)
    return _state(snippet_id, receipt)


@router.get("/days", tags=["moments"], responses=_problems(401))
def days(person: CurrentPerson, services: Use) -> list[DayEntry]:
    """The wearer's days that have moments, newest first."""
    return [_day(day) for day in services.index.days()]


@router.get("/moments", tags=["moments"], responses=_problems(401, 422))
def moments(
    person: CurrentPerson,
    services: Use,
    q: Annotated[
        str | None, Query(max_length=200, description="words, all of which must fit")
    ] = None,
    day: Annotated[str | None, Query(pattern=r"^\d{4}-\d\d-\d\d$")] = None,
    tag: Annotated[str | None, Query(max_length=80)] = None,
    cursor: Annotated[str | None, Query(max_length=80)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> MomentPage:
    """Moments newest first: all, of a day, with a tag, or found by words."""
    if q is not None:
        page = services.index.search(q, cursor=cursor, limit=limit)
    else:
        page = services.index.newest(cursor=cursor, limit=limit, day=day, tag=tag)
    return MomentPage(moments=[_moment(e) for e in page.entries], next_cursor=page.next_cursor)


@router.get("/moments/{key}", tags=["moments"], responses=_problems(401, 404))
def moment(key: str, person: CurrentPerson, services: Use) -> MomentEntry:
    return _moment(services.index.entry(key))


@router.patch("/moments/{key}", tags=["moments"], responses=_problems(401, 403, 404, 422))
def judge(key: str, asked: Judgement, person: CurrentPerson, services: Use) -> MomentEntry:
    """Keep a moment for good, mark it as reviewed, or correct what it is called."""
    if asked.names is not None:
        services.index.correct(key, asked.names)
    return _moment(services.index.mark(key, kept=asked.kept, reviewed=asked.reviewed))


@router.delete(
    "/moments/{key}", tags=["moments"], status_code=204, responses=_problems(401, 403, 404)
)
def discard(key: str, person: CurrentPerson, services: Use) -> Response:
    """Erase a moment with its files. Its receipt stays, so the glasses do not send it again."""
    entry = services.index.entry(key)
    services.custody.erase(entry.device_id, entry.snippet_id)
    return Response(status_code=204)


@router.get(
    "/moments/{key}/files/{name}",
    tags=["moments"],
    response_class=FileResponse,
    responses=_problems(401, 404),
)
def file(key: str, name: str, request: Request, person: CurrentPerson, services: Use) -> Response:
    """One file of a moment; answers byte ranges and ETags. Names are those of its manifest."""
    entry = services.index.entry(key)
    if name != MANIFEST:
        services.custody.manifest(entry.device_id, entry.snippet_id).stored_file(name)
    return file_answer(services.media.kept, request, entry.device_id, entry.snippet_id, name)


@router.get("/devices", tags=["glasses"], responses=_problems(401))
def devices(person: CurrentPerson, services: Use) -> list[DeviceEntry]:
    return [_device(device) for device in services.glasses.all()]


@router.post("/pairing-codes", tags=["glasses"], status_code=201, responses=_problems(401, 403))
def pairing_code(person: CurrentPerson, services: Use) -> Code:
    """A one-time code for `beheld pair`; told once."""
    return Code(code=services.glasses.new_code(), expires_in_s=services.settings.pairing_code_s)


@router.delete(
    "/devices/{device_id}", tags=["glasses"], status_code=204, responses=_problems(401, 403, 404)
)
def revoke(device_id: str, person: CurrentPerson, services: Use) -> Response:
    """From now on these glasses are strangers; what they sent stays."""
    services.glasses.revoke(device_id)
    return Response(status_code=204)


@router.get("/openapi.json", include_in_schema=False)
def openapi(person: CurrentPerson, request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


def _state(snippet_id: str, found: Receipt | Arriving) -> SnippetState:
    if isinstance(found, Receipt):
        receipt = SignedReceipt(receipt=found.receipt, signature=found.signature)
        return SnippetState(snippet_id=snippet_id, state="stored", receipt=receipt)
    return SnippetState(snippet_id=snippet_id, state="arriving", offsets=found.offsets)


def _moment(entry: Entry) -> MomentEntry:
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
        energy_mj=entry.energy_mj,
        emotion=entry.emotion,
        bytes=entry.bytes,
        files={name: f"/api/v1/moments/{entry.key}/files/{name}" for name in names},
        kept=entry.kept,
        reviewed=entry.reviewed,
    )


def _day(day: Day) -> DayEntry:
    return DayEntry(
        day=day.day, moments=day.moments, attended_s=day.attended_s, energy_mj=day.energy_mj
    )


def _device(device: Device) -> DeviceEntry:
    return DeviceEntry(
        id=device.id,
        name=device.name,
        paired_utc=device.paired_utc,
        last_seen_utc=device.last_seen_utc,
        revoked_utc=device.revoked_utc,
    )
