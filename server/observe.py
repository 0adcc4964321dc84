"""How the server is doing, for whoever runs it: counters for Prometheus and one log line a request.

Neither holds anything personal: routes by their templates, never an address of a moment, a search, a
name, a token or an IP address.
"""

from __future__ import annotations

import hmac
import json
import logging
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.access import Services, Use
from server.problems import Problem

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LOCAL = frozenset({"127.0.0.1", "::1", "localhost", "testclient"})
log = logging.getLogger("beheld.server")
router = APIRouter(include_in_schema=False)

Labels = tuple[str, str, int]


@dataclass
class Counters:
    """Requests by method, route and status, and how long they took."""

    started_s: float = field(default_factory=time.time)
    requests: Counter[Labels] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    buckets: Counter[tuple[str, float]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, method: str, route: str, status: int, took_s: float) -> None:
        with self._lock:
            self.requests[method, route, status] += 1
            self.seconds[route] += took_s  # type: ignore[assignment]  # a Counter adds floats as well
            for bound in BUCKETS_S:
                if took_s <= bound:
                    self.buckets[route, bound] += 1

    def lines(self) -> Iterator[str]:
        """In Prometheus' text format 0.0.4."""
        with self._lock:
            requests, seconds = dict(self.requests), dict(self.seconds)
            buckets = dict(self.buckets)
        yield "# HELP beheld_requests_total Requests answered."
        yield "# TYPE beheld_requests_total counter"
        for (method, route, status), number in sorted(requests.items()):
            labels = f'method="{method}",route="{route}",status="{status}"'
            yield f"beheld_requests_total{{{labels}}} {number}"
        yield "# HELP beheld_request_seconds Time from a request to the end of its answer."
        yield "# TYPE beheld_request_seconds histogram"
        for route in sorted(seconds):
            total = sum(n for (_, other, _), n in requests.items() if other == route)
            for bound in BUCKETS_S:
                below = buckets.get((route, bound), 0)
                yield f'beheld_request_seconds_bucket{{route="{route}",le="{bound}"}} {below}'
            yield f'beheld_request_seconds_bucket{{route="{route}",le="+Inf"}} {total}'
            yield f'beheld_request_seconds_sum{{route="{route}"}} {seconds[route]:.6f}'
            yield f'beheld_request_seconds_count{{route="{route}"}} {total}'


class Observe:
    """Counts and logs every request, from outside of everything else."""

    def __init__(self, app: ASGIApp, counters: Counters) -> None:
        self._app = app
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 500, time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            took_s = time.perf_counter() - began
            route = str(getattr(scope.get("route"), "path", "other"))
            method = scope["method"] if scope["method"].isalpha() else "OTHER"
            self._counters.count(method, route, status, took_s)
            log.info(
                "request",
                extra={"told": {"method": method, "route": route, "status": status,
                                "took_ms": round(1e3 * took_s, 1)}},
            )  # fmt: skip


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, what, and what belongs to it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at_utc": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}+00:00",
            "level": record.levelname.lower(),
            "what": record.getMessage(),
            **getattr(record, "told", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line)


def log_to_stderr() -> None:
    """Log requests as JSON lines; without this call nothing is logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


@router.get("/metrics")
def metrics(request: Request, services: Use) -> Response:
    """For Prometheus: from this machine only, or, with `metrics_token` set, for whoever brings it."""
    _require_watcher(request, services)
    counters: Counters = request.app.state.counters
    lines = [*counters.lines(), *_gauges(services), *_process(counters), ""]
    return Response("\n".join(lines), media_type="text/plain; version=0.0.4; charset=utf-8")


def _require_watcher(request: Request, services: Services) -> None:
    token = services.settings.metrics_token
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token:
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise Problem(403, "metrics", "bring the metrics token as a bearer token")
        return
    forwarded = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    if forwarded or request.client is None or request.client.host not in LOCAL:
        raise Problem(403, "metrics", "only this machine may ask; set metrics_token for others")


def _gauges(services: Services) -> Iterator[str]:
    arriving = sum(1 for _ in services.media.incoming.glob("*/*"))
    paired = sum(device.revoked_utc is None for device in services.glasses.all())
    days = services.index.days(10_000)
    values = {
        "beheld_moments": ("Moments kept.", sum(day.moments for day in days)),
        "beheld_stored_bytes": ("Bytes of moments kept.", services.index.stored_bytes()),
        "beheld_uploads_arriving": ("Snippets that are on their way.", arriving),
        "beheld_devices": ("Glasses that are paired.", paired),
        "beheld_listeners": (
            "Open pages and programs that are told of events.",
            len(services.events),
        ),
    }
    for name, (meaning, value) in values.items():
        yield f"# HELP {name} {meaning}"
        yield f"# TYPE {name} gauge"
        yield f"{name} {value}"


def _process(counters: Counters) -> Iterator[str]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield "# TYPE process_cpu_seconds_total counter"
    yield f"process_cpu_seconds_total {used.ru_utime + used.ru_stime:.2f}"
    yield "# TYPE process_max_resident_memory_bytes gauge"
    yield f"process_max_resident_memory_bytes {used.ru_maxrss * 1024}"
    yield "# TYPE process_start_time_seconds gauge"
    yield f"process_start_time_seconds {counters.started_s:.0f}"
