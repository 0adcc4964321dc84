"""TLS with the server's own certificate: pinned by its fingerprint, and finding a server by mDNS."""

from __future__ import annotations

import dataclasses
import html
import shlex
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from device import invitation, tls_pin
from device.errors import InputError, SyncError
from device.identity import Credentials, Identity, pair
from device.sync import Syncer
from server import announce, tls
from server.embedded import Running, start
from server.problems import ServerError
from server.settings import ServerSettings
from tests.server.snippets import make_small_snippet
from tools import pair as pair_verb


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Callable[[str], tuple[Running, tls.Certificate]]]:
    servers: list[Running] = []

    def begin(name: str, port: int = 0) -> tuple[Running, tls.Certificate]:
        data = tmp_path / name
        own = tls.self_signed(data)
        settings = ServerSettings(
            data_dir=data, reserve_mb=1, secure_cookies=True, tls_fingerprint=own.fingerprint
        )
        servers.append(start(data, port=port, settings=settings, certificate=own))
        return servers[-1], own

    yield begin
    for server in servers:
        server.stop()


def test_pairing_and_sync_over_the_pinned_certificate(secured, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    server, own = secured("home")
    identity = Identity.load_or_create(tmp_path / "glasses")
    code = server.pairing_code()
    credentials = pair(server.url, code, identity, fingerprint=own.fingerprint)
    credentials.save(tmp_path / "glasses")
    credentials = Credentials.load(tmp_path / "glasses")
    assert "BEGIN CERTIFICATE" in credentials.tls_certificate
    assert "BEGIN" not in repr(credentials)
    make_small_snippet(tmp_path / "spool", "one", video=bytes(100_000))
    assert Syncer(tmp_path / "spool", credentials, identity).run_once().receipts == 1
    # without the pin the usual authorities decide, and none of them knows this server
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{server.url}/api/v1/health")
    with pytest.raises(SyncError, match="certificate verify failed"):
        pair(server.url, server.pairing_code(), identity)


def test_another_certificate_than_the_code_came_with(secured, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    server, own = secured("home")
    identity = Identity.load_or_create(tmp_path / "glasses")
    wrong = own.fingerprint[:-1] + ("0" if own.fingerprint[-1] != "0" else "1")
    with pytest.raises(SyncError, match="someone may be in between"):
        pair(server.url, server.pairing_code(), identity, fingerprint=wrong)
    with pytest.raises(SyncError, match="belongs to an https address"):
        pair("http://127.0.0.1:9", "CODE", identity, fingerprint=own.fingerprint)


def test_someone_in_between_later_gets_nothing(secured, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The same address, another certificate: the sync waits, sends nothing and deletes nothing."""
    server, own = secured("home")
    identity = Identity.load_or_create(tmp_path / "glasses")
    credentials = pair(server.url, server.pairing_code(), identity, fingerprint=own.fingerprint)
    impostor, _ = secured("impostor")
    folder = make_small_snippet(tmp_path / "spool", "one", video=bytes(100_000))
    there = dataclasses.replace(credentials, server_url=impostor.url)
    report = Syncer(tmp_path / "spool", there, identity).run_once()
    assert (report.waiting, report.sent_bytes, report.deleted) == (1, 0, 0)
    assert folder.is_dir()
    assert not list((tmp_path / "impostor" / "incoming").glob("*/*"))


def test_the_certificate_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first, again = tls.self_signed(tmp_path), tls.self_signed(tmp_path)
    assert first == again
    assert first.key.stat().st_mode & 0o777 == 0o600
    (tmp_path / "tls.crt").write_text("nonsense")
    with pytest.raises(ServerError, match="no certificate and key"):
        tls.self_signed(tmp_path)


def test_only_the_pinned_certificate_is_trusted(tmp_path: Path) -> None:
    own = tls.self_signed(tmp_path)
    context = tls_pin.trust(own.certificate.read_text())
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs(binary_form=True)) <= 1
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_the_text_of_the_code() -> None:
    text = "beheld-pair:https://10.0.0.2:8470#K7PMW2QX." + "ab" * 16 + "." + "cd" * 32
    assert invitation.read(text) == invitation.Invitation(
        "https://10.0.0.2:8470", "K7PMW2QX", "ab" * 16, "cd" * 32
    )
    short = invitation.read("beheld-pair:http://h:1#CODE")
    assert (short.server_id, short.fingerprint) == (None, None)
    for nonsense in ("http://h:1#CODE", "beheld-pair:http://h:1", "beheld-pair:http://h:1#", ""):
        with pytest.raises(InputError):
            invitation.read(nonsense)


def test_the_verb_takes_the_text_of_the_code(secured, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    server, own = secured("home")
    code = f"{server.pairing_code()}.{server.services.key.server_id}.{own.fingerprint}"
    answer = CliRunner().invoke(
        pair_verb.command,
        [f"beheld-pair:{server.url}#{code}", "--home", str(tmp_path / "g"), "--json"],
    )
    assert answer.exit_code == 0, answer.output
    assert '"pinned": true' in answer.output or '"pinned":true' in answer.output
    assert Credentials.load(tmp_path / "g").server_url == server.url


def test_what_the_page_says_to_type_pins_the_certificate(secured, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    server, own = secured("home")
    known = ssl.create_default_context(cafile=str(own.certificate))
    known.check_hostname = False
    with httpx.Client(base_url=server.url, verify=known, follow_redirects=True) as owner:
        owner.get(server.login_link())
        form = {"csrf": owner.get("/settings").text.split('name="csrf" value="')[1].split('"')[0]}
        page = owner.post("/devices/code", data=form).text
    command = html.unescape(page.split("<pre>")[1].split("</pre>")[0])
    program, verb, *given = shlex.split(command)
    assert (program, verb) == ("beheld", "pair")
    done = CliRunner().invoke(pair_verb.command, [*given, "--home", str(tmp_path / "g")])
    assert done.exit_code == 0, done.output
    assert Credentials.load(tmp_path / "g").tls_certificate


def test_a_server_is_found_in_the_network_and_paired_by_code_alone(
    secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("zeroconf", reason="the extra 'mdns' is not installed")
    server, own = secured("home")
    try:
        with announce.announced(
            name="Home",
            server_id=server.services.key.server_id,
            port=int(server.url.rsplit(":", 1)[1]),
            fingerprint=own.fingerprint,
            addresses=["127.0.0.1"],
        ):
            [found] = invitation.search(2.0, ["127.0.0.1"])
            assert found.url == server.url
            assert found.fingerprint == own.fingerprint
            monkeypatch.setattr(pair_verb, "search", lambda: [found])
            words = [server.pairing_code(), "--home", str(tmp_path / "g"), "--json"]
            assert CliRunner().invoke(pair_verb.command, words).exit_code == 0
            assert Credentials.load(tmp_path / "g").tls_certificate
    except OSError as error:
        pytest.skip(f"no multicast on loopback here ({error})")


@pytest.mark.parametrize(
    ("found", "said"),
    [([], "no server was found"), ([1, 2], "more than one server is here: A at a, A at a")],
)
def test_without_an_address_and_without_one_server(
    found: list[int], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [invitation.Found("a", "A", "id", None) for _ in found]
    monkeypatch.setattr(pair_verb, "search", lambda: servers)
    answer = CliRunner().invoke(pair_verb.command, ["CODE", "--home", str(tmp_path)])
    assert said in str(answer.exception)
