"""An upload past the framework is answered exactly as the framework answers it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import httpx

from tests.server.companion import World
from tests.server.snippets import make_small_snippet
from tests.server.test_custody import announce

CONTENT = "application/offset+octet-stream"


def asked(world: World, folder: Path) -> list[tuple[str, dict[str, str], bytes]]:
    """Uploads that go wrong in every way there is, and at the end one that goes well."""
    data = (folder / "moment.json").read_bytes()
    right = {
        "Authorization": f"Bearer {world.credentials.token}",
        "Tus-Resumable": "1.0.0",
        "Content-Type": CONTENT,
        "Upload-Offset": "0",
    }
    spoilt = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    path = f"/api/v1/uploads/{folder.name}/moment.json"
    changes: list[dict[str, str | None]] = [
        {"Authorization": None},
        {"Authorization": "Bearer bhd_nobody"},
        {"Authorization": "Basic eDp5"},
        {"Tus-Resumable": None},
        {"Tus-Resumable": "0.2.2"},
        {"Content-Type": "application/json"},
        {"Content-Encoding": "gzip"},
        {"Upload-Offset": None},
        {"Upload-Offset": "-1"},
        {"Upload-Offset": "7"},
        {"Upload-Checksum": "md5 AAAA"},
        {"Upload-Checksum": f"sha256 {spoilt}"},
    ]
    requests = [
        (path, {k: v for k, v in {**right, **change}.items() if v is not None}, data)
        for change in changes
    ]
    requests += [
        (f"/api/v1/uploads/{folder.name}/nothing.bin", right, data),
        (f"/api/v1/uploads/{folder.name}/..%2fmanifest.json", right, data),
        ("/api/v1/uploads/unknown/moment.json", right, data),
        (path, right, data + b"more"),
        (path, right, data),
    ]
    return requests


def answers(app: Any, world: World, folder: Path) -> list[tuple[int, dict[str, str], bytes]]:
    async def ask() -> list[tuple[int, dict[str, str], bytes]]:
        way = httpx.ASGITransport(app=app)
        given = []
        async with httpx.AsyncClient(transport=way, base_url="http://home") as client:
            for path, headers, body in asked(world, folder):
                answer = await client.patch(path, headers=headers, content=body)
                kept = {k: v for k, v in answer.headers.items() if k != "upload-expires"}
                given.append((answer.status_code, kept, answer.content))
        return given

    return asyncio.run(ask())


def test_both_ways_answer_alike(world: World) -> None:
    app = world.owner_app()

    async def framework(scope: Any, receive: Any, send: Any) -> None:
        await super(type(app), app).__call__(scope, receive, send)  # type: ignore[misc]

    folder = make_small_snippet(world.spool, "one")
    assert announce(world, folder).status_code == 200
    short = answers(app, world, folder)
    with world.device() as device:
        assert device.delete("/uploads/one/moment.json").status_code == 204
    assert answers(framework, world, folder) == short
    statuses = [status for status, _, _ in short]
    assert {401, 404, 409, 412, 413, 415, 460, 204} <= set(statuses), statuses
    counted = world.owner.get("/metrics").text
    assert 'method="PATCH",route="/api/v1/uploads/{snippet_id}/{name}",status="204"} 2' in counted
