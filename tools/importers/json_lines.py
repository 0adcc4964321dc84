"""Gzipped files of one JSON object a line, as Tobii's glasses write them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device.errors import InputError
from tools.importers.recording import Vector


def read_lines(path: Path, take: Callable[[dict[str, Any]], None]) -> int:
    """Give each object to `take`; returns how many lines were damaged and left out.

    A line counts as damaged if it is no JSON object or `take` finds a wrong type or missing key in it; a file
    that was cut counts one. Raises InputError if the file is no gzip, or is cut before its first good line.
    """
    good = damaged = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.strip():
                    continue
                try:
                    take(json.loads(line))
                    good += 1
                except (ValueError, KeyError, TypeError, IndexError, AttributeError):
                    damaged += 1
    except (EOFError, zlib.error) as error:
        if not good:
            raise InputError(f"{path}: is cut before its first whole line ({error})") from error
        damaged += 1
    except OSError as error:
        raise InputError(f"{path}: is not readable as gzip ({error}); copy it again") from error
    return damaged


def vector(value: Any) -> Vector:
    """Three numbers of a line. Raises ValueError or TypeError for anything else."""
    x, y, z = value
    return float(x), float(y), float(z)
