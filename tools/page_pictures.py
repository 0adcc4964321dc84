"""`python -m tools.page_pictures`: the companion's pages after a demo, as pictures for the documents.

The virtual wearer's session is captured and synced as `beheld demo` does it; nobody real is on them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from server.embedded import Running, start
from tools.chromium import MISSING, chromium, programs
from tools.client import Client, ListedMoment
from tools.demo import capture, deliver, kept_in

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SEED, SECONDS = 3, 240.0
QUALITY = 85
_INTO_THE_MOMENT = """
const video = document.querySelector('video'), done = arguments[0];
const begin = Number(document.querySelector('article').dataset.beginS);
video.addEventListener('seeked', () => setTimeout(done, 300), {once: true});
video.currentTime = (begin + video.duration) / 2;
"""
_PICTURES = """
const done = arguments[0];
const inView = image => image.getBoundingClientRect().top < innerHeight;
const look = () => [...document.images].filter(inView).every(image => image.complete && image.naturalWidth)
  ? done() : requestAnimationFrame(look);
look();
"""


def main() -> None:
    found = programs()
    if found is None:
        sys.exit(f"no pictures can be taken: {MISSING}")
    with kept_in(None) as folder:
        capture(folder / "glasses", SEED, SECONDS)
        server = start(folder / "server")
        try:
            deliver(folder / "glasses", server)
            moment = best_moment(server)
            with chromium(*found) as browser:
                browser.set_script_timeout(20)
                browser.get(server.login_link())
                browser.execute_async_script(_PICTURES)
                write("days", browser)
                browser.get(f"{server.url}/moments/{moment}")
                browser.execute_async_script(_INTO_THE_MOMENT)
                write("moment", browser)
        finally:
            server.stop()


def best_moment(server: Running) -> str:
    """Key of the moment of one thing alone that was named most surely."""
    people = server.services.people
    session = people.login_by_key(people.new_login_key(), "beheld page pictures")
    with Client(server.url, session) as client:
        return max(client.moments(), key=_sureness).key


def _sureness(moment: ListedMoment) -> tuple[bool, float]:
    attended = [tag["probability"] for tag in moment.tags if tag["attended"]]
    return len(attended) == 1, max(attended, default=0.0)


def write(name: str, browser: Any) -> None:
    """What the window shows, as WebP."""
    pixels = cv2.imdecode(
        np.frombuffer(browser.get_screenshot_as_png(), np.uint8), cv2.IMREAD_COLOR
    )
    assert pixels is not None
    path = IMAGES / f"{name}.webp"
    path.write_bytes(
        cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes()
    )
    print(path)


if __name__ == "__main__":
    main()
