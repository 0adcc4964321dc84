"""What the wearer corrected on the server, brought home after each sync.

    HOME/feedback.jsonl    one correction a line, in the order of their numbers

The cursor is the last line's number, so a file that was cut or lost is simply fetched again. What is
learnt from it goes to the personal file (`device.personal`); the corrections stay as they came.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from device import personal as own
from device.errors import SyncError
from device.identity import Credentials
from device.personal import Personal, PersonalError
from device.tls_pin import trust

NAME = "feedback.jsonl"
KINDS = ("emotion", "keep", "names")
MOST_ROUNDS = 100
"""Pages fetched in one go; a server that always has more is not believed."""


def fetch(
    home: Path, credentials: Credentials, *, transport: httpx.BaseTransport | None = None
) -> int:
    """Append the server's new corrections to the file; returns how many.

    A server that does not know feedback yet (404) has none. Raises SyncError.
    """
    path, got = home / NAME, 0
    last = max((item["number"] for item in read(home)), default=0)
    headers = {"authorization": f"Bearer {credentials.token}"}
    with httpx.Client(
        base_url=credentials.server_url,
        headers=headers,
        timeout=30.0,
        transport=transport,
        verify=trust(credentials.tls_certificate) if transport is None else True,
    ) as client:
        for _ in range(MOST_ROUNDS):
            answer = _ask(client, last)
            if answer is None:
                break
            items, last = _checked(answer, last)
            if not items:
                break
            with path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(item, sort_keys=True) + "\n" for item in items)
            got += len(items)
    return got


def learn(home: Path, wearer: str, model_sha256: str) -> Personal | None:
    """Take new corrections into the personal file; None if there is nothing to hold.

    Raises PersonalError if the present file is of another wearer or damaged.
    """
    with own.locked(home):
        items = read(home)
        now = own.read(home, wearer)
        if now is None:
            if not items:
                return None
            now = own.blank(wearer, model_sha256)
        made = own.learn(now, items)
        if made is not now:
            own.write(home, made)
    return made if made.version else None


def read(home: Path) -> list[dict[str, Any]]:
    """Every correction kept, in order; a last line cut by a crash is left out and fetched again."""
    path = home / NAME
    if not path.is_file():
        return []
    items = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            item = json.loads(line)
            number = int(item["number"])
        except (ValueError, KeyError, TypeError):
            continue
        items.append({**item, "number": number})
    unique = {item["number"]: item for item in items}
    return [unique[number] for number in sorted(unique)]


def _ask(client: httpx.Client, after: int) -> Any:
    try:
        answer = client.get("/api/v1/feedback", params={"after": after})
    except httpx.HTTPError as error:
        raise SyncError(f"the server cannot be asked for corrections ({error})") from error
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    if answer.status_code != httpx.codes.OK:
        raise SyncError(f"the server refuses to tell corrections ({answer.status_code})")
    try:
        return answer.json()
    except ValueError as error:
        raise SyncError("the server's corrections are not JSON") from error


def _checked(answer: Any, after: int) -> tuple[list[dict[str, Any]], int]:
    """Items numbered after `after`, in order, and the new cursor. Raises SyncError."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("items"), list):
        raise SyncError("the server's corrections are not a list")
    items = []
    for item in answer["items"]:
        known = isinstance(item, Mapping) and item.get("kind") in KINDS
        if not known or not isinstance(item.get("number"), int) or item["number"] <= after:
            raise SyncError(f"the server sent a correction that makes no sense: {str(item)[:80]}")
        # Nothing is learnt from names here, and stolen glasses must not tell what was looked at.
        items.append({**item, "names": None})
        after = item["number"]
    return items, after


__all__ = ["PersonalError", "fetch", "learn", "read"]
