"""The server's bench: a tiny run has every key, peers that are not installed are null."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize("peers", ["as installed", "none"])
def test_a_tiny_run(peers: str) -> None:
    script = (
        "import sys\n"
        "from tools.bench import server\n"
        + ("server.installed = lambda name: False\n" if peers == "none" else "")
        + "sys.argv = ['x', '--rounds', '1', '--small', '8', '--large', '1', '--no-search', '--json']\n"
        "server.command()\n"
    )  # in a process of its own, because it forks
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["small_per_s"] > 0
    assert found["mb_per_s"] > 0
    assert found["snippets_per_s"] > 0
    assert found["memory_mb"]["with_50_uploads"] >= found["memory_mb"]["before"]
    assert set(found["peers"]) == {"tuspyserver", "fastapi_multipart"}
    if peers == "none":
        assert set(found["peers"].values()) == {None}
    else:
        assert found["peers"]["fastapi_multipart"]["small_per_s"] > 0
