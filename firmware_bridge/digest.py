"""What both sides compare before they talk: eight bytes that stand for the message definitions.

Comments, blank lines and spacing do not count, so that a better comment does not need new firmware.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

PROTO = Path(__file__).with_name("wire.proto")


def canonical(proto: str) -> str:
    """The definitions without comments, each run of white space as one space."""
    return re.sub(r"\s+", " ", re.sub(r"//[^\n]*", "", proto)).strip()


def digest(proto: str) -> int:
    """First eight bytes of the SHA-256 of the canonical text, as an unsigned little-endian number."""
    return int.from_bytes(hashlib.sha256(canonical(proto).encode()).digest()[:8], "little")


def table_digest() -> int:
    """The digest of the definitions this installation was made with."""
    return digest(PROTO.read_text(encoding="utf-8"))
