"""The glasses' own page in a browser: both eyes, the scene with the gaze once it wakes, what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from device.__main__ import load_models
from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.glasses.page import Page
from device.glasses.settings import (
    GlassesSettings,
    LiveSettings,
    PageSettings,
    SceneCameraSettings,
)
from device.sources.board import BoardSettings
from device.sources.video_camera import CameraSettings
from firmware_bridge import wire_pb2 as wire
from tests.browser.clicks import Keep, Open, wait
from tests.glasses.conftest import PATIENT, Running
from tests.glasses.python_board import PythonBoard
from tools.record import record
from tools.virtual_wearer import calibrated

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

SEED = 1


@pytest.fixture(scope="module")
def glasses(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Running, Page, PythonBoard]]:
    """A calibrated run on the virtual wearer, at half the usual rates, with a scripted board."""
    folder = tmp_path_factory.mktemp("glasses")
    models, feed = load_models(), folder / "wearer.mcap"
    record(Emulator(EmulatorSettings(seed=SEED, duration_s=20, eye_hz=30, scene_hz=15)), feed)
    calibrated(SEED, models["eye"]).save(folder / "calibration.json")
    board = PythonBoard()
    eye = CameraSettings(device=f"feed:{feed}", width_px=192, height_px=192, rate_hz=30)
    calibration = str(folder / "calibration.json")
    settings = LiveSettings(
        glasses=GlassesSettings(data=str(folder / "data"), calibration=calibration),
        eye_left=eye,
        eye_right=eye,
        scene=SceneCameraSettings(device=f"feed:{feed}", rate_hz=15),
        board=BoardSettings(port=board.port),
        page=PageSettings(port=0),
        watchdog=PATIENT,
    )
    run = Running(settings, models)
    page = Page(run.glasses)
    yield run, page, board
    page.close()
    run.end()
    board.close()


def visible(driver: webdriver.Chrome, view: str) -> bool:
    return bool(
        driver.execute_script(
            "const i = document.querySelector(`figure[data-view='${arguments[0]}'] img`);"
            "return !i.hidden && i.naturalWidth > 0;",
            view,
        )
    )


def accent_pixels(driver: webdriver.Chrome) -> int:
    """Pixels of the scene picture in the colour of the gaze's ring."""
    return int(
        driver.execute_script(
            "const i = document.querySelector(\"figure[data-view='/scene.jpg'] img\");"
            "if (i.hidden || !i.naturalWidth) return 0;"
            "const c = document.createElement('canvas'); c.width = i.naturalWidth;"
            "c.height = i.naturalHeight; const x = c.getContext('2d'); x.drawImage(i, 0, 0);"
            "const d = x.getImageData(0, 0, c.width, c.height).data; let n = 0;"
            "for (let k = 0; k < d.length; k += 4)"
            " n += Math.abs(d[k] - 240) + Math.abs(d[k + 1] - 154) + Math.abs(d[k + 2] - 92) < 60;"
            "return n;"
        )
    )


@pytest.mark.parametrize("dark", [False, True])
def test_eyes_scene_with_gaze_state_moments_and_faults(
    glasses: tuple[Running, Page, PythonBoard], open_browser: Open, keep: Keep, dark: bool
) -> None:
    _, page, board = glasses
    driver = open_browser(1320, 900, dark=dark)
    driver.get(page.url)
    assert "token" in driver.find_element(By.TAG_NAME, "body").text
    driver.get_log("browser")  # the refusal is one of its errors
    driver.get(page.link)
    assert "token" not in driver.current_url
    wait(driver, lambda d: visible(d, "/eye/left.jpg") and visible(d, "/eye/right.jpg"))
    wait(driver, lambda d: "80 %" in d.find_element(By.ID, "facts").text)
    board.send(power=wire.Power(rail="scene_camera", power_uw=95_000, span_us=1000))
    driver.find_element(By.ID, "button").click()
    wait(driver, lambda d: visible(d, "/scene.jpg"))
    wait(driver, lambda d: accent_pixels(d) > 100)
    wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, "#moments li"))
    driver.find_element(By.ID, "button").click()
    wait(driver, lambda d: accent_pixels(d) > 100)
    keep(driver, f"live-{'dark' if dark else 'light'}")
    severe = [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
    assert severe == []


def test_a_fault_is_an_alarm_and_privacy_is_told(
    glasses: tuple[Running, Page, PythonBoard], open_browser: Open, keep: Keep
) -> None:
    run, page, board = glasses
    driver = open_browser(480, 1100)
    driver.get(page.link)
    wait(driver, lambda d: visible(d, "/eye/left.jpg"))
    (feed,) = run.glasses.feeds.values()
    feed.faults["left"] = "unplugged"
    wait(driver, lambda d: "Capture fails: left" in d.find_element(By.ID, "alarm").text)
    wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, "#faults li"))
    keep(driver, "live-fault-narrow")
    feed.faults.clear()
    wait(driver, lambda d: not d.find_element(By.ID, "alarm").is_displayed())
    board.send(privacy_switch=wire.PrivacySwitch(on=True))
    wait(driver, lambda d: "private" in d.find_element(By.ID, "state").text)
    wait(driver, lambda d: not visible(d, "/eye/right.jpg"))
    board.send(privacy_switch=wire.PrivacySwitch(on=False))
    wait(driver, lambda d: visible(d, "/eye/right.jpg"))
