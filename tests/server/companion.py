"""One server, its owner and one pair of glasses, as the tests of server, sync and pages use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import httpx
from fastapi import FastAPI

from device.identity import Credentials, Identity
from device.sync import Syncer, SyncSettings
from server.embedded import Running


@dataclass
class World:
    """One server, its owner signed in, one pair of glasses with its spool."""

    running: Running
    identity: Identity
    credentials: Credentials
    spool: Path
    owner: httpx.Client = field(repr=False)

    @property
    def api(self) -> str:
        return f"{self.running.url}/api/v1"

    def owner_app(self) -> FastAPI:
        app: FastAPI = self.running.app
        return app

    def device(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.credentials.token}", "Tus-Resumable": "1.0.0"}
        return httpx.Client(base_url=self.api, headers=headers, timeout=60)

    def syncer(self, **settings: object) -> Syncer:
        return Syncer(self.spool, self.credentials, self.identity, SyncSettings(**settings), seed=1)

    def csrf(self) -> dict[str, str]:
        page = self.owner.get("/settings").text
        return {"csrf": page.split('name="csrf" value="')[1].split('"')[0]}
