"""What the browser tests share: waiting that outlives a page change, and leaving a page for good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import (
    JavascriptException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.support.ui import WebDriverWait

Open = Callable[..., webdriver.Chrome]
Keep = Callable[[webdriver.Chrome, str], Path]
# A page that is being replaced answers with these between the two.
IN_BETWEEN = (StaleElementReferenceException, NoSuchElementException, JavascriptException)
PATIENCE_S = 60.0


def wait(driver: webdriver.Chrome, condition: Callable[[webdriver.Chrome], Any]) -> Any:
    """What `condition` says as soon as it says something, through changes of the page."""
    patient = WebDriverWait(driver, PATIENCE_S, poll_frequency=0.1, ignored_exceptions=IN_BETWEEN)
    return patient.until(condition)


def leave(driver: webdriver.Chrome, act: Callable[[], Any]) -> None:
    """Do what leads to another page (a click, Enter) and wait until that page is there whole."""
    driver.execute_script("window.theOldPage = true")
    act()
    wait(
        driver,
        lambda d: d.execute_script(
            "return !window.theOldPage && document.readyState == 'complete'"
        ),
    )


def no_complaints(driver: webdriver.Chrome) -> None:
    """The browser's console is silent: no script error, nothing blocked by the content policy."""
    severe = [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
    assert severe == []
