"""The server's bench: a tiny run has every key, peers that are not installed are null."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bench.page import END, begin
from tools.bench.page_load import page_load


@pytest.mark.parametrize("peers", ["as installed", "none"])
def test_a_tiny_run(peers: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{begin('server')}\nold\n{END}\n{begin('month')}\nkept\n{END}\n")
    options = "--rounds 1 --small 8 --large 1 --no-search --no-browser --json --page"
    script = (
        "import sys\n"
        "from tools.bench import server\n"
        + ("server.installed = lambda name: False\n" if peers == "none" else "")
        + f"sys.argv = ['x', *{options.split()}, {str(page)!r}]\n"
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
    assert found["one_connection"]["small_per_s"] > 0
    assert found["times_bare_socket"]["large"] > 0
    written = page.read_text()
    assert f"| Beheld | 8 | {found['small_per_s']:.0f} |" in written
    assert ("| multipart" in written) == (peers != "none")
    assert written.endswith("\nkept\n<!-- end of figures -->\n") and "old" not in written


def test_without_a_browser_the_page_is_not_measured_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.chromium.shutil.which", lambda name: None)
    assert page_load(1) is None
    assert "it needs Chromium" in capsys.readouterr().err
