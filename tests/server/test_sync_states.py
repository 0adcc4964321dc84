"""The owner sees where snippets stand, and moments whose video is still on its way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from device.journal import SyncState, read_row
from device.sealing import Protection, Sealer
from device.sync import Syncer
from tests.device.test_capture import write
from tests.server.companion import World
from tests.server.snippets import make_small_snippet, make_snippet


def half_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round in which no video gets through."""
    with monkeypatch.context() as patch:
        send = Syncer._send

        def previews_only(self, folder, manifest, offsets, turn, *, previews):  # type: ignore[no-untyped-def]
            if previews:
                send(self, folder, manifest, offsets, turn, previews=True)

        patch.setattr(Syncer, "_send", previews_only)
        world.syncer().run_once()


def test_what_waits_is_told_with_its_reason(world: World) -> None:
    make_small_snippet(world.spool, "good")
    folder = make_small_snippet(world.spool, "bad")
    (folder / "manifest.json").write_text("not json")
    world.syncer().run_once()
    [told] = world.owner.get("/api/v1/sync").json().values()
    assert told["counts"] == {"deleted": 1, "refused": 1}
    [snippet] = told["snippets"]
    assert (snippet["snippet_id"], snippet["state"]) == ("bad", "refused")
    assert "manifest.json: cannot be read" in snippet["reason"]
    page = world.owner.get("/devices").text
    assert "manifest.json: cannot be read" in page
    assert "beheld sync --retry-refused" in page


@pytest.mark.parametrize("closed", [False, True], ids=["plain", "sealed"])
def test_a_preview_is_seen_before_the_video_is_here(
    world: World, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    if closed:
        folder = write(world.spool, Protection(sealer=Sealer(world.credentials.seal_recipient)))
    else:
        folder = make_snippet(world.spool, "one")
        picture = (folder / "thumbnail.jpg").read_bytes()
    half_way(world, monkeypatch)
    assert read_row(world.spool, folder.name).state is SyncState.WAITING
    [preview] = world.owner.get("/api/v1/arriving").json()
    assert preview["snippet_id"] == folder.name
    assert preview["title"] == "cup"
    assert 0 < preview["come_bytes"] < preview["bytes"]
    seen = world.owner.get(preview["thumbnail"])
    assert seen.content[:3] == b"\xff\xd8\xff"
    assert closed or seen.content == picture
    assert "On their way" in world.owner.get("/devices").text
    assert world.syncer().run_once(retry_refused=True).receipts == 0  # its time has not come
    (world.spool / ".sync" / f"{folder.name}.json").unlink()
    assert world.syncer().run_once().receipts == 1
    assert world.owner.get("/api/v1/arriving").json() == []
    assert world.owner.get(preview["thumbnail"]).status_code == 404


def test_nonsense_is_refused_plainly_and_html_stays_text(world: World) -> None:
    with world.device() as device:
        for body, status in ((b"[]", 422), (b"{", 422), (b"x" * 300_000, 413)):
            answer = device.put("/snippets", content=body)
            assert answer.status_code == status
            assert answer.json()["detail"]
        standing = {"snippet_id": "s", "state": "waiting", "reason": "<script>x</script>", "attempts": 1,
                    "next_step": "", "next_try_utc": None}  # fmt: skip
        good = {"at_utc": "2026-05-04T07:54:31+00:00", "counts": {}, "snippets": [standing]}
        assert device.put("/snippets", json=good).status_code == 204
    page = world.owner.get("/devices").text
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page


def test_a_thumbnail_cannot_escape_its_folder(world: World, tmp_path: Path) -> None:
    for name in ("..", "%2e%2e", "..%2f..", "a%00b"):
        address = f"/api/v1/arriving/{name}/{name}/thumbnail"
        assert world.owner.get(address).status_code in (404, 422)


def test_an_unreachable_server_leaves_the_owner_with_what_was_told_last(world: World) -> None:
    make_small_snippet(world.spool, "one")
    world.syncer().run_once()
    make_small_snippet(world.spool, "two")
    world.credentials = replace(world.credentials, server_url="http://127.0.0.1:9")
    world.syncer().run_once()
    [told] = world.owner.get("/api/v1/sync").json().values()
    assert told["counts"] == {"deleted": 1}
