"""The bench of the wire in small: nothing lost on clean lines, nothing wrong on a noisy one."""

from __future__ import annotations

import shutil

import pytest

from device.emulator.firmware import PROGRAMS
from tools.bench.bridge import measure


def test_the_bridge_loses_nothing_and_delivers_nothing_wrong() -> None:
    if any(shutil.which(program) is None for program in PROGRAMS):
        pytest.skip("a compiler is not installed (Debian: gcc make nanopb libnanopb-dev)")
    found = measure(500, 30, noise=0.01, noise_s=1.5, soak_s=1.0, baud=460_800, seed=2)
    assert (found["lost"], found["wrong"]) == (0, 0)
    assert found["cpu_us_per_frame"] > 0 and found["peer_cpu_us_per_frame"] > 0
    noisy, soak = found["noisy"], found["soak"]
    assert noisy["settled"] and noisy["losses_uncounted"] == 0
    assert noisy["commands"] == noisy["commands_acknowledged"] == noisy["commands_carried_out"]
    assert noisy["events"] == noisy["events_delivered"] and noisy["events_in_order"]
    assert soak["frames"] > 0 and soak["damaged"] == 0
