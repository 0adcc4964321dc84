"""Finding is exact: by vectors against brute force, by filters against plain Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from server.finding import MEANING_FLOOR
from server.problems import Problem
from server.query import Query
from server.vectors import Vectors, pack, unit, unpack
from tools.bench.search import Filled, fill, search_latencies


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    made = fill(tmp_path_factory.mktemp("finding") / "index.sqlite3", 1500, seed=5)
    yield made
    made.database.close()


def clustered(count: int, dimensions: int, seed: int) -> NDArray[np.float32]:
    """Rows in tight groups, where rounding could change the order."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, dimensions), np.float32)
    noise = 0.05 * rng.standard_normal((count, dimensions), np.float32)
    return unpack(
        [pack(row) for row in unit(centres[rng.integers(0, 12, count)] + noise)], dimensions
    )


@pytest.mark.parametrize(("dimensions", "most"), [(384, 10), (384, 2000), (1280, 50)])
def test_nearest_is_brute_force(dimensions: int, most: int) -> None:
    rows = clustered(2000, dimensions, seed=1)
    vectors = Vectors(dimensions)
    for start in range(0, 2000, 700):  # grows in steps
        part = rows[start : start + 700]
        vectors.extend(range(start + 1, start + 1 + len(part)), part)
    read: list[int] = []

    def exact(numbers: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        read.extend(numbers)
        return np.array(numbers, np.int64), rows[np.array(numbers, int) - 1]

    for query in unit(clustered(20, dimensions, seed=2)):
        found = vectors.nearest(query, most, exact)
        truth = rows @ query
        order = np.lexsort((-np.arange(2000), -truth))[:most]
        assert [number for number, _ in found] == [int(n) + 1 for n in order]
    if most < 2000:
        assert len(read) / 20 < 1000  # most rows are ruled out by their bound alone


def test_what_is_gone_is_passed_over_and_filters_hold() -> None:
    rows = clustered(300, 32, seed=3)
    vectors = Vectors(32)
    vectors.extend(range(1, 301), rows)
    left = np.arange(1, 301) % 3 != 0

    def exact(numbers: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        known = np.array([n for n in numbers if left[n - 1]], np.int64)
        return known, rows[known - 1]

    query = rows[7]
    truth = sorted(
        (n for n in range(1, 301) if left[n - 1]), key=lambda n: -float(rows[n - 1] @ query)
    )
    assert [n for n, _ in vectors.nearest(query, 20, exact)] == truth[:20]
    among = np.arange(50, 100)
    wanted = [n for n in truth if 50 <= n < 100][:20]
    assert [n for n, _ in vectors.nearest(query, 20, exact, among)] == wanted


@pytest.mark.parametrize(
    "query",
    [
        Query(things=("cup",)),
        Query(things=("cup",), emotion="happy"),
        Query(influence="eyes"),
        Query(influence="both"),
        Query(influence="scene", least_s=2.0),
        Query(from_time="22:00", until_time="07:00"),
        Query(from_time="06:00", until_time="09:30", kept=True),
        Query(from_day="2024-05-01", until_day="2024-05-31", reviewed=False),
        Query(words="cup mor", device="device"),
        Query(device="another"),
    ],
)  # fmt: skip
def test_filters_are_what_they_say(filled: Filled, query: Query) -> None:
    everything = []
    cursor = None
    while True:  # page by page: no moment twice, none left out
        page = filled.index.select(cursor=cursor, limit=400)
        everything += page.entries
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len({e.key for e in everything}) == filled.size
    wanted = [e.key for e in everything if fits(e, query)]
    found, cursor = [], None
    while True:
        page = filled.finder.find(query, cursor=cursor, limit=37)
        found += [e.key for e in page.entries]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == wanted
    assert filled.finder.count(query) == len(wanted)


def fits(entry, query: Query) -> bool:  # type: ignore[no-untyped-def]
    """The filters once more, in plain Python."""
    begin, end, at = query.from_time or "00:00", query.until_time or "24:00", entry.local_time
    names = {tag["name"] for tag in entry.tags}
    influence = {"eyes": entry.influence < 0.4, "scene": entry.influence > 0.6}
    influence["both"] = not any(influence.values())
    part = {"mor": 5 <= int(at[:2]) < 12}
    return all(
        (
            all(thing in entry.attended for thing in query.things),
            query.emotion in (None, entry.emotion),
            query.influence is None or influence[query.influence],
            entry.duration_s >= (query.least_s or 0),
            (begin <= at < end) if begin <= end else (at >= begin or at < end),
            (query.from_day or "") <= entry.local_day <= (query.until_day or "9"),
            query.device in (None, entry.device_id),
            query.kept in (None, entry.kept),
            query.reviewed in (None, entry.reviewed),
            all(part.get(word, word in names) for word in query.words.split()),
        )
    )


def test_meaning_and_looks_against_brute_force(filled: Filled) -> None:
    finder, db = filled.finder, filled.database
    with db.read() as connection:
        said = connection.exec_driver_sql(
            "SELECT m.key, m.emotion, s.vector FROM moments m JOIN meanings s ON s.sentence = m.sentence"
        ).all()
        looks = connection.exec_driver_sql(
            "SELECT m.key, m.emotion, l.vector FROM moments m JOIN looks l ON l.moment = m.number"
        ).all()
    rows = unpack([bytes(v) for *_, v in looks], 1280)
    for number in (0, 700, 1499):
        key = looks[number][0]
        truth = rows @ rows[number]
        for emotion in (None, "happy"):
            hits = finder.alike(key, Query(emotion=emotion), limit=9)
            wanted = [
                looks[n][0]
                for n in np.argsort(-truth, kind="stable")
                if looks[n][0] != key and truth[n] >= 0.5 and emotion in (None, looks[n][1])
            ]
            assert [h.entry.key for h in hits] == wanted[:9]
    meanings = unpack([bytes(v) for *_, v in said], 384)
    encoder = finder._encoder
    assert encoder is not None
    asked = unit(encoder(["anything at all"])[0])
    # Random directions are far from each other: ask for one that is there.
    finder._encoder = Fixed(meanings[42])
    hits = finder.by_meaning("anything", limit=5)
    assert hits[0].entry.key == said[42][0] and hits[0].nearness == pytest.approx(1, abs=1e-3)
    finder._encoder = encoder
    assert (
        float((meanings @ asked).max()) < MEANING_FLOOR
        and finder.by_meaning("anything at all") == []
    )


class Fixed:
    name, dimensions = "random", 384

    def __init__(self, row: NDArray[np.float32]) -> None:
        self.row = row

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self.row for _ in texts])


@pytest.mark.parametrize(
    "filters",
    [{"from_time": "25:00"}, {"until_time": "noon"}, {"from_day": "May"}, {"influence": "moon"}],
)
def test_filters_that_make_no_sense_are_named(filters: dict[str, str]) -> None:
    with pytest.raises(Problem, match="must"):
        Query(**filters)


def test_a_query_is_its_address() -> None:
    query = Query(words="a&b", things=("cup", "tea pot"), kept=True, least_s=2.0)
    assert query.address() == "q=a%26b&thing=cup&thing=tea+pot&least_s=2.0&kept=yes"
    assert query.address(kept=None, q=None) == "thing=cup&thing=tea+pot&least_s=2.0"


def test_the_bench_measures_every_kind(tmp_path: Path) -> None:
    found = search_latencies((200,), searches=3)
    assert set(found) == {200}
    assert set(found[200]["by_kind"]) == {
        "words",
        "filters",
        "meaning",
        "meaning_filtered",
        "alike",
    }
    assert 0 < found[200]["p50_ms"] <= found[200]["p95_ms"]
