"""The live run put together: sensors, the loop's own stages, and what listens to them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from device import personal
from device.__main__ import LiveRun, Outcome, load_models, run_session
from device.agreement import Agreement
from device.calibration import Calibration
from device.errors import BeheldError, ConfigError, LinkError, StorageError
from device.feelings import Witness
from device.glasses.cameras import camera_watches, eyes_on_board
from device.glasses.controls import Controls
from device.glasses.latest import Latest
from device.glasses.log import LogSink
from device.glasses.memory import keep_memory_flat
from device.glasses.settings import LiveSettings
from device.glasses.wearer import Wearer
from device.identity import Identity
from device.live import Clock, Live, Watch
from device.model import Model, load
from device.personal import Personal
from device.pipeline import Report, Sink
from device.posture import PostureJudge
from device.record import Recorder
from device.sealing import Protection
from device.sources.board import Board
from device.sources.camera_feed import CameraFeed
from device.sources.video_camera import CameraCounts
from device.types import Capture, SessionHeader, Value

log = logging.getLogger(__name__)

KEPT_RECORDS = 20
"""Moment records that stay in memory."""


@dataclass(slots=True)
class Glasses:
    """Everything of one run that others (metrics, page, bench) look at."""

    settings: LiveSettings
    models: Mapping[str, Model]
    clock: Clock
    header: SessionHeader
    controls: Controls
    board: Board
    wearer: Wearer
    live: Live
    latest: Latest
    report: Report = field(default_factory=Report)
    cameras: dict[str, CameraCounts] = field(default_factory=dict)
    feeds: dict[str, CameraFeed] = field(default_factory=dict)
    recorder: Recorder | None = None

    @property
    def data(self) -> Path:
        return Path(self.settings.glasses.data).expanduser()

    @property
    def spool(self) -> Path:
        return self.data / "spool"

    def stop(self) -> None:
        """Ask the run to end; safe in a signal handler."""
        self.live.stop()


def assemble(settings: LiveSettings, models: Mapping[str, Model] | None = None) -> Glasses:
    """Build the run; nothing is opened yet. Raises ModelError."""
    keep_memory_flat()
    clock = Clock.now()
    controls = Controls(settings)
    header = new_header(settings)
    board = Board(settings.board, clock, eyes=eyes_on_board(settings))
    wearer = Wearer(board, settings)
    cameras: dict[str, CameraCounts] = {}
    feeds: dict[str, CameraFeed] = {}
    sensors = camera_watches(settings, controls, clock, cameras, feeds)
    if settings.board.port:
        # The link notices silence itself: a microcontroller may have nothing to say for a while.
        sensors["board"] = Watch(open=board.open, expected=lambda: False)
    live = Live(
        header, controls.scene, sensors, clock, watchdog=settings.watchdog, admit=controls.admits
    )

    def privacy(on: bool) -> None:
        controls.set_private(on, clock.now_ns())
        wearer.privacy(on)

    board.on_privacy = privacy
    return Glasses(
        settings=settings,
        models=models or load_models(),
        clock=clock,
        header=header,
        controls=controls,
        board=board,
        wearer=wearer,
        live=live,
        latest=Latest(clock),
        cameras=cameras,
        feeds=feeds,
    )


def run_glasses(glasses: Glasses, progress: Callable[[int], None] = lambda t_ns: None) -> Outcome:
    """Run until `stop`. Raises BeheldError for what the wearer or owner can mend.

    The session's folder gets `session.json`, `moments.json` and, if wanted, `session.mcap`.
    """
    settings = glasses.settings
    calibration = load_calibration(settings)
    protection = protect(settings)
    witness = Witness(home_of(settings))
    own = personal_of(settings)
    folder = glasses.data / "sessions" / glasses.header.session_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({error.strerror})") from error
    sinks: list[Sink] = [glasses.wearer, PostureSink(glasses), glasses.latest, LogSink()]
    # This loop runs on the main processor, which is awake anyway: bursts would save nothing and stall it.
    encode = replace(settings.encode, buffer_mb=0.0)
    if settings.session.enabled:
        encode = replace(encode, hold_low=False)
    settings = replace(settings, encode=encode)
    if settings.session.enabled:
        glasses.recorder = Recorder(folder / "session.mcap", glasses.header, settings.session)
        sinks.append(guarded(glasses.live, "recording", glasses.recorder))
    log.info(
        "session begins",
        extra={"session": glasses.header.session_id, "sealed": protection.sealer is not None},
    )
    glasses.wearer.start()
    try:
        outcome = run_session(
            glasses.live,
            folder,
            settings=settings,
            models=glasses.models,
            calibration=calibration,
            personal=own,
            extra_sinks=sinks,
            progress=progress,
            live=LiveRun(
                spool=glasses.spool,
                keep_records=KEPT_RECORDS,
                guard=lambda name, sink: guarded(glasses.live, name, sink, Capture),
                report=glasses.report,
                protection=protection,
                witness=witness,
            ),
        )
    finally:
        close(glasses)
    remember(settings, witness, outcome.agreement)
    log.info(
        "session ended",
        extra={"session_s": glasses.report.session_ns / 1e9, "gap_s": glasses.report.gap_ns / 1e9},
    )
    return outcome


def home_of(settings: LiveSettings) -> Path:
    """Where these glasses keep their identity and what is personal."""
    home = settings.glasses.home or os.environ.get("BEHELD_HOME", "~/.beheld")
    return Path(home).expanduser()


def personal_of(settings: LiveSettings) -> Personal | None:
    """The wearer's own file, if there is one. Raises PersonalError if it is somebody else's."""
    home = home_of(settings)
    if not (home / personal.NAME).is_file():
        return None
    return personal.read(home, Identity.load_or_create(home).device_id)


def remember(settings: LiveSettings, witness: Witness, agreement: Agreement | None) -> None:
    """Into the wearer's own file goes what the session taught of their views.

    Not if feelings were erased since it began. A file that cannot be read or written is left as it is, and
    logged: the session is over and kept.
    """
    if agreement is None or not agreement.moments:
        return
    home = home_of(settings)
    try:
        wearer = Identity.load_or_create(home).device_id
        with witness.still() as still:
            if not still:
                return
            now = personal.read(home, wearer)
            if now is None:
                now = personal.blank(wearer, load("eye_emotion").sha256)
            made = personal.lived(now, agreement)
            if made is not now:
                personal.write(home, made)
    except (BeheldError, OSError) as error:
        log.warning("what the session taught of the views is lost", extra={"why": str(error)})


def protect(settings: LiveSettings) -> Protection:
    """How what is kept is sealed and signed. Raises ConfigError if that cannot be as it is set."""
    protection = Protection.of(home_of(settings), settings.glasses.seal)
    if protection.sealer is not None and settings.session.enabled:
        raise ConfigError(
            "session.enabled: a recording of the whole session lies in clear, and what these glasses "
            "keep is to be sealed; set session.enabled = false, or glasses.seal = 'off'"
        )
    return protection


def close(glasses: Glasses) -> None:
    """Let go of everything, whatever happened; the light goes off last."""
    glasses.wearer.stop()
    if glasses.settings.board.port:
        say_goodbye(glasses.board)
    for feed in glasses.feeds.values():
        feed.close()
    if glasses.recorder is not None:
        glasses.recorder.close()


def say_goodbye(board: Board) -> None:
    """Bring the last wishes (cameras and light off) to the microcontroller, if it is there.

    The recording is over: a press of now is left with the microcontroller, for the next run.
    """
    try:
        sensor = board.open(takes_events=False)
    except LinkError:
        return
    until_ns = time.monotonic_ns() + 2_000_000_000
    try:
        while not sensor.settled() and time.monotonic_ns() < until_ns:
            sensor.read()
    except LinkError as error:
        log.debug("no goodbye", extra={"why": str(error)})
    finally:
        sensor.close()


def new_header(settings: LiveSettings) -> SessionHeader:
    """A session that begins now."""
    now = datetime.now(UTC)
    return SessionHeader(
        session_id=f"live-{now:%Y%m%dT%H%M%S}-{now.microsecond // 1000:03d}",
        source="glasses",
        start_utc=now.isoformat(timespec="milliseconds"),
        zone=settings.glasses.zone,
        wearer=settings.glasses.wearer,
        scene=settings.scene.geometry() if settings.scene.device else None,
    )


def load_calibration(settings: LiveSettings) -> Calibration | None:
    """The wearer's calibration. Raises ConfigError or InputError if it cannot be used."""
    path = settings.glasses.calibration
    return Calibration.load(Path(path).expanduser()) if path else None


class PostureSink:
    """Judges the posture from what passes and puts it among the events, for the loop and the record."""

    def __init__(self, glasses: Glasses) -> None:
        self._glasses = glasses
        self._judge = PostureJudge(glasses.settings.posture)

    def __call__(self, value: Value) -> None:
        posture = self._judge.step(value)
        if posture is not None:
            self._glasses.controls.set_posture(posture)
            self._glasses.live.tell("posture", posture.value)


def guarded(live: Live, name: str, sink: Sink, proof: type | None = None) -> Sink:
    """A sink that may fail without ending the session: the wearer is told, the rest goes on.

    A value of the class `proof` that was taken without an error shows that it works again.
    """
    broken = False

    def take(value: Value) -> None:
        nonlocal broken
        try:
            sink(value)
        except Exception as error:  # of ours or of the storage: neither may end the session
            why = str(error)
            if not isinstance(error, StorageError):
                log.exception("fault in a sink", extra={"sink": name})
                why = f"internal error ({type(error).__name__})"
            if not broken:
                live.tell("fault", f"{name}: {why}")
            broken = True
        else:
            if broken and proof is not None and isinstance(value, proof):
                live.tell("recovered", name)
                broken = False

    return take
