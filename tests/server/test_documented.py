"""Every setting and every address of the server is in its documentation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from device.journal import SyncState
from server.app import ROUTERS
from server.settings import ServerSettings

TEXT = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
PATHS = sorted({route.path for router in ROUTERS for route in router.routes})


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(ServerSettings)])
def test_setting(name: str) -> None:
    assert any(f"`{name}`" in line for line in TEXT.splitlines() if line.startswith("| `"))


@pytest.mark.parametrize("path", PATHS)
def test_address(path: str) -> None:
    assert f"{path}`" in TEXT


@pytest.mark.parametrize("state", list(SyncState))
def test_state(state: SyncState) -> None:
    assert f"| {state.value} |" in TEXT
