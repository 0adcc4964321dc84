"""A passkey from the settings page to the next sign-in, with the browser's own virtual authenticator."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import (
    Protocol,
    Transport,
    VirtualAuthenticatorOptions,
)

from server.embedded import Running
from tests.browser.clicks import Keep, Open, leave, no_complaints, wait

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_passkey_is_added_signs_in_and_is_removed(
    served: Running, open_browser: Open, keep: Keep
) -> None:
    driver = open_browser()
    home = served.url.replace("127.0.0.1", "localhost")  # a number has no passkeys
    options = VirtualAuthenticatorOptions(
        protocol=Protocol.CTAP2,
        transport=Transport.INTERNAL,
        has_resident_key=True,
        has_user_verification=True,
        is_user_verified=True,
    )
    driver.add_virtual_authenticator(options)
    try:
        driver.get(served.login_link().replace("127.0.0.1", "localhost"))
        driver.get(f"{home}/settings")
        driver.find_element(By.ID, "passkey-name").send_keys("Telephone")
        leave(driver, driver.find_element(By.CSS_SELECTOR, "#passkey-add button").click)
        assert "Telephone" in driver.find_element(By.CSS_SELECTOR, "#passkeys ~ .rows").text
        keep(driver, "passkey-settings")

        driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        driver.get(f"{home}/login")
        leave(driver, driver.find_element(By.ID, "passkey-sign-in").click)
        assert driver.current_url == f"{home}/"
        assert driver.find_elements(By.CLASS_NAME, "card")
        no_complaints(driver)

        driver.get(f"{home}/settings")
        leave(driver, driver.find_element(By.CSS_SELECTOR, "#passkeys ~ .rows button").click)
        assert not driver.find_elements(By.CSS_SELECTOR, "#passkeys ~ .rows")
        driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        driver.get(f"{home}/login")
        assert not driver.find_elements(By.ID, "passkey-sign-in")
    finally:
        driver.remove_virtual_authenticator()


def test_at_a_number_the_page_says_why_there_are_none(served: Running, open_browser: Open) -> None:
    driver = open_browser()
    driver.get(served.login_link())
    driver.get(f"{served.url}/settings")
    driver.find_element(By.CSS_SELECTOR, "#passkey-add button").click()
    said = wait(driver, lambda d: d.find_element(By.ID, "passkey-said").text)
    assert "by the server's name" in said
