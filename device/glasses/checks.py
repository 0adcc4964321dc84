"""Whether a run may start: what was found, and what to do about it. `run` and `doctor` ask the same.

Each check is a function of the settings that yields findings. A finding that `refuses` stops the
start; others are told and the run goes on.
"""

from __future__ import annotations

import os
import shutil
import time
import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from device.__main__ import MODELS, load_models
from device.calibration import Calibration
from device.errors import BeheldError, LinkError
from device.glasses.settings import LiveSettings
from device.live import Clock
from device.model import Model
from device.sources.board import Board
from device.sources.camera_feed import open_feed
from device.sources.v4l2 import V4l2Camera, refusal
from device.sources.video_camera import CameraSettings
from device.types import DeviceEvent

LISTEN_S = 3.0
"""How long the microcontroller is listened to for its battery."""
SUPPLIES = Path("/sys/class/power_supply")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    good: bool
    found: str
    remedy: str = ""
    refuses: bool = True
    """Whether a run is refused if it is not good."""


def examine(settings: LiveSettings, *, deep: bool = True) -> list[Finding]:
    """Every check in order. `deep` also opens each camera for a frame, as `doctor` does."""
    return [
        *models(),
        *calibration(settings),
        *cameras(settings, deep=deep),
        *board(settings),
        *disk(settings),
        *clock(settings),
        *zone(settings),
    ]


def refusals(findings: list[Finding]) -> list[str]:
    """The reasons for which a run must not start, one plain sentence each, with the remedy."""
    return [
        f"{f.name}: {f.found}; {f.remedy}" if f.remedy else f"{f.name}: {f.found}"
        for f in findings
        if f.refuses and not f.good
    ]


# --- the checks -------------------------------------------------------------------------------------


def models() -> Iterator[Finding]:
    """Every network is there, whole and keeps its contract."""
    try:
        loaded: Mapping[str, Model] = load_models()
    except BeheldError as error:
        yield Finding(name="models", good=False, found=str(error))
        return
    versions = ", ".join(f"{name} {loaded[name].spec.version}" for name in MODELS)
    yield Finding(name="models", good=True, found=versions)


def calibration(settings: LiveSettings) -> Iterator[Finding]:
    """The wearer's calibration fits the eye network and the cameras."""
    path = settings.glasses.calibration
    if not path:
        found = "none: gaze is not known, only the button opens moments"
        remedy = "make one with 'beheld calibrate' and name it as glasses.calibration"
        yield Finding(name="calibration", good=False, found=found, remedy=remedy, refuses=False)
        return
    try:
        fitted = Calibration.load(Path(path).expanduser())
        fitted.check_model(load_models()["eye"].sha256)
    except BeheldError as error:
        remedy = "calibrate again with 'beheld calibrate'"
        yield Finding(name="calibration", good=False, found=str(error), remedy=remedy)
        return
    for view in fitted.cameras:
        camera = settings.eye_left if view.camera[0] == "left" else settings.eye_right
        size = (camera.width_px, camera.height_px)
        size = size[::-1] if camera.rotate_deg in (90, 270) else size
        if camera.device and size != (view.width_px, view.height_px):
            found = (
                f"made at {view.width_px}x{view.height_px}, the {view.camera[0]} eye camera gives "
                f"{size[0]}x{size[1]}"
            )
            remedy = "set the camera's width_px and height_px to it, or calibrate again"
            yield Finding(name="calibration", good=False, found=found, remedy=remedy)
            return
    yield Finding(name="calibration", good=True, found=f"of {fitted.wearer}")


def cameras(settings: LiveSettings, *, deep: bool) -> Iterator[Finding]:
    """Each camera exists and may be opened; there is one that looks at an eye."""
    roles: tuple[tuple[str, CameraSettings], ...] = (
        ("eye_left", settings.eye_left),
        ("eye_right", settings.eye_right),
        ("scene", settings.scene),
    )
    if not settings.eye_left.device and not settings.eye_right.device:
        remedy = "name one as eye_left.device or eye_right.device"
        yield Finding(name="eye cameras", good=False, found="none is configured", remedy=remedy)
    for role, camera in roles:
        if camera.device:
            yield _camera(role, camera, settings, deep)
        elif role == "scene":
            remedy = "name it as scene.device"
            found = "none is configured: moments have no video"
            yield Finding(name=role, good=False, found=found, remedy=remedy, refuses=False)


def board(settings: LiveSettings) -> Iterator[Finding]:
    """The microcontroller answers, speaks our version, and its battery holds."""
    if not settings.board.port:
        found = "none is configured: no button, no light, no privacy switch"
        remedy = "name its serial port as board.port"
        yield Finding(name="microcontroller", good=False, found=found, remedy=remedy, refuses=False)
        yield from _battery(_supply(), settings)
        return
    path = Path(settings.board.port)
    if not path.exists():
        remedy = "check the cable and 'ls -l /dev/serial/by-id'"
        found = f"{path}: no such serial port"
        yield Finding(name="microcontroller", good=False, found=found, remedy=remedy)
        return
    if not os.access(path, os.R_OK | os.W_OK):
        remedy = "add the user to the group 'dialout' and log in again"
        found = f"{path}: no permission"
        yield Finding(name="microcontroller", good=False, found=found, remedy=remedy)
        return
    try:
        said, charge = listen(settings)
    except LinkError as error:
        yield Finding(name="microcontroller", good=False, found=str(error))
        return
    yield Finding(name="microcontroller", good=True, found=said)
    yield from _battery(charge if charge is not None else _supply(), settings)


def disk(settings: LiveSettings) -> Iterator[Finding]:
    """The data folder can be written and has room."""
    folder = Path(settings.glasses.data).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.write_bytes(b"beheld")
        probe.unlink()
    except OSError as error:
        found = f"{folder}: cannot be written ({error.strerror})"
        remedy = "make it writable for this user or choose another as glasses.data"
        yield Finding(name="disk", good=False, found=found, remedy=remedy)
        return
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    enough = free_mb >= settings.start.disk_mb
    remedy = f"free at least {settings.start.disk_mb} MB there: sync and delete old sessions"
    yield Finding(name="disk", good=enough, found=f"{free_mb} MB free", remedy=remedy)


def clock(settings: LiveSettings) -> Iterator[Finding]:
    """The clock was set since the board was made: moments carry the time of day."""
    now = datetime.fromtimestamp(time.time(), UTC)
    good = f"{now:%Y-%m-%d}" >= settings.start.clock_after
    remedy = "connect to a network for time ('timedatectl'), or set it by hand"
    found = f"{now:%Y-%m-%d %H:%M} UTC" + (
        "" if good else ", which is before this program was made"
    )
    yield Finding(name="clock", good=good, found=found, remedy=remedy)


def zone(settings: LiveSettings) -> Iterator[Finding]:
    """The time zone has a name that exists."""
    name = settings.glasses.zone
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        remedy = "write an IANA name such as Europe/Berlin as glasses.zone"
        yield Finding(name="zone", good=False, found=f"'{name}' is unknown", remedy=remedy)
        return
    yield Finding(name="zone", good=True, found=name)


# --- what they use ----------------------------------------------------------------------------------


def listen(settings: LiveSettings, seconds: float = LISTEN_S) -> tuple[str, float | None]:
    """What the microcontroller says of itself, and its charge if it tells one. Raises LinkError."""
    sensor = Board(settings.board, Clock.now()).open(takes_events=False)
    said, charge = "", None
    until_ns = time.monotonic_ns() + round(seconds * 1e9)
    try:
        while charge is None and (not said or time.monotonic_ns() < until_ns):
            for value in sensor.read():
                if isinstance(value, DeviceEvent) and value.name == "board":
                    said = str(value.value)
                if isinstance(value, DeviceEvent) and value.name == "battery":
                    charge = float(value.value)
    finally:
        sensor.close()
    return said, charge


def _camera(role: str, camera: CameraSettings, settings: LiveSettings, deep: bool) -> Finding:
    if camera.device == "board":
        good = bool(settings.board.port) and role != "scene"
        found = "delivered by the microcontroller" if good else "'board' without a microcontroller"
        remedy = "name its serial port as board.port; the scene camera is never behind it"
        return Finding(name=role, good=good, found=found, remedy=remedy)
    if camera.device.startswith("feed:"):
        try:
            open_feed(camera.device.removeprefix("feed:"))
        except (BeheldError, ValueError) as error:
            remedy = "give feed:SESSION.mcap or feed:emulator:SEED"
            return Finding(name=role, good=False, found=str(error), remedy=remedy)
        return Finding(name=role, good=True, found=f"fed from {camera.device[5:]}")
    if camera.device.startswith("socket:"):
        path = Path(camera.device.removeprefix("socket:"))
        found = f"emulated, at {path}" if path.exists() else f"{path}: no such socket"
        remedy = "start 'beheld emulate --serial' and name the socket it prints as cameras"
        return Finding(name=role, good=path.exists(), found=found, remedy=remedy)
    why = refusal(camera.device)
    if why is None and deep:
        why = _try(camera)
    found, _, remedy = (why or f"{camera.device} delivers").partition("; ")
    return Finding(name=role, good=why is None, found=found, remedy=remedy)


def _try(camera: CameraSettings) -> str | None:
    """Why the camera gives no frame, or None."""
    try:
        opened = V4l2Camera(camera, camera.rate_hz)
    except LinkError as error:
        return str(error)
    try:
        opened.grab()
    except LinkError as error:
        return f"{error}; plug it in again"
    finally:
        opened.close()
    return None


def _battery(charge: float | None, settings: LiveSettings) -> Iterator[Finding]:
    if charge is None:
        return
    good = charge >= settings.start.battery
    remedy = f"charge it to at least {100 * settings.start.battery:.0f} %"
    yield Finding(name="battery", good=good, found=f"{100 * charge:.0f} %", remedy=remedy)


def _supply() -> float | None:
    """Charge of the machine's own battery (0..1), if the kernel knows one."""
    try:
        for supply in sorted(SUPPLIES.iterdir()):
            if (supply / "type").read_text(encoding="ascii").strip() == "Battery":
                return int((supply / "capacity").read_text(encoding="ascii")) / 100
    except (OSError, ValueError):
        return None
    return None
