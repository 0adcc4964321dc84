"""Fixtures for every room. Real recordings are read from `tools.data.data_root()`; absent ones skip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.data import data_root


@pytest.fixture(scope="session")
def dataset() -> Callable[[str], Path]:
    """The folder of a real data set; skips the test with a message where it is absent."""

    def find(name: str) -> Path:
        folder = data_root() / name
        if not folder.is_dir():
            pytest.skip(f"real data set {name} is not in {data_root()} (set BEHELD_DATA)")
        return folder

    return find
