"""Every setting and every address of the server is in its documentation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from device.journal import SyncState
from server.app import ROUTERS, create_app
from server.settings import ServerSettings

TEXT = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
PATHS = sorted({route.path for router in ROUTERS for route in router.routes})


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(ServerSettings)])
def test_setting(name: str) -> None:
    assert any(f"`{name}`" in line for line in TEXT.splitlines() if line.startswith("| `"))


@pytest.mark.parametrize("path", PATHS)
def test_address(path: str) -> None:
    assert f"{path}`" in TEXT


def test_every_tag_of_the_api_says_what_it_is_for(tmp_path: Path) -> None:
    document = create_app(ServerSettings(data_dir=tmp_path, reserve_mb=1)).openapi()
    told = {tag["name"] for tag in document["tags"] if len(tag["description"]) > 20}
    used = [
        tuple(operation.get("tags", ()))
        for path in document["paths"].values()
        for operation in path.values()
    ]
    assert all(len(tags) == 1 for tags in used)
    assert {tag for tags in used for tag in tags} == told


@pytest.mark.parametrize("state", list(SyncState))
def test_state(state: SyncState) -> None:
    assert f"| {state.value} |" in TEXT
