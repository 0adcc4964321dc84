"""Around the moments: corrections for the glasses, sessions, feelings erased, live events, metrics."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from datetime import date

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from device.identity import SESSION, Identity, pair
from device.session_report import leave_report, waiting_reports
from server import observe, reflection
from tests.server.companion import World
from tests.server.snippets import Scene, make_small_snippet, session_document
from tools.client import Client, ClientError
from tools.demo import listed

FELT = Scene(emotion="surprise", influence=0.82, look=1)


def bring(world: World, *scenes: tuple[str, Scene]) -> list[str]:
    """Make, send and list: keys in the order given."""
    for name, scene in scenes:
        make_small_snippet(world.spool, name, scene)
    assert world.syncer().run_once().receipts == len(scenes)
    found = world.owner.get("/api/v1/moments", params={"limit": 200}).json()["moments"]
    keys = {moment["snippet_id"]: moment["key"] for moment in found}
    return [keys[name] for name, _ in scenes]


def patch(world: World, key: str, **said: object) -> httpx.Response:
    token = {"X-CSRF-Token": world.csrf()["csrf"]}
    return world.owner.patch(f"/api/v1/moments/{key}", json=said, headers=token)


def test_corrections_come_numbered_to_the_glasses_that_made_them(world: World, tmp_path) -> None:  # type: ignore[no-untyped-def]
    first, second = bring(world, ("one", FELT), ("two", Scene(thing="cat")))
    assert patch(world, first, emotion="fear").json()["emotion_corrected"] is True
    assert patch(world, second, names=["tiger"]).status_code == 200
    assert patch(world, first, kept=True).status_code == 200
    world.owner.post(f"/moments/{second}/discard", data=world.csrf())
    with world.device() as device:
        page = device.get("/feedback").json()
        kinds = [(item["kind"], item["snippet_id"]) for item in page["items"]]
        assert kinds == [("emotion", "one"), ("names", "two"), ("keep", "one"), ("keep", "two")]
        felt, named, kept, gone = page["items"]
        assert (felt["emotion"], felt["probabilities"]["surprise"]) == ("fear", 0.6)
        assert (named["names"], kept["keep"], gone["keep"]) == (["tiger"], True, False)
        numbers = [item["number"] for item in page["items"]]
        assert numbers == sorted(set(numbers)) and page["next"] == numbers[-1]
        rest = device.get("/feedback", params={"after": numbers[1]}).json()
        assert [item["number"] for item in rest["items"]] == numbers[2:]
        assert device.get("/feedback", params={"after": page["next"]}).json()["items"] == []
    other = pair(world.running.url, world.running.pairing_code(), Identity.load_or_create(tmp_path))
    bearer = {"Authorization": f"Bearer {other.token}"}
    assert httpx.get(f"{world.api}/feedback", headers=bearer).json() == {"next": 0, "items": []}
    assert patch(world, first, emotion="boredom").status_code == 422
    assert world.owner.get("/api/v1/moments", params={"q": "fear"}).json()["moments"]


def test_a_session_is_told_once_and_shown(world: World) -> None:
    leave_report(world.spool, session_document("morning walk/1"))
    assert len(waiting_reports(world.spool)) == 1
    world.syncer().run_once()
    assert not waiting_reports(world.spool)
    (told,) = world.owner.get("/api/v1/sessions").json()["sessions"]
    assert (told["session_id"], told["session_s"], len(told["gaps"])) == (
        "morning walk/1",
        11400.0,
        3,
    )
    page = world.owner.get("/sessions").text
    assert "Seen 97 % of 3 h 10 min, 3 gaps" in page
    assert "4 min 50 s at 08:53: no eye was seen" in page
    leave_report(world.spool, session_document("morning walk/1", 1))
    world.syncer().run_once()  # the last word on a session counts, once
    assert [len(s["gaps"]) for s in world.owner.get("/api/v1/sessions").json()["sessions"]] == [2]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"{", 422),
        (b"[]", 422),
        (b'{"format": 1, "session_id": "", "session_s": 1, "seen_s": 1}', 422),
        (b'{"format": 1, "session_id": "a", "session_s": NaN, "seen_s": 1}', 422),
        (b'{"format": 2, "session_id": "a", "session_s": 1, "seen_s": 1}', 422),
        (b" " * (300 << 10), 413),
    ],
)
def test_a_report_that_makes_no_sense_is_refused(shared: World, raw: bytes, status: int) -> None:
    signature = shared.identity.sign(SESSION, raw)
    with shared.device() as device:
        headers = {"Beheld-Signature": signature}
        assert device.put("/sessions/a", content=raw, headers=headers).status_code == status
        headers = {"Beheld-Signature": "wrong"}
        assert device.put("/sessions/a", content=raw, headers=headers).status_code in (413, 422)


def test_erased_emotion_leaves_nothing_behind(make_world: Callable[..., World]) -> None:
    world = make_world()
    key, erased = bring(world, ("one", FELT), ("two", Scene(emotion="disgust")))
    patch(world, key, emotion="disgust")
    patch(world, erased, emotion="surprise")
    world.owner.post(f"/moments/{erased}/discard", data=world.csrf())
    folder = world.running.services.settings.data_dir
    (folder / "backups").mkdir(exist_ok=True)
    (folder / "backups" / "old.sqlite3").write_bytes(b"surprise")

    def traces() -> set[str]:
        words = (b"surprise", b"disgust", b"non_neutral", b'influence"')
        found = (p for p in folder.rglob("*") if p.is_file())
        return {p.name for p in found if any(w in p.read_bytes() for w in words)}

    assert {"moment.json", "old.sqlite3", "marks.json"} <= traces()
    answer = world.owner.post("/settings/emotion/erase", data=world.csrf())
    assert "Erased from" in answer.text
    assert traces() == set()
    assert world.owner.get(f"/api/v1/moments/{key}").json()["emotion"] is None
    assert world.owner.get("/api/v1/moments", params={"q": "disgust"}).json()["moments"] == []
    assert "How it felt" not in world.owner.get(f"/moments/{key}").text
    assert world.running.services.custody.check() == []
    with world.device() as device:
        kinds = {item["kind"] for item in device.get("/feedback").json()["items"]}
    assert kinds == {"keep"}


def test_switched_off_nothing_of_emotion_is_kept(world: World) -> None:
    world.owner.post("/settings/emotion", data={**world.csrf(), "keep": "false"})
    (key,) = bring(world, ("one", FELT))
    told = world.owner.get(f"/api/v1/moments/{key}").json()
    assert (told["emotion"], told["probabilities"], told["influence"]) == (None, None, None)
    record = world.owner.get(f"/api/v1/moments/{key}/files/moment.json").json()
    assert record["emotion"] is None
    assert world.running.services.custody.check() == []
    assert patch(world, key, emotion="fear").status_code == 409
    world.owner.post("/settings/emotion", data={**world.csrf(), "keep": "true"})
    (later,) = bring(world, ("two", FELT))
    assert world.owner.get(f"/api/v1/moments/{later}").json()["emotion"] == "surprise"


def test_a_week_in_feelings(world: World) -> None:
    scenes = [(f"d{n}", Scene(thing="dog", emotion="happy", sure=0.9)) for n in range(4)]
    scenes += [(f"w{n}", Scene(thing="wall", emotion="neutral", sure=0.9)) for n in range(6)]
    keys = bring(world, *scenes, ("none", Scene(thing="dog")))
    week = world.owner.get("/api/v1/reflection", params={"day": "2026-05-07"}).json()
    assert (week["monday"], week["moments"], week["known"]) == ("2026-05-04", 11, 10)
    shares = {share["emotion"]: share for share in week["shares"]}
    rest = 0.1 / 6
    assert shares["happy"]["share"] == pytest.approx((4 * 0.9 + 6 * rest) / 10)
    assert sum(share["share"] for share in week["shares"]) == pytest.approx(1)
    assert all(
        s["low"] <= s["share"] + 0.1 and s["share"] - 0.1 <= s["high"] for s in week["shares"]
    )
    assert shares["happy"]["low"] < 0.3 and shares["happy"]["high"] > 0.5  # ten moments tell little
    assert [(p["thing"], p["emotion"], p["of"]) for p in week["together"]] == [("dog", "happy", 4)]
    assert week["sureness"] == pytest.approx(0.9)
    patch(world, keys[0], emotion="sad")
    again = world.owner.get("/api/v1/reflection", params={"day": "2026-05-04"}).json()
    sad = next(share for share in again["shares"] if share["emotion"] == "sad")
    assert again["corrected"] == 1 and sad["share"] == pytest.approx((1 + 9 * rest) / 10)
    page = world.owner.get("/reflection?day=2026-05-04").text
    assert "What this cannot know" in page and "4 to 10 May 2026" in page
    assert reflection.monday_of(date(2026, 5, 10)) == date(2026, 5, 4)


def test_at_most_three_questions_a_day(world: World) -> None:
    doubtful = [(f"d{n}", Scene(thing=f"t{n}", emotion="sad", sure=0.2, look=n)) for n in range(5)]
    bring(world, *doubtful, ("sure", Scene(thing="clear", emotion="happy", sure=0.99, look=9)))
    for left in (3, 2, 1, 0):
        page = world.owner.get("/review").text
        asked = [part.split('"')[0] for part in page.split("/review?ask=")[1:]]
        assert len(asked) == left
        if asked:
            assert ">clear" not in page.split("</aside>")[0]
            shown = world.owner.get(f"/review?ask={asked[0]}").text
            assert f'action="/review/{asked[0]}"' in shown
            said = {**world.csrf(), "verdict": "fine", "emotion": "fear"}
            world.owner.post(f"/review/{asked[0]}", data=said)
            assert world.owner.get(f"/api/v1/moments/{asked[0]}").json()["emotion"] == "fear"


def test_etags_save_answers_and_guard_changes(world: World) -> None:
    (key,) = bring(world, ("one", FELT))
    answer = world.owner.get(f"/api/v1/moments/{key}")
    tag = answer.headers["etag"]
    for path in (f"/api/v1/moments/{key}", "/api/v1/moments", "/api/v1/days", "/api/v1/sessions"):
        known = world.owner.get(path).headers["etag"]
        again = world.owner.get(path, headers={"If-None-Match": f'"other", W/{known}'})
        assert (again.status_code, again.content) == (304, b"")
    assert patch(world, key, kept=True).status_code == 200
    assert world.owner.get(f"/api/v1/moments/{key}").headers["etag"] != tag
    token = {"X-CSRF-Token": world.csrf()["csrf"], "If-Match": tag}
    late = world.owner.patch(f"/api/v1/moments/{key}", json={"kept": False}, headers=token)
    assert late.status_code == 412 and "meanwhile" in late.json()["detail"]


def test_what_the_glasses_wrote_is_text_on_every_page(world: World) -> None:
    evil = "<script>alert(1)</script>"
    (key,) = bring(world, ("one", Scene(thing=evil, others=('" onload="x',), emotion=evil[:40])))
    document = session_document(evil)
    document["gaps"] = [{"start_s": 0, "end_s": 9, "stream": evil, "cause": evil}]
    leave_report(world.spool, document)
    world.syncer().run_once()
    for path in ("/", f"/moments/{key}", "/search?q=script", "/review", "/sessions", "/reflection"):
        page = world.owner.get(path).text
        assert "<script>alert" not in page and '" onload="x' not in page, path
    assert "&lt;script&gt;alert(1)" in world.owner.get(f"/moments/{key}").text


def test_events_tell_what_comes_and_what_was_missed(world: World) -> None:
    address = world.api.replace("http", "ws") + "/events"
    cookie = f"beheld_session={world.owner.cookies['beheld_session']}"
    headers = {"Cookie": cookie}
    with connect(address, additional_headers=headers, origin=world.running.url) as socket:
        hello = json.loads(socket.recv(timeout=20))
        assert hello["type"] == "hello"
        bring(world, ("one", FELT))
        news = json.loads(socket.recv(timeout=20))
        assert (news["type"], news["moment"]["snippet_id"]) == ("moment", "one")
        leave_report(world.spool, session_document("s"))
        world.syncer().run_once()
        news = json.loads(socket.recv(timeout=20))
        assert (news["type"], news["session"]["session_id"]) == ("session", "s")
    bearer = {"Authorization": f"Bearer {world.owner.cookies['beheld_session']}"}
    missed = f"{address}?moment={hello['moment']}&session=x"
    with connect(missed, additional_headers=bearer) as socket:
        assert json.loads(socket.recv(timeout=20))["type"] == "hello"
        assert json.loads(socket.recv(timeout=20))["moment"]["snippet_id"] == "one"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Cookie": "beheld_session=guess"},
        {"Authorization": "Bearer bhd_guess"},
        {"Origin": "own"},
    ],
)
def test_events_are_for_the_owner_only(shared: World, headers: dict[str, str]) -> None:
    address = shared.api.replace("http", "ws") + "/events"
    given = dict(headers)
    if given.pop("Origin", None):  # signed in, but the page is another site's
        given = {"Cookie": f"beheld_session={shared.owner.cookies['beheld_session']}"}
        origin = "https://elsewhere.example"
    else:
        origin = shared.running.url
    with connect(address, additional_headers=given, origin=origin) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401


def test_the_client_finds_corrects_and_listens(world: World) -> None:
    make_small_snippet(world.spool, "one", FELT)
    make_small_snippet(
        world.spool, "two", Scene(thing="cat", start_utc="2026-05-05T05:00:00+00:00")
    )
    with Client(world.running.url, world.owner.cookies["beheld_session"]) as client:
        heard = client.events()
        assert next(heard)["type"] == "hello"
        world.syncer().run_once()
        assert next(heard)["moment"]["snippet_id"] == "one"
        heard.close()
        assert [m.title for m in client.moments(limit=1)] == ["cat", "cup"]  # over pages
        (felt,) = client.moments(emotion="surprise", influence="scene")
        assert (felt.title, felt.duration_s, felt.probabilities["surprise"]) == ("cup", 2.0, 0.6)
        assert client.judge(felt.key, names=["mug"], kept=True).title == "mug"
        assert json.loads(client.file(felt.key, "moment.json"))["id"] == "one"
        assert client.days()[0]["day"] == "2026-05-05"
        with pytest.raises(ClientError, match="no such moment"):
            client.moment("nothing")
    with (
        pytest.raises(ClientError, match="not signed in"),
        Client(world.running.url, "no") as client,
    ):
        client.days()


def test_metrics_count_and_tell_nobody_else(make_world: Callable[..., World]) -> None:
    world = make_world()
    (key,) = bring(world, ("one", FELT))
    world.owner.get(f"/moments/{key}?secret=1")
    text = httpx.get(f"{world.running.url}/metrics").text
    assert 'beheld_requests_total{method="GET",route="/moments/{key}",status="200"} 1' in text
    assert "beheld_moments 1" in text and key not in text and "secret" not in text
    for line in text.splitlines():
        assert line.startswith("#") or float(line.rpartition(" ")[2]) >= 0
    proxied = {"X-Forwarded-For": "203.0.113.9"}
    assert httpx.get(f"{world.running.url}/metrics", headers=proxied).status_code == 403
    guarded = make_world(metrics_token="let-me-see")
    for token, status in (("x", 403), ("guess", 403), ("let-me-see", 200)):
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{guarded.running.url}/metrics", headers=headers).status_code == status


def test_the_log_is_lines_of_json_that_name_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    kept = (observe.log.level, observe.log.propagate)
    observe.log_to_stderr()
    try:
        (key,) = bring(world, ("one", FELT))
        world.owner.get(f"/moments/{key}?secret=1")
        world.owner.get("/search?q=private-words")
        observe.log.warning("a plain sentence")
    finally:
        observe.log.removeHandler(observe.log.handlers[-1])
        observe.log.level, observe.log.propagate = kept
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    (seen,) = (line for line in lines if line.get("route") == "/moments/{key}")
    assert (seen["what"], seen["method"], seen["status"]) == ("request", "GET", 200)
    assert seen["took_ms"] >= 0 and seen["at_utc"].endswith("+00:00")
    assert any(line.get("route") == "/api/v1/uploads/{snippet_id}/{name}" for line in lines)
    assert lines[-1]["what"] == "a plain sentence" and lines[-1]["level"] == "warning"
    credentials = world.credentials
    personal = (key, "one", "cup", "secret", "private-words", "127.0.0.1", credentials.device_id)
    for name in (*personal, credentials.token, world.owner.cookies["beheld_session"]):
        assert f'"{name}' not in told.getvalue() and f"/{name}" not in told.getvalue()


def test_alive_and_ready_are_two_things(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("health", "ready"):
        assert httpx.get(f"{shared.api}/{path}").json() == {"status": "ok"}

    def broken() -> int:
        raise OSError("the disk is gone")

    monkeypatch.setattr(shared.running.services.index, "stored_bytes", broken)
    assert httpx.get(f"{shared.api}/health").status_code == 200
    assert httpx.get(f"{shared.api}/ready").status_code == 500


def test_the_demo_asks_as_any_program_of_the_owner(world: World) -> None:
    bring(world, ("one", FELT))
    assert listed(world.running) == 1
