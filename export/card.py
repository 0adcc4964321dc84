"""Model cards: `docs/models/NAME.md`, written by the command that measured.

Everything but the prose is generated from the contract and from measured figures, so no number is
typed by hand. What a person has to say stands between two marks and survives every rewrite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from device.model import ModelSpec, TensorSpec

PROSE_START = "<!-- prose: written by hand, kept by the exporter -->"
PROSE_END = "<!-- end of prose -->"
EMPTY_PROSE = "What it is for, how it was trained, what it cannot do: still to be written."


def write_card(
    spec: ModelSpec,
    figures: Mapping[str, Any],
    path: Path,
    *,
    command: str,
    keep: Sequence[str] = (),
) -> None:
    """Write the card of one model.

    `figures` maps a heading to what was measured under it: a mapping of names to numbers becomes a
    list of two columns, a mapping of mappings a table with one row each, a string a sentence. The
    prose between the marks of an existing card is kept, and so are its sections with headings in
    `keep` that are not among the figures. `command` is what makes it all again.
    """
    prose = _kept_prose(path)
    before = _split(path)[1:] if path.exists() else []
    kept = [s for s in before if (name := s.split("\n", 1)[0]) in keep and name not in figures]
    parts = [
        f"# {spec.name} {spec.version}",
        f"{PROSE_START}\n\n{prose}\n\n{PROSE_END}",
        f"Written by `{command}`; do not edit outside the prose.",
        "## Contract",
        _two_columns(_contract(spec)),
        _table({t.name: _tensor(t) for t in (*spec.inputs, *spec.outputs)}, "tensor"),
    ]
    for heading, measured in figures.items():
        parts += [f"## {heading}", _section(measured)]
    parts += [f"## {section}" for section in kept]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def replace_sections(path: Path, begins: Sequence[str], figures: Mapping[str, Any]) -> None:
    """Put measured `figures` (as in `write_card`) where sections whose headings begin so stand now.

    Everything else of the card is kept. Raises ValueError if the card has no such section.
    """
    head, *sections = _split(path)
    old = [s for s in sections if s.startswith(tuple(begins))]
    if not old:
        raise ValueError(f"{path}: has no section that begins with {' or '.join(begins)}")
    place = sections.index(old[0])
    kept = [s for s in sections if s not in old]
    kept[place:place] = [f"{heading}\n\n{_section(rows)}" for heading, rows in figures.items()]
    path.write_text("\n\n## ".join([head, *kept]) + "\n", encoding="utf-8")


def put_section(path: Path, heading: str, measured: Any) -> None:
    """Write one section of an existing card anew, or at its end if it is not there yet."""
    head, *sections = _split(path)
    made = f"{heading}\n\n{_section(measured)}"
    if any(s.split("\n", 1)[0] == heading for s in sections):
        sections = [made if s.split("\n", 1)[0] == heading else s for s in sections]
    else:
        sections.append(made)
    path.write_text("\n\n## ".join([head, *sections]) + "\n", encoding="utf-8")


def _split(path: Path) -> list[str]:
    """An existing card's head, then its sections, each from its heading on."""
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n\n## ")


def _kept_prose(path: Path) -> str:
    if path.exists():
        text = path.read_text(encoding="utf-8")
        if PROSE_START in text and PROSE_END in text:
            return text.split(PROSE_START, 1)[1].split(PROSE_END, 1)[0].strip()
    return EMPTY_PROSE


def _contract(spec: ModelSpec) -> dict[str, Any]:
    rows: dict[str, Any] = {
        "parameters": spec.params,
        "multiply-accumulates per call": f"{spec.macs / 1e6:.2f} M",
        "colour": spec.colour,
        "parity tolerance": spec.parity_tolerance,
        "trained on": spec.trained_on,
        "seed": "none" if spec.seed is None else spec.seed,
        "licence": spec.licence,
    }
    if 0 < len(spec.classes) <= 20:
        rows["classes"] = ", ".join(spec.classes)
    return rows


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    shape = " x ".join("free" if d is None else str(d) for d in tensor.shape)
    return {"shape": shape, "dtype": tensor.dtype, "meaning": tensor.meaning}


def _section(measured: Any) -> str:
    if not isinstance(measured, Mapping):
        return _cell(measured)
    rows = {k: v for k, v in measured.items() if isinstance(v, Mapping)}
    plain = {k: v for k, v in measured.items() if k not in rows}
    parts = [_two_columns(plain)] if plain else []
    if rows:
        parts.append(_table(rows, ""))
    return "\n\n".join(parts)


def _two_columns(rows: Mapping[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {_cell(v)} |" for k, v in rows.items())])


def _table(rows: Mapping[str, Mapping[str, Any]], corner: str) -> str:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [
        f"| {corner} | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(_cell(row.get(c, '')) for c in columns)} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_cell(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(v) for v in value)
    return str(value).replace("|", "\\|").replace("\n", " ")
