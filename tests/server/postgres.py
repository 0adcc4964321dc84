"""A PostgreSQL server of the tests' own, in a temporary folder, reached by a socket in it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

_numbers = count()


class Cluster:
    """One running server; `new()` makes an empty database and answers its address."""

    def __init__(self, folder: Path, bin_folder: Path, user: str | None) -> None:
        self.folder, self._bin, self._user = folder, bin_folder, user

    def run(self, tool: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / tool), *arguments],
            user=self._user,
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )

    def new(self) -> str:
        name = f"beheld{next(_numbers)}"
        self.run("createdb", f"--host={self.folder}", "--username=beheld", name)
        return f"postgresql://beheld@/{name}?host={self.folder}"


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a server as a user that may (PostgreSQL refuses root), stop and remove it after."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    beside = shutil.which("initdb")
    if not found and not beside:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    bin_folder = found[-1].parent if found else Path(beside or "").parent
    user = None if os.getuid() else _other_user()
    folder = Path(tempfile.mkdtemp(prefix="beheld-pg-"))
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    made = Cluster(folder, bin_folder, user)
    data = str(folder / "data")
    try:
        made.run("initdb", "--username=beheld", "--auth=trust", "--encoding=UTF8", data)
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        made.run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        yield made
        made.run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _other_user() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("PostgreSQL refuses root and there is no user 'nobody' here")
