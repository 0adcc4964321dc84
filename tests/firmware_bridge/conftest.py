"""The C reference, compiled once a session; tests that need it skip with a message without a compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "firmware_bridge" / "c"


@pytest.fixture(scope="session")
def c_reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the compiled `echo` and `board`, warnings as errors, under sanitizers."""
    for program in ("gcc", "make", "nanopb_generator.py"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: gcc make nanopb libnanopb-dev)")
    build = tmp_path_factory.mktemp("c")
    done = subprocess.run(
        ["make", "-C", str(SOURCE), f"BUILD={build}", "CC=gcc"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return build
