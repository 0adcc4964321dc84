"""The reference microcontroller as a process: compiled on demand from `firmware_bridge/c`, and what its
hardware socket carries (the head of `board.c` is the specification)."""

from __future__ import annotations

import array
import fcntl
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import termios
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import firmware_bridge
from device.errors import ConfigError
from firmware_bridge.digest import table_digest

ROOM = Path(firmware_bridge.__file__).parent
PROGRAMS = ("gcc", "make", "nanopb_generator.py")
LINE_BYTES = 8192
"""Between the board and the emulated line: a firmware's own buffer for sending."""
PLAIN_CFLAGS = "-std=c11 -O2 -Wall -Wextra"
HEADER = struct.Struct("<BBHI")
RAILS = (
    "eye_camera", "eye_light", "scene_camera", "inertial", "microcontroller", "processor", "accelerator"
)  # fmt: skip
"""Names of the ledger's components, in the order of `board.c`."""


class Reading(IntEnum):
    """What the sensors tell the board."""

    EYE = 1
    IMU = 2
    POWER = 3
    BATTERY = 4
    WORN = 5
    BUTTON = 6
    PRIVACY = 7
    AMBIENT = 8
    FAULT = 9
    RESET = 10


class Deed(IntEnum):
    """What the board does."""

    CAMERA = 65
    LEDS = 66
    INDICATOR = 67
    HAPTIC = 68
    SLEEP = 69
    STARTED = 70
    ENDING = 71


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One thing the board did; `numbers` as its kind says (`board.c`)."""

    deed: Deed
    which: int
    value: int
    numbers: tuple[int, ...]


def reading(
    kind: Reading, *numbers: int, which: int = 0, value: int = 0, data: bytes = b""
) -> bytes:
    """One message of a sensor: header, 32-bit numbers, bytes."""
    body = struct.pack(f"<{len(numbers)}i", *numbers) if numbers else b""
    return HEADER.pack(kind, which, 0, value) + body + data


def deed(message: bytes) -> Done:
    """One message of the board."""
    kind, which, _, value = HEADER.unpack_from(message)
    numbers = struct.unpack(f"<{(len(message) - HEADER.size) // 4}I", message[HEADER.size :])
    return Done(deed=Deed(kind), which=which, value=value, numbers=numbers)


def build(folder: Path | None = None) -> Path:
    """The compiled board; made once for each version of its sources, in `folder` or the user's cache.

    Raises ConfigError naming what is missing, or with the compiler's own words.
    """
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing and not any(
        Path(d, "pb.h").exists() for d in ("/usr/include", "/usr/local/include")
    ):
        missing = ["pb.h"]
    if missing:
        raise ConfigError(
            f"the emulated board is compiled from C and {', '.join(missing)} is missing; "
            "on Debian: apt install gcc make libc6-dev nanopb libnanopb-dev"
        )
    sources = sorted([*(ROOM / "c").glob("*.[ch]"), ROOM / "wire.proto", ROOM / "wire.options"])
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    cache = folder or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "beheld"
    program = cache / f"board-{version}"
    if program.exists():
        return program
    with tempfile.TemporaryDirectory(prefix="beheld-board-") as made:
        done = subprocess.run(
            [
                "make",
                "-C",
                str(ROOM / "c"),
                f"BUILD={made}",
                "CC=gcc",
                f"CFLAGS={PLAIN_CFLAGS}",
                f"{made}/board",
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ConfigError(
                f"the emulated board cannot be compiled: {done.stderr.strip()[-500:]}"
            )
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copy2(Path(made) / "board", program.with_suffix(f".{os.getpid()}"))
        program.with_suffix(f".{os.getpid()}").replace(program)  # two that start at once do no harm
    return program


class Firmware:
    """The running program: `line` is its serial line, `hardware` its sensors and switches."""

    def __init__(self, program: Path, *, drift_ppm: float = 0.0) -> None:
        self.line, line = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.hardware, hardware = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # What lies here already left the board: more of it would only be late.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LINE_BYTES)
        # Room for two eye images of the largest size, so that a frame is given up here, not halved.
        self.hardware.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
        command = [str(program), "--digest", f"{table_digest():x}", "--drift-ppm", f"{drift_ppm}"]
        command += ["--line", str(line.fileno()), "--hardware", str(hardware.fileno())]
        self.process = subprocess.Popen(
            command,
            pass_fds=(line.fileno(), hardware.fileno()),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the emulator, which then ends the board
        )
        line.close()
        hardware.close()
        self.line.setblocking(False)
        self.hardware.setblocking(False)

    def sense(self, message: bytes) -> bool:
        """Tell the board one reading; False if it has no time for it, as a real one drops a frame."""
        try:
            self.hardware.send(message)
        except OSError:
            return False
        return True

    def behind(self) -> int:
        """Bytes of memory in which readings wait for the board."""
        waiting = array.array("i", [0])
        fcntl.ioctl(self.hardware, termios.TIOCOUTQ, waiting)
        return waiting[0]

    def close(self) -> None:
        """End the program. Closing its line does it; a stopped one is killed."""
        self.line.close()
        self.hardware.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
