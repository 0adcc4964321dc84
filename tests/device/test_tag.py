"""Tags: who is attended, what is embedded, what flow carries along."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from device.attended import GAZE_NS, RecentGaze, attended_names, attended_region
from device.backbone import RegionView, crop, thumbnail, unlike
from device.carry import Carried
from device.detection import Detection
from device.emulator.things import photograph
from device.geometry import from_frame, pinhole
from device.model import load
from device.stages.tag import TagSettings, TagStage
from device.types import (
    Attention,
    Gaze,
    MomentEnd,
    MomentStart,
    Pixels,
    Region,
    ResolutionDecision,
    SceneFrame,
    Tags,
    Value,
)

MS = 1_000_000


def box(left: float, top: float, right: float, bottom: float) -> Region:
    return Region(left=left, top=top, right=right, bottom=bottom)


def scene(shift_px: int = 0) -> Pixels:
    """A cat on a grey wall."""
    picture = photograph("cat")
    side = 260
    cat = cv2.resize(picture, (side, round(side * picture.shape[0] / picture.shape[1])))
    rng = np.random.default_rng(0)
    frame = np.clip(rng.normal(120, 12, (480, 640, 3)), 0, 255)
    frame = cv2.GaussianBlur(frame, (0, 0), 2).astype(np.uint8)
    top, left = 100, 180 + shift_px
    alpha = cat[:, :, 3:].astype(np.float32) / 255
    place = frame[top : top + cat.shape[0], left : left + side]
    place[:] = (cat[:, :, :3] * alpha + place * (1 - alpha)).astype(np.uint8)
    return frame


def stage(**settings: float) -> TagStage:
    return TagStage(load("detector"), load("backbone"), TagSettings(**settings))  # type: ignore[arg-type]


def push(tag: TagStage, *values: Value) -> list[Tags]:
    return [made for value in values for made in tag.step(value) if isinstance(made, Tags)]


def attention(t_ms: int, region: Region) -> Attention:
    return Attention(
        t_ns=t_ms * MS, probability=0.9, region=region, embedding=np.zeros(2, np.float32)
    )


CAT = box(0.35, 0.3, 0.6, 0.7)


def test_the_attended_thing_is_named_when_the_moment_opens() -> None:
    tag = stage()
    frame = SceneFrame(t_ns=0, seq=0, pixels=scene())
    assert push(tag, frame, attention(0, CAT)) == []  # no moment yet: nothing is computed
    (tags,) = push(tag, MomentStart(t_ns=0, reason="attention"))
    named = {t.name for t in tags.tags if t.attended}
    assert named == {"cat"}
    assert float(np.linalg.norm(tags.embedding)) == pytest.approx(1.0, abs=1e-3)


def test_it_runs_at_its_cadence_and_stops_with_the_moment() -> None:
    tag = stage(every_ms=500.0)
    pixels = scene()
    made = push(tag, MomentStart(t_ns=0, reason="attention"))
    for t_ms in range(0, 2000, 100):
        made += push(tag, SceneFrame(t_ns=t_ms * MS, seq=0, pixels=pixels))
    assert [t.t_ns // MS for t in made] == [0, 500, 1000, 1500]
    push(tag, MomentEnd(t_ns=2000 * MS, reason="over"))
    assert push(tag, SceneFrame(t_ns=2100 * MS, seq=0, pixels=pixels)) == []


def test_a_reused_result_moves_with_the_thing() -> None:
    tag = stage()
    first = SceneFrame(t_ns=0, seq=0, pixels=scene())
    push(tag, first, attention(0, CAT))
    (before,) = push(tag, MomentStart(t_ns=0, reason="attention"))
    after = before
    for number in (1, 2, 3, 4):
        t_ns = number * 33 * MS
        decision = ResolutionDecision(t_ns=t_ns, scale_px=0, reuse=True, why="little moved")
        frame = SceneFrame(t_ns=t_ns, seq=number, pixels=scene(4 * number))
        (after,) = push(tag, decision, frame)
    assert after.reused
    moved_px = (after.region.left - before.region.left) * 640
    assert moved_px == pytest.approx(16, abs=4)


@pytest.mark.parametrize("size_px", [160, 224, 320])
def test_every_size_of_the_resolution_ladder_names_the_cat(size_px: int) -> None:
    tag = stage()
    push(tag, attention(0, CAT), MomentStart(t_ns=0, reason="attention"))
    decision = ResolutionDecision(t_ns=0, scale_px=size_px, reuse=False, why="test")
    (tags,) = push(tag, decision, SceneFrame(t_ns=0, seq=0, pixels=scene()))
    assert {t.name for t in tags.tags if t.attended} == {"cat"}


TABLE = Detection("dining table", 0.9, box(0, 0.3, 1, 1))
CUP = Detection("cup", 0.5, box(0.4, 0.4, 0.6, 0.6))


def test_of_the_things_under_the_gaze_the_one_of_its_size_is_attended() -> None:
    assert attended_region([TABLE, CUP], box(0.45, 0.45, 0.55, 0.55), 0.0) == (CUP.region, (1,))
    assert attended_region([TABLE, CUP], box(0.1, 0.5, 0.4, 0.9), 0.0) == (TABLE.region, (0,))
    above = box(0.1, 0.0, 0.2, 0.1)
    assert attended_region([TABLE, CUP], above, 0.0) == (above, ())
    speck = Detection("spoon", 0.4, box(0.46, 0.46, 0.48, 0.48))
    assert attended_region([TABLE, CUP, speck], box(0.4, 0.4, 0.55, 0.55), 0.0)[1] == (1,)


def test_where_no_box_fits_the_place_itself_is_attended_and_the_thing_around_it_named() -> None:
    spot = box(0.1, 0.7, 0.2, 0.8)
    assert attended_names([TABLE, CUP], 2, spot, 0.0) == (spot, (0,))


def test_a_thing_around_the_gaze_may_be_meant_though_the_middle_of_the_place_is_beside_it() -> None:
    place = box(0.5, 0.4, 0.8, 0.6)
    assert attended_region([CUP], place, 0.0) == (place, ())
    assert attended_region([CUP], place, 0.0, gaze=(0.55, 0.5)) == (CUP.region, (0,))
    assert attended_names([TABLE, CUP], 2, place, 0.0, (0.9, 0.1))[1] == (0,)


GEOMETRY = pinhole(640, 480, 65.0)


def gaze(t_ms: int, x: float, y: float, confidence: float = 1.0) -> Gaze:
    azimuth, elevation = from_frame(GEOMETRY, x, y)
    return Gaze(
        t_ns=t_ms * MS,
        azimuth_deg=float(azimuth),
        elevation_deg=float(elevation),
        confidence=confidence,
    )


def test_the_recent_gaze_is_a_median_without_lost_eyes_and_without_old_ones() -> None:
    recent = RecentGaze(GEOMETRY)
    assert recent.at(0) is None
    for t_ms, x in ((0, 0.2), (100, 0.5), (120, 0.9), (140, 0.52)):
        recent.push(gaze(t_ms, x, 0.4))
    recent.push(gaze(150, 0.1, 0.1, confidence=0.1))
    recent.push(gaze(155, float("nan"), 0.1))
    assert recent.at(160 * MS) == pytest.approx((0.52, 0.4), abs=1e-6)
    assert recent.at(140 * MS + GAZE_NS + 1) is None


def test_the_gaze_has_a_say_in_what_is_kept() -> None:
    """The network's place is beside the cat, where only doubtful boxes are; the eyes are on the cat."""
    beside = box(0.02, 0.1, 0.42, 0.5)
    regions = []
    for seen in ((), (gaze(0, 0.45, 0.4),)):
        tag = TagStage(load("detector"), load("backbone"), geometry=GEOMETRY)
        frame = SceneFrame(t_ns=10 * MS, seq=0, pixels=scene())
        start = MomentStart(t_ns=10 * MS, reason="attention")
        (tags,) = push(tag, *seen, frame, attention(10, beside), start)
        regions.append(tags.region)
    assert regions[0].left < 0.2 and regions[0].right > 0.75
    assert regions[1].left > 0.25 and regions[1].right < 0.7


def test_things_that_reach_into_each_other_may_be_meant_as_one() -> None:
    rider = Detection("person", 0.8, box(0.4, 0.2, 0.6, 0.6))
    horse = Detection("horse", 0.7, box(0.3, 0.45, 0.7, 0.9))
    both, parts = attended_region([rider, horse], box(0.32, 0.25, 0.68, 0.85), 0.0)
    assert set(parts) == {0, 1}
    assert both == box(0.3, 0.2, 0.7, 0.9)
    alone, parts = attended_region([rider, horse], box(0.42, 0.25, 0.6, 0.55), 0.0)
    assert parts == (0,) and alone == rider.region
    twin = Detection("person", 0.7, horse.region)
    assert len(attended_region([rider, twin], box(0.32, 0.25, 0.68, 0.85), 0.0)[1]) == 1


def test_a_box_without_a_name_may_be_attended_and_is_named_by_a_thing_that_is_nearly_it() -> None:
    doubtful = Detection("bowl", 0.35, box(0.42, 0.4, 0.6, 0.6))
    place = box(0.42, 0.42, 0.6, 0.6)
    assert attended_names([TABLE, doubtful], 1, place, 0.0) == (doubtful.region, ())
    found = [Detection("cup", 0.5, box(0.4, 0.4, 0.66, 0.66)), doubtful]
    inside = box(0.42, 0.42, 0.58, 0.58)
    assert attended_names(found, 1, inside, 0.0) == (doubtful.region, (0,))


@pytest.mark.parametrize("region", [box(-0.5, -0.5, -0.4, -0.4), box(0.99, 0.99, 1.2, 1.3)])
def test_a_region_at_or_beyond_the_edge_still_gives_a_picture(region: Region) -> None:
    assert crop(np.zeros((48, 64, 3), np.uint8), region, 0.1, 0.05).size > 0


def test_a_decision_that_follows_its_frame_is_the_one_obeyed() -> None:
    """The loop's order: the frame, then what the resolution stage made of it, then attention."""
    tag = stage()
    calls: list[int] = []
    detector = tag._analysis._detector
    detect = detector.detect
    detector.detect = lambda pixels, size: (calls.append(size), detect(pixels, size))[1]  # type: ignore[method-assign,assignment,func-returns-value]
    push(tag, MomentStart(t_ns=0, reason="button"))
    for number, size_px in enumerate((160, 224, 320)):
        t_ns = number * 33 * MS
        made = push(
            tag,
            SceneFrame(t_ns=t_ns, seq=number, pixels=scene()),
            ResolutionDecision(t_ns=t_ns, scale_px=size_px, reuse=False, why="test"),
            attention(number * 33, CAT),
        )
        assert [t.t_ns for t in made] == [t_ns]
    assert calls == [160, 224, 320]


def test_the_backbone_names_what_the_detector_does_not_know() -> None:
    """With the detector made to doubt everything, the attended region is still called a cat."""
    tag = stage(min_probability=0.999, min_word_probability=0.3)
    push(tag, SceneFrame(t_ns=0, seq=0, pixels=scene()), attention(0, box(0.28, 0.2, 0.69, 0.9)))
    (tags,) = push(tag, MomentStart(t_ns=0, reason="attention"))
    (named,) = tags.tags
    assert (named.name, named.attended) == ("cat", True)
    assert 0.3 <= named.probability <= 1


def test_it_stays_silent_where_neither_has_a_name() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    tag = stage()
    push(tag, SceneFrame(t_ns=0, seq=0, pixels=noise))
    (tags,) = push(tag, MomentStart(t_ns=0, reason="button"))
    assert tags.tags == ()


@pytest.mark.parametrize("wrong", [{"size_px": 300}, {"every_ms": 0.0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"tag\."):
        TagSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("look_change", "embedded"), [(0.05, [0, 3]), (0.0, [0, 1, 2, 3])])
def test_under_a_controller_a_region_is_embedded_anew_once_it_looks_different(
    look_change: float, embedded: list[int]
) -> None:
    settings = TagSettings(look_change=look_change)
    tag = TagStage(load("detector"), load("backbone"), settings, Carried())
    backbone, looked = tag._analysis._backbone, []
    view = backbone.view

    def counted(pixels: Pixels, region: Region) -> RegionView:
        looked.append(tag._frame.seq if tag._frame else -1)
        return view(pixels, region)

    backbone.view = counted  # type: ignore[method-assign,assignment]
    made: list[Tags] = []
    push(tag, attention(0, CAT), MomentStart(t_ns=0, reason="attention"))
    pictures = [scene(), scene(2), scene(3), scene()[::-1].copy()]
    for number, pixels in enumerate(pictures):
        t_ns = number * 100 * MS
        decision = ResolutionDecision(t_ns=t_ns, scale_px=320, reuse=False, why="test")
        made += push(tag, SceneFrame(t_ns=t_ns, seq=number, pixels=pixels), decision)
    assert looked == embedded
    kept = np.array_equal(made[0].embedding, made[1].embedding)
    assert kept == (1 not in embedded)
    assert [t.reused for t in made] == [False] * 4  # boxes and names are always new


def test_another_moment_begins_with_an_embedding_of_its_own() -> None:
    tag = TagStage(load("detector"), load("backbone"), TagSettings(), Carried())
    made = []
    for number in range(2):
        t_ns = number * 1000 * MS
        frame = SceneFrame(t_ns=t_ns, seq=number, pixels=scene(2 * number))
        push(tag, frame, attention(t_ns // MS, CAT))
        made += push(tag, MomentStart(t_ns=t_ns, reason="attention"))
        push(tag, MomentEnd(t_ns=t_ns + 1, reason="over"))
    assert not np.array_equal(made[0].embedding, made[1].embedding)


def test_thumbnails_tell_a_thing_from_its_like_and_from_flat_noise() -> None:
    one, moved, other = scene(), scene(1), scene()[::-1]
    shown = [thumbnail(picture, CAT, 0.1, 0.08) for picture in (one, moved, other)]
    assert unlike(shown[0], shown[0]) == 0
    assert unlike(shown[0], shown[1]) < 0.05 < 0.3 < unlike(shown[0], shown[2])
    rng = np.random.default_rng(0)
    walls = [np.clip(rng.normal(90, 3, (480, 640, 3)), 0, 255).astype(np.uint8) for _ in range(2)]
    flat = [thumbnail(wall, CAT, 0.1, 0.08) for wall in walls]
    assert unlike(*flat) < 0.05
