"""How heavy the days' page is and how soon a moment's picture stands on it, in a real browser.

Chromium, headless, opens the page of a server with a few hundred moments: with nothing in its cache, and
again. Times count from the navigation; the moment is there when the picture of the first card is decoded.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

import device.emulator
from server.app import create_app
from server.settings import ServerSettings
from tools.bench.forked import fork, serve
from tools.bench.month import fill
from tools.chromium import MISSING, chromium, programs

MOMENTS = 300
_WATCH = """
(() => {
  const look = () => {
    const picture = document.querySelector('.card img');
    if (picture && picture.complete && picture.naturalWidth) window.theFirstMs = performance.now();
    else requestAnimationFrame(look);
  };
  look();
})();
"""
_READ = """
const done = performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'));
const sum = name => done.reduce((total, entry) => total + entry[name], 0);
return [window.theFirstMs, done[0].decodedBodySize, sum('transferSize'), done.length,
        document.querySelectorAll('.card').length];
"""


def page_load(repeats: int = 7) -> dict[str, Any] | None:
    """Kilobytes and milliseconds (medians) of the days' page; None, said plainly, without a browser."""
    found = programs()
    if found is None:
        click.echo(f"the page is not measured: {MISSING}", err=True)
        return None
    with tempfile.TemporaryDirectory(prefix="beheld-page-") as folder:
        data = Path(folder) / "server"
        data.mkdir()
        fill(data, MOMENTS, 0.0, 0, picture=_jpeg())

        def run(say: Callable[[str], None]) -> None:
            app = create_app(ServerSettings(data_dir=data, reserve_mb=0))
            say(app.state.services.people.new_login_key())
            serve(app, say)

        child = fork(run)
        try:
            key, address = child.line(), f"http://127.0.0.1:{child.line()}"
            with chromium(*found) as browser:
                browser.get(f"{address}/login?key={key}")
                return _measured(browser, address, repeats)
        finally:
            child.kill()


def _measured(browser: Any, address: str, repeats: int) -> dict[str, Any]:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})

    def visit() -> list[float]:
        browser.get("about:blank")
        browser.get(f"{address}/")
        WebDriverWait(browser, 60, poll_frequency=0.05).until(
            lambda b: b.execute_script("return window.theFirstMs") is not None
        )
        found: list[float] = browser.execute_script(_READ)
        return found

    def first() -> list[float]:
        browser.execute_cdp_cmd("Network.clearBrowserCache", {})
        return visit()

    visit()  # warms the server up
    fresh, again = [first() for _ in range(repeats)], [visit() for _ in range(repeats)]
    middle = {name: [statistics.median(v) for v in zip(*rows, strict=True)]
              for name, rows in (("fresh", fresh), ("again", again))}  # fmt: skip
    return {
        "moments_on_page": int(middle["fresh"][4]),
        "page_kb": round(middle["fresh"][1] / 1e3, 1),
        "first_visit_kb": round(middle["fresh"][2] / 1e3, 1),
        "first_visit_requests": int(middle["fresh"][3]),
        "first_moment_ms": round(middle["fresh"][0], 1),
        "again_kb": round(middle["again"][2] / 1e3, 1),
        "first_moment_again_ms": round(middle["again"][0], 1),
    }


def _jpeg() -> bytes:
    """A thumbnail such as the glasses make: 480x360, quality 85."""
    photos = Path(device.emulator.__file__).parent / "photos"
    pixels = cv2.imread(str(photos / "cup.webp"))
    assert pixels is not None
    encoded: np.ndarray = cv2.imencode(
        ".jpg", cv2.resize(pixels, (480, 360)), [cv2.IMWRITE_JPEG_QUALITY, 85]
    )[1]
    return encoded.tobytes()
