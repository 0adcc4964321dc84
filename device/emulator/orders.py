"""What one may ask of the emulated board while it runs, in words: faults, switches, the wearer's hands."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from device.emulator.firmware import Reading, reading
from device.emulator.microcontroller import Microcontroller
from device.errors import ConfigError
from firmware_bridge import wire_pb2 as wire

HELP = {
    "unplug [SECONDS]": "the line hangs up; it comes back under the same path after that long (2)",
    "plug": "the line comes back now",
    "freeze [SECONDS]": "the microcontroller hangs (1); above 2 its watchdog restarts it",
    "brown-out": "the supply sags: restart, all rails off",
    "reboot": "the reset pin",
    "noise SHARE [SECONDS]": "that share of the line's bytes is spoilt, both ways (for good)",
    "camera-unplug": "the cameras hang up; they may be opened again",
    "button [NUMBER]": "the wearer presses and lets go",
    "privacy on|off": "the privacy switch",
    "worn on|off": "the glasses are put on, or taken off",
    "light LUX": "ambient light",
    "charge on|off": "the charger",
    "battery PERCENT": "set the charge",
    "heat CELSIUS": "set the temperature",
    "fault KIND": "the board reports a fault (camera-lost, led-current)",
}
KINDS = {"camera-lost": wire.FAULT_CAMERA_LOST, "led-current": wire.FAULT_LED_CURRENT}


class Orders:
    """Call with one line of text."""

    def __init__(self, board: Microcontroller) -> None:
        self._board = board
        self._verbs: dict[str, Callable[[list[str]], str]] = {
            "unplug": self._unplug,
            "plug": self._plug,
            "freeze": self._freeze,
            "brown-out": lambda _: self._restart(wire.FAULT_BROWN_OUT, "browned out"),
            "reboot": lambda _: self._restart(wire.FAULT_NONE, "restarted"),
            "noise": self._noise,
            "camera-unplug": self._camera_unplug,
            "button": self._button,
            "privacy": self._privacy,
            "worn": self._worn,
            "light": self._light,
            "charge": self._charge,
            "battery": self._battery,
            "heat": self._heat,
            "fault": self._fault,
        }
        self.given: Counter[str] = Counter()

    def __call__(self, text: str) -> str:
        """Carry it out soon; the answer says what was asked. Raises ConfigError for what is no order."""
        verb, *words = text.split() or [""]
        if verb not in self._verbs:
            raise ConfigError(f"'{text.strip()}' is no order; known here: {', '.join(self._verbs)}")
        try:
            said = self._verbs[verb](words)
        except (ValueError, KeyError, IndexError) as error:
            usage = next(line for line in HELP if line.split()[0] == verb)
            raise ConfigError(f"'{text.strip()}' is no order; write: {usage}") from error
        self.given[verb] += 1
        return said

    def _unplug(self, words: list[str]) -> str:
        seconds = _number(words, 2.0)
        self._board.after(0, lambda: self._set_plugged(False))
        self._board.after(seconds, lambda: self._set_plugged(True))
        return f"unplugged for {seconds:g} s"

    def _plug(self, _: list[str]) -> str:
        self._board.after(0, lambda: self._set_plugged(True))
        return "plugged"

    def _set_plugged(self, on: bool) -> None:
        if on:
            self._board.line.plug()
        else:
            self._board.line.unplug()
        self._board.mark("plugged" if on else "unplugged")

    def _freeze(self, words: list[str]) -> str:
        seconds = _number(words, 1.0)
        self._board.after(0, lambda: self._board.freeze(seconds))
        return f"hangs for {seconds:g} s"

    def _restart(self, cause: int, said: str) -> str:
        self._board.after(0, lambda: self._board.restart(cause))
        return said

    def _noise(self, words: list[str]) -> str:
        share = float(words[0])
        if not 0 <= share <= 1:
            raise ValueError(share)
        self._board.after(0, lambda: self._set_noise(share))
        if len(words) > 1:
            self._board.after(float(words[1]), lambda: self._set_noise(0.0))
        return f"{share:.2%} of the bytes are spoilt"

    def _set_noise(self, share: float) -> None:
        self._board.line.noise = share
        self._board.mark("noise" if share else "quiet")

    def _camera_unplug(self, _: list[str]) -> str:
        self._board.frames.hang_up()
        self._board.mark("cameras unplugged")
        return "the cameras have hung up"

    def _button(self, words: list[str]) -> str:
        button = int(_number(words, 0))
        self._board.after(0, lambda: self._press(button))
        return f"button {button} pressed"

    def _press(self, button: int) -> None:
        board = self._board
        for pressed in (True, False):
            if board.sense(reading(Reading.BUTTON, which=button, value=int(pressed))):
                board.presses.append((time.monotonic_ns(), pressed))

    def _privacy(self, words: list[str]) -> str:
        self._board.private = on = _switch(words)
        self._board.after(0, lambda: self._set_private(on))
        return f"privacy switch {words[0]}"

    def _set_private(self, on: bool) -> None:
        self._board.set_level(Reading.PRIVACY, on)
        self._board.mark("private" if on else "not private")

    def _worn(self, words: list[str]) -> str:
        self._board.worn = on = _switch(words)
        self._board.after(0, lambda: self._board.set_level(Reading.WORN, on))
        return "put on" if on else "taken off"

    def _light(self, words: list[str]) -> str:
        self._board.lux = max(0.0, min(float(words[0]), 4e6))
        return f"{self._board.lux:g} lux"

    def _charge(self, words: list[str]) -> str:
        self._board.supply.charging = on = _switch(words)
        return "charging" if on else "not charging"

    def _battery(self, words: list[str]) -> str:
        self._board.supply.charge = min(1.0, max(0.0, float(words[0]) / 100))
        return f"charge {self._board.supply.charge:.0%}"

    def _heat(self, words: list[str]) -> str:
        self._board.supply.temperature_c = float(words[0])
        return f"{float(words[0]):g} C"

    def _fault(self, words: list[str]) -> str:
        kind = KINDS[words[0]]
        self._board.after(0, lambda: void(self._board.sense(reading(Reading.FAULT, which=kind))))
        return f"fault {words[0]}"


def void(_: object) -> None:
    """For a callback whose answer nobody needs."""


def _number(words: list[str], default: float) -> float:
    return float(words[0]) if words else default


def _switch(words: list[str]) -> bool:
    return {"on": True, "off": False}[words[0]]
