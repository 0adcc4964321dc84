"""The last result carried by optical flow: where boxes go, what is measured, what leaves the frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from device.carry import MEASURES, Carried, apart
from device.flow import TinyFlow, clip_boxes, pulls
from device.types import Pixels, Region, SceneFrame


def box(left: float, top: float, right: float, bottom: float) -> Region:
    return Region(left=left, top=top, right=right, bottom=bottom)


THING = box(0.35, 0.3, 0.6, 0.7)


def texture(shift_px: int = 0) -> Pixels:
    """A smooth random surface, moved to the right."""
    rng = np.random.default_rng(0)
    wide = cv2.GaussianBlur(rng.uniform(0, 255, (480, 900)).astype(np.float32), (0, 0), 6)
    wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)  # type: ignore[call-overload]
    part = wide[:, 200 - shift_px : 840 - shift_px]
    return np.repeat(part[:, :, None], 3, axis=2)


def frame(number: int, shift_px: int) -> SceneFrame:
    return SceneFrame(t_ns=number * 33_000_000, seq=number, pixels=texture(shift_px))


def begun(place: Region = THING) -> Carried:
    carried = Carried()
    carried.push(frame(0, 0))
    carried.begin(0, 320, [THING], [0.9], region=THING, place=place)
    return carried


def measure(carried: Carried, name: str, number: int, place: Region = THING) -> float:
    return float(carried.measures(number * 33_000_000, place)[MEASURES.index(name)])


def test_boxes_go_with_the_picture_and_their_way_is_counted_in_their_sizes() -> None:
    carried = begun()
    for number in range(1, 6):
        carried.push(frame(number, 6 * number))
    moved = carried.boxes[0]
    assert moved is not None
    assert (moved.left - THING.left) * 640 == pytest.approx(30, abs=3)
    assert moved.right - moved.left == pytest.approx(THING.right - THING.left)
    size = np.sqrt(0.25 * 0.4)
    assert measure(carried, "shift", 5) == pytest.approx(30 / 640 / size, abs=0.02)
    assert measure(carried, "camera_sum", 5) == pytest.approx(30 / 640, abs=0.01)
    assert measure(carried, "age_s", 5) == pytest.approx(0.165)


def test_a_frame_is_taken_once() -> None:
    carried = begun()
    for _ in range(3):
        carried.push(frame(1, 6))
    assert measure(carried, "camera_sum", 1) == pytest.approx(6 / 640, abs=0.003)


def test_a_still_picture_has_nothing_to_tell() -> None:
    carried = begun()
    carried.push(frame(1, 0))
    for name in ("shift", "difference", "changed", "misfit", "residual", "camera_sum", "lost"):
        assert measure(carried, name, 1) == pytest.approx(0, abs=1e-3), name


def test_gaze_on_another_thing_is_far_in_sizes_and_a_carried_place_is_not() -> None:
    carried = begun()
    for number in range(1, 6):
        carried.push(frame(number, 6 * number))
    with_the_thing = box(0.35 + 30 / 640, 0.3, 0.6 + 30 / 640, 0.7)
    assert measure(carried, "gaze_off", 5, with_the_thing) < 0.05
    assert measure(carried, "gaze_off", 5, box(0.8, 0.3, 0.9, 0.5)) > 1.0
    assert apart(THING, THING) == 0


def test_what_leaves_the_frame_is_dropped_and_what_shows_in_part_is_clipped() -> None:
    boxes = np.array([[-0.1, 0.2, 0.3, 0.6], [-0.35, 0.2, 0.05, 0.6], [1.1, 0.2, 1.3, 0.6]])
    inner, shows = clip_boxes(boxes)
    assert shows.tolist() == [True, False, False]
    assert inner[0].tolist() == [0.0, 0.2, 0.3, 0.6]


def test_after_a_reset_nothing_follows() -> None:
    carried = begun()
    carried.reset()
    assert carried.ran_ns is None and carried.boxes == []
    carried.push(frame(1, 200))
    assert not carried.measures(0, THING).any()


def test_flow_is_the_median_inside_a_box_whatever_its_size() -> None:
    flow = np.zeros((120, 160, 2), np.float32)
    flow[:, 80:] = (8.0, 0.0)
    boxes = np.array([[0.6, 0.1, 0.9, 0.9], [0.1, 0.1, 0.3, 0.3], [0.99, 0.99, 0.99, 0.99]])
    way, spread = pulls(flow, boxes)
    assert way[:, 0] == pytest.approx([0.05, 0, 0.05])
    assert spread == pytest.approx([0, 0, 0], abs=1e-6)


def test_misfit_is_small_where_flow_explains_the_change() -> None:
    flow = TinyFlow()
    flow.push(texture(0))
    motion = flow.push(texture(12))
    assert motion is not None
    assert motion.misfit < motion.difference / 3
