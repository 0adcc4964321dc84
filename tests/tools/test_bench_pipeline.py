"""The always-on variant that the loop's CPU is held against spares nothing."""

from __future__ import annotations

from device.__main__ import Settings
from tools.bench.pipeline import everything, run


def test_always_on_analyses_and_encodes_every_frame_and_the_loop_does_not() -> None:
    always = run(2.0, 3, everything(), always_on=True).report.counts
    assert always["SceneFrame"] >= 58
    assert always["ScenePacket"] == always["Tags"] == always["SceneFrame"]
    gated = run(2.0, 3, Settings(), always_on=False).report.counts
    assert gated["ScenePacket"] < always["ScenePacket"]
