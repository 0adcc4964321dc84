"""The server's promise: what it took over, in words it signed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from server.database import utc_now
from server.keys import RECEIPT, ServerKey
from server.manifest import Manifest
from server.problems import Problem


@dataclass(frozen=True, slots=True)
class Receipt:
    """`receipt` is the exact JSON text that `signature` covers."""

    receipt: str
    signature: str

    def document(self) -> dict[str, str]:
        return {"receipt": self.receipt, "signature": self.signature}


def sign(key: ServerKey, device_id: str, manifest: Manifest) -> Receipt:
    """Promise a snippet whose files are verified and on the disk."""
    promise = {
        "format": 1,
        "server_id": key.server_id,
        "device_id": device_id,
        "snippet_id": manifest.snippet_id,
        "manifest_sha256": manifest.sha256,
        "files": [asdict(file) for file in manifest.stored],
        "received_utc": utc_now(),
    }
    text = json.dumps(promise, sort_keys=True, separators=(",", ":"))
    return Receipt(text, key.sign(RECEIPT, text.encode()))


def same(receipt: Receipt, manifest: Manifest) -> Receipt:
    """The receipt, if it is for this very manifest. Raises Problem 409."""
    if json.loads(receipt.receipt)["manifest_sha256"] != manifest.sha256:
        raise Problem(
            409,
            "other-content",
            "this snippet id is already stored with other content; nothing changed",
        )
    return receipt
