"""Resumable upload: tus 1.0 over the files of announced snippets.

An upload's address is its snippet and file name, its offset is the length of its file, so there is no
bookkeeping that a crash could leave behind. Every PATCH is on the disk before it is answered. Core
protocol plus the extensions creation, checksum, expiration and termination
(https://tus.io/protocols/resumable-upload).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from functools import partial
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from server.access import CurrentDevice, Services, Use
from server.problems import Problem
from server.receiving import Check, Reception

VERSION = "1.0.0"
EXTENSIONS = "creation,checksum,expiration,termination"
CHECKSUMS: dict[str, Callable[[], Any]] = {
    "sha256": hashlib.sha256,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),  # tus obliges servers to know it
}
_BLOCK_BYTES = 512 << 10  # at most two of a request are in memory
_threads = ThreadPoolExecutor(
    40, "upload"
)  # anyio's cost as much a call as a small upload's own work


async def require_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise Problem(
            412,
            "tus-version",
            f"this server speaks tus {VERSION}",
            headers={"Tus-Version": VERSION},
        )


router = APIRouter(prefix="/api/v1/uploads", tags=["uploads"])
Versioned = Annotated[None, Depends(require_version)]


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
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "content-encoding", "send the bytes of the file as they are")
    start = _whole(request.headers.get("upload-offset"), "Upload-Offset")
    length = _length(request)
    place = (device.id, snippet_id, name)
    check = _checksum(request.headers.get("upload-checksum"))
    begin = partial(Reception, services.custody, services.media, place, start, length, check)
    body = _Body(request.receive)
    first = await body.block()
    if body.whole:  # one thread does everything, and goes on to the end whoever leaves
        at_once = asyncio.get_running_loop().run_in_executor(_threads, _at_once, begin, first)
        size = await at_once
    else:
        size = await _block_by_block(await run_sync(begin), first, body)
    return _answer(204, {"Upload-Offset": str(size), **_expires(services)})


class _Body:
    """The body of a request in large blocks, each in the pieces it came in."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.more = True
        self.whole = False
        """All of it came. Without it, and with no more to come, the request was cut."""

    async def block(self) -> list[bytes]:
        """The next block; a smaller one at the end, or where the request was cut."""
        block: list[bytes] = []
        size = 0
        while self.more and size < _BLOCK_BYTES:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.more = False
                break
            if piece := message.get("body", b""):
                block.append(piece)
                size += len(piece)
            self.more = message.get("more_body", False)
            self.whole = not self.more
        return block


def _at_once(begin: Callable[[], Reception], body: list[bytes]) -> int:
    reception = begin()
    try:
        reception.take(body)
        return reception.finish()
    except BaseException:
        reception.cut()
        raise


async def _block_by_block(reception: Reception, block: list[bytes], body: _Body) -> int:
    """A block is written and hashed while the next one comes."""
    try:
        writing = asyncio.ensure_future(run_sync(reception.take, block))
        try:
            while body.more:
                block = await body.block()
                await writing
                writing = asyncio.ensure_future(run_sync(reception.take, block))
        finally:
            await writing
        if not body.whole:
            raise ClientDisconnect
        return await run_sync(reception.finish)
    except BaseException:
        reception.cut()  # here and now: whoever cancels this may not wait
        raise


@router.delete("/{snippet_id}/{name}", status_code=204, summary="Let go of an unfinished file")
def terminate(
    snippet_id: str, name: str, device: CurrentDevice, services: Use, version: Versioned
) -> Response:
    services.custody.manifest(device.id, snippet_id).file(name)  # nothing else is theirs
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


def _checksum(given: str | None) -> Check | None:
    if given is None:
        return None
    name, _, value = given.partition(" ")
    if name not in CHECKSUMS:
        raise Problem(400, "bad-header", f"Upload-Checksum knows {', '.join(CHECKSUMS)}")
    try:
        return CHECKSUMS[name](), base64.b64decode(value, validate=True)
    except ValueError as error:
        raise Problem(400, "bad-header", "Upload-Checksum is not base64") from error
