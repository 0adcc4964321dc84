"""The owner's way through the pages, by clicking: list -> moment -> play -> search."""

from __future__ import annotations

import time

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from server.embedded import Running
from tests.browser.clicks import Keep, Open, leave, no_complaints, wait

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def painted(driver: webdriver.Chrome) -> int:
    """Pixels of the overlay that are not transparent."""
    return int(
        driver.execute_script(
            "const c = document.getElementById('overlay');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n;"
        )
    )


def test_list_moment_play_search(served: Running, open_browser: Open, keep: Keep) -> None:
    driver = open_browser()
    driver.get(served.login_link())
    wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, ".card"))
    assert len(driver.find_elements(By.CSS_SELECTOR, "section.day")) == 3
    assert len(driver.find_elements(By.CSS_SELECTOR, ".card")) == 14
    keep(driver, "1-days")

    leave(driver, driver.find_element(By.CSS_SELECTOR, ".card a").click)
    wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, "article[data-ready=yes]"))
    assert "You looked at the" in driver.find_element(By.CSS_SELECTOR, ".why").text
    assert "attention 0.83 for 120 ms" in driver.find_element(By.CSS_SELECTOR, ".steps").text
    wait(
        driver,
        lambda d: d.execute_script("return document.getElementById('video').readyState") >= 2,
    )

    driver.find_element(By.ID, "play").click()
    wait(
        driver,
        lambda d: d.execute_script("return document.getElementById('video').currentTime") > 0.8,
    )
    driver.execute_script("document.getElementById('video').pause()")
    time.sleep(0.3)
    assert painted(driver) > 300
    keep(driver, "2-moment")
    cursor = float(driver.find_element(By.ID, "cursor").get_attribute("x1"))
    assert 100 < cursor < 1000
    for box in ("show-gaze", "show-region"):
        driver.find_element(By.ID, box).click()
    assert painted(driver) == 0
    no_complaints(driver)

    field = driver.find_element(By.ID, "q")
    leave(driver, lambda: field.send_keys("cup", Keys.ENTER))
    assert "/search" in driver.current_url
    titles = [e.text.lower() for e in driver.find_elements(By.CSS_SELECTOR, ".card h4")]
    assert titles and titles[0] == "cup"
    keep(driver, "3-search")
    no_complaints(driver)


def test_the_gaze_is_drawn_where_it_was(served: Running, open_browser: Open) -> None:
    """The overlay's brightest spot lies on the gaze sample of the frame that is shown."""
    driver = open_browser()
    driver.get(served.login_link())
    oldest = wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, ".card a"))[-1]
    leave(driver, oldest.click)
    wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, "article[data-ready=yes]"))
    driver.find_element(By.ID, "show-region").click()
    for second in (0.4, 1.2):
        driver.execute_script("document.getElementById('video').currentTime = arguments[0]", second)
        time.sleep(0.8)
        seen = driver.execute_script(
            "const c = document.getElementById('overlay');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "let x = 0, y = 0, n = 0;"
            "for (let i = 0; i < d.length; i += 4)"
            " if (d[i + 3] > 250 && d[i] > 240 && d[i + 1] < 150) {"
            "  x += (i / 4) % c.width; y += Math.floor(i / 4 / c.width); n += 1; }"
            "const t = document.getElementById('video').currentTime;"
            "const want = gaze[lastBefore(gaze, t)];"
            "return [x / n / c.width, y / n / c.height, want[1], want[2]];"
        )
        assert seen[0] == pytest.approx(seen[2], abs=0.01)
        assert seen[1] == pytest.approx(seen[3], abs=0.01)


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_it_all_without_sideways_scrolling(
    served: Running, open_browser: Open, keep: Keep, dark: bool
) -> None:
    driver = open_browser(390, 844, dark)
    driver.get(served.login_link())
    scheme = "dark" if dark else "light"
    wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, ".card"))
    first = driver.find_element(By.CSS_SELECTOR, ".card a").get_attribute("href")
    for name, path in (
        ("days", "/"),
        ("moment", first),
        ("glasses", "/devices"),
        ("settings", "/settings"),
    ):
        driver.get(path if path.startswith("http") else served.url + path)
        time.sleep(0.5)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390, name
        keep(driver, f"phone-{scheme}-{name}")
    no_complaints(driver)


def test_keep_correct_and_find_again(served: Running, open_browser: Open, keep: Keep) -> None:
    driver = open_browser(dark=True)
    driver.get(served.login_link())
    third = wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, ".card a"))[2]
    leave(driver, third.click)
    leave(driver, driver.find_element(By.XPATH, "//button[text()='Keep for good']").click)
    assert driver.find_elements(By.XPATH, "//button[contains(., 'Kept for good')]")
    driver.find_element(By.XPATH, "//summary[text()='Correct the names']").click()
    names = driver.find_element(By.ID, "names")
    names.clear()
    names.send_keys("grandmother's teapot")
    leave(driver, driver.find_element(By.XPATH, "//button[text()='Save']").click)
    assert "teapot" in driver.find_element(By.TAG_NAME, "h1").text.lower()
    keep(driver, "4-moment-dark")
    field = driver.find_element(By.ID, "q")
    leave(driver, lambda: field.send_keys("teapot", Keys.ENTER))
    assert "1 moment," in driver.find_element(By.CSS_SELECTOR, ".finder").text
    first = driver.find_element(By.CSS_SELECTOR, ".card h4")
    assert first.text.lower() == "grandmother's teapot"
    no_complaints(driver)


def test_pairing_shows_a_code_and_a_picture_of_it(
    served: Running, open_browser: Open, keep: Keep
) -> None:
    driver = open_browser()
    driver.get(served.login_link())
    driver.get(f"{served.url}/devices")
    assert "Morning glasses" in driver.find_element(By.CSS_SELECTOR, ".rows").text
    leave(driver, driver.find_element(By.XPATH, "//button[text()='Pair glasses']").click)
    wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, ".qr svg"))
    assert f"beheld pair {served.url}" in driver.find_element(By.TAG_NAME, "pre").text
    keep(driver, "5-pairing")
    no_complaints(driver)
