"""`beheld emulate --serial` as a process: its first line, orders over the control socket, its last line."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from device.emulator.firmware import PROGRAMS

COMMAND = [sys.executable, "-m", "tools.cli", "emulate", "--serial", "--json", "--eye-px", "32"]


def test_it_says_where_takes_orders_and_ends_in_order(tmp_path: Path) -> None:
    if any(shutil.which(program) is None for program in PROGRAMS):
        pytest.skip("a compiler is not installed (Debian: gcc make nanopb libnanopb-dev)")
    folder = tmp_path / "not" / "there"
    command = [*COMMAND, "--folder", str(folder), "--duration-s", "300"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdin is not None
    where = json.loads(process.stdout.readline())
    assert Path(where["port"]).is_symlink() and Path(where["port"]).parent == folder
    control = socket.socket(socket.AF_UNIX)
    control.settimeout(30)
    control.connect(where["control"])
    with control, control.makefile("rw") as talk:
        for order, answer in (("light 900", "900 lux"), ("dance", "error: 'dance' is no order")):
            talk.write(order + "\n")
            talk.flush()
            assert talk.readline().startswith(answer)
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(rest.splitlines()[-1])["orders"] == {"light": 1}
    assert not Path(where["port"]).exists()


def test_a_folder_that_cannot_be_is_told_in_a_line(tmp_path: Path) -> None:
    if any(shutil.which(program) is None for program in PROGRAMS):
        pytest.skip("a compiler is not installed (Debian: gcc make nanopb libnanopb-dev)")
    (tmp_path / "file").write_text("")
    for folder, why in (
        (tmp_path / "file" / "x", "cannot be made"),
        (tmp_path / ("x" * 120), "too long"),
    ):
        done = subprocess.run([*COMMAND, "--folder", folder], capture_output=True, text=True)
        assert done.returncode == 2 and why in done.stderr
        assert done.stderr.startswith(f"beheld: {folder}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("fault", ["soon unplug", "3 explode", "3"])
def test_a_planned_order_must_be_one(fault: str) -> None:
    done = subprocess.run([*COMMAND, "--fault", fault], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"beheld: --fault '{fault}': ")
