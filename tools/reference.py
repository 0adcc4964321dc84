"""Write the reference pages from the code: `python -m tools.reference` (a test holds them current).

`docs/cli.md` is the help of every verb; `docs/config.md` is every setting of the loop with its default and
the docstring beneath it in the source.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from device.glasses.settings import LiveSettings
from tools.cli import LazyGroup, beheld

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 88
CONFIG_INTRO = (
    "Written by `python -m tools.reference`; a test holds it current. Settings are given as TOML to "
    "`beheld replay --config FILE` (the tables of the loop; others are ignored, and named) and "
    "`beheld run --config glasses.toml` (all of them); what is not named keeps its default, "
    "and a name that does not exist is refused."
)


def main() -> None:
    """Write both pages."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Name of the page -> its text."""
    return {"cli.md": cli_page(), "config.md": config_page()}


def cli_page() -> str:
    """The help of every verb, in the order of their names."""
    parts = ["# Commands", "Written by `python -m tools.reference`; a test holds it current."]
    for name, command in _commands(beheld, "beheld"):
        # click remembers a command's help option from the first context it ran in; a copy has run in none.
        fresh = copy.copy(command)
        vars(fresh)["_help_option"] = None
        context = click.Context(
            fresh,
            info_name=name,
            terminal_width=WIDTH,
            max_content_width=WIDTH,
            help_option_names=beheld.context_settings["help_option_names"],
        )
        parts += [f"## `{name}`", "```text", fresh.get_help(context), "```"]
    return "\n\n".join(parts).replace("```text\n\n", "```text\n").replace("\n\n```", "\n```") + "\n"


def config_page() -> str:
    """Every setting, a table a stage."""
    parts = [
        "# Settings",
        CONFIG_INTRO,
    ]
    hints = typing.get_type_hints(LiveSettings)
    for item in dataclasses.fields(LiveSettings):
        kind = hints[item.name]
        parts += [f"## [{item.name}]", _prose(kind)]
        rows = ["| setting | default | what it is |", "|---|---|---|"]
        rows += [f"| `{item.name}.{n}` | `{v}` | {meaning} |" for n, v, meaning in _defaults(kind)]
        parts.append("\n".join(rows))
    return "\n\n".join(part for part in parts if part) + "\n"


def _prose(kind: type) -> str:
    """The docstring somebody wrote; a dataclass without one gets its signature from Python."""
    said = inspect.cleandoc(kind.__doc__ or "")
    return "" if said.startswith(f"{kind.__name__}(") else said


def undocumented() -> list[str]:
    """Settings without a docstring beneath them whose name alone does not say what they are."""
    hints = typing.get_type_hints(LiveSettings)
    missing = []
    for item in dataclasses.fields(LiveSettings):
        kind = hints[item.name]
        missing += [f"{item.name}.{n}" for n, _, meaning in _defaults(kind) if not meaning]
    return missing


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name)
        for verb in command.list_commands(context):
            found = command.get_command(context, verb)
            assert found is not None or not isinstance(command, LazyGroup), f"{name} {verb}"
            if found is not None:
                yield from _commands(found, f"{name} {verb}")


def _defaults(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Dotted name, default and docstring of every setting, nested tables included."""
    example, meanings = kind(), _field_docs(kind)
    for item in dataclasses.fields(kind):
        default = getattr(example, item.name)
        if dataclasses.is_dataclass(default):
            yield from _defaults(type(default), f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", default, meanings.get(item.name, "")


def _field_docs(kind: type) -> dict[str, str]:
    """The string beneath each field, as one line; a field of a parent class keeps the parent's."""
    found: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        if dataclasses.is_dataclass(parent):
            found |= _own_field_docs(parent)
    return found


def _own_field_docs(kind: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


if __name__ == "__main__":
    main()
