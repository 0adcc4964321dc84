"""Every route refuses the stranger; tokens, codes, sessions and forms do what they promise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from device.errors import SyncError
from device.identity import Identity, pair
from server.access import HEADERS, PUBLIC
from server.app import ROUTERS
from server.problems import Problem
from tests.server.companion import World
from tests.server.snippets import Scene, make_small_snippet


def routes() -> Iterator[tuple[str, str]]:
    for router in ROUTERS:
        for route in router.routes:
            for method in sorted(getattr(route, "methods", ())):  # a WebSocket has none
                yield method, route.path


ROUTES = sorted(set(routes()))
GLASSES = ("/uploads", "/snippets", "/feedback", "/sessions/{name}")
FOR_GLASSES = [(m, p) for m, p in ROUTES if any(part in p for part in GLASSES)]
FOR_PEOPLE = [r for r in ROUTES if r not in FOR_GLASSES and r[1] not in PUBLIC]


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)(:\w+)?\}", "some-id", path)


def refused(answer: httpx.Response) -> bool:
    to_login = answer.status_code == 303 and answer.headers["location"] == "/login"
    return answer.status_code in (401, 403) or to_login


def test_the_table_of_routes_is_whole(world: World) -> None:
    assert len(ROUTES) > 30
    document = world.owner.get("/api/v1/openapi.json").json()
    assert set(document["paths"]) <= {path for _, path in ROUTES}
    extra = {r.path for r in world.owner_app().routes if hasattr(r, "path")} - {
        p for _, p in ROUTES
    }
    assert extra <= {"/static", "/api/v1/events"}  # the WebSocket: tests/server/test_live.py


@pytest.mark.parametrize(("method", "path"), [r for r in ROUTES if r[1] not in PUBLIC])
def test_the_stranger_is_refused(shared: World, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer bhd_guess"}, {"Cookie": "beheld_session=guess"}):
        answer = httpx.request(
            method, shared.running.url + filled(path), headers={"Tus-Resumable": "1.0.0", **headers}
        )
        assert refused(answer), (answer.status_code, answer.text)


@pytest.mark.parametrize(("method", "path"), FOR_PEOPLE)
def test_glasses_cannot_look_at_what_they_sent(shared: World, method: str, path: str) -> None:
    with shared.device() as device:
        assert refused(device.request(method, shared.running.url + filled(path)))


@pytest.mark.parametrize(("method", "path"), FOR_GLASSES)
def test_revoked_glasses_are_refused(shared: World, method: str, path: str, tmp_path: Path) -> None:
    identity = Identity.load_or_create(tmp_path)
    credentials = pair(shared.running.url, shared.running.pairing_code(), identity)
    shared.running.services.glasses.revoke(identity.device_id)
    answer = httpx.request(
        method,
        shared.running.url + filled(path),
        headers={"Authorization": f"Bearer {credentials.token}", "Tus-Resumable": "1.0.0"},
    )
    assert answer.status_code == 403


@pytest.mark.parametrize(("method", "path"), FOR_PEOPLE)
def test_what_changes_needs_the_csrf_token(shared: World, method: str, path: str) -> None:
    if method in ("GET", "HEAD", "OPTIONS"):
        return
    answer = shared.owner.request(
        method, filled(path), data={"csrf": "guess"}, follow_redirects=False
    )
    assert answer.status_code in (403, 422)
    site = {"Sec-Fetch-Site": "cross-site", "X-CSRF-Token": shared.csrf()["csrf"]}
    answer = shared.owner.request(method, filled(path), headers=site, follow_redirects=False)
    assert answer.status_code in (403, 422)


def test_every_answer_carries_the_security_headers(shared: World) -> None:
    for path in ("/", "/login", "/api/v1/health", "/static/beheld.css", "/nothing-here"):
        answer = httpx.get(shared.running.url + path)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (path, name)


def test_glasses_cannot_reach_another_pairs_uploads(world: World, tmp_path: Path) -> None:
    folder = make_small_snippet(world.spool, "one")
    world.syncer(keep_after_receipt=True).run_once()
    other = Identity.load_or_create(tmp_path / "other")
    token = pair(world.running.url, world.running.pairing_code(), other).token
    headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}
    assert folder.is_dir()
    for path in ("snippets/one", "uploads/one/moment.json"):
        method = "GET" if path.startswith("snippets") else "HEAD"
        assert httpx.request(method, f"{world.api}/{path}", headers=headers).status_code == 404


def test_a_pairing_code_works_once(world: World, tmp_path: Path) -> None:
    code = world.running.pairing_code()
    pair(world.running.url, code.lower(), Identity.load_or_create(tmp_path / "a"))
    with pytest.raises(SyncError, match="wrong, used or too old"):
        pair(world.running.url, code, Identity.load_or_create(tmp_path / "b"))


def test_an_old_pairing_code_is_refused(make_world: Callable[..., World], tmp_path: Path) -> None:
    world = make_world(pairing_code_s=600)
    code = world.running.pairing_code()
    with world.running.services.database.write() as db:
        db.exec_driver_sql("UPDATE pairing_codes SET expires_s = 0")
    with pytest.raises(SyncError, match="too old"):
        pair(world.running.url, code, Identity.load_or_create(tmp_path / "b"))


def test_guessing_codes_kills_them(make_world: Callable[..., World], tmp_path: Path) -> None:
    world = make_world(pairing_tries_per_min=1000)
    code, guesser = world.running.pairing_code(), Identity.load_or_create(tmp_path / "b")
    for number in range(10):
        with pytest.raises(SyncError):
            pair(world.running.url, f"WRONG{number:03d}", guesser)
    with pytest.raises(SyncError, match="wrong, used or too old"):
        pair(world.running.url, code, guesser)


def test_pairing_and_signing_in_are_slowed_down(world: World, tmp_path: Path) -> None:
    guesser = Identity.load_or_create(tmp_path / "b")
    with pytest.raises(SyncError, match="wait"):
        for number in range(20):
            try:
                pair(world.running.url, f"WRONG{number:03d}", guesser)
            except SyncError as error:
                if "wait" in str(error):
                    raise
    answers = [
        httpx.post(f"{world.running.url}/login", data={"password": "guess"}).status_code
        for _ in range(12)
    ]
    assert answers[0] == 403
    assert answers[-1] == 429


def test_pairing_by_a_stolen_code_needs_the_key(world: World, tmp_path: Path) -> None:
    identity = Identity.load_or_create(tmp_path / "b")
    body = {
        "code": world.running.pairing_code(),
        "public_key": identity.public_key,
        "proof": world.identity.sign(b"beheld-pairing-v1\n", b"other"),
    }
    assert httpx.post(f"{world.api}/pair", json=body).status_code == 422


def test_another_server_than_the_code_names_is_not_trusted(world: World, tmp_path: Path) -> None:
    with pytest.raises(SyncError, match="not the server the code came from"):
        pair(
            world.running.url,
            world.running.pairing_code(),
            Identity.load_or_create(tmp_path / "b"),
            server_id="0" * 32,
        )


def test_a_sign_in_link_works_once(world: World) -> None:
    link = world.running.login_link()
    with (
        httpx.Client(follow_redirects=True, timeout=60) as first,
        httpx.Client(follow_redirects=True, timeout=60) as second,
    ):
        assert first.get(link).status_code == 200
        assert second.get(link).status_code == 403
        assert first.get(link).status_code == 200  # already signed in: no second use


def test_password_and_sessions(world: World) -> None:
    with pytest.raises(Problem):
        world.running.services.people.set_password("short")
    form = {"password": "correct horse battery", **world.csrf()}
    assert world.owner.post("/settings/password", data=form).status_code == 200
    with httpx.Client(base_url=world.running.url, follow_redirects=True, timeout=60) as browser:
        assert browser.post("/login", data={"password": "wrong horse battery"}).status_code == 403
        answer = browser.post("/login", data={"password": "correct horse battery"})
        assert answer.status_code == 200
        assert browser.get("/api/v1/days").status_code == 200
        csrf = browser.get("/settings").text.split('name="csrf" value="')[1].split('"')[0]
        browser.post("/logout", data={"csrf": csrf})
        assert browser.get("/api/v1/days").status_code == 401
    assert world.owner.get("/api/v1/days").status_code == 200


def test_no_secret_is_stored_as_it_is(world: World) -> None:
    world.running.services.people.set_password("correct horse battery")
    code = world.running.pairing_code()
    data = b"".join(
        path.read_bytes()
        for path in world.running.services.settings.data_dir.glob("beheld.sqlite3*")
    )
    for secret in (world.credentials.token, code, "correct horse battery"):
        assert secret.encode() not in data


def test_html_in_tags_is_text(world: World) -> None:
    make_small_snippet(world.spool, "one", Scene(thing="<script>alert(1)</script>"))
    world.syncer().run_once()
    key = world.owner.get("/api/v1/moments").json()["moments"][0]["key"]
    for path in ("/", f"/moments/{key}", "/search?q=script"):
        page = world.owner.get(path).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize("name", ["../../server.key", "..%2f..%2fserver.key", "custody.json", ".x"])
def test_files_of_a_moment_are_those_of_its_manifest(world: World, name: str) -> None:
    make_small_snippet(world.spool, "one")
    world.syncer().run_once()
    key = world.owner.get("/api/v1/moments").json()["moments"][0]["key"]
    assert world.owner.get(f"/api/v1/moments/{key}/files/{name}").status_code in (404, 422)
