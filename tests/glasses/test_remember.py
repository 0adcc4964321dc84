"""What a live session taught of the wearer's views goes to their own file, and only there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from device import personal
from device.agreement import Agreement
from device.feelings import Witness, erase
from device.glasses.session import personal_of, remember
from device.glasses.settings import LiveSettings
from device.identity import Identity
from device.model import load
from device.personal import Personal
from device.sealing import Protection

LESSON = Agreement(moments=5).after(np.eye(7)[3], 1 + 5 * np.eye(7)[3])


def settings(home: Path) -> LiveSettings:
    made = LiveSettings()
    return dataclasses.replace(made, glasses=dataclasses.replace(made.glasses, home=str(home)))


def test_without_emotion_or_a_moment_nothing_is_written(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    for nothing in (None, Agreement()):
        remember(settings(tmp_path), witness, nothing)
    assert [p.name for p in tmp_path.iterdir()] == [personal.ERASURES]


def test_a_lesson_begins_a_file_that_the_next_session_reads(tmp_path: Path) -> None:
    remember(settings(tmp_path), Witness(tmp_path), LESSON)
    own = personal_of(settings(tmp_path))
    assert own is not None and own.agreement == LESSON and own.version == 1
    assert own.wearer == Identity.load_or_create(tmp_path).device_id


@pytest.mark.parametrize("known", [True, False], ids=["with a file", "without a file"])
@pytest.mark.parametrize("anew", [True, False], ids=["enrolled again", "not enrolled again"])
def test_what_was_erased_meanwhile_stays_erased(tmp_path: Path, known: bool, anew: bool) -> None:
    wearer = Identity.load_or_create(tmp_path).device_id
    own = Personal(wearer=wearer, model_sha256=load("eye_emotion").sha256)
    if known:
        personal.write(tmp_path, own)
    witness = Witness(tmp_path)
    erase(tmp_path, tmp_path / "spool", Protection())
    if anew:
        personal.write(tmp_path, own)
    remember(settings(tmp_path), witness, LESSON)
    assert personal_of(settings(tmp_path)) == (own if anew else None)
    later = Witness(tmp_path)
    remember(settings(tmp_path), later, LESSON)
    found = personal_of(settings(tmp_path))
    assert found is not None and found.agreement == LESSON


def test_a_damaged_file_is_left_as_it_is_and_the_session_is_kept(tmp_path: Path) -> None:
    path = tmp_path / personal.NAME
    path.write_text("{")
    remember(settings(tmp_path), Witness(tmp_path), LESSON)
    assert path.read_text() == "{"
