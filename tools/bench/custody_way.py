"""A bad way between glasses and server: an httpx transport that does one thing wrong at one request.

It also hears every answer that passes, so that each receipt can be held against the books.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import httpx

ANSWERS = (401, 413, 429, 500)
WAYS = (
    "cut_request",
    "cut_answer",
    "bit_flip_on_the_way",
    "duplicate_chunk",
    "reordered_chunk",
    *(f"answer_{status}" for status in ANSWERS),
)
"""What can go wrong between the two."""
_OF_BYTES = {"cut_request", "bit_flip_on_the_way", "duplicate_chunk", "reordered_chunk"}


class BadWay(httpx.BaseTransport):
    """Does `fault` to the `at`-th request it fits (counting from 0), once; `struck` tells."""

    def __init__(self, fault: str | None, at: int, rng: random.Random) -> None:
        self._inner = httpx.HTTPTransport(verify=False)  # plain HTTP: no certificates to load
        self._fault = fault
        self._left = at
        self._rng = rng
        self.struck = False
        self.answers: list[dict[str, Any]] = []
        self.statuses: list[int] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._fault is not None and not self.struck and self._fits(request):
            self._left -= 1
            if self._left < 0:
                self.struck = True
                return self._spoil(request, self._fault)
        return self._pass(request)

    def close(self) -> None:
        self._inner.close()

    def _fits(self, request: httpx.Request) -> bool:
        return self._fault not in _OF_BYTES or request.method == "PATCH"

    def _pass(self, request: httpx.Request) -> httpx.Response:
        answer = self._inner.handle_request(request)
        answer.read()
        self.statuses.append(answer.status_code)
        if answer.headers.get("content-type", "").startswith("application/json"):
            document = json.loads(answer.content)
            if isinstance(document, dict):
                self.answers.append(document)
        return answer

    def _spoil(self, request: httpx.Request, fault: str) -> httpx.Response:
        if fault == "cut_request":
            return self._cut(request)
        if fault == "cut_answer":
            self._pass(request)  # the server did it all, and nobody heard
            self.answers.clear()
            raise httpx.ReadError("connection reset")
        if fault == "bit_flip_on_the_way":
            return self._pass(self._flipped(request))
        if fault == "duplicate_chunk":
            self._pass(_copy(request, request.read()))
            return self._pass(request)
        if fault == "reordered_chunk":
            ahead = int(request.headers["upload-offset"]) + len(request.read())
            self._pass(_copy(request, request.content, {"upload-offset": str(ahead)}))
            return self._pass(request)
        return self._answer(request, int(fault.removeprefix("answer_")))

    def _answer(self, request: httpx.Request, status: int) -> httpx.Response:
        if self._rng.random() < 0.5:  # some proxies answer so after they passed the request on
            self._pass(request)
            self.answers.clear()
        wait = {"retry-after": "3"} if status == 429 else {}
        return httpx.Response(status, headers=wait, json={"detail": f"answer {status}"})

    def _flipped(self, request: httpx.Request) -> httpx.Request:
        body = bytearray(request.read())
        body[self._rng.randrange(len(body))] ^= 1 << self._rng.randrange(8)
        headers = None
        if self._rng.random() < 0.5:  # a way that spoils the bytes may well drop the checksum
            headers = {"upload-checksum": ""}
        return _copy(request, bytes(body), headers)

    def _cut(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        sent = self._rng.randrange(len(body) + 1)

        def some() -> Iterator[bytes]:
            yield body[:sent]
            raise httpx.WriteError("connection reset")

        cut = httpx.Request(
            request.method, request.url, headers=request.headers, content=some()
        )  # the length that was promised stays in the headers
        return self._inner.handle_request(cut)


def _copy(
    request: httpx.Request, body: bytes, headers: dict[str, str] | None = None
) -> httpx.Request:
    """The same request with another body; a header given empty is dropped."""
    kept = httpx.Headers(request.headers)
    for name, value in (headers or {}).items():
        if value:
            kept[name] = value
        else:
            kept.pop(name, None)
    return httpx.Request(request.method, request.url, headers=kept, content=body)
