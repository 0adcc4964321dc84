"""Metrics, page and log: complete, refused without the token, and free of what was seen."""

from __future__ import annotations

import http.client
import io
import json
import logging
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from device.errors import ConfigError
from device.glasses.latest import Latency
from device.glasses.log import LogSink, begin_logging
from device.glasses.page import Page
from device.glasses.settings import LiveSettings, PageSettings
from device.types import DeviceEvent, Gaze, Region, Tag, Tags, WakeChange, WakeState
from firmware_bridge import wire_pb2 as wire
from tests.glasses.conftest import Running
from tests.glasses.python_board import PythonBoard

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def shown(
    begin: Callable[[LiveSettings], Running], with_board: LiveSettings
) -> Iterator[tuple[Running, Page]]:
    """A run with its page on a free port."""
    run = begin(replace(with_board, page=PageSettings(port=0)))
    page = Page(run.glasses)
    run.more_frames()
    yield run, page
    page.close()


def ask(
    page: Page, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(page.url).netloc, timeout=30)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def signed(page: Page) -> dict[str, str]:
    return {"Authorization": f"Bearer {page.token}"}


def test_nothing_but_metrics_is_shown_without_the_token(shown: tuple[Running, Page]) -> None:
    run, page = shown
    for path in ("/", "/state.json", "/scene.jpg", "/eye/left.jpg", "/moment/x.jpg", "/page.js"):
        status, _, body = ask(page, path)
        assert status == 401 and b"token" in body
    assert ask(page, "/?token=wrong")[0] == 401
    assert ask(page, "/state.json", {"Authorization": "Bearer wrong"})[0] == 401
    assert ask(page, "/button", method="POST")[0] == 401
    foreign = {**signed(page), "Host": "evil.example:8087"}
    assert ask(page, "/state.json", foreign)[0] == 403
    origin = {**signed(page), "Origin": "http://evil.example"}
    assert ask(page, "/button", origin, method="POST")[0] == 401
    kept = run.glasses.data / "page-token"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_text().strip() == page.token


def test_the_token_signs_in_with_a_cookie_that_scripts_cannot_read(
    shown: tuple[Running, Page],
) -> None:
    _, page = shown
    status, headers, _ = ask(page, f"/?token={page.token}")
    assert (status, headers["Location"]) == (303, "/")
    assert "HttpOnly" in headers["Set-Cookie"] and "SameSite=Strict" in headers["Set-Cookie"]
    cookie = {"Cookie": headers["Set-Cookie"].partition(";")[0]}
    assert ask(page, "/", cookie)[0] == 200
    assert ask(page, "/nowhere", cookie)[0] == 404


def test_pictures_and_state_are_those_of_the_run(
    shown: tuple[Running, Page], board: PythonBoard
) -> None:
    run, page = shown
    status, _, body = ask(page, "/eye/left.jpg", signed(page))
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert status == 200 and picture is not None and picture.shape[0] >= 192
    assert ask(page, "/scene.jpg", signed(page))[0] == 204  # it sleeps
    assert ask(page, "/button", signed(page), method="POST")[0] == 204
    run.until(lambda: ask(page, "/scene.jpg", signed(page))[0] == 200, "the scene camera wakes")
    run.until(lambda: run.glasses.latest.events.get("battery") == 0.8, "the battery is known")
    told = json.loads(ask(page, "/state.json", signed(page))[2])
    assert told["state"] == "keeping" and told["battery"] == 0.8
    assert {s["name"]: s["life"] for s in told["sources"]}["left"] == "live"
    board.send(privacy_switch=wire.PrivacySwitch(on=True))
    run.until(lambda: run.glasses.latest.events.get("privacy"), "the switch is known")
    assert ask(page, "/scene.jpg", signed(page))[0] == 204
    assert ask(page, "/eye/left.jpg", signed(page))[0] == 204
    assert json.loads(ask(page, "/state.json", signed(page))[2])["private"] is True


def test_the_metrics_are_prometheus_text_and_tell_what_operators_need(
    shown: tuple[Running, Page], board: PythonBoard
) -> None:
    run, page = shown
    board.send(power=wire.Power(rail="scene_camera", power_uw=95_000, span_us=1000))
    run.until(lambda: run.glasses.latest.rails_mw, "power was measured")
    status, headers, body = ask(page, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    sample = re.compile(r'[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? -?[0-9.e+-]+')
    lines = body.decode().splitlines()
    assert all(line.startswith("#") or sample.fullmatch(line) for line in lines)
    names = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    assert names >= {
        "beheld_frame_age_seconds",
        "beheld_camera_dropped_total",
        "beheld_stage_seconds_total",
        "beheld_rail_milliwatts",
        "beheld_battery_ratio",
        "beheld_spool_bytes",
        "beheld_eye_latency_seconds",
        "beheld_source_restarts_total",
        "process_resident_memory_bytes",
    }
    assert 'beheld_rail_milliwatts{rail="scene_camera"} 95' in lines
    typed = {line.split(" ")[2] for line in lines if line.startswith("# TYPE")}
    assert len(typed) == sum(line.startswith("# TYPE") for line in lines)  # no family twice


def test_a_taken_port_is_one_plain_line(shown: tuple[Running, Page]) -> None:
    run, page = shown
    taken = replace(run.glasses.settings, page=PageSettings(port=int(page.url.split(":")[2][:-1])))
    run.glasses.settings = taken
    with pytest.raises(ConfigError, match="choose another port"):
        Page(run.glasses)


def test_the_log_is_json_lines_without_what_was_seen() -> None:
    stream = io.StringIO()
    begin_logging("debug", stream)
    region = Region(left=0, top=0, right=1, bottom=1)
    tag = Tag(name="passport", probability=0.9, region=region, attended=True)
    sink = LogSink()
    for value in (
        Gaze(t_ns=1, azimuth_deg=12.25, elevation_deg=0, confidence=1),
        Tags(t_ns=2, tags=(tag,), region=region, embedding=np.zeros(1, np.float32)),
        WakeChange(
            t_ns=3, before=WakeState.WATCHING, after=WakeState.CHECKING, why="looked for 300 ms"
        ),
        DeviceEvent(t_ns=4, name="fault", value="left: unplugged"),
        DeviceEvent(t_ns=5, name="battery", value=0.5),
    ):
        sink(value)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["state", "fault"]
    assert lines[1]["what"] == "left: unplugged" and lines[1]["level"] == "warning"
    assert not any(word in stream.getvalue() for word in ("passport", "12.25", "looked for"))
    logging.getLogger("device").handlers = []
    logging.getLogger("device").propagate = True


def test_percentiles_of_latency_are_right_to_two_percent() -> None:
    latency, rng = Latency(), np.random.default_rng(1)
    values = rng.gamma(3.0, 5.0, 20_000)
    for value in values:
        latency.add(float(value))
    for share in (0.5, 0.99):
        assert latency.percentile_ms(share) == pytest.approx(np.quantile(values, share), rel=0.025)
    assert latency.count == 20_000 and latency.worst_ms == pytest.approx(values.max())
