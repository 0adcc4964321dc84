"""Where real recordings lie: `$BEHELD_DATA`, else `../shared/data` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

from device.errors import InputError


def data_root() -> Path:
    """The folder of real data; it may be absent."""
    named = os.environ.get("BEHELD_DATA")
    return Path(named) if named else Path(__file__).parents[2] / "shared" / "data"


def dataset(name: str) -> Path:
    """One data set. Raises InputError with the remedy where it is absent."""
    folder = data_root() / name
    if not folder.is_dir():
        raise InputError(f"{folder}: not there; set BEHELD_DATA to the folder that holds {name}")
    return folder
