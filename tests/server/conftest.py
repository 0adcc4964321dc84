"""A running server over an empty folder, an owner's browser, and a paired device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from device.identity import Identity, pair
from server.embedded import start
from server.settings import ServerSettings
from tests.server.companion import World


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**settings: object) -> World:
        data = tmp_path / f"server{len(worlds)}"
        running = start(data, settings=ServerSettings(data_dir=data, reserve_mb=1, **settings))
        identity = Identity.load_or_create(tmp_path / f"glasses{len(worlds)}")
        credentials = pair(running.url, running.pairing_code(), identity, name="Test glasses")
        owner = httpx.Client(base_url=running.url, follow_redirects=True)
        owner.get(running.login_link())
        spool = tmp_path / f"spool{len(worlds)}"
        spool.mkdir()
        worlds.append(World(running, identity, credentials, spool, owner))
        return worlds[-1]

    yield make
    for world in worlds:
        world.owner.close()
        world.running.stop()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
