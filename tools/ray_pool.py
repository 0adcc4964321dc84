"""Workers on Ray: a cluster, or one of its own on this machine (the extra `ray`)."""

from __future__ import annotations

import logging
from typing import Any, Self

import ray
from ray.exceptions import RayError

from device.errors import InputError
from tools.reanalysis import Failure, Job, Row, analyse


class RayPool:
    """A `Pool` whose jobs are Ray tasks. Ray's own retries are off: attempts are counted in one place."""

    def __init__(self, workers: int, address: str | None) -> None:
        """Raises InputError if the cluster cannot be reached."""
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if address is None:
                ray.init(num_cpus=workers, include_dashboard=False, **quiet)
            else:
                ray.init(address=address, **quiet)
        except (RayError, ConnectionError, ValueError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(f"no Ray cluster at {address or 'this machine'} ({first})") from error
        self._task = ray.remote(num_cpus=1, max_retries=0)(analyse)
        self._running: dict[Any, Job] = {}

    def submit(self, job: Job) -> None:
        self._running[self._task.remote(job)] = job

    def next(self) -> Row | Failure:
        (ended, *_), _ = ray.wait(list(self._running), num_returns=1)
        job = self._running.pop(ended)
        try:
            outcome: Row | Failure = ray.get(ended)
        except RayError as error:
            first = str(error).strip().splitlines()[0]
            return Failure(job=job, why=f"its worker was lost ({first})", final=False)
        return outcome

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()
