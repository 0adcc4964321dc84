"""What is this PATH? Found by what is in it, never by its name."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device.errors import InputError
from device.pipeline import Source
from device.record import SessionSource

EMULATOR = "emulator"

SOURCES: dict[str, tuple[str, str, str]] = {
    "neon": ("tools.importers.neon", "is_neon", "open_neon"),
    "tobii_glasses2": ("tools.importers.tobii_glasses2", "is_tobii", "open_tobii"),
    "tobii_glasses3": ("tools.importers.tobii_glasses3", "is_glasses3", "open_glasses3"),
    "aria": ("tools.importers.aria", "is_aria", "open_aria"),
    "lund2013": ("tools.importers.lund_source", "is_lund", "open_lund"),
    "pupil_core": ("tools.importers.pupil_core", "is_pupil_core", "open_pupil_core"),
    "gaze_table": ("tools.importers.gaze_table", "is_gaze_table", "open_gaze_table"),
}
"""Kind of recording -> (module, function that recognises it, function that opens it), tried in order."""


def open_source(path: str | Path) -> Source:
    """Open a recording of any known kind, or `emulator[:SEED]`, as a source.

    Raises InputError naming what was found and what would be understood.
    """
    text = str(path)
    if text.partition(":")[0] == EMULATOR and not Path(text).exists():
        return _emulator(text)
    place = Path(path)
    _readable(place)
    if place.suffix == ".mcap" or (place.is_file() and _magic(place)):
        return SessionSource(place)
    for module_name, recognises, opens in SOURCES.values():
        module: Any = importlib.import_module(module_name)
        knows: Callable[[Path], bool] = getattr(module, recognises)
        if knows(place):
            source: Source = getattr(module, opens)(place)
            return source
    if place.is_dir() and len(inner := sorted(place.glob("*.mcap"))) == 1:
        return SessionSource(inner[0])
    raise InputError(f"{place}: {_found(place)}; a recording is one of: {', '.join(_kinds())}")


def is_recording(place: Path) -> bool:
    """Whether this file or folder is one recording, without opening it.

    A folder of Lund trials is many; `open_source` takes the first of them.
    """
    if place.is_file():
        return place.suffix in (".mcap", ".mat") or _magic(place)
    return place.is_dir() and any(
        getattr(importlib.import_module(module), recognises)(place)
        for kind, (module, recognises, _) in SOURCES.items()
        if kind != "lund2013"
    )


def _emulator(text: str) -> Source:
    seed = text.partition(":")[2] or "1"
    if not seed.isdigit():
        raise InputError(f"{text}: the seed after 'emulator:' must be a whole number")
    module: Any = importlib.import_module("tools.virtual_wearer")
    source: Source = module.virtual_wearer(seed=int(seed))
    return source


def _readable(place: Path) -> None:
    try:
        if place.is_dir():
            next(iter(os.scandir(place)), None)
        else:
            with place.open("rb") as file:
                if not file.read(1):
                    raise InputError(f"{place}: is empty; copy the recording again")
    except OSError as error:
        raise InputError(
            f"{place}: cannot be read ({error.strerror}); check name and rights"
        ) from error


def _magic(place: Path) -> bool:
    with place.open("rb") as file:
        return file.read(5) == b"\x89MCAP"


def _found(place: Path) -> str:
    if place.is_file():
        return f"a file of a kind that is not known ('{place.suffix or place.name}')"
    names = sorted(p.name for p in place.iterdir())
    if not names:
        return "an empty folder"
    inner = [n for n in names if (place / n).is_dir() and is_recording(place / n)]
    if inner:
        return f"a folder of recordings, name one of them ({', '.join(inner[:5])})"
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"holds no recording that is known (found: {shown})"


def _kinds() -> list[str]:
    return [
        "a Beheld session (.mcap)",
        "a Pupil Labs Neon or Pupil Core folder",
        "a Tobii Pro Glasses 2 or 3 folder",
        "a Project Aria folder (MPS gaze)",
        "a video with a gaze table (csv, tsv)",
        "a Lund 2013 trial (.mat)",
        "emulator[:SEED]",
    ]
