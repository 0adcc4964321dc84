"""A variant of the loop by name: a policy, settings by their dotted names, a folder of networks."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.__main__ import MODELS, Settings, load_models
from device.errors import ConfigError
from device.model import WEIGHTS, Model, load
from device.settings import from_mapping
from device.stages import resolution, wake

POLICIES = (*wake.POLICIES, *resolution.POLICIES)
PARAMETER = {"fixed": "resolution.every_frames", "always": "resolution.size_px"} | dict.fromkeys(
    ("heuristic", "trigger", "scheduler", "learned"), "resolution.energy_weight"
)
"""What the number after a policy's colon sets: `fixed:6`, `always:224`, `learned:0.8`."""
OPTIONAL = ("resolution",)
"""Networks that a folder may lack: without them a rule serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to run the loop over a recording."""

    name: str
    changed: Mapping[str, Any]
    """Settings that differ from the default, by dotted name."""
    settings: Settings
    models: Mapping[str, Model]


def variant(
    policy: str | None, assignments: Sequence[str] = (), folder: Path | None = None
) -> Variant:
    """`policy`: names joined by `+`, each with a number after a colon where it takes one; None: as shipped.

    `assignments`: `wake.enter_probability=0.5`, over what the policy sets. `folder`: networks in place of
    those shipped of the same name. Raises ConfigError or ModelError.
    """
    changed: dict[str, Any] = {}
    for part in policy.split("+") if policy else ():
        changed |= _policy(part)
    for text in assignments:
        key, value = assignment(text)
        changed[key] = value
    settings: Settings = from_mapping(Settings, nested(changed), where=policy or "settings")
    name = policy or "as shipped"
    return Variant(name=name, changed=changed, settings=settings, models=networks(folder))


def assignment(text: str) -> tuple[str, Any]:
    """`wake.dwell_ms=300` -> ("wake.dwell_ms", 300); a value that is no number or truth is a word."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key or not value:
        raise ConfigError(f"'{text}': write SETTING=VALUE, such as wake.enter_probability=0.5")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as tables within tables."""
    tables: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        table = tables
        for step in path:
            table = table.setdefault(step, {})
            if not isinstance(table, dict):
                raise ConfigError(f"'{name}': '{step}' is a setting, not a table of settings")
        table[last] = value
    return tables


def networks(folder: Path | None) -> dict[str, Model]:
    """The shipped networks, those that `folder` holds in their place. ModelError if it holds none."""
    mine = {
        name: load(name, folder)
        for name in (*MODELS, *OPTIONAL)
        if folder is not None and (folder / f"{name}.onnx").exists()
    }
    if folder is not None and not mine:
        wanted = ", ".join(f"{name}.onnx" for name in (*MODELS, *OPTIONAL))
        raise ConfigError(f"{folder}: holds none of {wanted}")
    shipped = {name: load(name) for name in OPTIONAL if (WEIGHTS / f"{name}.onnx").exists()}
    return load_models() | shipped | mine


def _policy(text: str) -> dict[str, Any]:
    name, colon, number = text.strip().partition(":")
    if name not in POLICIES:
        raise ConfigError(f"policy '{name}' is unknown; one of {', '.join(POLICIES)}")
    key = "wake.policy" if name in wake.POLICIES else "resolution.policy"
    changed: dict[str, Any] = {key: name}
    if colon:
        if name not in PARAMETER:
            raise ConfigError(f"policy '{name}' takes no number, '{text}' gives it one")
        try:
            value = float(number)
        except ValueError:
            raise ConfigError(f"policy '{text}': '{number}' is not a number") from None
        whole = name in ("fixed", "always") and value.is_integer()
        changed[PARAMETER[name]] = int(value) if whole else value
    return changed
