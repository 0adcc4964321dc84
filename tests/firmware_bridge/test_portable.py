"""The C side asks nothing of a system: no allocation, no I/O, no operating system."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import firmware_bridge

ROOM = Path(firmware_bridge.__file__).parent / "c"
PLAIN = {"memcpy", "memmove", "memset", "memcmp", "strlen", "strncpy"}
"""What any C library for bare metal has; the first four a compiler may call by itself."""


@pytest.mark.parametrize("part", ["frame", "link", "glasses"])
def test_the_c_side_calls_nothing_of_a_system(part: str, c_reference: Path, tmp_path: Path) -> None:
    target = tmp_path / f"{part}.o"
    command = ["make", "-C", str(ROOM), f"BUILD={tmp_path}", "CC=gcc", str(target)]
    subprocess.run(
        [*command, "CFLAGS=-std=c11 -Os -fno-stack-protector"], check=True, capture_output=True
    )
    told = subprocess.run(["nm", "-u", target], check=True, capture_output=True, text=True)
    asked = {line.split()[-1] for line in told.stdout.splitlines()}
    assert {name for name in asked if not name.startswith(("beheld_", "pb_"))} <= PLAIN
