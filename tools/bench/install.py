"""`beheld bench install`: size of the wheel, of the installed `device` extra, and time to a served page."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from device.errors import InputError
from tools.output import emit, json_option

CHECKOUT = Path(__file__).parents[2]


@click.command()
@click.option("--demo/--no-demo", default=True, help="Also time a clone up to a served page.")
@json_option
def command(demo: bool, as_json: bool) -> None:
    """Build the wheel, install `beheld[device]` into a new environment, weigh both, time the demo.

    `to_page_s` is the time of `git clone` and `make demo ONCE=1` in a new folder: environment,
    calibration, four minutes of session, server and sync. Needs a checkout and the package registry.
    """
    if not (CHECKOUT / ".git").exists():
        raise InputError(f"{CHECKOUT}: is not a checkout; run this from a clone of the repository")
    with tempfile.TemporaryDirectory() as folder:
        emit(measure(Path(folder), demo=demo), as_json=as_json, title="install")


def measure(folder: Path, *, demo: bool) -> dict[str, Any]:
    """Sizes in megabytes (10^6), times in seconds."""
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(CHECKOUT))
    wheel = next(folder.glob("beheld-*.whl"))
    run(sys.executable, "-m", "venv", str(folder / "venv"))
    empty_mb = size_mb(folder / "venv")
    python = str(folder / "venv" / "bin" / "python")
    started = time.monotonic()
    run(python, "-m", "pip", "install", "-q", f"{wheel}[device]")
    install_s = time.monotonic() - started
    run(python, "-c", "import device.__main__; assert 'torch' not in __import__('sys').modules")
    result: dict[str, Any] = {
        "wheel_mb": wheel.stat().st_size / 1e6,
        "device_extra_mb": size_mb(folder / "venv") - empty_mb,
        "install_s": install_s,
    }
    if demo:
        started = time.monotonic()
        run("git", "clone", "-q", str(CHECKOUT), str(folder / "clone"))
        run("make", "-C", str(folder / "clone"), "demo", "ONCE=1")
        result["to_page_s"] = time.monotonic() - started
    return result


def run(*command: str) -> None:
    """Raises InputError with the last line of what the command said."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise InputError(f"'{' '.join(command[:4])} ...' failed: {said[-1]}")


def size_mb(folder: Path) -> float:
    """Bytes of all files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
