"""Headless Chromium over a companion server with a few days of moments."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from device.identity import Identity, pair
from device.sync import Syncer
from server.embedded import Running, start
from tests.server.snippets import days_of_life

ARTEFACTS = Path(__file__).parents[2] / "artefacts" / "browser"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium; skips with the remedy where it or its driver is absent."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None or shutil.which("chromedriver") is None:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    return browser


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with moments of three days."""
    home = tmp_path_factory.mktemp("browser")
    running = start(home / "server")
    identity = Identity.load_or_create(home / "glasses")
    credentials = pair(running.url, running.pairing_code(), identity, name="Morning glasses")
    days_of_life(home / "spool", _pictures())
    report = Syncer(home / "spool", credentials, identity).run_once()
    assert report.receipts == 14
    yield running
    running.stop()


@pytest.fixture
def open_browser(chromium: str, tmp_path: Path) -> Iterator[Callable[..., webdriver.Chrome]]:
    """Start a browser of some size and colour scheme; closed after the test."""
    drivers: list[webdriver.Chrome] = []

    def begin(width_px: int = 1280, height_px: int = 900, dark: bool = False) -> webdriver.Chrome:
        options = Options()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--window-size={width_px},{height_px}"):
            options.add_argument(flag)
        options.add_argument(f"--user-data-dir={tmp_path / f'profile{len(drivers)}'}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        drivers.append(driver)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width_px,
                "height": height_px,
                "deviceScaleFactor": 1,
                "mobile": width_px < 600,
            },
        )
        return driver

    yield begin
    for driver in drivers:
        driver.quit()


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
    """Photographs that scikit-image ships; drawn ones where it is not installed."""
    try:
        from skimage import data
    except ImportError:
        return {name: _drawn(seed) for seed, name in enumerate(("cat", "cup", "person"))}
    return {"cat": data.chelsea(), "cup": data.coffee(), "person": data.astronaut()}


def _drawn(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(40, 220, (10, 14, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((40, 40, 1), np.uint8))
