"""`beheld bench pupil`: what it reads, what it counts, what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from device.errors import InputError
from tools.bench.eye_folders import LabelledEye, blink_intervals, read_eyes
from tools.bench.pupil import (
    Answer,
    blinks_found,
    confidence_bins,
    iou,
    measure,
    score,
    undisputed,
)
from tools.cli import main


def picture(x: float, y: float, radius: float, size: int = 128) -> np.ndarray:
    at_y, at_x = np.mgrid[:size, :size]
    far = np.hypot(at_x - x, at_y - y)
    image = np.where(far < 2.5 * radius, 95.0, 160.0)
    image[far < radius] = 25
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.0) + noise, 0, 255).astype(np.uint8)


def disc(x: float, y: float, radius: float, size: int = 128) -> np.ndarray:
    at_y, at_x = np.mgrid[:size, :size]
    return (np.hypot(at_x - x, at_y - y) < radius).astype(np.uint8)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three open eyes and one closed, in MEYE's layout."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    rows = ["image,mask,subject,eye_visible,blink,mask_pixels"]
    for number, (x, y, radius) in enumerate([(60, 66, 10), (70, 60, 9), (64, 64, 11), (0, 0, 0)]):
        closed = radius == 0
        image = np.full((128, 128), 150, np.uint8) if closed else picture(x, y, radius)
        mask = np.zeros((128, 128), np.uint8) if closed else disc(x, y, radius) * 255
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image)
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), mask)
        rows.append(
            f"{number}.png,{number}.png,s{number % 2},1,{int(closed)},{int(mask.sum() / 255)}"
        )
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode(None))


def answer(x: float = 0, y: float = 0, size: float = 10, reported: bool = True) -> Answer:
    return Answer(
        x_px=x, y_px=y, axes_px=(size, size), angle_deg=0, reported=reported, closed=not reported
    )


def test_table_is_read(table):
    eyes = list(read_eyes(table))
    assert [e.blink for e in eyes] == [False, False, False, True]
    assert [e.pupil for e in eyes] == [True, True, True, False]
    assert eyes[0].centre_px == pytest.approx((60, 66), abs=0.01)
    assert eyes[3].centre_px is None and eyes[3].mask is not None


def test_bench_on_a_table(table, capsys):
    import tools.bench.pupil as bench

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["beheld", "bench", "pupil", "--data", str(table), "--json"])
        patch.setattr(bench, "PACE_HZ", 1000.0)
        main()
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    keys = {
        "n",
        "median_px",
        "within_5px",
        "iou_mean",
        "false_pupil_closed",
        "blink_f1",
        "ms_paced",
    }
    assert keys <= result.keys() and "peer" in result
    assert result["n"] == 4 and result["n_open"] == 3 and result["n_closed"] == 1
    assert result["within_5px"] == 1.0 and result["iou_mean"] > 0.6
    assert result["false_pupil_closed"] == 0.0
    assert result["ms_paced"] > 0


def test_score_counts_a_miss_as_a_failure():
    seen = LabelledEye(
        pixels=np.zeros((9, 9), np.uint8),
        part="a",
        centre_px=(4, 4),
        mask=disc(4, 4, 3, 9),
        pupil=True,
        blink=False,
    )
    closed = LabelledEye(pixels=np.zeros((9, 9), np.uint8), part="a", pupil=False, blink=True)
    eyes = [seen, seen, seen, closed, closed]
    said = [
        answer(4, 5),
        answer(4, 4, reported=False),
        answer(4, 12),
        answer(reported=True),
        answer(reported=False),
    ]
    figures = score(eyes, said)
    assert figures["within_5px"] == pytest.approx(1 / 3)
    assert figures["median_px"] == pytest.approx(4.5)
    assert figures["false_pupil_closed"] == 0.5
    assert figures["size_over_label"] == pytest.approx(10 / 6, rel=0.1)
    # closed said: the second open one (wrong) and the last (right); labelled: two
    assert figures["blink_f1"] == pytest.approx(2 * 1 / (2 + 2))


def test_iou_of_the_same_disc_is_one():
    assert iou(answer(4, 4, 6), disc(4, 4, 3, 9)) > 0.85
    assert iou(answer(4, 4, 6), np.zeros((9, 9), np.uint8)) == 0.0


def test_rotated_video_with_ellipses(tmp_path):
    """The label of a `rotated` video is turned by 180 degrees; zeros are frames without a pupil."""
    write_video(tmp_path / "eye0_video_rotated.mp4", [picture(50, 40, 10, 192)] * 2)
    (tmp_path / "eye0_pupildata.csv").write_text(
        "frame,timestamp_video,timestamp_pupildata,x,y,a,b,p\n1, 0, 0, 141, 151, 20, 20, 0\n"
        "2, 0, 0, 0, 0, 0, 0, 0\n"
    )
    eyes = list(read_eyes(tmp_path))
    assert eyes[0].centre_px == pytest.approx((50, 40)) and eyes[0].pupil
    assert eyes[1].pupil is False and eyes[1].centre_px is None


def test_video_with_blinks(tmp_path):
    write_video(tmp_path / "eye.mp4", [picture(50, 40, 10, 192)] * 12)
    (tmp_path / "blinks.csv").write_text("blink,first_frame,last_frame\n1,3,6\n")
    eyes = list(read_eyes(tmp_path))
    assert [e.blink for e in eyes] == [3 <= n <= 6 for n in range(12)]
    said = [answer(reported=n not in (4, 5, 10)) for n in range(12)]
    found = blinks_found(eyes, said, blink_intervals(tmp_path), join_frames=1)
    assert found["eye.mp4"] == {"labelled": 1, "found": 1, "extra": 1, "runs": [[4, 5], [10, 10]]}


def test_pictures_without_labels(tmp_path):
    cv2.imwrite(str(tmp_path / "eye.png"), picture(64, 64, 10))
    result = measure(tmp_path, Path("device/weights/eye.onnx").resolve(), paced_s=0.1)
    assert result["n"] == 1 and result["within_5px"] is None and result["reported"] in (0.0, 1.0)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "images" / "1.png").unlink(), "1.png"),
        (lambda folder: (folder / "masks" / "1.png").write_bytes(b"no"), "mask"),
        (lambda folder: (folder / "labels.csv").write_text("a,b\n1,2\n"), "no column image"),
        (lambda folder: (folder / "labels.csv").write_text("image,blink\n"), "no rows"),
    ],
)
def test_bad_tables_are_refused(table, spoil, says):
    spoil(table)
    with pytest.raises(InputError, match=says):
        list(read_eyes(table))


def test_empty_and_absent_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="neither images nor videos"):
        list(read_eyes(tmp_path))
    with pytest.raises(InputError, match="not a folder"):
        list(read_eyes(tmp_path / "absent"))


def test_damaged_video_is_refused(tmp_path):
    (tmp_path / "eye.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match=r"eye\.mp4"):
        list(read_eyes(tmp_path))


def test_a_blink_label_is_disputed_by_the_witness_alone():
    blank = np.zeros((9, 9), np.uint8)
    shut = LabelledEye(pixels=blank, part="a", pupil=False, blink=True)
    opened = LabelledEye(pixels=blank, part="b", centre_px=(4, 4), pupil=True, blink=False)
    eyes = [shut, shut, shut, opened]
    # One false pupil that the witness shares, one that is ours alone, one blink that is seen.
    ours = [answer(), answer(), answer(reported=False), answer(4, 4)]
    theirs = [answer(), answer(reported=False), answer(reported=False), answer(reported=False)]
    assert score(eyes, ours)["false_pupil_closed"] == pytest.approx(2 / 3)
    found = undisputed(eyes, ours, theirs)
    assert found["disputed"] == 1 and found["n_closed"] == 2
    assert found["false_pupil_closed"] == 0.5
    assert found["blink_f1"] == pytest.approx(2 * 1 / (1 + 2))
    assert found["by_part"]["b"]["n_closed"] == 0
    assert undisputed([opened], [answer()], [answer()]) is None


def test_bins_of_confidence_show_the_error_of_each():
    blank = np.zeros((9, 9), np.uint8)
    opened = LabelledEye(pixels=blank, part="a", centre_px=(4, 4), pupil=True, blink=False)
    shut = LabelledEye(pixels=blank, part="a", pupil=False, blink=True)
    said = [replace(answer(4 + n, 4), confidence=1 - n / 40) for n in range(20)]
    rows = confidence_bins([opened] * 20 + [shut], [*said, answer()])
    assert [r["n"] for r in rows] == [2] * 10
    assert rows[0]["confidence"] == pytest.approx(1 - 18.5 / 40)
    assert rows[0]["median_px"] == pytest.approx(18.5) and rows[0]["within_5px"] == 0.0
    assert rows[-1]["median_px"] == pytest.approx(0.5) and rows[-1]["within_5px"] == 1.0
    assert confidence_bins([shut], [answer()]) == []
