"""Every page in both colour schemes against axe (WCAG 2 A and AA); review by keys; live; filters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from server.embedded import Running
from tests.browser.clicks import Keep, Open, leave, no_complaints, wait
from tests.server.snippets import Scene, make_small_snippet

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = {
    "days": "/",
    "search": "/search?q=cup&emotion=happy",
    "filters": "/search",
    "review": "/review",
    "reflection": "/reflection?day=2026-05-03",
    "sessions": "/sessions",
    "glasses": "/devices",
    "settings": "/settings",
    "nothing": "/moments/nothing",
}


@pytest.fixture(scope="module")
def axe() -> str:
    package = pytest.importorskip("axe_core_python", reason="needs axe-core-python (dev)")
    return Path(str(files(package.__name__)), "axe.min.js").read_text()


def violations(driver: webdriver.Chrome, axe: str) -> list[str]:
    """What axe finds, one line a rule with the elements."""
    driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    driver.execute_script(axe)
    found = driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})"
        ".then(r => done(r.violations), e => done([{id: String(e), nodes: []}]));"
    )
    return [f"{v['id']}: {'; '.join(_told(node) for node in v['nodes'][:3])}" for v in found]


def _told(node: dict[str, str]) -> str:
    return f"{node['html'][:160]} {node.get('failureSummary', '')[:200]}"


@pytest.mark.parametrize("dark", [False, True])
def test_every_page_is_for_everybody(
    served: Running, open_browser: Open, keep: Keep, axe: str, dark: bool
) -> None:
    driver = open_browser(dark=dark)
    scheme = "dark" if dark else "light"
    driver.get(f"{served.url}/login")
    assert violations(driver, axe) == []
    driver.get(served.login_link())
    newest = served.services.index.select(limit=1).entries[0].key
    for name, path in {**PAGES, "moment": f"/moments/{newest}"}.items():
        driver.get(served.url + path)
        wait(driver, lambda d: d.execute_script("return document.readyState") == "complete")
        keep(driver, f"page-{scheme}-{name}")
        for closed in driver.find_elements(By.CSS_SELECTOR, "details:not([open]) > summary"):
            closed.click()
        assert violations(driver, axe) == [], name


def test_a_phone_scrolls_no_page_sideways(served: Running, open_browser: Open, keep: Keep) -> None:
    driver = open_browser(390, 844)
    driver.get(served.login_link())
    for name, path in PAGES.items():
        driver.get(served.url + path)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390, name
        keep(driver, f"phone-light-{name}")


def test_filters_and_what_looks_alike(served: Running, open_browser: Open) -> None:
    driver = open_browser()
    driver.get(served.login_link())
    driver.get(f"{served.url}/search?emotion=happy&influence=scene")
    cards = driver.find_elements(By.CSS_SELECTOR, ".card")
    felt = [e.text for e in driver.find_elements(By.CSS_SELECTOR, ".card .felt")]
    assert cards and felt == ["happy"] * len(cards)
    chips = [e.text for e in driver.find_elements(By.CSS_SELECTOR, ".finder > .chips a")]
    assert [c.split(" ×")[0] for c in chips] == ["happy", "mostly the scene"]
    leave(driver, driver.find_element(By.CSS_SELECTOR, ".finder > .chips a").click)
    assert "emotion" not in driver.current_url
    assert "influence=scene" in driver.current_url
    leave(driver, driver.find_element(By.CSS_SELECTOR, ".card a").click)
    assert "The glasses read it from" in driver.find_element(By.CSS_SELECTOR, ".facts").text
    title = driver.find_element(By.TAG_NAME, "h1").text
    alike = driver.find_elements(By.CSS_SELECTOR, ".often .card h4")
    assert alike and {e.text for e in alike} == {title}
    no_complaints(driver)


def test_review_by_keys(served: Running, open_browser: Open) -> None:
    driver = open_browser()
    driver.get(served.login_link())
    driver.get(f"{served.url}/review")
    before = served.services.index.select(["NOT m.reviewed"]).entries
    body = driver.find_element(By.TAG_NAME, "body")
    body.send_keys("4")  # happy, if there is a feeling to choose
    felt = bool(driver.find_elements(By.CSS_SELECTOR, "[data-key='4']"))
    body.send_keys("e")
    names = driver.switch_to.active_element
    assert names.get_attribute("id") == "names"
    names.send_keys("blue kettle", Keys.ESCAPE)
    body = driver.find_element(By.TAG_NAME, "body")
    leave(driver, lambda: body.send_keys("k"))
    left = f"{len(before) - 1} to review"
    assert left in driver.find_element(By.CSS_SELECTOR, "[role=status]").text
    entry = served.services.index.entry(before[0].key)
    assert (entry.title, entry.kept, entry.reviewed) == ("blue kettle", True, True)
    assert entry.corrected == (felt and before[0].emotion != "happy")
    body = driver.find_element(By.TAG_NAME, "body")
    leave(driver, lambda: body.send_keys("s"))
    assert "skip=" in driver.current_url
    no_complaints(driver)


def test_a_moment_appears_without_reload(
    served: Running, deliver: Callable[[Path], None], open_browser: Open, tmp_path: Path
) -> None:
    driver = open_browser()
    driver.get(served.login_link())
    wait(
        driver, lambda d: d.execute_script("return document.documentElement.dataset.live") == "yes"
    )
    driver.execute_script("window.same = true")
    count = len(driver.find_elements(By.CSS_SELECTOR, ".card"))
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    evil = "<img src=x onerror=\"document.title='owned'\">"
    make_small_snippet(tmp_path, "just-now", Scene(thing=evil, others=(), start_utc=now))
    deliver(tmp_path)
    wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, ".card.new"))
    fresh = driver.find_element(By.CSS_SELECTOR, ".card.new")
    assert evil in fresh.text.replace("\n", " ")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".card")) == count + 1
    assert driver.execute_script("return window.same") is True
    assert "owned" not in driver.title
    assert not driver.find_elements(By.CSS_SELECTOR, "img[src=x]")
    leave(driver, fresh.find_element(By.TAG_NAME, "a").click)
    assert not driver.find_elements(By.CSS_SELECTOR, "img[src=x]")
    no_complaints(driver)


def test_a_week_in_feelings_and_the_moments_behind_it(
    served: Running, deliver: Callable[[Path], None], open_browser: Open, tmp_path: Path
) -> None:
    met = [("dog", "happy")] * 4 + [("wall", "neutral")] * 6
    for number, (thing, feeling) in enumerate(met):
        utc = f"2026-03-0{2 + number % 6}T1{number}:00:00.000+00:00"
        scene = Scene(thing=thing, emotion=feeling, sure=0.9, start_utc=utc, seed=900 + number)
        make_small_snippet(tmp_path, f"week-{number}", scene)
    deliver(tmp_path)
    driver = open_browser()
    driver.get(served.login_link())
    driver.get(f"{served.url}/reflection?day=2026-03-04")
    rows = driver.find_elements(By.CSS_SELECTOR, ".shares dd > span:first-of-type")
    names = [e.text for e in driver.find_elements(By.CSS_SELECTOR, ".shares dt")]
    shares = dict(zip(names, (int(e.text.split()[0]) for e in rows), strict=True))
    assert len(shares) == 7 and shares["happy"] == 37  # 4 at 0.9, and a little of the other six
    assert abs(sum(shares.values()) - 100) <= 3  # rounded
    text = driver.find_element(By.CSS_SELECTOR, ".reflection").text
    assert "How sure this is" in text and "What this cannot know" in text
    ground = [
        e.get_attribute("class")
        for e in driver.find_elements(By.CSS_SELECTOR, ".week rect:first-child")
    ]
    assert ground == ["f-neutral"] * 6 + ["ground"]  # a day of which nothing is known is not calm
    leave(driver, driver.find_element(By.CSS_SELECTOR, ".together a").click)
    felt = [e.text for e in driver.find_elements(By.CSS_SELECTOR, ".card .felt")]
    assert felt == ["happy"] * 4
    chips = [e.text for e in driver.find_elements(By.CSS_SELECTOR, ".finder > .chips a")]
    assert {"dog", "happy"} <= {c.split(" ×")[0] for c in chips}
    no_complaints(driver)
