"""`beheld models`: one row a file, from the files themselves."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from device.errors import ModelError
from device.model import WEIGHTS
from tools.models import command

KEYS = {"name", "version", "bytes", "params", "mmac", "licence", "trained_on", "figures"}


def test_every_file_is_listed_with_the_agreed_keys() -> None:
    result = CliRunner().invoke(command, ["--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout.splitlines()[-1])
    files = {p.stem: p.stat().st_size for p in WEIGHTS.glob("*.onnx")}
    assert {r["name"]: r["bytes"] for r in rows} == files
    for row in rows:
        assert row.keys() >= KEYS
        assert row["params"] > 0
        assert row["mmac"] > 0
        assert row["licence"]
        assert row["trained_on"]


def test_the_table_names_every_network() -> None:
    result = CliRunner().invoke(command, [])
    for path in WEIGHTS.glob("*.onnx"):
        assert path.stem in result.stdout


def test_a_damaged_file_is_one_plain_error(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    result = CliRunner().invoke(command, ["--folder", str(tmp_path)])
    assert isinstance(result.exception, ModelError)
    assert "broken.onnx" in str(result.exception)
