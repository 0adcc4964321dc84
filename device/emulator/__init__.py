"""A virtual wearer with known truth: eyes, scene, motion, from one seed. An ordinary source."""

from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.emulator.truth import AttendedInterval, Truth

__all__ = ["AttendedInterval", "Emulator", "EmulatorSettings", "Truth"]
