"""Finding moments: by words and filters, by what words mean, and by what looks alike.

Words and filters are the database's work. Meaning compares the sentence of each moment (what was looked
at, what was around, the feeling, the part of the day) with what is asked; alike compares what the
backbone of the glasses saw in the attended region. Both are exact over all moments (`server.vectors`),
and both obey the same filters.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from server.database import Database
from server.entries import Entry, Page
from server.index import Index
from server.problems import Problem
from server.query import Query, conditions
from server.vectors import Numbers, Rows, Vectors, pack, unit, unpack

MEANING_FLOOR = 0.25
"""Least product of two sentences called close: unrelated ones stay below 0.2, found ones lie above 0.28."""
ALIKE_FLOOR = 0.5
"""Least product of two regions called alike."""
EVERYTHING = Query()
_BATCH = 32


class Encoder(Protocol):
    """A sentence network, given from outside: the server itself runs none."""

    name: str
    dimensions: int

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dimensions) of unit length."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A moment and how near it is, 0 to 1."""

    entry: Entry
    nearness: float


class Finder:
    """All ways to a moment. Vectors are read from the database once and then kept in memory."""

    def __init__(self, database: Database, index: Index, encoder: Encoder | None = None) -> None:
        self._db = database
        self._index = index
        self._encoder = encoder
        self._lock = threading.Lock()
        self._catching_up = threading.Lock()
        self._meanings: Vectors | None = None
        self._looks: dict[int, Vectors] = {}
        self._looks_seen = 0

    @property
    def understands(self) -> bool:
        """Whether search by meaning is there."""
        return self._encoder is not None

    def find(self, query: Query, *, cursor: str | None = None, limit: int = 50) -> Page:
        """Moments that fit all of the query, newest first, a page at a time."""
        found = conditions(query, self._db.words)
        if found is None:
            return Page((), None)
        return self._index.select(*found, cursor=cursor, limit=limit)

    def count(self, query: Query) -> int:
        """How many moments fit."""
        found = conditions(query, self._db.words)
        if found is None:
            return 0
        with self._db.read() as db:
            sql = f"SELECT count(*) FROM moments m WHERE {_all(found[0])}"
            return int(db.execute(text(sql), found[1]).scalar_one())

    def by_meaning(self, asked: str, query: Query = EVERYTHING, *, limit: int = 50) -> list[Hit]:
        """Moments whose sentence is close to what is asked, closest first, of equals the newest.

        Raises Problem 501 where the server was started without a sentence network.
        """
        if self._encoder is None:
            raise Problem(
                501,
                "no-meaning",
                "this server has no sentence network; install the extra 'search' for it",
            )
        found = conditions(query, self._db.words)
        if found is None or not asked.strip():
            return []
        where, values = found
        wanted = unit(self._encoder([asked])[0])
        with self._lock, self._db.read() as db:
            vectors = self._load_meanings(db)
            among = None
            if where:
                known = [*where, "m.meaning IS NOT NULL"]
                among = _numbers(db, f"SELECT m.meaning FROM moments m WHERE {_all(known)}", values)
            nearest = vectors.nearest(wanted, limit, _exact(db, "meanings", vectors), among)
            near = {number: score for number, score in nearest if score >= MEANING_FLOOR}
            scores = _moments_of(db, near, where, values, limit)
        return self._hits(scores, limit)

    def alike(self, key: str, query: Query = EVERYTHING, *, limit: int = 12) -> list[Hit]:
        """Moments in which what was looked at looked like it did in this one, most alike first."""
        entry = self._index.entry(key)
        found = conditions(query, self._db.words)
        if found is None:
            return []
        where, values = found
        with self._lock, self._db.read() as db:
            own = db.execute(
                text("SELECT vector FROM looks WHERE moment = :n"), {"n": entry.number}
            ).scalar_one_or_none()
            if own is None:
                return []
            dimensions = len(own) // 2
            self._load_looks(db)
            vectors = self._looks[dimensions]
            among = None
            if where:
                inner = f"SELECT m.number FROM moments m WHERE {_all(where)}"
                among = _numbers(
                    db,
                    f"SELECT number FROM looks WHERE moment IN ({inner})",
                    values,
                )
            nearest = vectors.nearest(
                unpack([own], dimensions)[0], limit + 1, _exact(db, "looks", vectors), among
            )
            near = {number: score for number, score in nearest if score >= ALIKE_FLOOR}
            rows = db.execute(
                text(f"SELECT number, moment FROM looks WHERE number IN ({_list(near)})")
            ).all()
        scores = {int(m): near[int(n)] for n, m in rows if int(m) != entry.number}
        return self._hits(scores, limit)

    def looks_of(self, numbers: Sequence[int]) -> dict[int, list[float]]:
        """The vector of what was looked at, for those moments that have one."""
        with self._db.read() as db:
            sql = f"SELECT moment, vector FROM looks WHERE moment IN ({_list(numbers)})"
            rows = db.exec_driver_sql(sql).all()
        return {int(n): unpack([bytes(v)], len(v) // 2)[0].tolist() for n, v in rows}

    def catch_up(self) -> int:
        """Encode every sentence that has no vector yet; says how many. One caller at a time."""
        if self._encoder is None:
            return 0
        with self._catching_up:
            return self._encode_missing(self._encoder)

    def _encode_missing(self, encoder: Encoder) -> int:
        with self._db.write() as db:  # vectors of another network are of no use
            model = {"model": encoder.name}
            gone = db.execute(text("DELETE FROM meanings WHERE model <> :model"), model)
            if gone.rowcount:
                db.execute(text("UPDATE moments SET meaning = NULL"))
        done = 0
        while True:
            with self._db.read() as db:
                missing = db.execute(
                    text(
                        "SELECT DISTINCT sentence FROM moments WHERE sentence IS NOT NULL AND"
                        " sentence NOT IN (SELECT sentence FROM meanings) LIMIT :batch"
                    ),
                    {"batch": _BATCH},
                ).scalars()
                sentences = [str(sentence) for sentence in missing]
            if not sentences:
                return done
            rows = encoder(sentences)
            with self._db.write() as db:
                for sentence, row in zip(sentences, rows, strict=True):
                    db.execute(
                        text(
                            "INSERT INTO meanings (sentence, model, vector)"
                            " VALUES (:sentence, :model, :vector) ON CONFLICT DO NOTHING"
                        ),
                        {"sentence": sentence, "model": encoder.name, "vector": pack(row)},
                    )
                    db.execute(
                        text(
                            "UPDATE moments SET meaning = (SELECT number FROM meanings"
                            " WHERE sentence = :sentence) WHERE sentence = :sentence"
                        ),
                        {"sentence": sentence},
                    )
            done += len(sentences)

    def _load_meanings(self, db: Connection) -> Vectors:
        assert self._encoder is not None
        if self._meanings is None:
            self._meanings = Vectors(self._encoder.dimensions)
        values = {"last": self._meanings.last, "model": self._encoder.name}
        rows = db.execute(
            text(
                "SELECT number, vector FROM meanings WHERE number > :last AND model = :model"
                " ORDER BY number"
            ),
            values,
        )
        for part in rows.partitions(4096):
            numbers = [int(number) for number, _ in part]
            stored = [bytes(vector) for _, vector in part]
            self._meanings.extend(numbers, unpack(stored, self._meanings.dimensions))
        return self._meanings

    def _load_looks(self, db: Connection) -> None:
        """Regions by the length of their vectors: another backbone on the glasses, another space."""
        rows = db.execute(
            text("SELECT number, vector FROM looks WHERE number > :last ORDER BY number"),
            {"last": self._looks_seen},
        )
        for part in rows.partitions(4096):
            groups: dict[int, list[tuple[int, bytes]]] = {}
            for number, vector in part:
                groups.setdefault(len(vector) // 2, []).append((int(number), bytes(vector)))
            for dimensions, group in groups.items():
                vectors = self._looks.setdefault(dimensions, Vectors(dimensions))
                stored = unpack([vector for _, vector in group], dimensions)
                vectors.extend([number for number, _ in group], stored)
            self._looks_seen = int(part[-1][0])

    def _hits(self, scores: dict[int, float], limit: int) -> list[Hit]:
        entries = self._index.numbered(list(scores))
        hits = [Hit(entry, min(1.0, scores[entry.number])) for entry in entries]
        hits.sort(key=lambda hit: hit.entry.start_utc, reverse=True)
        hits.sort(key=lambda hit: -hit.nearness)
        return hits[:limit]


def _moments_of(
    db: Connection, near: dict[int, float], where: list[str], values: dict[str, Any], limit: int
) -> dict[int, float]:
    """Numbers of moments with these sentences that fit, at most `limit` newest of each: number -> score."""
    if not near:
        return {}
    sql = (
        "SELECT found.number, found.meaning FROM (SELECT m.number AS number, m.meaning AS meaning,"
        " row_number() OVER (PARTITION BY m.meaning ORDER BY m.start_utc DESC) AS place"
        f" FROM moments m WHERE m.meaning IN ({_list(near)}) AND {_all(where)}) AS found"
        " WHERE found.place <= :most"
    )
    rows = db.execute(text(sql), values | {"most": limit}).all()
    return {int(number): near[int(meaning)] for number, meaning in rows}


def _exact(db: Connection, table: str, vectors: Vectors) -> Any:
    """Reads rows of `table` in full precision, as `Vectors.nearest` wants them."""

    def read(numbers: Sequence[int]) -> tuple[Numbers, Rows]:
        found: list[tuple[int, bytes]] = []
        for start in range(0, len(numbers), 500):
            part = _list(numbers[start : start + 500])
            sql = f"SELECT number, vector FROM {table} WHERE number IN ({part}) ORDER BY number"
            found += [(int(n), bytes(vector)) for n, vector in db.execute(text(sql))]
        rows = unpack([vector for _, vector in found], vectors.dimensions)
        return np.array([n for n, _ in found], np.int64), rows

    return read


def _numbers(db: Connection, sql: str, values: dict[str, Any]) -> Numbers:
    """Ascending and each once, as `Vectors.nearest` wants them."""
    return np.unique(np.array(db.execute(text(sql), values).scalars().all(), np.int64))


def _list(numbers: Any) -> str:
    """Our own integers between commas; never empty."""
    return ",".join(str(int(number)) for number in numbers) or "-1"


def _all(where: list[str]) -> str:
    return " AND ".join(where) or "TRUE"
