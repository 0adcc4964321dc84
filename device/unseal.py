"""Sealed snippets made plain again, by whoever has the key: never on the glasses' own account."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pyrage

from device.codec import dumps
from device.errors import InputError, StorageError
from device.sealing import unseal
from device.spool import MANIFEST, atomic_write


def open_snippet(folder: Path, spool: Path, identity: pyrage.x25519.Identity) -> Path:
    """Write the plain snippet into another spool, with a manifest of its own; its folder there.

    Raises InputError if it cannot be opened or is not what its manifest says, StorageError if there is
    no room. A snippet that is there already is left as it is.
    """
    final, partial = spool / folder.name, spool / f".writing-{folder.name}"
    if final.exists():
        return final
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        plain = {str(entry["plain"]["name"]): entry for entry in manifest["files"]}
        if any(Path(name).name != name for name in plain):
            raise ValueError("a file's name is a path")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: is not a sealed snippet ({error})") from error
    try:
        partial.mkdir(parents=True)
        for name, entry in plain.items():
            where = folder / str(entry["name"])
            data = unseal(where.read_bytes(), identity, str(where))
            if hashlib.sha256(data).hexdigest() != entry["plain"]["sha256"]:
                raise InputError(f"{where}: what is in it is not what {MANIFEST} says")
            atomic_write(partial / name, data)
        manifest["files"] = [entry["plain"] for entry in manifest["files"]]
        del manifest["sealed_to"]
        atomic_write(partial / MANIFEST, dumps(manifest).encode())
        partial.rename(final)
    except OSError as error:
        raise StorageError(f"{final}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final
