"""ETags: an answer that did not change is not sent again, and a change can be made conditional."""

from __future__ import annotations

import hashlib

from fastapi import Request, Response
from pydantic import BaseModel

from server.problems import Problem


def etag(document: BaseModel) -> str:
    """Strong tag of a document: a digest of its exact JSON."""
    return f'"{hashlib.sha256(document.model_dump_json().encode()).hexdigest()[:32]}"'


def answer(request: Request, document: BaseModel) -> Response:
    """The document with its ETag, or 304 if the asker has it already (`If-None-Match`)."""
    tag = etag(document)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    known = request.headers.get("if-none-match", "")
    if known == "*" or tag in (given.strip().removeprefix("W/") for given in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(document.model_dump_json(), media_type="application/json", headers=headers)


def require_unchanged(request: Request, document: BaseModel) -> None:
    """Raises Problem 412 if the asker saw another state (`If-Match`) than the present one."""
    wanted = request.headers.get("if-match")
    if wanted is None or wanted.strip() == "*":
        return
    if etag(document) not in (given.strip() for given in wanted.split(",")):
        raise Problem(412, "changed", "somebody changed this meanwhile; get it again and repeat")
