"""Fixtures for every room. Real recordings are read from `tools.data.data_root()`; absent ones skip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.data import data_root


@pytest.fixture(scope="session", autouse=True)
def _no_glasses_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The keys and pairing of whoever runs the tests stay out of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEHELD_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def dataset() -> Callable[[str], Path]:
    """The folder of a real data set; skips the test with a message where it is absent."""

    def find(name: str) -> Path:
        folder = data_root() / name
        if not folder.is_dir():
            pytest.skip(f"real data set {name} is not in {data_root()} (set BEHELD_DATA)")
        return folder

    return find
