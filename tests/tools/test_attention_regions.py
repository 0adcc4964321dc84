"""Regions by OS-1's rule, and the network's, against the thing's box."""

from __future__ import annotations

import numpy as np
import pytest

from device.attended import MatchRule
from device.detection import Detection
from device.types import (
    Attention,
    Gaze,
    MomentEnd,
    MomentStart,
    Region,
    SceneFrame,
    Tags,
    Value,
)
from models.attention_data import Scene, Session
from tools.attention_regions import (
    WHOLE,
    Proposals,
    Regions,
    box_iou,
    figures,
    mean,
    os1_region,
    share_right,
)
from tools.attention_truth import trial_of
from tools.tune_region import Estimate, chosen

SIZE_PX = (200, 100)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_without_a_box_around_the_gaze_it_is_the_whole_image():
    assert os1_region(boxes(), (0.5, 0.5), SIZE_PX) is WHOLE
    assert os1_region(boxes((0.0, 0.0, 0.3, 0.3)), (0.5, 0.5), SIZE_PX) is WHOLE
    # too small on one side
    assert os1_region(boxes((0.4, 0.4, 0.9, 0.48)), (0.5, 0.45), SIZE_PX) is WHOLE


def test_the_gaze_may_be_ten_pixels_outside():
    box = boxes((0.0, 0.0, 0.4, 1.0))
    assert os1_region(box, (0.44, 0.5), SIZE_PX) == pytest.approx([0.0, 0.0, 0.4, 1.0])
    assert os1_region(box, (0.46, 0.5), SIZE_PX) is WHOLE


def test_the_outer_rectangle_of_the_eight_smallest_that_do_not_overlap():
    two = boxes((0.1, 0.1, 0.55, 0.9), (0.45, 0.3, 0.7, 0.6), (0.11, 0.1, 0.56, 0.9))
    assert os1_region(two, (0.5, 0.5), SIZE_PX) == pytest.approx([0.1, 0.1, 0.7, 0.9])
    # three sizes in each quadrant around the gaze: the eight smallest are the first two sizes
    quadrants = [(sx, sy, side) for side in (0.12, 0.24, 0.48) for sx in (-1, 1) for sy in (-1, 1)]
    twelve = boxes(
        *(
            (0.5 + min(0, sx * w), 0.5 + min(0, sy * w), 0.5 + max(0, sx * w), 0.5 + max(0, sy * w))
            for sx, sy, w in quadrants
        )
    )
    assert os1_region(twelve, (0.5, 0.5), SIZE_PX) == pytest.approx([0.26, 0.26, 0.74, 0.74])


def test_overlap_of_boxes_and_the_share_that_is_right():
    a = np.array([0.0, 0.0, 0.5, 0.5])
    assert box_iou(a, a) == pytest.approx(1.0)
    assert box_iou(a, np.array([0.5, 0.5, 1.0, 1.0])) == 0.0
    assert share_right([0.5, 0.49, 0.9, 0.0]) == 0.5 and mean([0.5, 0.7]) == pytest.approx(0.6)
    assert share_right([]) is None and mean([]) is None


class Boxes:
    """A detector that always finds the same."""

    def __init__(self, *regions: Region) -> None:
        self.regions = regions

    def detect(self, pixels: np.ndarray) -> list:
        return [Detection(name="cup", probability=0.5, region=r) for r in self.regions]


def test_all_are_judged_on_frames_on_which_the_thing_is_attended_and_on_no_others():
    mask = np.zeros((2, 96, 128), bool)
    mask[:, 24:72, 32:96] = True  # 0.25..0.75 both ways
    frames = [np.zeros((48, 64, 3), np.uint8)] * 2
    session = Session(Scene("s", frames, mask, 10.0), [], [(0, 1_000_000_000)], 2_000_000_000)
    found = Region(left=0.25, top=0.25, right=0.75, bottom=0.75)
    sink = Regions(trial_of(session, "t"), Proposals(Boxes(found)))  # type: ignore[arg-type]
    half = Region(left=0.25, top=0.25, right=0.5, bottom=0.75)
    nowhere = Region(left=0.0, top=0.0, right=0.1, bottom=0.1)
    no_vector = np.zeros(4, "f4")

    def at(t_ns: int, *after: Value) -> None:
        sink(Gaze(t_ns=t_ns, azimuth_deg=0.0, elevation_deg=0.0, confidence=1.0))
        sink(SceneFrame(t_ns=t_ns, seq=0, pixels=frames[0]))
        sink(Attention(t_ns=t_ns, probability=1.0, region=half, embedding=no_vector))
        for value in after:
            sink(value)

    at(0)
    analysed = Tags(t_ns=100_000_000, tags=(), region=found, embedding=no_vector)
    at(100_000_000, MomentStart(t_ns=100_000_000, reason="attention"), analysed)
    at(200_000_000)  # the last analysis still holds
    at(300_000_000, MomentEnd(t_ns=300_000_000, reason="over"))
    analysed = Tags(t_ns=1_500_000_000, tags=(), region=nowhere, embedding=no_vector)
    at(1_500_000_000, analysed)
    sink.close()
    assert sink.delivered == pytest.approx([0.5, 1.0, 1.0, 0.5])
    assert sink.network == pytest.approx([0.5] * 4) and sink.os1 == pytest.approx([1.0] * 4)
    told = figures([sink])
    assert told["region_iou"] == pytest.approx(0.75)
    assert told["in_moment"]["share"] == 0.5
    assert told["in_moment"]["region_iou"] == {"delivered": 1.0, "network": 0.5, "os1": 1.0}
    assert figures([])["in_moment"]["right_object"]["delivered"] is None
    assert told["right_object"] == {"delivered": 1.0, "network": 1.0, "os1": 1.0}


def test_a_rule_is_tried_on_boxes_that_are_likely_enough():
    thing = Region(left=0.4, top=0.4, right=0.6, bottom=0.6)
    place = Region(left=0.45, top=0.45, right=0.6, bottom=0.6)
    box = np.array([0.4, 0.4, 0.6, 0.6])
    rows = [Estimate([Detection("cup", 0.3, thing)], place, None, box)]
    assert chosen(rows, MatchRule(), 0.1, True) == pytest.approx([1.0], abs=1e-5)
    assert chosen(rows, MatchRule(), 0.4, True) == pytest.approx([0.5625], abs=1e-5)
    assert chosen(rows, MatchRule(least=0.4), 0.1, True) == pytest.approx([0.5625], abs=1e-5)
    beside = Region(left=0.55, top=0.45, right=0.75, bottom=0.6)
    rows = [Estimate([Detection("cup", 0.8, thing)], beside, (0.5, 0.5), box)]
    assert chosen(rows, MatchRule(), 0.1, False)[0] < 0.5
    assert chosen(rows, MatchRule(), 0.1, True) == pytest.approx([1.0], abs=1e-5)
