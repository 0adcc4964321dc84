"""Decoding of the detector's maps: anchors, boxes, suppression, and the same thing at every size."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.detection import SIZES_PX, Detector, anchors, decode_boxes, overlaps, suppress

NAMES = ("cup", "cat", "car")


def detector(**settings: Any) -> Detector:
    """Around a network that is never run."""
    model: Any = types.SimpleNamespace(spec=types.SimpleNamespace(classes=NAMES))
    return Detector(model, **settings)


def maps(size_px: int, hits: dict[int, tuple[int, float]]) -> tuple[Any, Any]:
    """Boxes exactly on their anchors, and logits: -9 everywhere but at {anchor: (class, logit)}."""
    count = len(anchors(size_px))
    logits = np.full((count, len(NAMES)), -9, np.float32)
    for anchor, (kind, logit) in hits.items():
        logits[anchor, kind] = logit
    return np.zeros((count, 4), np.float32), logits


@pytest.mark.parametrize(("size_px", "count"), [(160, 540), (224, 1014), (320, 2034)])
def test_anchors_are_three_a_cell_on_the_finest_grid_and_six_on_the_others(
    size_px: int, count: int
) -> None:
    grids = [-(-size_px // 16)]
    while len(grids) < 6:
        grids.append(-(-grids[-1] // 2))
    assert len(anchors(size_px)) == sum(g * g * (3 if i == 0 else 6) for i, g in enumerate(grids))
    assert len(anchors(size_px)) == count


def test_anchors_keep_their_size_in_pixels() -> None:
    smallest_px = [float(anchors(s)[0, 2]) * s for s in SIZES_PX]
    assert smallest_px == pytest.approx([32, 32, 32])


def test_a_box_on_its_anchor_is_that_anchor() -> None:
    size_px, anchor = 320, 777
    (found,) = detector().decode(*maps(size_px, {anchor: (1, 3.0)}), size_px)
    y, x, height, width = anchors(size_px)[anchor]
    assert found.name == "cat"
    assert found.probability == pytest.approx(1 / (1 + np.exp(-3)))
    assert found.region.left == pytest.approx(max(x - width / 2, 0), abs=1e-6)
    assert found.region.bottom == pytest.approx(min(y + height / 2, 1), abs=1e-6)


def test_offsets_are_in_tenths_and_sizes_in_fifths_of_a_log() -> None:
    default = np.array([[0.5, 0.5, 0.2, 0.4]], np.float32)
    (box,) = decode_boxes(np.array([[1.0, -1.0, 5 * np.log(2), 0.0]], np.float32), default)
    # centre y 0.5 + 0.1 * 0.2, centre x 0.5 - 0.1 * 0.4, height doubled
    assert box == pytest.approx([0.26, 0.32, 0.66, 0.72])


def test_what_is_less_probable_than_the_bound_is_dropped() -> None:
    hits = {10: (0, 0.2), 900: (1, -0.2)}
    assert [d.name for d in detector(min_probability=0.5).decode(*maps(320, hits), 320)] == ["cup"]
    assert detector(min_probability=0.6).decode(*maps(320, hits), 320) == []


def test_one_thing_is_reported_once_but_two_kinds_may_share_a_place() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.52, 0.5], [0, 0, 0.5, 0.52]], np.float32)
    assert suppress(boxes, np.array([0, 0, 1]), 0.5) == [0, 2]
    assert suppress(boxes, np.array([0, 0, 0]), 0.99) == [0, 1, 2]


def test_the_most_probable_come_first_and_no_more_than_asked() -> None:
    far_apart = {1200 + 6 * i: (0, 1.0 + i / 10) for i in range(8)}
    found = detector(max_count=3, max_overlap=1.0).decode(*maps(320, far_apart), 320)
    assert [round(d.probability, 6) for d in found] == sorted(
        (round(d.probability, 6) for d in found), reverse=True
    )
    assert len(found) == 3


@given(
    st.sampled_from(SIZES_PX),
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=8, max_size=8),
)
def test_nonsense_maps_still_give_boxes_inside_the_frame(size_px: int, values: list[float]) -> None:
    boxes, logits = maps(size_px, {5: (2, 50.0), 300: (1, 50.0)})
    boxes[5], boxes[300] = values[:4], values[4:]
    for d in detector().decode(boxes, logits, size_px):
        region = d.region
        assert 0 <= region.left <= region.right <= 1
        assert 0 <= region.top <= region.bottom <= 1


def test_overlap_of_a_box_with_itself_its_half_and_nothing() -> None:
    box = np.array([0, 0, 0.5, 0.5], np.float32)
    others = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.25, 0.5], [0.6, 0.6, 1, 1]], np.float32)
    assert overlaps(box, others) == pytest.approx([1, 0.5, 0])
