"""`beheld bench month`: a month of a heavy wearer on the default storage: start, list, back up.

3,000 moments of 20 GB in all, simulated: videos are sparse files of the right length (their blocks are never
read by what is measured), records have the traces a real moment has. Each time is the median of several.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np

from server.app import make_services
from server.database import utc_now
from server.keys import RECEIPT, ServerKey
from server.settings import ServerSettings
from tools.bench.server_page import page_option, require, write_month
from tools.output import emit, json_option, progress

THINGS = ("cup", "book", "phone", "person", "cat", "bottle", "laptop", "orange", "chair", "clock")
DAYS = 30


@click.command()
@click.option("--moments", type=click.IntRange(1), default=3000, show_default=True)
@click.option("--gb", type=click.FloatRange(0), default=20.0, show_default=True, help="Of video.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seed", default=0, show_default=True)
@page_option
@json_option
def command(
    moments: int, gb: float, repeats: int, seed: int, page: Path | None, as_json: bool
) -> None:
    """A month of a heavy wearer on SQLite and a folder: how long what its owner waits for takes."""
    require(page, "month")
    with tempfile.TemporaryDirectory(prefix="beheld-month-") as folder:
        found = measure(Path(folder), moments, gb, repeats, seed)
    if page is not None:
        write_month(found, page)
    emit(found, as_json=as_json, title="A month")


def measure(
    data: Path, moments: int = 3000, gb: float = 20.0, repeats: int = 5, seed: int = 0
) -> dict[str, Any]:
    """Fill `data` and time what an owner waits for; seconds unless the name says otherwise."""
    settings = ServerSettings(data_dir=data, reserve_mb=0)
    with progress("write a month", moments) as show:
        size = fill(data, moments, gb, seed, show)
    began = time.perf_counter()
    make_services(settings).database.close()
    first_s = time.perf_counter() - began
    start_s = _median(repeats, lambda: make_services(settings).database.close())
    services = make_services(settings)
    days = services.index.days()
    result = {
        "moments": moments,
        "video_gb": size / 1e9,
        "first_start_s": first_s,
        "start_s": start_s,
        "days_s": _median(repeats, services.index.days),
        "list_s": _median(repeats, lambda: services.index.select(limit=50)),
        "day_s": _median(repeats, lambda: services.index.of_day(days[0].day)),
        "all_pages_s": _median(repeats, lambda: _walk(services.index.select)),
        "forecast_s": _median(repeats, services.retention.forecast),
        "backup_s": _median(
            repeats, lambda: services.database.backup(data / "backups" / "bench.sqlite3")
        ),
        "index_mb": settings.database.stat().st_size / 1e6,
        "known": len(services.index.known()),
    }
    services.database.close()
    return result


def _walk(select: Callable[..., Any]) -> None:
    cursor = None
    while True:
        page = select(cursor=cursor, limit=200)
        cursor = page.next_cursor
        if cursor is None:
            return


def _median(repeats: int, what: Callable[[], object]) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        what()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def fill(
    data: Path,
    moments: int,
    gb: float,
    seed: int,
    show: Callable[[float], None] = lambda done: None,
    picture: bytes | None = None,
) -> int:
    """Write a month as custody leaves it; bytes of video. `picture`: every thumbnail (else noise)."""
    rng = np.random.default_rng(seed)
    key = ServerKey(data / "server.key")
    device_id = "ab" * 16
    start = datetime(2026, 5, 1, 5, tzinfo=UTC)
    share = rng.lognormal(0.0, 0.6, moments)
    sizes = (share / share.sum() * gb * 1e9).astype(int)
    for number in range(moments):
        folder = data / "media" / device_id / f"m{number:06d}"
        folder.mkdir(parents=True)
        day, place = divmod(number * DAYS / moments, 1)
        when = start + timedelta(days=int(day), hours=16 * place)
        video = folder / "scene.mp4"
        video.touch()
        os.truncate(video, int(sizes[number]))
        (folder / "thumbnail.jpg").write_bytes(picture or rng.bytes(18_000))
        record = json.dumps(_record(number, when, rng)).encode()
        (folder / "moment.json").write_bytes(record)
        _sign(folder, device_id, key, record, int(sizes[number]))
        show(number + 1)
    return int(sizes.sum())


def _record(number: int, when: datetime, rng: np.random.Generator) -> dict[str, Any]:
    length_ns = int(rng.uniform(2, 9) * 1e9)
    times = range(0, length_ns, 16_666_667)
    names = rng.choice(THINGS, 3, replace=False)
    return {
        "id": f"m{number:06d}",
        "session_id": f"s{number // 100}",
        "start_ns": 0,
        "end_ns": length_ns,
        "start_utc": when.isoformat(timespec="milliseconds"),
        "zone": "Europe/Berlin",
        "reasons": ["attention"],
        "tags": [{"name": str(n), "probability": 0.8, "attended": n == names[0]} for n in names],
        "energy_mj": {"total": float(rng.uniform(300, 1500))},
        "embedding": [float(x) for x in rng.normal(size=64)],
        "evidence": {"gaze": [[t, 0.5, 0.5, 0.9] for t in times]},
    }


def _sign(folder: Path, device_id: str, key: ServerKey, record: bytes, video_bytes: int) -> None:
    """Manifest and receipt; the video's hash is that of its name, for nobody reads it here."""
    digest = hashlib.sha256(record).hexdigest()
    thumbnail = (folder / "thumbnail.jpg").read_bytes()
    files = [
        {"name": "moment.json", "bytes": len(record), "sha256": digest},
        {
            "name": "thumbnail.jpg",
            "bytes": len(thumbnail),
            "sha256": hashlib.sha256(thumbnail).hexdigest(),
        },
        {
            "name": "scene.mp4",
            "bytes": video_bytes,
            "sha256": hashlib.sha256(folder.name.encode()).hexdigest(),
        },
    ]
    manifest = json.dumps(
        {
            "format": 1,
            "snippet_id": folder.name,
            "session_id": "s",
            "created_utc": utc_now(),
            "moment_sha256": digest,
            "files": files,
        }
    ).encode()
    (folder / "manifest.json").write_bytes(manifest)
    promise = json.dumps(
        {
            "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
            "received_utc": utc_now(),
            "device_id": device_id,
            "snippet_id": folder.name,
        }
    )
    custody = {
        "device_public_key": key.public,
        "manifest_signature": "",
        "receipt": promise,
        "signature": key.sign(RECEIPT, promise.encode()),
    }
    (folder / "custody.json").write_text(json.dumps(custody))
