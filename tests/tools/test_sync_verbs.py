"""`beheld pair`, `beheld sync` and `beheld sync status` as a person calls them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from device.errors import BeheldError
from device.sealing import Protection
from server.embedded import Running, start
from tests.device.test_capture import write
from tests.server.snippets import make_small_snippet
from tools.cli import beheld


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = start(tmp_path / "server")
    yield made
    made.stop()


def last_json(output: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(output.strip().splitlines()[-1])
    return document


def test_pair_sync_status(running: Running, tmp_path: Path) -> None:
    home, spool = str(tmp_path / "home"), tmp_path / "spool"
    make_small_snippet(spool, "one")
    make_small_snippet(spool, "two")
    call = CliRunner()
    code = running.pairing_code()
    paired = call.invoke(beheld, ["pair", running.url, code, "--home", home, "--json"])
    assert paired.exit_code == 0, paired.output
    assert last_json(paired.stdout)["server_url"] == running.url
    before = call.invoke(beheld, ["sync", "--spool", str(spool), "status", "--json"])
    assert last_json(before.stdout)["counts"] == {"queued": 2}
    synced = call.invoke(
        beheld, ["sync", "--spool", str(spool), "--home", home, "--once", "--json"]
    )
    assert last_json(synced.stdout)["receipts"] == 2
    after = call.invoke(beheld, ["sync", "status", "--spool", str(spool), "--json"])
    assert last_json(after.stdout)["counts"] == {"deleted": 2}
    assert "deleted" in call.invoke(beheld, ["sync", "status", "--spool", str(spool)]).stdout


def test_unpaired_and_unreachable_are_one_plain_line(tmp_path: Path) -> None:
    call = CliRunner()
    home = str(tmp_path / "home")
    for arguments, message in (
        (["sync", "--home", home, "--once", "--spool", str(tmp_path)], "not paired"),
        (["pair", "http://127.0.0.1:9", "CODE", "--home", home], "cannot be reached"),
        (["pair", "nonsense", "CODE", "--home", home], "cannot be reached"),
    ):
        result = call.invoke(beheld, arguments)
        assert isinstance(result.exception, BeheldError)
        assert message in str(result.exception)


def test_a_newer_database_is_refused_untouched(running: Running, tmp_path: Path) -> None:
    with running.services.database.write() as db:
        db.exec_driver_sql("INSERT INTO migrations VALUES (99, 'future', '2030')")
    running.stop()
    result = CliRunner().invoke(beheld, ["serve", "--data-dir", str(tmp_path / "server")])
    assert isinstance(result.exception, BeheldError)
    assert "newer Beheld" in str(result.exception)


@pytest.mark.slow
def test_a_key_of_ones_own_from_making_to_opening(tmp_path: Path) -> None:
    home, spool, call = tmp_path / "home", tmp_path / "spool", CliRunner()
    before = call.invoke(beheld, ["seal", "status", "--home", str(home)])
    assert "lies in clear" in before.stdout
    made = call.invoke(
        beheld,
        ["seal", "key", "--home", str(home), "--json"],
        input="five quiet otters\nfive quiet otters\n",
    )
    assert made.exit_code == 0, made.output
    status = call.invoke(beheld, ["seal", "status", "--home", str(home), "--json"])
    assert last_json(status.stdout)["to"] == "their own key"
    folder = write(spool, Protection.of(home))
    plain = write(tmp_path / "plain")
    opened = call.invoke(
        beheld,
        ["seal", "open", str(spool), "--out", str(tmp_path / "out"), "--home", str(home), "--json"],
        input="five quiet otters\n",
    )
    assert last_json(opened.stdout)["opened"] == 1, opened.output
    for path in plain.iterdir():
        assert (tmp_path / "out" / folder.name / path.name).read_bytes() == path.read_bytes()


def test_opening_what_is_not_sealed_is_one_plain_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("nonsense")
    (tmp_path / "spool").mkdir()
    for identity, message in (("key", "is not an age identity"), ("none", "cannot be read")):
        result = CliRunner().invoke(
            beheld,
            ["seal", "open", str(tmp_path / "spool"), "--out", str(tmp_path / "out"),
             "--identity", str(tmp_path / identity)],
        )  # fmt: skip
        assert isinstance(result.exception, BeheldError)
        assert message in str(result.exception)
