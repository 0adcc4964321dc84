"""Passkeys: an authenticator made of software signs in, and none of what is a little wrong does."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cbor2
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from server.passkeys import Site
from server.problems import Problem
from server.rebuild import rebuild
from tests.server.companion import World

API = "/api/v1"
ALL = 0x01 | 0x04  # the flags: someone was there, and was recognised


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """What a telephone does, at one site."""

    origin: str
    site: str = "localhost"
    flags: int = ALL
    identity: bytes = b"\x07" * 32
    count: int = 0
    _key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def make(self, options: dict[str, Any]) -> dict[str, Any]:
        assert options["authenticatorSelection"]["userVerification"] == "required"
        public = self._key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: public.x.to_bytes(32), -3: public.y.to_bytes(32)}
        attested = bytes(16) + len(self.identity).to_bytes(2) + self.identity + cbor2.dumps(cose)
        data = self._data(0x40) + attested
        made = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        said = self._client("webauthn.create", options["challenge"])
        return self._answer({"clientDataJSON": b64(said), "attestationObject": b64(made)})

    def sign(self, options: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        data, said = self._data(), self._client("webauthn.get", options["challenge"])
        signature = self._key.sign(data + hashlib.sha256(said).digest(), ec.ECDSA(SHA256()))
        told = {"clientDataJSON": said, "authenticatorData": data, "signature": signature}
        return self._answer({name: b64(value) for name, value in told.items()})

    def _data(self, more: int = 0) -> bytes:
        flags = bytes([self.flags | more])
        return hashlib.sha256(self.site.encode()).digest() + flags + self.count.to_bytes(4)

    def _client(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _answer(self, response: dict[str, str]) -> dict[str, Any]:
        name = b64(self.identity)
        return {"id": name, "rawId": name, "type": "public-key", "response": response}


@dataclass
class Home:
    """A server reached by a name, its owner, and one passkey that is known there."""

    world: World
    url: str
    telephone: Authenticator

    def owner(self, method: str, path: str, **more: Any) -> httpx.Response:
        token = self.world.owner.cookies["beheld_session"]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.request(method, f"{self.url}{API}{path}", headers=headers, **more)

    def add(self, device: Authenticator, name: str = "Telephone") -> httpx.Response:
        options = self.owner("POST", "/passkeys/options").json()
        return self.owner("POST", "/passkeys", params={"name": name}, json=device.make(options))

    def sign_in(self, device: Authenticator, **changed: Any) -> httpx.Response:
        options = httpx.post(f"{self.url}{API}/login/options").json() | changed
        return httpx.post(f"{self.url}{API}/login", json=device.sign(options))


@pytest.fixture
def home(make_world: Callable[..., World]) -> Home:
    world = make_world(login_tries_per_min=1000)
    url = world.running.url.replace("127.0.0.1", "localhost")
    made = Home(world, url, Authenticator(url))
    assert made.add(made.telephone).status_code == 201
    return made


def test_it_signs_in_until_it_is_removed(home: Home) -> None:
    answer = home.sign_in(home.telephone)
    assert answer.status_code == 204
    assert "httponly" in answer.headers["set-cookie"].lower()
    with httpx.Client(base_url=home.url, cookies=answer.cookies) as browser:
        assert browser.get("/settings").status_code == 200
    [known] = home.owner("GET", "/passkeys").json()
    assert (known["name"], known["site"]) == ("Telephone", "localhost")
    assert known["used_utc"]
    assert home.add(home.telephone).status_code == 409
    assert home.owner("DELETE", f"/passkeys/{known['key']}").status_code == 204
    assert home.owner("DELETE", f"/passkeys/{known['key']}").status_code == 404
    assert home.sign_in(home.telephone).status_code == 403


def test_a_rebuilt_index_knows_it(home: Home) -> None:
    settings = home.world.running.services.settings
    home.world.running.stop()
    rebuild(settings)
    from server.app import make_services

    services = make_services(settings)
    [known] = services.passkeys.all()
    site = Site("localhost", home.telephone.origin)
    services.passkeys.believe(site, home.telephone.sign(services.passkeys.request_options(site)))
    services.database.close()
    assert known.name == "Telephone"


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://localhost.evil.example"},
        {"site": "evil.example"},
        {"flags": 0x01},  # nobody was recognised
        {"flags": 0x04},
        {"identity": b"\x08" * 32},
        {"count": -1},  # below what it said before: a copy
    ],
)
def test_what_is_a_little_wrong_is_refused(home: Home, wrong: dict[str, Any]) -> None:
    home.telephone.count = 7
    assert home.sign_in(home.telephone).status_code == 204
    for name, value in wrong.items():
        setattr(home.telephone, name, value)
    assert home.sign_in(home.telephone).status_code == 403


def test_another_key_of_the_same_name_is_refused(home: Home) -> None:
    assert home.sign_in(Authenticator(home.url)).status_code == 403


def test_a_challenge_is_ours_and_counts_once(home: Home) -> None:
    ours = httpx.post(f"{home.url}{API}/login/options").json()
    signed = home.telephone.sign(ours)
    assert httpx.post(f"{home.url}{API}/login", json=signed).status_code == 204
    assert httpx.post(f"{home.url}{API}/login", json=signed).status_code == 403
    assert home.sign_in(home.telephone, challenge=b64(bytes(32))).status_code == 403
    adding = home.owner("POST", "/passkeys/options").json()  # asked for another purpose
    assert home.sign_in(home.telephone, challenge=adding["challenge"]).status_code == 403
    late = httpx.post(f"{home.url}{API}/login/options").json()
    with home.world.running.services.database.write() as db:
        db.exec_driver_sql("UPDATE challenges SET expires_s = 0")
    answer = httpx.post(f"{home.url}{API}/login", json=home.telephone.sign(late))
    assert answer.status_code == 403


def test_adding_needs_the_owner_and_a_browser_that_recognised_someone(home: Home) -> None:
    other = Authenticator(home.url, identity=b"\x09" * 32, flags=0x01)
    assert home.add(other).status_code == 422
    other.flags, other.origin = ALL, "https://evil.example"
    assert home.add(other).status_code == 422
    by_cookie = home.world.owner.post(f"{API}/passkeys/options")  # without the CSRF token
    assert by_cookie.status_code == 403


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id": 1, "response": {}}', b"[" * 70_000])
def test_nonsense_is_refused_plainly(home: Home, body: bytes) -> None:
    answer = httpx.post(f"{home.url}{API}/login", content=body)
    assert answer.status_code in (403, 413, 422)
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "address", ["http://192.168.1.5:8470", "https://[::1]:8470", "http://beheld.example", "nowhere"]
)
def test_where_no_passkey_can_be_that_is_said(address: str) -> None:
    with pytest.raises(Problem, match="needs https and a name"):
        Site.of(address)


def test_a_site_is_the_name_and_the_origin() -> None:
    assert Site.of("https://beheld.example:8470/") == Site(
        "beheld.example", "https://beheld.example:8470"
    )
