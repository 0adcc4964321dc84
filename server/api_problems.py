"""How the API says that something went wrong, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ProblemDocument(BaseModel):
    """RFC 9457. `type` names the kind of problem, `detail` says it plainly with the remedy."""

    type: str = Field(examples=["urn:beheld:problem:no-such-moment"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no such moment (any more)"])
    instance: str = Field(examples=["/api/v1/moments/0"])


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {"application/problem+json": {}}
    return {status: {"model": ProblemDocument, "content": content} for status in statuses}
