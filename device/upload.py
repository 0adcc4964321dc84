"""Talking to the companion server: one snippet announced, sent, committed, and its receipt believed.

Every answer ends as one of three things: success, `Later` (nothing is wrong with the snippet: try
again) or `Refused` (trying the same again cannot help). Nothing here deletes anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from device.identity import RECEIPT, Credentials, signed_by
from device.tls_pin import trust

FIRST = ("moment.json", "thumbnail.jpg")  # what lets a moment be seen goes before its video

_REFUSALS = {400, 413, 415, 422}
_SUSPECT = {"hash-mismatch", "incomplete"}


class Later(Exception):  # noqa: N818 - an answer, not an error
    """Not now: `reason` says why; `wait_s` is the server's own wish, if it has one.

    With `outage` the same holds for every other snippet; with `suspect` our own copy may be damaged.
    """

    def __init__(
        self,
        reason: str,
        wait_s: float | None = None,
        *,
        outage: bool = False,
        suspect: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s
        self.outage = outage
        self.suspect = suspect


class Refused(Exception):  # noqa: N818
    """Not like this: the snippet stays on the glasses until someone looks at it."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt that was verified. `text` is the exact JSON that `signature` covers."""

    text: str
    signature: str


def believe(given: Any, manifest: bytes, credentials: Credentials) -> Receipt:
    """The receipt, if the pinned server signed it for exactly this manifest of these glasses.

    Raises Later: an answer that cannot be believed is as good as none.
    """
    try:
        text, signature = given["receipt"], given["signature"]
        promise = json.loads(text)
        right = (
            signed_by(credentials.server_public_key, RECEIPT, text.encode(), signature)
            and promise["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
            and promise["device_id"] == credentials.device_id
            and promise["server_id"] == credentials.server_id
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Later("the server's receipt cannot be read") from error
    if not right:
        raise Later("the receipt is not the paired server's for this snippet; nothing is deleted")
    return Receipt(text, signature)


class Uplink:
    """One connection to the paired server; a context manager."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout_s: float = 30.0,
        chunk_bytes: int = 8 << 20,
    ) -> None:
        self._credentials = credentials
        self._chunk_bytes = chunk_bytes
        self._client = httpx.Client(
            base_url=f"{credentials.server_url}/api/v1",
            headers={"Authorization": f"Bearer {credentials.token}", "Tus-Resumable": "1.0.0"},
            transport=transport,
            verify=trust(credentials.tls_certificate),
            timeout=timeout_s,
            follow_redirects=False,
        )

    def __enter__(self) -> Uplink:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def announce(
        self, snippet_id: str, manifest: bytes, signature: str
    ) -> Receipt | dict[str, int]:
        """Show the signed manifest: the receipt if the server has it all, else each file's offset."""
        headers = {"Content-Type": "application/json", "Beheld-Signature": signature}
        answer = self._ask("PUT", f"/snippets/{snippet_id}", content=manifest, headers=headers)
        if answer.get("state") == "stored":
            return believe(answer.get("receipt"), manifest, self._credentials)
        offsets = answer.get("offsets")
        if not isinstance(offsets, dict):
            raise Later("the server's answer cannot be read")
        return {str(name): int(offset) for name, offset in offsets.items()}

    def send(
        self, folder: Path, name: str, offset: int, progress: Callable[[int], None] = lambda n: None
    ) -> None:
        """Send one file from an offset on, in chunks, each with its checksum."""
        with (folder / name).open("rb") as file:
            file.seek(offset)
            while chunk := file.read(self._chunk_bytes):
                digest = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
                headers = {
                    "Content-Type": "application/offset+octet-stream",
                    "Upload-Offset": str(offset),
                    "Upload-Checksum": f"sha256 {digest}",
                }
                self._ask("PATCH", f"/uploads/{folder.name}/{name}", content=chunk, headers=headers)
                offset += len(chunk)
                progress(len(chunk))

    def commit(self, snippet_id: str, manifest: bytes) -> Receipt:
        """Have the server check everything; its verified receipt."""
        answer = self._ask("POST", f"/snippets/{snippet_id}/commit")
        return believe(answer.get("receipt"), manifest, self._credentials)

    def session(self, name: str, report: bytes, signature: str) -> str:
        """Hand over the report of a session; the digest of what the server has on its disk."""
        headers = {"Content-Type": "application/json", "Beheld-Signature": signature}
        answer = self._ask("PUT", f"/sessions/{name}", content=report, headers=headers)
        return str(answer.get("sha256", ""))

    def tell(self, document: bytes) -> None:
        """Let the server know where the snippets on these glasses stand."""
        headers = {"Content-Type": "application/json"}
        self._ask("PUT", "/snippets", content=document, headers=headers)

    def _ask(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            answer = self._client.request(method, path, content=content, headers=headers)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            gone = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise Later(f"the server cannot be reached ({why})", outage=gone) from error
        if answer.is_success:
            return _document(answer)
        problem = _document(answer)
        detail = str(problem.get("detail") or f"the server answered {answer.status_code}")
        kind = str(problem.get("type", "")).rpartition(":")[2]
        if kind in _SUSPECT:  # the way may have damaged it; the glasses look at their copy next
            raise Later(detail, suspect=True)
        if answer.status_code in _REFUSALS or kind == "other-content":
            raise Refused(detail)
        raise Later(detail, _wait_s(answer))


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        given = answer.json()
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}


def _wait_s(answer: httpx.Response) -> float | None:
    given = answer.headers.get("retry-after", "")
    return min(float(given), 3600.0) if given.isascii() and given.isdigit() else None
