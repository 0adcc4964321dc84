"""Whether what is stored is what the glasses signed, byte for byte."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from server.keys import MANIFEST as MANIFEST_PURPOSE
from server.keys import signed_by
from server.manifest import AMENDED, CUSTODY, MANIFEST, RELEASED, parse
from server.media import MediaFolder
from server.problems import Problem
from server.settings import ServerSettings


def faults(
    media: MediaFolder, settings: ServerSettings, device_id: str, snippet_id: str
) -> list[str]:
    """What of one stored snippet is not as it was signed for, read back from the store."""
    kept = media.kept
    try:
        custody: dict[str, Any] = json.loads(kept.read(device_id, snippet_id, CUSTODY))
        manifest = parse(kept.read(device_id, snippet_id, MANIFEST), settings)
        key, signature = custody["device_public_key"], custody["manifest_signature"]
    except (OSError, ValueError, KeyError, TypeError, Problem) as error:
        return [f"no readable sidecars ({error})"]
    found = []
    amended = custody.get(AMENDED, {})
    if not signed_by(key, MANIFEST_PURPOSE, manifest.raw, signature):
        found.append("the manifest is not what the glasses signed")
    released = media.note(device_id, snippet_id, RELEASED)
    for file in manifest.stored:
        if file.name in released:
            continue
        digest = hashlib.sha256()
        try:
            for block in kept.blocks(device_id, snippet_id, file.name):
                digest.update(block)
        except FileNotFoundError:
            found.append(f"{file.name} is missing")
            continue
        if digest.hexdigest() not in (file.sha256, amended.get(file.name, {}).get("sha256")):
            found.append(f"{file.name} is damaged")
    return found
