"""The README of the C reference: its table can be replaced, and its lines are counted as they are."""

from __future__ import annotations

import re

import pytest

from device.errors import ConfigError
from tools import c_reference


def test_the_readme_counts_the_lines_there_are() -> None:
    text = c_reference.README.read_text(encoding="utf-8")
    for part in c_reference.PARTS:
        (lines,) = re.findall(rf"\| `{part}` \| (\d+) \|", text)
        assert int(lines) == c_reference.code_lines(part), "run python -m tools.c_reference"


def test_only_what_is_between_the_marks_is_replaced() -> None:
    text = f"a\n{c_reference.BEGIN}\nold\n{c_reference.END}\nb"
    made = c_reference.replaced(text, "new")
    assert made == f"a\n{c_reference.BEGIN}\nnew\n{c_reference.END}\nb"
    with pytest.raises(ConfigError, match="marks"):
        c_reference.replaced("nothing", "new")
