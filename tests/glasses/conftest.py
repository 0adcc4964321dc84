"""A scripted microcontroller, settings of glasses that need no hardware, and a run in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device.__main__ import Outcome
from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.glasses.session import Glasses, assemble, run_glasses
from device.glasses.settings import (
    GlassesSettings,
    LiveSettings,
    PageSettings,
    SceneCameraSettings,
    SessionSettings,
)
from device.model import Model
from device.sources.board import BoardSettings
from device.sources.video_camera import CameraSettings
from device.watchdog import WatchdogSettings
from firmware_bridge.link import LinkSettings
from tests.glasses.python_board import PythonBoard
from tools.record import record

PATIENT = WatchdogSettings(silent_s=15.0, opening_s=30.0, retry_s=0.1, restarts=20)


@pytest.fixture
def board() -> Iterator[PythonBoard]:
    made = PythonBoard()
    yield made
    made.close()


@pytest.fixture(scope="session")
def wearer_mcap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of the virtual wearer, small, as a session for the cameras to be fed from."""
    path = tmp_path_factory.mktemp("feed") / "wearer.mcap"
    settings = EmulatorSettings(seed=3, duration_s=12, eye_hz=30, scene_hz=15, eye_px=96)
    record(Emulator(settings), path)
    return path


@pytest.fixture
def settings(tmp_path: Path, wearer_mcap: Path) -> LiveSettings:
    """Two eye cameras and a scene camera fed from a file; no microcontroller."""
    eye = CameraSettings(device=f"feed:{wearer_mcap}", width_px=96, height_px=96, rate_hz=30)
    return LiveSettings(
        glasses=GlassesSettings(data=str(tmp_path / "data")),
        eye_left=eye,
        eye_right=eye,
        scene=SceneCameraSettings(device=f"feed:{wearer_mcap}", rate_hz=15),
        session=SessionSettings(enabled=True),
        page=PageSettings(enabled=False),
        watchdog=PATIENT,
    )


@pytest.fixture
def with_board(settings: LiveSettings, board: PythonBoard) -> LiveSettings:
    """The same with the scripted microcontroller."""
    return replace(settings, board=BoardSettings(port=board.port))


class Running:
    """A live run in a thread of its own."""

    def __init__(self, settings: LiveSettings, models: dict[str, Model]) -> None:
        self.glasses: Glasses = assemble(settings, models)
        # On a busy machine an answer may take its time, and a command sent twice would blur the order.
        self.glasses.board.link.settings = LinkSettings(retry_after_ms=5000, tries=20)
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def until(self, condition: Callable[[], object], what: str, patience_s: float = 120.0) -> None:
        """Wait for something to become true."""
        end_s = time.monotonic() + patience_s
        while not condition():
            if self.error is not None:
                raise self.error
            assert time.monotonic() < end_s, f"waited in vain until {what}"
            time.sleep(0.01)

    def frames(self) -> int:
        return self.glasses.report.counts["EyeFrame"]

    def more_frames(self, count: int = 10) -> None:
        """Until eye frames flow."""
        before = self.frames()
        self.until(lambda: self.frames() >= before + count, "eye frames come")

    def end(self) -> Outcome:
        """Stop and wait for the outcome."""
        self.glasses.stop()
        self._thread.join(60)
        if self.error is not None:
            raise self.error
        assert self.outcome is not None, "the run did not end"
        return self.outcome

    def _run(self) -> None:
        try:
            self.outcome = run_glasses(self.glasses)
        except BaseException as error:
            self.error = error


@pytest.fixture(scope="session")
def models() -> dict[str, Model]:
    from device.__main__ import load_models

    return load_models()


@pytest.fixture
def begin(models: dict[str, Model]) -> Iterator[Callable[[LiveSettings], Running]]:
    """Start a run; ended after the test."""
    runs: list[Running] = []

    def start(settings: LiveSettings) -> Running:
        runs.append(Running(settings, models))
        return runs[-1]

    yield start
    for run in runs:
        run.glasses.stop()
        run._thread.join(30)
