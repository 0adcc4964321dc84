"""Headless Chromium, where it is installed: to time our pages, to test them and to take pictures of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

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
MISSING = (
    "it needs Chromium, its driver and selenium "
    "(apt-get install chromium chromium-driver; pip install selenium)"
)
"""What to do where `programs` finds nothing."""


def programs() -> tuple[str, str] | None:
    """Paths of Chromium and its driver; None if one of them, or selenium, is not here."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None or find_spec("selenium") is None:
        return None
    return browser, driver


@contextmanager
def chromium(
    browser: str, driver: str, width_px: int = 1280, height_px: int = 900
) -> Iterator[Any]:
    """A selenium driver of a browser with nothing in its profile; its console can be read."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with TemporaryDirectory(prefix="beheld-chromium-") as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        found = webdriver.Chrome(options, Service(driver))
        size = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": False}
        found.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)  # of the page alone
        try:
            yield found
        finally:
            found.quit()
