"""The sync against a server that misbehaves: whatever it answers, nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from device.errors import ConfigError, SyncError
from device.identity import RECEIPT, Credentials, Identity, pair
from device.journal import MOVES, NEXT_STEP, SyncState, read_row, status
from device.sync import Syncer, SyncSettings
from tests.server.snippets import make_small_snippet

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity.load_or_create(tmp_path / "home")


@pytest.fixture
def credentials(identity: Identity) -> Credentials:
    return Credentials(
        server_url="http://server",
        server_id="s",
        server_public_key=identity.public_key,  # not the server's: no receipt of one can verify
        server_name="Home",
        device_id=identity.device_id,
        token="bhd_x",
    )


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    make_small_snippet(tmp_path / "spool", "one", video=b"v" * 5000)
    return tmp_path / "spool"


def syncer(
    spool: Path, who: tuple[Credentials, Identity], answer: Answer, **more: object
) -> Syncer:
    transport = httpx.MockTransport(answer)
    return Syncer(spool, *who, SyncSettings(), transport=transport, seed=1, **more)  # type: ignore[arg-type]


def whole(spool: Path) -> bool:
    return (spool / "one" / "scene.mp4").read_bytes() == b"v" * 5000


@pytest.mark.parametrize(
    ("code", "body", "state"),
    [
        (401, {"detail": "sign in"}, SyncState.WAITING),
        (403, {"detail": "revoked"}, SyncState.WAITING),
        (404, {}, SyncState.WAITING),
        (409, {"detail": "other", "type": "urn:beheld:problem:other-content"}, SyncState.REFUSED),
        (413, {"detail": "too large"}, SyncState.REFUSED),
        (422, {"detail": "bad"}, SyncState.REFUSED),
        (422, {"detail": "again", "type": "urn:beheld:problem:hash-mismatch"}, SyncState.WAITING),
        (429, {"detail": "wait"}, SyncState.WAITING),
        (500, {}, SyncState.WAITING),
        (507, {"detail": "full"}, SyncState.WAITING),
        (302, {}, SyncState.WAITING),
        (
            200,
            {"state": "stored", "receipt": {"receipt": "{}", "signature": "x"}},
            SyncState.WAITING,
        ),
        (200, {"state": "stored", "receipt": None}, SyncState.WAITING),
        (200, [1, 2], SyncState.WAITING),
        (200, {"state": "arriving"}, SyncState.WAITING),
    ],
)
def test_no_answer_deletes(
    spool: Path,
    credentials: Credentials,
    identity: Identity,
    code: int,
    body: object,
    state: SyncState,
) -> None:
    calls = syncer(spool, (credentials, identity), lambda r: httpx.Response(code, json=body))
    report = calls.run_once()
    row = read_row(spool, "one")
    assert (row.state, report.deleted, report.receipts) == (state, 0, 0)
    assert row.reason
    assert whole(spool)


def test_a_cut_connection_waits_longer_each_time(
    spool: Path, credentials: Credentials, identity: Identity
) -> None:
    def cut(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("connection reset")

    now = [1000.0]
    calls = syncer(spool, (credentials, identity), cut, now_s=lambda: now[0])
    waits = []
    for _ in range(12):
        calls.run_once()
        waits.append(read_row(spool, "one").next_try_s - now[0])
        now[0] += waits[-1]
    assert 1.0 <= waits[0] <= 2.0
    assert all(later > earlier * 0.9 for earlier, later in pairwise(waits[:9]))
    assert max(waits) <= 900
    assert len({round(wait, 3) for wait in waits}) == len(waits)  # jittered
    assert whole(spool)


def test_what_the_server_wishes_is_respected(
    spool: Path, credentials: Credentials, identity: Identity
) -> None:
    busy = httpx.Response(429, json={"detail": "slow"}, headers={"Retry-After": "77"})
    calls = syncer(spool, (credentials, identity), lambda r: busy, now_s=lambda: 0.0)
    calls.run_once()
    assert read_row(spool, "one").next_try_s == 77
    assert calls.next_try_s() == 77


def test_a_clock_set_back_does_not_stop_the_sync(
    spool: Path, credentials: Credentials, identity: Identity
) -> None:
    asked = []

    def count(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/one"):
            asked.append(request.url.path)
        return httpx.Response(500)

    now = [2e9]
    calls = syncer(spool, (credentials, identity), count, now_s=lambda: now[0])
    calls.run_once()
    calls.run_once()
    assert len(asked) == 1  # its time had not come
    now[0] = 1e9  # the battery was empty and the clock began again
    calls.run_once()
    assert len(asked) == 2


def test_a_receipt_for_other_glasses_is_not_believed(
    spool: Path, credentials: Credentials, identity: Identity
) -> None:
    text = json.dumps(
        {"manifest_sha256": "0" * 64, "device_id": identity.device_id, "server_id": "s"}
    )
    receipt = {"receipt": text, "signature": identity.sign(RECEIPT, text.encode())}
    answer = httpx.Response(200, json={"state": "stored", "receipt": receipt})
    syncer(spool, (credentials, identity), lambda r: answer).run_once()
    assert read_row(spool, "one").state is SyncState.WAITING
    assert whole(spool)


def test_nothing_is_sent_while_it_may_not(
    spool: Path, credentials: Credentials, identity: Identity
) -> None:
    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError("sent all the same")

    calls = syncer(spool, (credentials, identity), never, may_send=lambda: "on a metered network")
    assert calls.run_once().reasons == ["on a metered network"]


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[]", b'{"state": "gone"}', b"\xff"])
def test_a_damaged_journal_means_queued(spool: Path, rubbish: bytes) -> None:
    (spool / ".sync").mkdir()
    (spool / ".sync" / "one.json").write_bytes(rubbish)
    assert [row.state for row in status(spool)] == [SyncState.QUEUED]


def test_an_unreadable_manifest_is_refused_by_name(
    spool: Path, credentials: Credentials, identity: Identity
) -> None:
    (spool / "one" / "manifest.json").write_text("not json")
    report = syncer(spool, (credentials, identity), lambda r: httpx.Response(500)).run_once()
    assert report.refused == 1
    assert "manifest.json: cannot be read" in report.reasons[0]


def test_one_sync_at_a_time(spool: Path, credentials: Credentials, identity: Identity) -> None:
    inner: list[Exception] = []

    def again(request: httpx.Request) -> httpx.Response:
        try:
            syncer(spool, (credentials, identity), again).run_once()
        except SyncError as error:
            inner.append(error)
        return httpx.Response(500)

    syncer(spool, (credentials, identity), again).run_once()
    assert "another program" in str(inner[0])


def test_only_a_receipt_leads_to_deletion() -> None:
    before = {state for state, after in MOVES.items() if SyncState.DELETABLE in after}
    assert before == {SyncState.RECEIPTED}
    assert {state for state, after in MOVES.items() if SyncState.DELETED in after} == {
        SyncState.DELETABLE
    }


def test_the_key_is_for_its_owner_only(tmp_path: Path, identity: Identity) -> None:
    assert (tmp_path / "home" / "identity.key").stat().st_mode & 0o077 == 0
    assert Identity.load_or_create(tmp_path / "home").device_id == identity.device_id
    (tmp_path / "home" / "identity.key").write_bytes(b"short")
    with pytest.raises(ConfigError, match=r"identity\.key: is not a key"):
        Identity.load_or_create(tmp_path / "home")


def test_unpaired_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run 'beheld pair URL CODE'"):
        Credentials.load(tmp_path)
    (tmp_path / "pairing.json").write_text("{")
    with pytest.raises(ConfigError, match="again"):
        Credentials.load(tmp_path)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_pairing_with_something_else_is_plain(identity: Identity, body: bytes) -> None:
    transport = httpx.MockTransport(lambda r: httpx.Response(201, content=body))
    with pytest.raises(SyncError, match="does not answer like a Beheld server"):
        pair("http://server", "CODE", identity, transport=transport)


def test_previews_of_all_go_before_any_video(
    tmp_path: Path, credentials: Credentials, identity: Identity
) -> None:
    spool = tmp_path / "many"
    for name in ("one", "two", "three"):
        make_small_snippet(spool, name, video=b"v" * 5000)
    asked = []

    def arrive(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path.removeprefix("/api/v1/")))
        return httpx.Response(200, json={"offsets": {}, "receipt": None})

    syncer(spool, (credentials, identity), arrive).run_once()
    sent = [path for method, path in asked if method == "PATCH"]
    assert [path.rpartition("/")[2] for path in sent] == ["moment.json"] * 3 + ["scene.mp4"] * 3
    assert {row.state for row in status(spool)} == {SyncState.WAITING}  # their receipts are none


def test_a_server_out_of_reach_is_asked_once_a_round(
    tmp_path: Path, credentials: Credentials, identity: Identity
) -> None:
    spool, asked = tmp_path / "many", []
    for number in range(5):
        make_small_snippet(spool, f"s{number}")

    def nobody(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        raise httpx.ConnectError("connection refused")

    now = [1000.0]
    calls = syncer(spool, (credentials, identity), nobody, now_s=lambda: now[0])
    waits = []
    for number in range(1, 13):
        assert calls.run_once().waiting == 5
        assert len(asked) == number  # once a round, however many wait
        waits.append(calls.next_try_s())
        calls.run_once()
        assert len(asked) == number  # and not before its time
        make_small_snippet(spool, f"new{number}")
        calls.run_once()
        assert len(asked) == number  # nor for a new one
        (spool / f"new{number}").rename(tmp_path / f"new{number}")
        now[0] += waits[-1] or 0.0
    assert all(later > earlier * 0.9 for earlier, later in pairwise(waits[:9]))
    assert 300 < max(waits) <= 900


def test_the_server_is_told_where_all_stands(
    spool: Path, credentials: Credentials, identity: Identity
) -> None:
    told = []

    def hear(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v1/snippets":
            told.append(json.loads(request.content))
        return httpx.Response(500, json={"detail": "out of order"})

    syncer(spool, (credentials, identity), hear, now_s=lambda: 1000.0).run_once()
    [document] = told
    assert document["at_utc"] == "1970-01-01T00:16:40+00:00"
    assert document["counts"] == {"waiting": 1}
    [snippet] = document["snippets"]
    assert (snippet["snippet_id"], snippet["reason"]) == ("one", "out of order")
    assert snippet["next_step"] == "is tried again by itself"
    assert "1970-01-01T00:16:41" <= snippet["next_try_utc"] <= "1970-01-01T00:16:43"


def test_every_state_says_what_comes_next() -> None:
    assert set(NEXT_STEP) == set(SyncState)
