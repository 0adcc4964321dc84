"""Emotion in the loop: off by default, its share in the tag stage, and the wearer's own threshold."""

from __future__ import annotations

import numpy as np
import pytest

from device.__main__ import Settings, emotion_stages, personalised
from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.model import load
from device.personal import Personal
from device.stages.emotion import EmotionSettings
from device.stages.tag import TagSettings, TagStage
from device.types import MomentStart, SceneFrame, Tags, Value


def test_it_is_off_unless_asked_for() -> None:
    header = Emulator(EmulatorSettings(seed=1, duration_s=1, scenario="demo", eyes=False)).header
    assert not Settings().emotion.on
    assert emotion_stages(header, {}, Settings(), None) == ((), ())
    assert personalised(Settings(), None).tag.whole_every == 0
    assert personalised(Settings(emotion=EmotionSettings(on=True)), None).tag.whole_every == 3


def test_what_was_not_worth_keeping_raises_the_threshold_of_keeping() -> None:
    own = Personal(wearer="me", model_sha256="a" * 64, keep_shift=0.06)
    before = Settings().wake.enter_probability
    assert personalised(Settings(), own).wake.enter_probability == pytest.approx(before + 0.06)
    far = Personal(wearer="me", model_sha256="a" * 64, keep_shift=-9.0)
    wake = personalised(Settings(), far).wake
    assert wake.enter_probability == wake.leave_probability


def test_the_whole_view_takes_the_regions_turn_and_never_an_extra_run() -> None:
    backbone = load("backbone")
    stage = TagStage(load("detector"), backbone, TagSettings(whole_every=3, every_ms=100.0))
    pixels = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    made: list[Value] = []
    for number in range(8):
        frame = SceneFrame(t_ns=number * 200_000_000, seq=number, pixels=pixels)
        made += stage.step(frame)
        if number == 0:
            made += stage.step(MomentStart(t_ns=0, reason="attention"))
    tags = [v for v in made if isinstance(v, Tags)]
    assert backbone.calls == len(tags) >= 6
    whole = [t.whole is not None for t in tags]
    assert not whole[0] and whole[1] and whole.count(True) == pytest.approx(len(tags) / 3, abs=1)
    assert (tags[1].embedding == tags[0].embedding).all()  # names and search keep the region's
