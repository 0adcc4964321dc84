"""`/api/v1` for glasses and their owner: pairing and custody. Errors are problem+json."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from server.access import CurrentDevice, CurrentPerson, Use, address_of
from server.api_problems import problems
from server.custody import Arriving
from server.glasses import Device
from server.keys import SEAL
from server.receipts import Receipt

router = APIRouter(prefix="/api/v1")


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


class DeviceEntry(BaseModel):
    id: str
    name: str
    paired_utc: str
    last_seen_utc: str | None
    revoked_utc: str | None


class Code(BaseModel):
    code: str = Field(examples=["K7PMW2QX"])
    expires_in_s: int


class Health(BaseModel):
    status: str = Field(examples=["ok"])


@router.get("/health", tags=["server"], summary="The server is alive")
def health() -> Health:
    return Health(status="ok")


@router.get("/ready", tags=["server"], summary="The index answers", responses=problems(500))
def ready(services: Use) -> Health:
    services.index.stored_bytes()
    return Health(status="ok")


@router.post("/pair", tags=["glasses"], status_code=201, responses=problems(403, 422, 429))
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
    responses=problems(401, 403, 409, 413, 422, 423, 429, 507),
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
    services.upload_limit.spend(device.id)
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


@router.get("/snippets/{snippet_id}", tags=["custody"], responses=problems(401, 403, 404))
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
    responses=problems(401, 403, 404, 409, 422, 423, 507),
)
def commit(snippet_id: str, device: CurrentDevice, services: Use) -> SnippetState:
    """Have all hashes checked and the snippet stored; the answer is the signed receipt.

    Asking twice gives the same receipt, byte for byte.
    """
    receipt = services.custody.commit(device.id, device.public_key, snippet_id)
    return _state(snippet_id, receipt)


@router.get("/devices", tags=["glasses"], responses=problems(401))
def devices(person: CurrentPerson, services: Use) -> list[DeviceEntry]:
    return [_device(device) for device in services.glasses.all()]


@router.post("/pairing-codes", tags=["glasses"], status_code=201, responses=problems(401, 403))
def pairing_code(person: CurrentPerson, services: Use) -> Code:
    """A one-time code for `beheld pair`; told once."""
    return Code(code=services.glasses.new_code(), expires_in_s=services.settings.pairing_code_s)


@router.delete(
    "/devices/{device_id}", tags=["glasses"], status_code=204, responses=problems(401, 403, 404)
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


def _device(device: Device) -> DeviceEntry:
    return DeviceEntry(
        id=device.id,
        name=device.name,
        paired_utc=device.paired_utc,
        last_seen_utc=device.last_seen_utc,
        revoked_utc=device.revoked_utc,
    )
