"""Headless Chromium, where it is installed: to time our pages and to take pictures of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars")
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
    """A selenium driver of a browser with nothing in its profile."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with TemporaryDirectory(prefix="beheld-chromium-") as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in (*FLAGS, f"--user-data-dir={Path(profile)}"):
            options.add_argument(flag)
        found = webdriver.Chrome(options, Service(driver))
        size = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": False}
        found.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)  # of the page alone
        try:
            yield found
        finally:
            found.quit()
