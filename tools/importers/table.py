"""Delimited tables (csv, tsv) as named columns of numbers, with errors that say where."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; columns are asked for by name."""

    path: Path
    names: tuple[str, ...]
    rows: list[list[str]]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def floats(self, name: str) -> NDArray[np.float64]:
        """One column as float64; empty cells are NaN. Raises InputError naming row and column."""
        at = self._column(name)
        values = np.empty(len(self.rows))
        for number, row in enumerate(self.rows):
            cell = row[at].strip() if at < len(row) else ""
            try:
                values[number] = float(cell) if cell else np.nan
            except ValueError as error:
                raise self._bad(number, name, cell) from error
        return values

    def integers(self, name: str) -> NDArray[np.int64]:
        """One column as int64, exact: nanoseconds since 1970 do not fit into a float."""
        at = self._column(name)
        values = np.empty(len(self.rows), np.int64)
        for number, row in enumerate(self.rows):
            cell = row[at].strip() if at < len(row) else ""
            try:
                values[number] = int(cell) if cell.lstrip("-").isdigit() else int(float(cell))
            except (ValueError, OverflowError) as error:
                raise self._bad(number, name, cell) from error
        return values

    def texts(self, name: str) -> list[str]:
        """One column as it stands."""
        at = self._column(name)
        return [row[at].strip() if at < len(row) else "" for row in self.rows]

    def _column(self, name: str) -> int:
        if name not in self.names:
            raise InputError(
                f"{self.path}: has no column '{name}'; it has: {', '.join(self.names)[:200]}"
            )
        return self.names.index(name)

    def _bad(self, number: int, name: str, cell: str) -> InputError:
        return InputError(
            f"{self.path}: row {number + 2}, column '{name}': '{cell[:40]}' is not a number; "
            "mend or remove the row"
        )


def read_table(path: Path) -> Table:
    """Read a table with a header line; tab or comma is found by the header.

    Raises InputError if the file cannot be read, is empty, is not text, or has no rows.
    """
    names = read_columns(path)
    delimiter = "\t" if _is_tabbed(path) else ","
    csv.field_size_limit(1 << 24)  # Pupil Core lists whole blinks in one cell
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=delimiter)
            next(lines)
            rows = [row for row in lines if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from error
    if not rows:
        raise InputError(f"{path}: has a header and no rows; the recording is empty")
    return Table(path, names, rows)


def read_columns(path: Path) -> tuple[str, ...]:
    """The names in the header line. Raises InputError as `read_table` does."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(100_000)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text table") from error
    if not first.strip():
        raise InputError(f"{path}: is empty")
    delimiter = "\t" if "\t" in first else ","
    return tuple(name.strip().strip('"') for name in first.rstrip("\r\n").split(delimiter))


def _is_tabbed(path: Path) -> bool:
    with path.open(encoding="utf-8-sig") as file:
        return "\t" in file.readline()


def seconds_to_ns(seconds: NDArray[np.float64], path: Path) -> NDArray[np.int64]:
    """Seconds to int64 nanoseconds. Raises InputError where a time is missing."""
    if not np.isfinite(seconds).all():
        row = int(np.flatnonzero(~np.isfinite(seconds))[0]) + 2
        raise InputError(f"{path}: row {row} has no time; remove it")
    whole = np.floor(seconds)
    return whole.astype(np.int64) * 1_000_000_000 + np.round((seconds - whole) * 1e9).astype(
        np.int64
    )


def check_times(t_ns: NDArray[np.int64], path: Path) -> None:
    """Refuse a table in which most times run backwards; single late rows are left to the loop."""
    if len(t_ns) > 1 and (np.diff(t_ns) < 0).mean() > 0.5:
        raise InputError(f"{path}: its times run backwards; sort the rows by time")
