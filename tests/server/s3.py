"""An S3-compatible server over HTTP for the tests (moto's), with a bucket of their own each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import httpx
from moto.server import ThreadedMotoServer

KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
}
_numbers = count()


class Buckets:
    """One running S3 server; `new()` makes a bucket and answers its address."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def new(self) -> str:
        name = f"beheld-{next(_numbers)}"
        httpx.put(f"{self.endpoint}/{name}").raise_for_status()
        return f"s3://{name}/home"

    def settings(self) -> dict[str, str]:
        return {"media_url": self.new(), "media_endpoint": self.endpoint}


@contextmanager
def s3_server() -> Iterator[Buckets]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    before = {name: os.environ.get(name) for name in KEYS}
    os.environ.update(KEYS)
    host, port = server.get_host_and_port()
    yield Buckets(f"http://{host}:{port}")
    server.stop()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
