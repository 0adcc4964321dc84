"""The C reference, compiled once a session; tests that need it skip with a message without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("no deadline", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("no deadline")

SOURCE = Path(__file__).parents[2] / "firmware_bridge" / "c"


@pytest.fixture(scope="session")
def c_reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the compiled `echo` and `board`, warnings as errors, under sanitizers."""
    for program in ("gcc", "make", "nanopb_generator.py"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: gcc make nanopb libnanopb-dev)")
    # `make coverage` says where and how; then its counts are read there afterwards.
    build = Path(os.environ.get("BEHELD_C_BUILD") or tmp_path_factory.mktemp("c"))
    flags = os.environ.get("BEHELD_C_CFLAGS")
    command = ["make", "-C", str(SOURCE), f"BUILD={build}", "CC=gcc"]
    command += [f"CFLAGS={flags}"] if flags else []
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return build
