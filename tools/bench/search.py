"""Search over many moments: words, words with filters, meaning, and what looks alike.

`search_latencies` fills a server's index with synthetic moments and times whole searches, from the text of
a query to the listed moments, on one thread. Meaning is measured with sentences of their own vectors
(as many as there are moments: the worst case; real moments share sentences) and without the
milliseconds that the sentence network itself takes, unless `encoder` is given.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from server.database import Database
from server.entries import moment_key
from server.finding import Encoder, Finder
from server.index import Index
from server.query import Query
from server.record import day_part, sentence
from server.vectors import pack, unit
from server.words import tokens

SIZES = (1_000, 10_000, 100_000)
DIMENSIONS, LOOK_DIMENSIONS = 384, 1280
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
THINGS = [
    "person",
    "bicycle",
    "car",
    "bus",
    "train",
    "boat",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "backpack",
    "umbrella",
    "handbag",
    "suitcase",
    "frisbee",
    "kite",
    "bottle",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "carrot",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "plant",
    "bed",
    "table",
    "toilet",
    "television",
    "laptop",
    "mouse",
    "keyboard",
    "phone",
    "oven",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teapot",
    "lamp",
    "window",
    "door",
    "painting",
    "guitar",
    "candle",
    "mirror",
]
_BATCH = 2_000


class NoisyEncoder:
    """Stands in for the sentence network: a fixed direction a text, of unit length."""

    name = "random"
    dimensions = DIMENSIONS

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [
            np.random.default_rng(abs(hash(said))).standard_normal(DIMENSIONS, np.float32)
            for said in texts
        ]
        return unit(np.stack(rows))


@dataclass(frozen=True, slots=True)
class Filled:
    """An index with `size` synthetic moments and its finder."""

    size: int
    database: Database
    index: Index
    finder: Finder


def search_latencies(
    sizes: Sequence[int] = SIZES,
    *,
    searches: int = 60,
    seed: int = 1,
    encoder: Encoder | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> dict[int, dict[str, Any]]:
    """size -> {p50_ms, p95_ms, cpu_p95_ms, by_kind: {kind: the same}, fill_s} over all kinds of search."""
    results: dict[int, dict[str, Any]] = {}
    for number, size in enumerate(sizes):
        with TemporaryDirectory(prefix="beheld-search-") as folder:
            began = time.process_time()
            filled = fill(Path(folder) / "index.sqlite3", size, seed=seed, encoder=encoder)
            fill_s = time.process_time() - began
            with closing(filled.database):
                times = time_searches(filled, searches, seed)
        every = [ms for kind in times.values() for ms in kind]
        kinds = {kind: _percentiles(values) for kind, values in times.items()}
        results[size] = {**_percentiles(every), "by_kind": kinds, "fill_s": round(fill_s, 1)}
        progress((number + 1) / len(sizes))
    return results


Times = list[tuple[float, float]]
"""(wall, CPU) milliseconds of each search."""


def time_searches(filled: Filled, searches: int, seed: int) -> dict[str, Times]:
    """Milliseconds of each search, by kind. The first of a kind, which loads vectors, is not counted."""
    rng = np.random.default_rng(seed + 1)
    finder = filled.finder
    keys = [moment_key("device", f"s{n:07d}") for n in rng.integers(0, filled.size, searches + 1)]

    def some(names: Sequence[str]) -> str:
        return str(names[int(rng.integers(len(names)))])

    filters = (
        lambda: Query(things=(some(THINGS),), least_s=2.0),
        lambda: Query(emotion=some(EMOTIONS), influence="scene"),
        lambda: Query(from_time="06:00", until_time="09:00", kept=False),
        lambda: Query(words=some(THINGS), emotion=some(EMOTIONS), reviewed=False),
    )
    kinds: dict[str, Callable[[int], Any]] = {
        "words": lambda n: finder.find(Query(words=f"{some(THINGS)} {some(THINGS)[:3]}")),
        "filters": lambda n: finder.find(filters[n % len(filters)]()),
        "meaning": lambda n: finder.by_meaning(f"{some(THINGS)} and {some(THINGS)}"),
        "meaning_filtered": lambda n: finder.by_meaning(
            some(THINGS), Query(emotion=some(EMOTIONS), least_s=1.5)
        ),
        "alike": lambda n: finder.alike(keys[n]),
    }
    times: dict[str, Times] = {}
    for kind, search in kinds.items():
        search(searches)
        gc.collect()
        times[kind] = []
        for number in range(searches):
            began, worked = time.perf_counter(), time.thread_time()
            search(number)
            wall_ms = 1e3 * (time.perf_counter() - began)
            times[kind].append((wall_ms, 1e3 * (time.thread_time() - worked)))
    return times


def fill(path: Path, size: int, *, seed: int = 1, encoder: Encoder | None = None) -> Filled:
    """An index with `size` moments of a wearer's two years, quickly: tens of thousands a second."""
    database = Database(path)
    index = Index(database)
    used = encoder or NoisyEncoder()
    rng = np.random.default_rng(seed)
    prototypes = unit(rng.standard_normal((len(THINGS), LOOK_DIMENSIONS), np.float32))
    for start in range(0, size, _BATCH):
        numbers = range(start, min(start + _BATCH, size))
        made = [_moment(n, rng, size) for n in numbers]
        looks = unit(
            prototypes[[m["thing"] for m in made]]
            + 0.02 * rng.standard_normal((len(made), LOOK_DIMENSIONS), np.float32)
        )
        meanings = (
            used([m["sentence"] for m in made])
            if encoder is not None
            else unit(rng.standard_normal((len(made), DIMENSIONS), np.float32))
        )
        _insert(database, made, looks, meanings, used.name)
    return Filled(size, database, index, Finder(database, index, used))


def _moment(number: int, rng: np.random.Generator, size: int) -> dict[str, Any]:
    thing, other, more = (int(n) for n in rng.integers(0, len(THINGS), 3))
    at = datetime(2024, 1, 1, 6, tzinfo=UTC) + timedelta(
        days=730 * number / size, minutes=float(rng.uniform(0, 960))
    )
    local, table = f"{at:%H:%M:%S}", rng.dirichlet(np.full(len(EMOTIONS), 0.4))
    emotion = EMOTIONS[int(table.argmax())]
    length_ns = int(rng.gamma(2.0, 1.2e9))
    attended, around = [THINGS[thing]], [THINGS[other], THINGS[more]]
    snippet = f"s{number:07d}"
    return {
        "number": number + 1,
        "thing": thing,
        "attended": attended,
        "around": around,
        "key": moment_key("device", snippet),
        "snippet_id": snippet,
        "start_utc": at.isoformat(timespec="milliseconds"),
        "local_day": f"{at:%Y-%m-%d}",
        "local_time": local,
        "end_ns": length_ns,
        "title": attended[0],
        "words": " ".join((*attended, *around, "attention", f"{at:%A %B}", day_part(local))),
        # A number of its own: as many sentences as moments, the worst case.
        "sentence": sentence(attended, around, f"place {number}", emotion, day_part(local)),
        "emotion": emotion,
        "probabilities": json.dumps(dict(zip(EMOTIONS, table.round(4).tolist(), strict=True))),
        "influence": float(rng.uniform()),
        "energy_mj": float(rng.uniform(200, 1500)),
        "kept": bool(rng.uniform() < 0.1),
        "reviewed": bool(rng.uniform() < 0.5),
    }


def _insert(
    database: Database,
    made: Sequence[Mapping[str, Any]],
    looks: NDArray[np.float32],
    meanings: NDArray[np.float32],
    model: str,
) -> None:
    with database.write() as db:
        db.execute(
            text(
                "INSERT INTO moments (number, key, device_id, snippet_id, session_id, start_utc,"
                " local_day, local_time, zone, time_known, start_ns, end_ns, title, reasons, words,"
                " energy_mj, emotion, bytes, has_video, has_thumbnail, received_utc, kept, reviewed,"
                " probabilities, influence, sentence) VALUES (:number, :key, 'device', :snippet_id,"
                " 'session', :start_utc, :local_day, :local_time, 'UTC', TRUE, 0, :end_ns, :title,"
                " '[\"attention\"]', :words, :energy_mj, :emotion, 400000, TRUE, TRUE, :start_utc,"
                " :kept, :reviewed, :probabilities, :influence, :sentence)"
            ),
            list(made),
        )
        tags = [
            {"n": m["number"], "name": name, "attended": name in m["attended"]}
            for m in made
            for name in dict.fromkeys((*m["attended"], *m["around"]))
        ]
        db.execute(text("INSERT INTO tags VALUES (:n, :name, 0.8, :attended, 'glasses')"), tags)
        words = [
            {"n": m["number"], "words": " ".join(tokens(f"{m['words']} {m['emotion']}"))}
            for m in made
        ]
        db.execute(text("INSERT INTO moments_fts (rowid, words) VALUES (:n, :words)"), words)
        rows = [{"n": m["number"], "v": pack(v)} for m, v in zip(made, looks, strict=True)]
        db.execute(text("INSERT INTO looks (moment, vector) VALUES (:n, :v)"), rows)
        said = [
            {"s": m["sentence"], "m": model, "v": pack(v)}
            for m, v in zip(made, meanings, strict=True)
        ]
        db.execute(text("INSERT INTO meanings (sentence, model, vector) VALUES (:s, :m, :v)"), said)
        db.execute(
            text(
                "UPDATE moments SET meaning = (SELECT number FROM meanings"
                " WHERE meanings.sentence = moments.sentence) WHERE meaning IS NULL"
            )
        )


def _percentiles(values: Times) -> dict[str, float]:
    wall, cpu = np.array(values).T
    return {
        "p50_ms": round(float(np.percentile(wall, 50)), 2),
        "p95_ms": round(float(np.percentile(wall, 95)), 2),
        "cpu_p95_ms": round(float(np.percentile(cpu, 95)), 2),
    }
