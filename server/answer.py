"""One stored file as an HTTP answer, with byte ranges and an ETag, from whatever store holds it."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from server.manifest import safe_name
from server.problems import Problem
from server.store import MediaStore

MEDIA_TYPES = {"mp4": "video/mp4", "jpg": "image/jpeg", "json": "application/json"}
LASTING = {"Cache-Control": "private, max-age=86400, immutable"}
ASK_AGAIN = {
    "Cache-Control": "private, no-cache"
}  # a record is written again when emotion is erased


def file_answer(
    store: MediaStore, request: Request, device_id: str, snippet_id: str, name: str
) -> Response:
    """The file, or the range of it that was asked for. Raises Problem 404 or 416."""
    media_type = MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    cache = ASK_AGAIN if name.endswith(".json") else LASTING
    path = store.path(device_id, snippet_id, safe_name(name))
    if path is not None:
        return FileResponse(path, media_type=media_type, headers=cache)
    try:
        size = store.sizes(device_id, snippet_id)[name]
    except (FileNotFoundError, KeyError) as error:
        raise Problem(404, "no-such-file", f"this moment has no file '{name}'") from error
    etag = f'"{device_id[:8]}-{snippet_id}-{name}-{size}"'  # stored files never change
    headers = {**cache, "Accept-Ranges": "bytes", "ETag": etag}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    start, end = 0, size
    asked = request.headers.get("range", "")
    if asked and request.headers.get("if-range", etag) == etag:
        start, end = _range(asked, size)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    return StreamingResponse(
        store.blocks(device_id, snippet_id, name, start, end),
        status_code=206 if "Content-Range" in headers else 200,
        media_type=media_type,
        headers=headers,
    )


def _range(asked: str, size: int) -> tuple[int, int]:
    """First byte and the one after the last of `bytes=a-b`, `a-` or `-n` (one range)."""
    unit, _, given = asked.partition("=")
    first, dash, last = given.strip().partition("-")
    numbers = [part for part in (first, last) if part]
    if (
        unit.strip() == "bytes"
        and dash
        and numbers
        and all(n.isascii() and n.isdigit() for n in numbers)
    ):
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last) + 1, size) if first and last else size
        if start < end:
            return start, end
    raise Problem(
        416, "bad-range", "there are no such bytes", headers={"Content-Range": f"bytes */{size}"}
    )
