"""One code on SQLite and on a real PostgreSQL: what is stored, found, moved forward and refused."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

import server.database
from server import backup
from server.app import make_services
from server.database import Database
from server.migrations import MIGRATIONS
from server.problems import Problem, ServerError
from server.settings import ServerSettings
from server.words import tokens
from tests.server.companion import World
from tests.server.postgres import Cluster
from tests.server.snippets import Scene, make_small_snippet

Opener = Callable[[], Database]


@pytest.fixture(params=["sqlite", "postgres"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same (at first empty) database as often as it is called."""
    address: Path | str = tmp_path / "one.sqlite3"
    if request.param == "postgres":
        address = request.getfixturevalue("postgres").new()
    opened: list[Database] = []

    def opening() -> Database:
        opened.append(Database(address, backups=tmp_path / "backups"))
        return opened[-1]

    yield opening
    for database in opened:
        database.close()


@pytest.fixture
def world_of(request: pytest.FixtureRequest, make_world: Callable[..., World]) -> World:
    cluster: Cluster = request.getfixturevalue("postgres")
    return make_world(database_url=cluster.new())


def test_the_whole_way_on_postgres(world_of: World) -> None:
    """Sync, list, search, correct, discard: each answer as SQLite gives it."""
    for number, thing in enumerate(("cup", "Café crème", "cup")):
        scene = Scene(thing=thing, start_utc=f"2026-05-0{4 + number}T07:41:09.320+00:00")
        make_small_snippet(world_of.spool, f"s{number}", scene)
    assert world_of.syncer().run_once().receipts == 3
    owner = world_of.owner
    first = owner.get("/api/v1/moments", params={"limit": 2}).json()
    rest = owner.get("/api/v1/moments", params={"cursor": first["next_cursor"]}).json()
    keys = [m["key"] for m in first["moments"] + rest["moments"]]
    assert len(set(keys)) == 3
    assert [m["snippet_id"] for m in first["moments"]] == ["s2", "s1"]
    for q, n in (
        ("cup", 2),
        ("CAFE cre", 1),
        ("cup table attention", 2),
        ("cu table", 0),
        ("'", 0),
    ):
        found = owner.get("/api/v1/moments", params={"q": q}).json()["moments"]
        assert len(found) == n, q
    csrf = {"X-CSRF-Token": world_of.csrf()["csrf"]}
    change = {"names": ["mug"], "kept": True}
    judged = owner.patch(f"/api/v1/moments/{keys[0]}", json=change, headers=csrf).json()
    assert (judged["title"], judged["kept"], judged["reviewed"]) == ("mug", True, True)
    assert [tag["name"] for tag in judged["tags"]] == ["table", "mug"]
    assert len(owner.get("/api/v1/moments", params={"q": "mug"}).json()["moments"]) == 1
    assert len(owner.get("/api/v1/days").json()) == 3
    moment = f"/api/v1/moments/{keys[0]}"
    assert owner.delete(moment, headers=csrf).status_code == 409  # it is kept
    assert owner.patch(moment, json={"kept": False}, headers=csrf).status_code == 200
    assert owner.delete(moment, headers=csrf).status_code == 204
    assert owner.get("/api/v1/moments", params={"q": "mug"}).json()["moments"] == []
    for path in ("/", f"/moments/{keys[1]}", "/search?q=cup", "/devices", "/settings"):
        assert owner.get(path).status_code == 200, path
    assert owner.get("/api/v1/moments/%00").status_code in (404, 422)


def test_opened_twice_it_is_the_same(opener: Opener) -> None:
    first, second = opener(), opener()
    with first.write() as db:
        db.execute(text("INSERT INTO people VALUES (7, 'seven', 'viewer', NULL)"))
    with second.read() as db:
        assert db.execute(text("SELECT name FROM people WHERE id = 7")).scalar_one() == "seven"


def test_writers_take_turns_between_processes_too(opener: Opener) -> None:
    """Two databases stand for two processes; each reads, decides, and writes what it decided."""
    databases = [opener(), opener()]
    with databases[0].write() as db:
        db.execute(text("CREATE TABLE counter (n INTEGER)"))
        db.execute(text("INSERT INTO counter VALUES (0)"))

    def count_up(database: Database) -> None:
        for _ in range(25):
            with database.write() as db:
                n = db.execute(text("SELECT n FROM counter")).scalar_one()
                db.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})

    threads = [threading.Thread(target=count_up, args=(d,)) for d in databases for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with databases[0].read() as db:
        assert db.execute(text("SELECT n FROM counter")).scalar_one() == 100


def test_a_failed_write_changes_nothing(opener: Opener) -> None:
    database = opener()
    with pytest.raises(RuntimeError), database.write() as db:
        db.execute(text("INSERT INTO people VALUES (7, 'seven', 'viewer', NULL)"))
        raise RuntimeError
    with database.read() as db:
        assert db.execute(text("SELECT count(*) FROM people")).scalar_one() == 0


def test_a_batch_is_seen_whole_or_not_at_all(opener: Opener) -> None:
    first, second = opener(), opener()
    asked = "SELECT count(*) FROM preferences WHERE name <> :name"

    def put(name: str) -> None:
        with first.write() as db:
            db.execute(text("INSERT INTO preferences VALUES (:name, '')"), {"name": name})
            if name == "bad":
                raise KeyError(name)

    def count(database: Database) -> int:
        row = database.row(asked, {"name": "x"})
        assert row is not None
        return int(row[0])

    with first.batch():
        put("a")
        with pytest.raises(KeyError):
            put("bad")  # this one write is undone, the others stay
        put("b")
        assert (count(first), count(second)) == (2, 0)
    assert (count(first), count(second)) == (2, 2)
    with pytest.raises(KeyError), first.batch():
        put("c")
        put("bad")
    assert (count(first), count(second)) == (2, 2)
    put("c")
    assert count(second) == 3


def test_a_short_question_sees_every_write_at_once(opener: Opener) -> None:
    first, second = opener(), opener()
    asked = "SELECT value FROM preferences WHERE name = :name"
    assert first.row(asked, {"name": "a"}) is None
    for value in ("1", "2"):
        with second.write() as db:
            db.execute(text("DELETE FROM preferences"))
            db.execute(text("INSERT INTO preferences VALUES ('a', :value)"), {"value": value})
            if value == "2":
                assert first.row(asked, {"name": "a"}) == ("1",)  # not before it is written
        assert first.row(asked, {"name": "a"}) == (value,)
    with pytest.raises(Problem, match="cannot be stored"):
        first.row(asked, {"name": "\ud800"})


def test_forward_with_a_verified_copy_before(
    opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener()

    def one_more(db: Connection) -> None:
        db.execute(text("CREATE TABLE more (n INTEGER)"))

    monkeypatch.setattr(server.database, "MIGRATIONS", (*MIGRATIONS, one_more))
    database = opener()
    with database.write() as db:
        db.execute(text("INSERT INTO more VALUES (1)"))
    [copy] = (tmp_path / "backups").iterdir()
    assert copy.name.startswith(f"before-schema-{len(MIGRATIONS) + 1}.")
    assert copy.stat().st_mode & 0o777 == 0o600
    if copy.suffix == ".sqlite3":
        with sqlite3.connect(copy) as old:
            assert old.execute("SELECT count(*) FROM moments").fetchone() == (0,)


def test_no_copy_no_change(
    postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = postgres.new()
    Database(address).close()
    monkeypatch.setattr(server.database, "MIGRATIONS", (*MIGRATIONS, nothing_new))
    monkeypatch.setattr(backup.shutil, "which", lambda name: None)
    monkeypatch.setattr(backup, "_DEBIAN", tmp_path)
    with pytest.raises(ServerError, match=r"pg_dump is not installed.*--without-backup"):
        Database(address, backups=tmp_path)
    Database(address, without_backup=True).close()


def nothing_new(db: Connection) -> None:
    """A step that changes nothing."""


def test_a_step_that_fails_leaves_the_old_schema(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener()

    def half(db: Connection) -> None:
        db.execute(text("CREATE TABLE half (n INTEGER)"))
        raise RuntimeError("power cut")

    with monkeypatch.context() as change:
        change.setattr(server.database, "MIGRATIONS", (*MIGRATIONS, half))
        with pytest.raises(RuntimeError):
            opener()
    with opener().write() as db:
        db.execute(text("CREATE TABLE half (n INTEGER)"))


def test_a_database_from_a_newer_version_is_left_alone(opener: Opener) -> None:
    with opener().write() as db:
        db.execute(text("INSERT INTO migrations VALUES (99, 'later', '')"))
    with pytest.raises(ServerError, match=r"newer Beheld .schema 99.*nothing was changed"):
        opener()


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "beheld.sqlite3").write_bytes(b"not a database" * 100)
    with pytest.raises(ServerError, match="cannot be opened"):
        make_services(ServerSettings(data_dir=tmp_path))
    with pytest.raises(ServerError, match="cannot be opened"):
        Database(f"postgresql://nobody@/none?host={tmp_path}")


def test_what_cannot_be_stored_is_said_plainly(opener: Opener) -> None:
    database = opener()
    with pytest.raises(Problem, match="cannot be stored"), database.write() as db:
        db.execute(
            text("INSERT INTO people VALUES (8, :name, 'viewer', NULL)"), {"name": "half \ud800"}
        )


def test_words_are_the_same_everywhere(opener: Opener) -> None:
    """Both engines find what a plain comparison of tokens finds."""
    database = opener()
    texts = ["Café au lait", "don't stop", "blue-green bottle", "123 go", "", "ÅNGSTRÖM unit"]
    with database.write() as db:
        for number, words in enumerate(texts, start=1):
            db.execute(
                text(
                    "INSERT INTO moments (number, key, device_id, snippet_id, session_id, start_utc,"
                    " local_day, local_time, zone, time_known, start_ns, end_ns, title, reasons, words,"
                    " bytes, has_video, has_thumbnail, received_utc) VALUES (:n, :k, 'd', :k, 's', '',"
                    " '', '', 'UTC', TRUE, 0, 0, '', '[]', '', 0, FALSE, FALSE, '')"
                ),
                {"n": number, "k": str(number)},
            )
            database.words.put(db, number, words)
    for query in (
        "cafe",
        "LAIT au",
        "don",
        "t",
        "blue",
        "green bot",
        "12",
        "angst",
        "au bott",
        "o",
    ):
        asked = tokens(query)
        expected = [
            number
            for number, words in enumerate(texts, start=1)
            if all(token in tokens(words) for token in asked[:-1])
            and any(token.startswith(asked[-1]) for token in tokens(words))
        ]
        condition = database.words.condition(query)
        assert condition is not None
        with database.read() as db:
            found = db.execute(
                text(f"SELECT number FROM moments m WHERE {condition[0]} ORDER BY number"),
                condition[1],
            ).scalars()
            assert list(found) == expected, query
    assert database.words.condition("'\";--") is None
