"""Links to one moment: read-only, for a time, and nothing else is behind them."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.server.companion import World
from tests.server.snippets import Scene, make_snippet

API = "/api/v1"


@pytest.fixture
def sharing(world: World) -> tuple[World, dict[str, str], str, dict[str, str]]:
    """(world, the shared moment, the address of its link, CSRF)."""
    make_snippet(world.spool, "mine", Scene(thing="<b>cup</b>"))
    make_snippet(world.spool, "other", Scene(thing="secret"))
    world.syncer().run_once()
    moments = world.owner.get(f"{API}/moments").json()["moments"]
    mine = next(m for m in moments if m["snippet_id"] == "mine")
    csrf = {"X-CSRF-Token": world.csrf()["csrf"]}
    made = world.owner.post(f"{API}/moments/{mine['key']}/shares", json={"hours": 1}, headers=csrf)
    assert made.status_code == 201
    return world, mine, made.json()["url"], csrf


def test_a_link_shows_one_moment_and_no_more(sharing) -> None:  # type: ignore[no-untyped-def]
    world, mine, url, _ = sharing
    with httpx.Client(timeout=60) as guest:
        page = guest.get(url)
        assert page.status_code == 200
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "&lt;b&gt;cup" in page.text  # what glasses call a thing is never markup
        assert "<b>cup" not in page.text
        assert "secret" not in page.text
        assert mine["key"] not in page.text
        video = guest.get(f"{url}/files/scene.mp4", headers={"Range": "bytes=0-9"})
        assert (video.status_code, len(video.content)) == (206, 10)
        assert "no-store" in video.headers["cache-control"]
        assert guest.get(f"{url}/files/thumbnail.jpg").status_code == 200
        for name in ("moment.json", "manifest.json", "custody.json", "marks.json", "..%2Fx"):
            assert guest.get(f"{url}/files/{name}").status_code == 404
        for path in ("/", f"/moments/{mine['key']}", f"{API}/moments", mine["files"]["scene.mp4"]):
            answer = guest.get(world.running.url + path)
            assert answer.status_code in (303, 401)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert guest.request(method, url).status_code == 405
    [share] = world.owner.get(f"{API}/shares").json()
    assert (share["title"], share["opened"], share["ended"]) == ("<b>cup</b>", 1, False)
    assert "token" not in share


def test_a_link_ends(sharing) -> None:  # type: ignore[no-untyped-def]
    world, _, url, csrf = sharing
    [share] = world.owner.get(f"{API}/shares").json()
    answer = world.owner.delete(f"{API}/shares/{share['number']}", headers=csrf)
    assert answer.status_code == 204
    for path in ("", "/files/scene.mp4"):
        ended = httpx.get(url + path)
        assert ended.status_code == 410
        assert "has ended" in ended.text
    assert world.owner.delete(f"{API}/shares/999", headers=csrf).status_code == 404


def test_a_link_expires(sharing) -> None:  # type: ignore[no-untyped-def]
    world, _, url, _ = sharing
    assert httpx.get(url).status_code == 200
    with world.running.services.database.write() as db:
        db.exec_driver_sql("UPDATE shares SET expires_s = 1")
    assert httpx.get(url).status_code == 410
    assert world.owner.get(f"{API}/shares").json()[0]["ended"]


def test_the_link_of_an_erased_moment_shows_nothing(sharing) -> None:  # type: ignore[no-untyped-def]
    world, mine, url, csrf = sharing
    world.owner.delete(f"{API}/moments/{mine['key']}", headers=csrf)
    assert httpx.get(url).status_code == 404
    assert httpx.get(f"{url}/files/scene.mp4").status_code == 404
    assert world.owner.get("/settings/access").status_code == 200


def test_guessing_is_slowed_down(make_world: Callable[..., World]) -> None:
    world = make_world(login_tries_per_min=5)
    guesses = [httpx.get(f"{world.running.url}/shared/guess{n}").status_code for n in range(8)]
    assert guesses == [404] * 5 + [429] * 3


@pytest.mark.parametrize("hours", [0, -1, 24 * 365, "x"])
def test_a_link_does_not_last_for_ever(sharing, hours: object) -> None:  # type: ignore[no-untyped-def]
    world, mine, _, csrf = sharing
    answer = world.owner.post(
        f"{API}/moments/{mine['key']}/shares", json={"hours": hours}, headers=csrf
    )
    assert answer.status_code == 422


def test_by_the_pages_forms(sharing) -> None:  # type: ignore[no-untyped-def]
    world, mine, _, _ = sharing
    form = world.csrf()
    page = world.owner.post(f"/moments/{mine['key']}/share", data={"hours": "24", **form})
    link = page.text.split("<code>")[1].split("</code>")[0]
    assert httpx.get(link).status_code == 200
    page = world.owner.post("/settings/access/people", data={"name": "<i>Eve", **form})
    assert "&lt;i&gt;Eve" in page.text
    assert "<i>Eve" not in page.text
    login = page.text.split("<code>")[1].split("</code>")[0]
    assert httpx.get(login).status_code == 303
    [eve] = world.running.services.viewers.all()
    world.owner.post(f"/settings/access/people/{eve.id}/remove", data=form)
    assert world.running.services.viewers.all() == []
    for share in world.running.services.shares.all():
        world.owner.post(f"/settings/access/shares/{share.number}/end", data=form)
    assert httpx.get(link).status_code == 410


def test_announcing_without_end_is_slowed_down(make_world: Callable[..., World]) -> None:
    world = make_world(uploads_per_min=3)
    with world.device() as device:
        headers = {"Beheld-Signature": "x"}
        statuses = [
            device.put("snippets/one", content=b"{}", headers=headers).status_code for _ in range(5)
        ]
    assert statuses == [422, 422, 422, 429, 429]
