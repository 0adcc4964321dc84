"""Settings: units, nesting, and that what is unknown or of a wrong type is refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from device.errors import ConfigError
from device.settings import from_toml, keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    dwell_ms: float = 300.0
    name: str = "a"
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.dwell_ms < 0:
            raise ValueError("dwell_ms must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    count: int = 3


def read(tmp_path: Path, text: str) -> Outer:
    path = tmp_path / "glasses.toml"
    path.write_text(text)
    return from_toml(Outer, path)


def test_what_is_not_named_keeps_its_default_and_whole_numbers_may_be_floats(
    tmp_path: Path,
) -> None:
    settings = read(tmp_path, "[inner]\ndwell_ms = 250\nlimit = 2")
    assert settings == Outer(inner=Inner(dwell_ms=250.0, limit=2.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[inner]\ndwell = 1", "unknown setting 'inner.dwell'; known here: dwell_ms, limit, name"),
        ("count = 'three'", "'count' is 'three', must be int"),
        ("inner = 3", "'inner' must be a table"),
        ("[inner]\ndwell_ms = -1", "dwell_ms must not be negative"),
        ("[inner", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert "glasses.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read"):
        from_toml(Outer, tmp_path / "nowhere.toml")


def test_keys_are_dotted() -> None:
    assert keys(Outer) == ["inner.dwell_ms", "inner.name", "inner.limit", "count"]
