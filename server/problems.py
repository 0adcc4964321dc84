"""Errors of the server: to a client as problem+json (RFC 9457), to the owner as one plain line."""

from __future__ import annotations

from collections.abc import Mapping

TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    409: "Conflict",
    410: "Gone",
    411: "Length required",
    412: "Wrong protocol version",
    413: "Too large",
    415: "Wrong content type",
    416: "No such bytes",
    422: "Not acceptable",
    423: "In use",
    429: "Too many tries",
    460: "Checksum mismatch",
    500: "Fault of the server",
    501: "Not there",
    507: "Disk full",
}


class ServerError(Exception):
    """The server cannot start or go on; the text names what, where and the remedy."""


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it so
    """An answer that is not a success: status, a short kind and a plain sentence with the remedy."""

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})

    def document(self, instance: str) -> dict[str, object]:
        """The body of the answer, as RFC 9457 names its members."""
        return {
            "type": f"urn:beheld:problem:{self.kind}",
            "title": TITLES.get(self.status, "Problem"),
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
