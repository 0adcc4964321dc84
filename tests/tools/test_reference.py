"""Documentation under test: every verb and every setting, and both pages as the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.reference import DOCS, pages, undocumented


@pytest.mark.parametrize("name", ["cli.md", "config.md"])
def test_the_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], (
        f"docs/{name} is out of date: run python -m tools.reference"
    )


def test_no_page_knows_whose_machine_wrote_it() -> None:
    for name in ("cli.md", "config.md"):
        assert f"{Path.home()}/.local" not in (DOCS / name).read_text(encoding="utf-8")


def test_every_setting_says_what_it_is() -> None:
    assert undocumented() == []
