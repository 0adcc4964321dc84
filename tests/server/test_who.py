"""Every route and who may use it: a table, held whole, and each line tried from the other side.

A new route without a line here fails, and so does one that lets in whom its line does not name.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest

from device.identity import Identity, pair
from server.access import PUBLIC, VIEWER
from tests.server.companion import World
from tests.server.snippets import make_small_snippet
from tests.server.test_access import ROUTES, refused

API = "/api/v1"
WHO = {
    # anyone: nothing of the owner's is in the answer
    "/api/v1/health": "anyone",
    "/api/v1/ready": "anyone",
    "/api/v1/pair": "anyone",  # with a code
    "/login": "anyone",
    "/api/v1/login": "anyone",  # with a passkey
    "/api/v1/login/options": "anyone",
    "/metrics": "anyone",  # on this machine
    "/shared/{token}": "anyone",  # with a link
    "/shared/{token}/files/{name}": "anyone",
    # glasses, each their own
    "/api/v1/feedback": "glasses",
    "/api/v1/sessions/{name}": "glasses",
    "/api/v1/snippets/{snippet_id}": "glasses",
    "/api/v1/snippets/{snippet_id}/commit": "glasses",
    "/api/v1/snippets": "glasses",
    "/api/v1/uploads": "glasses",
    "/api/v1/uploads/{snippet_id}/{name}": "glasses",
    # the owner, and who was invited to look
    "/": "viewer",
    "/before/{day}": "viewer",
    "/days/{day}": "viewer",
    "/moments/{key}": "viewer",
    "/search": "viewer",
    "/logout": "viewer",
    "/api/v1/days": "viewer",
    "/api/v1/moments": "viewer",
    "/api/v1/moments/{key}": "viewer",  # GET; the rest of it is the owner's
    "/api/v1/moments/{key}/files/{name}": "viewer",
}
OWNER_ONLY = {
    "/api/v1/arriving",
    "/api/v1/arriving/{device_id}/{snippet_id}/thumbnail",
    "/api/v1/devices",
    "/api/v1/devices/{device_id}",
    "/api/v1/emotion",
    "/api/v1/moments/{key}/shares",
    "/api/v1/openapi.json",
    "/api/v1/pairing-codes",
    "/api/v1/passkeys",
    "/api/v1/passkeys/options",
    "/api/v1/passkeys/{key}",
    "/api/v1/people",
    "/api/v1/people/{number}",
    "/api/v1/reflection",
    "/api/v1/sessions",
    "/api/v1/shares",
    "/api/v1/shares/{number}",
    "/api/v1/sync",
    "/devices",
    "/devices/code",
    "/devices/{device_id}/revoke",
    "/moments/{key}/discard",
    "/moments/{key}/emotion",
    "/moments/{key}/keep",
    "/moments/{key}/names",
    "/moments/{key}/share",
    "/reflection",
    "/review",
    "/review/{key}",
    "/sessions",
    "/settings",
    "/settings/access",
    "/settings/access/people",
    "/settings/access/people/{number}/remove",
    "/settings/access/shares/{number}/end",
    "/settings/emotion",
    "/settings/emotion/erase",
    "/settings/passkeys/{key}/remove",
    "/settings/password",
    "/settings/retention",
}
SAFE = ("GET", "HEAD", "OPTIONS")


def of(role: str) -> list[tuple[str, str]]:
    return [(m, p) for m, p in ROUTES if WHO.get(p, "owner") == role]


def filled(path: str) -> str:
    return re.sub(r"\{number\}", "1", re.sub(r"\{(?!number)\w+(:\w+)?\}", "one", path))


@pytest.fixture(scope="module")
def viewer(shared: World) -> Iterator[httpx.Client]:
    _, key = shared.running.services.viewers.invite("Ada")
    with httpx.Client(base_url=shared.running.url, timeout=60) as browser:
        assert browser.get(f"/login?key={key}").status_code == 303
        yield browser


@pytest.fixture(scope="module")
def others(shared: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Other glasses than those that sent the snippet `one`."""
    make_small_snippet(shared.spool, "one", video=bytes(3000))
    shared.syncer().run_once()
    make_small_snippet(shared.spool, "half", video=bytes(3000))
    manifest = (shared.spool / "half" / "manifest.json").read_bytes()
    with shared.device() as device:
        signature = shared.identity.sign(b"beheld-manifest-v1\n", manifest)
        headers = {"Beheld-Signature": signature}
        assert device.put("snippets/half", content=manifest, headers=headers).is_success
    other = Identity.load_or_create(tmp_path_factory.mktemp("other"))
    token = pair(shared.running.url, shared.running.pairing_code(), other).token
    headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}
    with httpx.Client(base_url=shared.running.url, headers=headers, timeout=60) as client:
        yield client


def test_the_table_is_whole() -> None:
    paths = {path for _, path in ROUTES}
    assert paths - set(WHO) - OWNER_ONLY == set(), "say in this table who may use the new route"
    assert {path for path, who in WHO.items() if who == "anyone"} == PUBLIC - {
        "/static/{path:path}"
    }
    assert {path for path, who in WHO.items() if who == "viewer"} == VIEWER | {"/logout"}


def test_a_stranger_gets_in_nowhere(shared: World) -> None:
    with httpx.Client(base_url=shared.running.url, timeout=60) as stranger:
        for role in ("glasses", "viewer", "owner"):
            for method, path in of(role):
                answer = stranger.request(method, filled(path))
                assert refused(answer), (method, path, answer.status_code)


def test_revoked_glasses_get_in_nowhere(shared: World, tmp_path: Path) -> None:
    identity = Identity.load_or_create(tmp_path)
    token = pair(shared.running.url, shared.running.pairing_code(), identity).token
    shared.running.services.glasses.revoke(identity.device_id)
    headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}
    with httpx.Client(base_url=shared.running.url, headers=headers, timeout=60) as revoked:
        for role in ("glasses", "viewer", "owner"):
            for method, path in of(role):
                answer = revoked.request(method, filled(path))
                assert refused(answer), (method, path, answer.status_code)


def test_who_owns_another_server_is_a_stranger_here(
    shared: World, make_world: Callable[..., World]
) -> None:
    """Neither the session of its owner nor the token of its glasses; nor are ours worth anything there."""
    other = make_world()
    for here, there in ((shared, other), (other, shared)):
        owner = {"Authorization": f"Bearer {there.owner.cookies['beheld_session']}"}
        glasses = {"Authorization": f"Bearer {there.credentials.token}", "Tus-Resumable": "1.0.0"}
        with httpx.Client(base_url=here.running.url) as wrong:
            for role in ("glasses", "viewer", "owner"):
                for method, path in of(role):
                    for headers in (owner, glasses):
                        answer = wrong.request(method, filled(path), headers=headers)
                        assert refused(answer), (method, path, answer.status_code)


def test_glasses_get_in_at_their_own_doors_only(shared: World) -> None:
    with shared.device() as device:
        for role in ("viewer", "owner"):
            for method, path in of(role):
                answer = device.request(method, shared.running.url + filled(path))
                assert refused(answer), (method, path, answer.status_code)


def test_people_get_in_at_no_door_of_glasses(shared: World) -> None:
    for method, path in of("glasses"):
        answer = shared.owner.request(method, filled(path), headers={"Tus-Resumable": "1.0.0"})
        assert answer.status_code in (401, 403), (method, path)


def test_other_glasses_reach_nothing_of_these(others: httpx.Client) -> None:
    for snippet in ("one", "half"):
        reached = [
            others.get(f"{API}/snippets/{snippet}"),
            others.post(f"{API}/snippets/{snippet}/commit"),
            others.head(f"{API}/uploads/{snippet}/moment.json"),
            others.delete(f"{API}/uploads/{snippet}/moment.json"),
            others.patch(
                f"{API}/uploads/{snippet}/moment.json",
                headers={"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
                content=b"x",
            ),
        ]
        metadata = ",".join(
            f"{key} {b64encode(value.encode()).decode()}"
            for key, value in (("snippet", snippet), ("filename", "moment.json"))
        )
        begun = {"Upload-Metadata": metadata, "Upload-Length": "1"}
        reached.append(others.post(f"{API}/uploads", headers=begun))
        assert [answer.status_code for answer in reached] == [404] * 6


def test_other_glasses_hear_nothing_of_these(shared: World, others: httpx.Client) -> None:
    csrf = {"X-CSRF-Token": shared.csrf()["csrf"]}
    [entry] = shared.owner.get(f"{API}/moments").json()["moments"]
    judged = shared.owner.patch(f"{API}/moments/{entry['key']}", json={"kept": True}, headers=csrf)
    assert judged.status_code == 200
    with shared.device() as device:
        assert device.get("feedback").json()["items"]
    assert others.get(f"{API}/feedback").json()["items"] == []
    shared.owner.patch(f"{API}/moments/{entry['key']}", json={"kept": False}, headers=csrf)
    told = {"at_utc": "2026-05-04T07:41:09+00:00", "counts": {"queued": 7}, "snippets": []}
    assert others.put(f"{API}/snippets", json=told).status_code == 204
    standing = shared.owner.get(f"{API}/sync").json()  # each pair speaks for itself
    assert standing.get(shared.identity.device_id, {}).get("counts") != {"queued": 7}


def test_a_viewer_looks_and_changes_nothing(
    shared: World, viewer: httpx.Client, others: httpx.Client
) -> None:
    [entry] = viewer.get(f"{API}/moments").json()["moments"]
    for method, path in ROUTES:
        if WHO.get(path, "owner") in ("anyone", "glasses") or path == "/logout":
            continue
        answer = viewer.request(method, filled(path))
        may = method in SAFE and WHO.get(path) == "viewer"
        assert (answer.status_code == 403) != may, (method, path, answer.status_code)
    for path in ("/", f"/moments/{entry['key']}", entry["files"]["scene.mp4"]):
        assert viewer.get(path).status_code == 200
    # with the right CSRF token too
    with shared.running.services.database.read() as db:
        csrf = db.exec_driver_sql(
            "SELECT csrf FROM sessions s JOIN people p ON p.id = s.person_id WHERE p.name = 'Ada'"
        ).scalar_one()
    headers = {"X-CSRF-Token": csrf}
    address = f"{API}/moments/{entry['key']}"
    assert viewer.patch(address, json={"kept": True}, headers=headers).status_code == 403
    assert viewer.delete(address, headers=headers).status_code == 403
    assert viewer.post(f"{API}/pairing-codes", headers=headers).status_code == 403


def test_a_viewer_is_shown_nothing_that_would_be_refused(
    shared: World, viewer: httpx.Client, others: httpx.Client
) -> None:
    left, seen = ["/"], set()
    while left:
        path = left.pop()
        seen.add(path)
        page = viewer.get(path)
        assert page.status_code != 403, path
        if not page.headers["content-type"].startswith("text/html"):
            continue
        forms = re.findall(r'<form[^>]* method="post"[^>]*action="([^"]*)"', page.text)
        assert set(forms) == {"/logout"}, path
        assert "live.js" not in page.text  # its events are the owner's
        links = re.findall(r'(?:href|src)="(/[^"#]*)', page.text)
        left += [link for link in map(unescape, links) if link not in seen | set(left)]
    assert any(path.startswith("/moments/") for path in seen)
    owners = shared.owner.get(next(path for path in seen if path.startswith("/moments/"))).text
    assert "/discard" in owners and "/names" in owners


def test_a_removed_viewer_is_a_stranger_at_once(world: World) -> None:
    csrf = {"X-CSRF-Token": world.csrf()["csrf"]}
    made = world.owner.post(f"{API}/people", json={"name": "Bob"}, headers=csrf).json()
    with httpx.Client(follow_redirects=True, timeout=60) as browser:
        assert browser.get(made["login_url"]).status_code == 200
        assert browser.get(f"{world.api}/moments").status_code == 200
        [bob] = world.owner.get(f"{API}/people").json()
        assert bob == {"id": made["person"]["id"], "name": "Bob", "sessions": 1}
        gone = world.owner.delete(f"{API}/people/{bob['id']}", headers=csrf)
        assert gone.status_code == 204
        assert browser.get(f"{world.api}/moments").status_code == 401
    assert world.owner.delete(f"{API}/people/1", headers=csrf).status_code == 404  # the owner
    for name in ("owner", " ", ""):
        answer = world.owner.post(f"{API}/people", json={"name": name}, headers=csrf)
        assert answer.status_code == 422
    assert world.owner.get(f"{API}/moments").status_code == 200
