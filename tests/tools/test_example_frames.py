from __future__ import annotations

import numpy as np

from device.emulator import Emulator, EmulatorSettings
from device.model import load
from device.sources.camera import AlwaysOn
from device.types import Attention, Region, SceneFrame
from tools.emulate import ATTENDED
from tools.example_frames import POSES, WEARERS, Watch, eyes


def test_every_pose_of_every_wearer_is_drawn_with_what_the_network_found() -> None:
    picture = eyes(load("eye"))
    assert picture.shape == (len(WEARERS) * (192 + 24), len(POSES) * 192, 3)
    drawn = picture[..., 2].astype(int) - picture[..., 0] > 60  # orange on grey
    assert drawn.any()
    closed = drawn[:, -192:]  # the last column: nothing may be found in a closed eye
    assert not closed.any()


def test_a_scene_frame_is_drawn_with_the_estimate_made_of_it() -> None:
    emulator = Emulator(EmulatorSettings(seed=2, duration_s=20.0, eyes=False), AlwaysOn())
    interval = emulator.truth.attended[0]
    watch = Watch(emulator)
    frame = next(v for v in emulator if isinstance(v, SceneFrame) and v.t_ns >= interval.start_ns)
    watch(frame)
    region = Region(left=0.1, top=0.1, right=0.9, bottom=0.9)
    watch(Attention(t_ns=frame.t_ns, probability=0.5, region=region, embedding=np.zeros(64, "f4")))
    attended, picture = watch.drawn[0]
    assert attended
    assert picture.shape == (240 + 24, 320, 3)
    assert (np.abs(picture.astype(int) - ATTENDED).sum(axis=2) < 40).any()
