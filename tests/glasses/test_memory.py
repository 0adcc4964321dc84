"""Memory of frames goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from device.glasses import session
from device.glasses.memory import keep_memory_flat
from device.glasses.settings import LiveSettings

HOUR = """
import sys
import numpy as np
from device.glasses.memory import keep_memory_flat
from device.glasses.metrics import resident_bytes

if sys.argv[1] == "flat":
    assert keep_memory_flat()
np.zeros(8_000_000, np.uint8).fill(1)  # once a large block was freed, glibc takes smaller ones from its heap
before, kept = resident_bytes(), []
for _ in range(20):
    frames = []
    for _ in range(12):
        frames.append(np.ones(900_000, np.uint8))
        kept.append(b"x" * 4_000)  # something small stays behind each frame
    del frames
print(resident_bytes() - before)
"""


def grown_mb(how: str) -> float:
    made = subprocess.run(
        [sys.executable, "-c", HOUR, how], capture_output=True, text=True, check=True
    )
    return int(made.stdout) / 1e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_frames_go_back_to_the_system() -> None:
    if not keep_memory_flat():
        pytest.skip("this C library has no mallopt")
    flat, usual = grown_mb("flat"), grown_mb("usual")
    assert flat < 4
    assert flat < usual


def test_a_live_run_sets_it_before_its_threads_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(session, "keep_memory_flat", lambda: asked.append(True))
    glasses = session.assemble(LiveSettings(), models={})
    assert asked == [True] and glasses.models
