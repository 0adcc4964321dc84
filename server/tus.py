"""Resumable upload: tus 1.0 over the files of announced snippets.

An upload's address is its snippet and file name, its offset is the length of its file, so there is no
bookkeeping that a crash could leave behind. Every PATCH is on the disk before it is answered. Core
protocol plus the extensions creation, checksum, expiration and termination
(https://tus.io/protocols/resumable-upload).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Request, Response
from starlette.requests import ClientDisconnect

from server.access import CurrentDevice, Services, Use
from server.manifest import Manifest
from server.media import Upload
from server.people import Device
from server.problems import Problem

VERSION = "1.0.0"
EXTENSIONS = "creation,checksum,expiration,termination"
CHECKSUMS: dict[str, Callable[[], Any]] = {
    "sha256": hashlib.sha256,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),  # tus obliges servers to know it
}
_BLOCK_BYTES = 1 << 20  # bytes of a request held in memory before they are written


def _require_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise Problem(
            412,
            "tus-version",
            f"this server speaks tus {VERSION}",
            headers={"Tus-Version": VERSION},
        )


router = APIRouter(prefix="/api/v1/uploads", tags=["uploads"])
Versioned = Annotated[None, Depends(_require_version)]


@router.options("", status_code=204, summary="What this tus server can do")
def abilities(device: CurrentDevice, services: Use) -> Response:
    return _answer(
        204,
        {
            "Tus-Version": VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
            "Tus-Max-Size": str(services.settings.max_file_mb << 20),
        },
    )


@router.post("", status_code=201, summary="Begin (or begin again) the upload of an announced file")
def create(device: CurrentDevice, services: Use, request: Request, version: Versioned) -> Response:
    """Metadata `snippet` and `filename` say which file; its length must be the announced one.

    What came of it before is let go: a client that wants to resume asks HEAD of the same address.
    """
    metadata = _metadata(request.headers.get("upload-metadata", ""))
    snippet_id, name = metadata.get("snippet", ""), metadata.get("filename", "")
    file = services.custody.manifest(device.id, snippet_id).file(name)
    if _whole(request.headers.get("upload-length"), "Upload-Length") != file.bytes:
        raise Problem(422, "wrong-length", f"{name} was announced with {file.bytes} bytes")
    with services.media.upload(device.id, snippet_id, name) as upload:
        upload.truncate(0)
        upload.sync()
    return _answer(
        201, {"Location": f"{request.url.path}/{snippet_id}/{name}", **_expires(services)}
    )


@router.head("/{snippet_id}/{name}", summary="How far a file came")
def offset(
    snippet_id: str, name: str, device: CurrentDevice, services: Use, version: Versioned
) -> Response:
    file = services.custody.manifest(device.id, snippet_id).file(name)
    came = services.media.offset(device.id, snippet_id, name)
    return _answer(
        200,
        {"Upload-Offset": str(came), "Upload-Length": str(file.bytes), "Cache-Control": "no-store"},
    )


@router.patch("/{snippet_id}/{name}", status_code=204, summary="Send bytes from an offset on")
async def append(
    snippet_id: str,
    name: str,
    device: CurrentDevice,
    services: Use,
    request: Request,
    version: Versioned,
) -> Response:
    """Everything that arrives is kept, also of a request that is cut; it is durable when answered.

    With `Upload-Checksum` a complete request whose digest differs is undone (460).
    """
    if request.headers.get("content-type") != "application/offset+octet-stream":
        raise Problem(415, "content-type", "send application/offset+octet-stream")
    start = _whole(request.headers.get("upload-offset"), "Upload-Offset")
    check = _checksum(request.headers.get("upload-checksum"))
    manifest = await anyio.to_thread.run_sync(services.custody.manifest, device.id, snippet_id)
    return await _append(request, services, device, manifest, name, start, check)


async def _append(
    request: Request,
    services: Services,
    device: Device,
    manifest: Manifest,
    name: str,
    start: int,
    check: tuple[Any, bytes] | None,
) -> Response:
    file = manifest.file(name)
    with services.media.upload(device.id, manifest.snippet_id, name) as upload:
        if upload.size != start:
            raise Problem(
                409,
                "wrong-offset",
                f"{name} has come as far as byte {upload.size}, not {start}",
                headers={"Upload-Offset": str(upload.size)},
            )
        services.media.require_room(min(file.bytes - start, _length(request)))
        try:
            await _receive(request, upload, file.bytes, check)
        except (ClientDisconnect, Problem):
            await anyio.to_thread.run_sync(upload.sync)
            raise
        if check is not None and not hmac.compare_digest(check[0].digest(), check[1]):
            upload.truncate(start)
            raise Problem(460, "checksum", "the bytes are not what Upload-Checksum says")
        await anyio.to_thread.run_sync(upload.sync)
        return _answer(204, {"Upload-Offset": str(upload.size), **_expires(services)})


async def _receive(
    request: Request, upload: Upload, length: int, check: tuple[Any, bytes] | None
) -> None:
    """Append the body in blocks; a cut or an overlong one keeps what belongs to the file."""
    block = bytearray()

    async def write() -> None:
        if block:
            await anyio.to_thread.run_sync(upload.append, bytes(block))
            block.clear()

    try:
        async for chunk in request.stream():
            if upload.size + len(block) + len(chunk) > length:
                raise Problem(413, "too-long", f"the file was announced with {length} bytes")
            if check is not None:
                check[0].update(chunk)
            block += chunk
            if len(block) >= _BLOCK_BYTES:
                await write()
    finally:
        await write()


@router.delete("/{snippet_id}/{name}", status_code=204, summary="Let go of an unfinished file")
def terminate(
    snippet_id: str, name: str, device: CurrentDevice, services: Use, version: Versioned
) -> Response:
    with services.media.upload(device.id, snippet_id, name) as upload:
        upload.truncate(0)
    return _answer(204, {})


def _answer(status: int, headers: dict[str, str]) -> Response:
    return Response(status_code=status, headers={"Tus-Resumable": VERSION, **headers})


def _expires(services: Services) -> dict[str, str]:
    until = time.time() + services.settings.upload_expiry_h * 3600
    return {"Upload-Expires": formatdate(until, usegmt=True)}


def _length(request: Request) -> int:
    given = request.headers.get("content-length", "")
    return int(given) if given.isascii() and given.isdigit() else 0


def _whole(given: str | None, header: str) -> int:
    if given is None or not given.isascii() or not given.isdigit() or len(given) > 15:
        raise Problem(400, "bad-header", f"{header} must be a whole number of bytes")
    return int(given)


def _metadata(given: str) -> dict[str, str]:
    """tus metadata: comma-separated pairs of a key and base64. Raises Problem 400."""
    found = {}
    for pair in filter(None, (part.strip() for part in given.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except ValueError as error:
            raise Problem(400, "bad-header", "Upload-Metadata is not base64 of UTF-8") from error
    return found


def _checksum(given: str | None) -> tuple[Any, bytes] | None:
    if given is None:
        return None
    name, _, value = given.partition(" ")
    if name not in CHECKSUMS:
        raise Problem(400, "bad-header", f"Upload-Checksum knows {', '.join(CHECKSUMS)}")
    try:
        return CHECKSUMS[name](), base64.b64decode(value, validate=True)
    except ValueError as error:
        raise Problem(400, "bad-header", "Upload-Checksum is not base64") from error
