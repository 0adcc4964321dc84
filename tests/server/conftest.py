"""A running server over an empty folder, an owner's browser, and a paired device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from device.identity import Identity, pair
from server.embedded import start
from server.settings import ServerSettings
from tests.server.companion import World
from tests.server.postgres import Cluster, cluster
from tests.server.s3 import Buckets, s3_server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for many small questions that leave nothing behind."""
    home = tmp_path_factory.mktemp("shared")
    made = new_world(home, 0, pairing_tries_per_min=10_000)
    yield made
    made.owner.close()
    made.running.stop()


def new_world(home: Path, number: int, **settings: Any) -> World:
    data = home / f"server{number}"
    running = start(data, settings=ServerSettings(data_dir=data, reserve_mb=1, **settings))
    identity = Identity.load_or_create(home / f"glasses{number}")
    credentials = pair(running.url, running.pairing_code(), identity, name="Test glasses")
    owner = httpx.Client(base_url=running.url, follow_redirects=True, timeout=60)
    owner.get(running.login_link())
    spool = home / f"spool{number}"
    spool.mkdir()
    return World(running, identity, credentials, spool, owner)


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**settings: Any) -> World:
        worlds.append(new_world(tmp_path, len(worlds), **settings))
        return worlds[-1]

    yield make
    for world in worlds:
        world.owner.close()
        world.running.stop()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A real PostgreSQL server; skips where none is installed."""
    with cluster() as made:
        yield made


@pytest.fixture(scope="session")
def buckets() -> Iterator[Buckets]:
    """A server that speaks S3 over HTTP."""
    with s3_server() as made:
        yield made
