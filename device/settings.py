"""Settings: one frozen dataclass a stage, defaults with units, one TOML file. Unknown keys raise.

Each stage declares its own settings beside its code; this file only joins them. Every setting is
documented in `docs/config.md`, and a test holds that.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from device.errors import ConfigError

T = TypeVar("T")


def from_toml(kind: type[T], path: Path) -> T:
    """Read settings of that kind. Raises ConfigError naming file, key and remedy."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML ({error})") from error
    return from_mapping(kind, raw, where=str(path))


def from_mapping(kind: type[T], raw: Mapping[str, Any], *, where: str, prefix: str = "") -> T:
    """Build a (nested) settings dataclass from plain values; what is not named keeps its default."""
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, kind))}
    arguments: dict[str, Any] = {}
    for key, given in raw.items():
        if key not in fields:
            known = ", ".join(sorted(fields))
            raise ConfigError(f"{where}: unknown setting '{prefix}{key}'; known here: {known}")
        arguments[key] = _value(hints[key], given, where=where, name=f"{prefix}{key}")
    try:
        return kind(**arguments)
    except ValueError as error:  # a dataclass may refuse a value in __post_init__
        raise ConfigError(f"{where}: {error}") from error


def keys(kind: type, prefix: str = "") -> list[str]:
    """Every setting as a dotted name, for documentation and its test."""
    hints = typing.get_type_hints(kind)
    names: list[str] = []
    for item in dataclasses.fields(typing.cast(Any, kind)):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint):
            names += keys(typing.cast(type, hint), f"{prefix}{item.name}.")
        else:
            names.append(f"{prefix}{item.name}")
    return names


def _value(hint: Any, given: Any, *, where: str, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(given, Mapping):
            raise ConfigError(f"{where}: '{name}' must be a table")
        return from_mapping(typing.cast(type, hint), given, where=where, prefix=f"{name}.")
    allowed = typing.get_args(hint) or (hint,)
    plain = tuple(
        float if a is int and hint is float else a for a in allowed if isinstance(a, type)
    )
    if isinstance(given, int) and not isinstance(given, bool) and float in plain:
        return float(given)
    if plain and not isinstance(given, plain):
        raise ConfigError(
            f"{where}: '{name}' is {given!r}, must be {' or '.join(t.__name__ for t in plain)}"
        )
    return given
