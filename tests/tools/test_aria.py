"""Project Aria recordings, made here in the maker's columns, and the real samples where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import InputError
from device.geometry import project
from device.sources.camera import AlwaysOn
from device.types import EyeFrame, Gaze, SceneFrame, Value
from tools.open_source import is_recording, open_source

ONE = "tracking_timestamp_us,yaw_rads_cpf,pitch_rads_cpf,depth_m"
TWO = "tracking_timestamp_us,left_yaw_rads_cpf,right_yaw_rads_cpf,pitch_rads_cpf,depth_m"


def gaze_file(folder: Path, name: str, *rows: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("\n".join(rows) + "\n")
    return path


def of(kind: type, values: list[Value]) -> list:
    return [v for v in values if isinstance(v, kind)]


@pytest.mark.parametrize("where", ["mps/eye_gaze", "mps_walk_vrs/eye_gaze", "eye_gaze", "."])
def test_gaze_of_the_central_pupil_frame(tmp_path: Path, where: str) -> None:
    rows = [ONE, "5000000,0.1,-0.2,1.5", "5100000,,,", "5200000,-0.3,0.0,"]
    gaze_file(tmp_path / where, "general_eye_gaze.csv", *rows)
    assert is_recording(tmp_path)
    source = open_source(tmp_path)
    assert source.header.source == "aria" and source.header.brings_gaze
    assert source.header.duration_ns == 200_000_000
    first, last = of(Gaze, list(source))  # the row without gaze was not seen
    assert (first.t_ns, last.t_ns) == (0, 200_000_000)
    assert first.azimuth_deg == pytest.approx(np.degrees(-0.1))  # yaw is positive to the left
    # pitch is the angle of y over z, elevation that of the line itself
    assert np.tan(np.radians(first.elevation_deg)) == pytest.approx(np.tan(-0.2) * np.cos(0.1))
    assert last.azimuth_deg == pytest.approx(np.degrees(0.3))


def test_a_yaw_for_each_eye_meets_in_the_middle(tmp_path: Path) -> None:
    """Eyes 63 mm apart look at a point 0.4 m ahead and 0.1 m to the right."""
    left, right = (np.arctan2(-0.1 - x, 0.4) for x in (0.0315, -0.0315))
    gaze_file(tmp_path, "general_eye_gaze.csv", TWO, f"1000,{left},{right},0.0,0.4")
    (gaze,) = of(Gaze, list(open_source(tmp_path)))
    assert gaze.azimuth_deg == pytest.approx(np.degrees(np.arctan2(0.1, 0.4)))


def test_personalized_gaze_is_preferred(tmp_path: Path) -> None:
    gaze_file(tmp_path / "mps/eye_gaze", "general_eye_gaze.csv", ONE, "1000,0.5,0,")
    gaze_file(tmp_path / "mps/eye_gaze", "personalized_eye_gaze.csv", ONE, "1000,0.25,0,")
    (gaze,) = of(Gaze, list(open_source(tmp_path)))
    assert gaze.azimuth_deg == pytest.approx(np.degrees(-0.25))


def framed(folder: Path) -> Path:
    """A first-generation recording: turned square frames, one image of both eyes, projected gaze."""
    frames = folder / "frames"
    frames.mkdir(parents=True)
    scene = np.zeros((1408, 1408, 3), np.uint8)
    scene[:, :100] = 255  # the sensor's left columns are the top of the view
    eyes = np.zeros((240, 640, 3), np.uint8)
    eyes[:, 320:] = 200
    cv2.imwrite(str(frames / "rgb_00.png"), scene)
    cv2.imwrite(str(frames / "eyes_00.png"), eyes)
    gaze_file(folder / "mps/eye_gaze", "general_eye_gaze.csv", ONE, "2000000,0,0,", "2100000,0,0,")
    gaze_file(
        folder,
        "frames.csv",
        "stream,index,device_time_ns,file,width,height,gaze_x,gaze_y,gaze_dt_ms",
        "rgb,0,2000000000,frames/rgb_00.png,1408,1408,640.0,680.0,0.0",
        f"eyes,0,2000000000,{folder.name}/frames/eyes_00.png,640,240,,,",
        "slam_left,0,2000000000,frames/none.png,640,480,,,",
    )
    return folder


def test_frames_upright_with_gaze_where_the_maker_projects_it(tmp_path: Path) -> None:
    source = open_source(framed(tmp_path / "walk"))
    source.camera = AlwaysOn()
    values = list(source)
    (scene,) = of(SceneFrame, values)
    assert scene.pixels[:100].min() > 250 and scene.pixels[200:].max() < 5
    eyes = {v.eye: v.pixels for v in of(EyeFrame, values)}
    assert eyes["left"].shape == (240, 320) and eyes["left"].max() == 0
    assert eyes["right"].min() == 200
    geometry = source.header.scene
    assert geometry is not None
    x, y = project(geometry, 0.0, 0.0)
    assert (float(x), float(y)) == pytest.approx((1407 - 680.0, 640.0))


def test_a_sleeping_camera_shows_nothing_and_a_damaged_image_is_left_out(tmp_path: Path) -> None:
    folder = framed(tmp_path / "walk")
    (folder / "frames" / "rgb_01.png").write_bytes(b"cut")
    with (folder / "frames.csv").open("a") as table:
        table.write("rgb,1,2050000000,frames/rgb_01.png,1408,1408,,,\n")
    source = open_source(folder)
    assert not of(SceneFrame, list(source))
    source.camera = AlwaysOn()
    values = list(source)
    assert [v.seq for v in of(SceneFrame, values)] == [0]
    assert len(of(Gaze, values)) == 2


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "frames" / "eyes_00.png").unlink(), "is not there"),
        (
            lambda f: (f / "frames.csv").write_text(
                "stream,index,device_time_ns,file\nrgb,0,1,../../secret.png\n"
            ),
            "leads out of the recording",
        ),
        (
            lambda f: (f / "frames.csv").write_text(
                "stream,index,device_time_ns,file\neyes,0,1,frames/eyes_00.png\n"
            ),
            "no frame of stream 'rgb'",
        ),
        (lambda f: (f / "frames" / "rgb_00.png").write_bytes(b"no image"), "not a readable image"),
        (
            lambda f: gaze_file(f / "mps/eye_gaze", "general_eye_gaze.csv", ONE, "1,,,"),
            "holds no gaze",
        ),
        (
            lambda f: gaze_file(f / "mps/eye_gaze", "general_eye_gaze.csv", ONE, "1,left,0,"),
            "column 'yaw_rads_cpf': 'left' is not a number",
        ),
    ],
)
def test_damaged_recordings_say_where(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    folder = framed(tmp_path / "walk")
    spoil(folder)
    with pytest.raises(InputError, match=said):
        open_source(folder)


def test_a_vrs_alone_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "walk.vrs").write_bytes(b"VisionRe")
    with pytest.raises(InputError, match="put the MPS output"):
        open_source(tmp_path / "walk.vrs")
    gaze_file(tmp_path / "mps_walk_vrs/eye_gaze", "general_eye_gaze.csv", ONE, "1000,0.1,0,")
    assert of(Gaze, list(open_source(tmp_path / "walk.vrs")))


@pytest.mark.parametrize(("name", "gaze", "scene", "eyes"), [("aea", 4, 8, 8), ("adt", 6, 3, 6)])
def test_real_samples(
    dataset: Callable[[str], Path], name: str, gaze: int, scene: int, eyes: int
) -> None:
    source = open_source(dataset("rec_aria_samples") / name)
    source.camera = AlwaysOn()
    values = list(source)
    counts = [len(of(kind, values)) for kind in (Gaze, SceneFrame, EyeFrame)]
    assert counts == [gaze, scene, eyes]
    assert [v.t_ns for v in values] == sorted(v.t_ns for v in values)


def test_the_real_projection_is_met(dataset: Callable[[str], Path]) -> None:
    """Where the maker's calibration puts gaze in the frame, to 5 pixels of 1408, up to 21 degrees aside."""
    source = open_source(dataset("rec_aria_samples") / "aea")
    assert source.header.scene is not None
    gaze = of(Gaze, list(source))
    x, y = project(
        source.header.scene, [g.azimuth_deg for g in gaze], [g.elevation_deg for g in gaze]
    )
    theirs = np.array([[713.6, 444.5], [731.5, 550.7], [730.8, 619.3], [736.9, 675.5]])
    np.testing.assert_allclose(np.c_[x, y], np.c_[1407 - theirs[:, 1], theirs[:, 0]], atol=5)
