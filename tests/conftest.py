"""Fixtures for every room. Real recordings are read from `tools.data.data_root()`; absent ones skip."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
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


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Call it with a number of bytes: no file of this process can grow beyond, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails instead
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)
