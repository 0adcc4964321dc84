"""Headless Chromium over a companion server with a few days of moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from selenium import webdriver

from device.identity import Credentials, Identity, pair
from device.session_report import leave_report
from device.sync import Syncer
from server.embedded import Running, start
from server.settings import ServerSettings
from tests.server.snippets import days_of_life, session_document
from tools.chromium import MISSING, chromium, programs
from tools.sentence.encoder import packaged

PHOTOS = Path(__file__).parents[2] / "device" / "emulator" / "photos"
ARTEFACTS = Path(__file__).parents[2] / "artefacts" / "browser"


@pytest.fixture(scope="session")
def installed() -> tuple[str, str]:
    """Paths of Chromium and its driver; skips with the remedy where one of them is absent."""
    found = programs()
    if found is None:
        pytest.skip(MISSING)
    return found


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="session")
def served(home: Path) -> Iterator[Running]:
    """A server with moments of three days."""
    # Every test signs in anew: more often than a person does in a minute.
    settings = ServerSettings(data_dir=home / "server", login_tries_per_min=1000)
    running = start(home / "server", settings=settings, encoder=packaged())
    identity = Identity.load_or_create(home / "glasses")
    credentials = pair(running.url, running.pairing_code(), identity, name="Morning glasses")
    days_of_life(home / "spool", _pictures())
    for number in range(2):
        leave_report(home / "spool", session_document(f"session-{number + 1}", number))
    report = Syncer(home / "spool", credentials, identity).run_once()
    assert report.receipts == 14
    credentials.save(home / "glasses")
    yield running
    running.stop()


@pytest.fixture
def deliver(served: Running, home: Path) -> Callable[[Path], None]:
    """Send another spool of the same glasses."""

    def send(spool: Path) -> None:
        identity = Identity.load_or_create(home / "glasses")
        credentials = Credentials.load(home / "glasses")
        assert Syncer(spool, credentials, identity).run_once().receipts > 0

    return send


@pytest.fixture(scope="session")
def browser(installed: tuple[str, str]) -> Iterator[webdriver.Chrome]:
    """One browser for all tests: starting it is what costs."""
    with chromium(*installed) as driver:
        yield driver


@pytest.fixture
def open_browser(browser: webdriver.Chrome) -> Callable[..., webdriver.Chrome]:
    """The browser at some size and in some colour scheme, signed out and with an empty console."""

    def begin(width_px: int = 1280, height_px: int = 900, dark: bool = False) -> webdriver.Chrome:
        browser.get("about:blank")
        browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
        browser.get_log("browser")
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width_px,
                "height": height_px,
                "deviceScaleFactor": 1,
                "mobile": width_px < 600,
            },
        )
        return browser

    return begin


@pytest.fixture
def keep() -> Callable[[webdriver.Chrome, str], Path]:
    """Save a screenshot among the artefacts."""

    def save(driver: webdriver.Chrome, name: str) -> Path:
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTEFACTS / f"{name}.png"
        driver.save_screenshot(str(path))
        return path

    return save


def _pictures() -> dict[str, np.ndarray]:
    """Photographs of the virtual wearer's world, RGB, large enough to look around in."""
    found = {}
    for name in ("cat", "cup", "person", "apple"):
        pixels = cv2.imread(str(PHOTOS / f"{name}.webp"))[:, :, ::-1]
        wide = max(480 / pixels.shape[1], 360 / pixels.shape[0])
        found[name] = cv2.resize(pixels, None, fx=wide, fy=wide)
    return found
