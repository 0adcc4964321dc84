"""A small typed client of the companion server's API, for programs of the owner.

    with Client("http://127.0.0.1:8470", session) as client:
        for moment in client.moments(thing=["cup"], emotion="happy"):
            print(moment.local_day, moment.title)

`session` is the value of a browser's cookie `beheld_session`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Self

import httpx
from websockets.sync.client import connect

from device.errors import BeheldError


class ClientError(BeheldError):
    """The server said no, or could not be asked; the text is its own plain sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMoment:
    """A moment as the API lists it; docs/server.md and the OpenAPI document say what each part is."""

    key: str
    snippet_id: str
    device_id: str
    session_id: str
    start_utc: str
    local_day: str
    local_time: str
    zone: str
    duration_s: float
    title: str
    reasons: list[str]
    tags: list[dict[str, Any]]
    place: str
    energy_mj: float | None
    emotion: str | None
    emotion_corrected: bool
    probabilities: dict[str, float]
    influence: float | None
    bytes: int
    files: dict[str, str]
    kept: bool
    reviewed: bool
    nearness: float | None


class Client:
    """One signed-in connection; a context manager. Every method raises ClientError."""

    def __init__(self, url: str, session: str, *, timeout_s: float = 30.0) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {session}"}
        self._http = httpx.Client(
            base_url=f"{self._url}/api/v1", headers=self._headers, timeout=timeout_s
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def days(self) -> list[dict[str, Any]]:
        """The days that have moments, newest first: day, moments, attended_s, energy_mj."""
        found: list[dict[str, Any]] = self._ask("GET", "/days").json()
        return found

    def moments(self, *, limit: int = 100, **query: Any) -> Iterator[ListedMoment]:
        """All moments that fit a query (docs/server.md, Finding), page by page as they are read."""
        cursor: str | None = None
        while True:
            asked = {**query, "limit": limit} | ({} if cursor is None else {"cursor": cursor})
            page = self._ask("GET", "/moments", params=asked).json()
            yield from (_listed(given) for given in page["moments"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def moment(self, key: str) -> ListedMoment:
        return _listed(self._ask("GET", f"/moments/{key}").json())

    def judge(self, key: str, **said: Any) -> ListedMoment:
        """Say `kept`, `reviewed`, `names` or `emotion` of a moment."""
        return _listed(self._ask("PATCH", f"/moments/{key}", json=said).json())

    def discard(self, key: str) -> None:
        self._ask("DELETE", f"/moments/{key}")

    def file(self, key: str, name: str) -> bytes:
        """One of a moment's files, whole."""
        return self._ask("GET", f"/moments/{key}/files/{name}").content

    def events(self, **after: int) -> Iterator[dict[str, Any]]:
        """What happens, as it happens, for as long as it is read; `moment=NUMBER` tells what was missed."""
        query = "&".join(f"{name}={number}" for name, number in after.items())
        address = f"{self._url.replace('http', 'ws', 1)}/api/v1/events?{query}"
        with connect(address, additional_headers=self._headers) as socket:
            for message in socket:
                yield json.loads(message)

    def _ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **sent)
        except httpx.HTTPError as error:
            raise ClientError(f"{self._url}: cannot be reached ({error})") from error
        if answer.is_success:
            return answer
        try:
            problem = answer.json()
            raise ClientError(f"{self._url}: {problem['title'].lower()}: {problem['detail']}")
        except (ValueError, KeyError, TypeError) as error:
            raise ClientError(f"{self._url}: answered {answer.status_code}") from error


def _listed(given: dict[str, Any]) -> ListedMoment:
    """What is known to this client; a newer server may tell more."""
    values = {item.name: given.get(item.name) for item in fields(ListedMoment)}
    values["probabilities"] = values["probabilities"] or {}
    return ListedMoment(**values)
