"""What a live session taught of the wearer's views goes to their own file, and only there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from device import personal
from device.agreement import Agreement
from device.glasses.session import personal_of, remember
from device.glasses.settings import LiveSettings
from device.identity import Identity
from device.personal import Personal

LESSON = Agreement(moments=5).after(np.eye(7)[3], 1 + 5 * np.eye(7)[3])


def settings(home: Path) -> LiveSettings:
    made = LiveSettings()
    return dataclasses.replace(made, glasses=dataclasses.replace(made.glasses, home=str(home)))


def test_without_emotion_or_a_moment_nothing_is_written(tmp_path: Path) -> None:
    for nothing in (None, Agreement()):
        remember(settings(tmp_path), None, nothing)
    assert not list(tmp_path.iterdir())


def test_a_lesson_begins_a_file_that_the_next_session_reads(tmp_path: Path) -> None:
    remember(settings(tmp_path), None, LESSON)
    own = personal_of(settings(tmp_path))
    assert own is not None and own.agreement == LESSON and own.version == 1
    assert own.wearer == Identity.load_or_create(tmp_path).device_id


def test_what_was_erased_meanwhile_stays_erased(tmp_path: Path) -> None:
    before = Personal(wearer="me", model_sha256="a" * 64)
    remember(settings(tmp_path), before, LESSON)
    assert personal_of(settings(tmp_path)) is None


def test_a_damaged_file_is_left_as_it_is_and_the_session_is_kept(tmp_path: Path) -> None:
    path = tmp_path / personal.NAME
    path.write_text("{")
    remember(settings(tmp_path), None, LESSON)
    assert path.read_text() == "{"
