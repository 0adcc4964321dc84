"""The units: valid, hardened, not root, and calling verbs and options that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from device.glasses.settings import LiveSettings
from device.settings import from_toml
from tools.cli import beheld

UNITS = Path(__file__).parents[2] / "device" / "systemd"
NAMES = ("beheld.service", "beheld-sync.service")


def lines(name: str) -> dict[str, str]:
    """The unit's assignments, the last of each key."""
    text = (UNITS / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE))


@pytest.mark.parametrize("name", NAMES)
def test_systemd_takes_the_unit_and_calls_its_exposure_low(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    here = (UNITS / name).read_text(encoding="utf-8")
    unit = tmp_path / name  # the program is installed elsewhere on the machine that tests
    unit.write_text(here.replace("/opt/beheld/bin/beheld", sys.executable), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True
    )
    found = re.search(r"exposure level for \S+: ([0-9.]+)", told.stdout)
    if found is None:
        pytest.skip("this systemd-analyze knows no 'security --offline'")
    assert float(found[1]) < 3.0


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_is_not_root_and_its_command_exists(name: str) -> None:
    unit = lines(name)
    assert unit["User"] == "beheld" and unit["NoNewPrivileges"] == "yes"
    assert unit["ProtectSystem"] == "strict" and unit["CapabilityBoundingSet"] == ""
    program, verb, *arguments = shlex.split(unit["ExecStart"])
    assert program.endswith("/beheld")
    command = beheld.get_command(click.Context(beheld), verb)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert {a for a in arguments if a.startswith("--")} <= known


def test_the_example_settings_fit_the_unit() -> None:
    settings = from_toml(LiveSettings, UNITS / "glasses.toml")
    assert settings.glasses.data == f"/var/lib/{lines('beheld.service')['StateDirectory']}"
    assert f"--spool {settings.glasses.data}/spool" in lines("beheld-sync.service")["ExecStart"]
