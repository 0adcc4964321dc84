"""Recordings of other makers, made here in their own formats, and the real ones where they are."""

from __future__ import annotations

import errno
import json
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_recordings import MS, START_NS, film, mapping, mapping_rows, neon, tobii

from device.errors import InputError
from device.geometry import from_frame, project
from device.pipeline import Source, run
from device.sources.camera import AlwaysOn, SceneCamera
from device.types import (
    DeviceEvent,
    EyeFrame,
    Gap,
    Gaze,
    ImuSample,
    SceneFrame,
    ScenePacket,
    Value,
)
from tools.importers.film import FilmReader, grey, open_film
from tools.open_source import open_source


def replayed(source: Source) -> list[Value]:
    """Everything with the camera on; times must never run backwards within the session."""
    source.camera = AlwaysOn()
    values = list(source)
    assert [v.t_ns for v in values] == sorted(v.t_ns for v in values)
    assert values[0].t_ns >= 0
    return values


def of(kind: type, values: list[Value]) -> list:
    return [v for v in values if isinstance(v, kind)]


# --- videos --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.mp4", "libx264")])
def test_any_frame_of_a_film_in_any_order(tmp_path: Path, name: str, codec: str) -> None:
    opened = open_film(film(tmp_path / name, 25, codec=codec))
    assert len(opened) == 25
    assert opened.times_ns().tolist() == [i * 40 * MS for i in range(25)]
    assert opened.packets_pass == (codec == "libx264")
    reader = FilmReader(opened)
    seen = {}
    for number in (0, 1, 2, 9, 20, 21, 3, 24):
        frame = reader.frame(number)
        assert frame is not None
        seen[number] = int(np.median(grey(frame)))
    assert sorted(seen, key=lambda n: seen[n]) == sorted(seen)
    assert seen[24] - seen[0] > 180


def test_films_that_cannot_be_read(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", 10, codec="libx264").read_bytes()
    for content, said in (
        (b"", "is empty"),
        (b"not a video at all" * 20, "not a readable video"),
        (whole[: len(whole) // 2], "not a readable video"),
    ):
        path = tmp_path / "bad.mp4"
        path.write_bytes(content)
        with pytest.raises(InputError, match=said) as caught:
            open_film(path)
        assert str(path) in str(caught.value)


# --- a video with a gaze table -------------------------------------------------------------------


def test_video_with_a_gaze_table(tmp_path: Path) -> None:
    source = open_source(mapping(tmp_path / "museum", mapping_rows()))
    values = replayed(source)
    gaze, frames = of(Gaze, values), of(SceneFrame, values)
    assert (len(gaze), len(frames)) == (50, 25)
    assert source.header.brings_gaze
    assert not source.header.brings_packets
    assert "field of view of 80 deg" in source.header.notes[0]
    assert source.header.scene is not None
    azimuth_deg, elevation_deg = from_frame(source.header.scene, 0.25, 0.25)
    assert gaze[0].azimuth_deg == pytest.approx(float(azimuth_deg))
    assert gaze[0].azimuth_deg < 0 < gaze[0].elevation_deg == pytest.approx(float(elevation_deg))
    for frame in frames:  # the frame that a row is counted to is the one on show
        row = next(g for g in gaze if g.t_ns >= frame.t_ns - 2 * MS)
        assert abs(round((row.t_ns - gaze[0].t_ns) / 40e6) - frame.seq) <= 1


def test_the_scene_sleeps_unless_asked_for(tmp_path: Path) -> None:
    source = open_source(mapping(tmp_path / "museum", mapping_rows()))
    assert not of(SceneFrame, list(source))

    class Window(SceneCamera):
        def awake(self, t_ns: int) -> bool:
            return 400 * MS <= t_ns < 600 * MS

    source.camera = Window()
    frames = of(SceneFrame, list(source))
    assert len(frames) == 5
    assert all(abs(int(np.median(f.pixels)) - 10 * f.seq) < 12 for f in frames)


def test_rows_without_gaze_are_not_seen(tmp_path: Path) -> None:
    rows = mapping_rows(100)
    for i in range(20, 50):
        rows[i] = f"{1000 + 20 * i}\t{i // 2}\t0\tnan\tnan"
    source = open_source(mapping(tmp_path / "m", rows, frames=50))
    report = run(source, [], [])
    assert report.counts["Gaze"] == 70
    assert [g.duration_ns for g in report.gaps] == [620 * MS]
    assert report.seen_ns + report.gap_ns == report.session_ns


def test_single_late_rows_are_counted_and_dropped(tmp_path: Path) -> None:
    rows = mapping_rows()
    rows[10], rows[11] = rows[11], rows[10]
    report = run(open_source(mapping(tmp_path / "m", rows)), [], [])
    assert report.late["Gaze"] == 1
    assert report.counts["Gaze"] == 49


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no rows"),
        (
            [row.replace("0.25", "nan").replace("\t0.", "\tnan") for row in mapping_rows(0)],
            "no rows",
        ),
        ([f"{20 * i}\t{i // 2}\t0\tnan\tnan" for i in range(9)], "only NaN"),
        (mapping_rows()[::-1], "times run backwards"),
        (["1000\t0\t0.9\tleft\t0.5"], "row 2, column 'norm_pos_x': 'left' is not a number"),
        (["\t0\t0.9\t0.5\t0.5"], "row 2 has no time"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, rows: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        open_source(mapping(tmp_path / "m", rows))
    assert "gazeData_world.tsv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_neon_style_csv(tmp_path: Path) -> None:
    head = "section id,recording id,timestamp [ns],gaze x [px],gaze y [px],worn,azimuth [deg],elevation [deg]"
    rows = [
        f"a,b,{START_NS + 5 * MS * i},800.0,600.0,{1.0 if i < 150 else 0.0},{0.1 * i},-2.5"
        for i in range(200)
    ]
    (tmp_path / "gaze.csv").write_text("\n".join([head, *rows]))
    camera = {"camera_matrix": [[890, 0, 810], [0, 890, 600], [0, 0, 1]], "dist_coefs": [0.0] * 8}
    (tmp_path / "scene_camera.json").write_text(json.dumps(camera))
    head = (
        "recording id,timestamp [ns],gyro x [deg/s],gyro y [deg/s],gyro z [deg/s],"
        "acceleration x [g],acceleration y [g],acceleration z [g]"
    )
    rows = [f"b,{START_NS + 9 * MS * i},1,2,3,0.0,0.1,1.0" for i in range(100)]
    (tmp_path / "imu.csv").write_text("\n".join([head, *rows]))
    source = open_source(tmp_path)
    values = replayed(source)
    gaze = of(Gaze, values)
    assert [g.t_ns for g in gaze[:3]] == [0, 5 * MS, 10 * MS]  # exact: no float on the way
    assert gaze[10].azimuth_deg == pytest.approx(1.0)
    assert [(e.t_ns, e.value) for e in of(DeviceEvent, values)] == [(0, True), (750 * MS, False)]
    imu = of(ImuSample, values)[0]
    assert imu.gyro_deg_s == (1.0, -3.0, 2.0)
    assert imu.accel_m_s2 == pytest.approx((0.0, -9.80665, 0.980665))
    assert source.header.start_utc.startswith("2023-11-14T22:13:20")
    assert source.header.scene is not None
    assert source.header.scene.width_px == 1600


def test_pupil_core_export_has_its_origin_below(tmp_path: Path) -> None:
    head = "gaze_timestamp,world_index,confidence,norm_pos_x,norm_pos_y"
    rows = [f"{329.5 + 0.005 * i},{i // 6},0.9,0.5,0.9" for i in range(100)]
    (tmp_path / "gaze_positions.csv").write_text("\n".join([head, *rows]))
    gaze = of(Gaze, replayed(open_source(tmp_path)))
    assert gaze[0].elevation_deg > 5
    assert gaze[1].t_ns == pytest.approx(5 * MS, abs=1000)


# --- Neon ----------------------------------------------------------------------------------------


def test_neon_all_parts_on_one_clock(tmp_path: Path) -> None:
    source = open_source(neon(tmp_path / "rec"))
    values = replayed(source)
    counts = Counter(type(v).__name__ for v in values)
    assert counts == {
        "Gaze": 400,
        "EyeFrame": 50,
        "SceneFrame": 25,
        "ScenePacket": 25,
        "ImuSample": 3,
        "DeviceEvent": 1,
        "Gap": 1,
    }
    gaze = of(Gaze, values)
    assert (gaze[0].t_ns, gaze[200].t_ns) == (500 * MS, 2000 * MS)
    assert source.header.scene is not None
    x_px, y_px = project(source.header.scene, gaze[50].azimuth_deg, gaze[50].elevation_deg)
    assert (float(x_px), float(y_px)) == pytest.approx((850, 400), abs=0.01)
    assert gaze[0].pupil_mm == pytest.approx(3.5)
    imu = of(ImuSample, values)[0]
    assert imu.gyro_deg_s == pytest.approx((7.0, -2.0, 0.0))
    assert imu.accel_m_s2 == pytest.approx((0.0, -9.80665, 4.903325))
    assert [g.cause for g in of(Gap, values)] == [
        "Neon Scene Camera v1 ps2.mp4 is not in the recording"
    ]
    assert of(ScenePacket, values)[0].keyframe
    assert {f.pixels.shape for f in of(EyeFrame, values)} == {(48, 48)}
    assert source.header.duration_ns == 4_000 * MS
    report = run(open_source(tmp_path / "rec"), [], [])
    assert report.session_ns == 4_000 * MS
    assert report.seen_ns + report.gap_ns == report.session_ns


def test_neon_gaze_is_left_out_when_the_eyes_shall_be_mapped(tmp_path: Path) -> None:
    from dataclasses import replace

    source = open_source(neon(tmp_path / "rec"))
    source.header = replace(source.header, brings_gaze=False)
    assert Counter(type(v).__name__ for v in source)["Gaze"] == 0


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("calibration.bin", None, "needs the scene camera"),
        ("calibration.bin", b"\x01123456", "803 are needed"),
        ("calibration.bin", bytes(803), "no plausible scene camera"),
        ("info.json", b"{}", "no Neon recording's info"),
        ("info.json", b"\xff\xfe", "no Neon recording's info"),
        ("gaze ps1.raw", b"", "is empty and has 200 stamps"),
        ("Neon Scene Camera v1 ps1.mp4", b"", "is empty"),
        ("Neon Sensor Module v1 ps1.mp4", b"\0" * 999, "not a readable video"),
    ],
)
def test_damaged_neon(tmp_path: Path, file: str, content: bytes | None, said: str) -> None:
    folder = neon(tmp_path / "rec")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        open_source(folder)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


def test_neon_with_only_nan(tmp_path: Path) -> None:
    folder = neon(tmp_path / "rec")
    for part in (1, 2):
        np.full((200, 2), np.nan, "<f4").tofile(folder / f"gaze ps{part}.raw")
    with pytest.raises(InputError, match="only NaN"):
        open_source(folder)


# --- Tobii Pro Glasses 2 -------------------------------------------------------------------------


def test_tobii_glasses2(tmp_path: Path) -> None:
    source = open_source(tobii(tmp_path / "rec"))
    values = replayed(source)
    gaze, eyes = of(Gaze, values), of(EyeFrame, values)
    assert len(gaze) == 80
    assert gaze[0].pupil_mm == pytest.approx(3.2)
    assert gaze[0].azimuth_deg == pytest.approx(np.degrees(np.arctan(-0.2)), abs=0.05)
    assert gaze[0].elevation_deg < 0 < gaze[-1].elevation_deg
    assert Counter((f.eye, f.camera) for f in eyes) == {
        (eye, camera): 25 for eye in ("left", "right") for camera in (0, 1)
    }
    assert {f.pixels.shape for f in eyes} == {(24, 24)}
    assert [f.t_ns for f in eyes[:5]] == [100 * MS] * 4 + [140 * MS]
    assert of(SceneFrame, values)[0].t_ns == 200 * MS
    assert source.header.start_utc == "2023-05-26T08:32:56+00:00"
    assert any("fitted" in note for note in source.header.notes)
    assert of(ImuSample, values)[0].accel_m_s2 == (0.1, -9.8, 0.2)


def test_tobii_table_that_was_cut(tmp_path: Path) -> None:
    path = tobii(tmp_path / "rec") / "segments" / "1" / "livedata.json.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    source = open_source(tmp_path / "rec")
    assert 10 < len(of(Gaze, replayed(source))) < 80
    assert any("damaged" in note for note in source.header.notes)
    for content in (b"", b"plain text", zlib.compress(b"{}")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"livedata\.json\.gz"):
            open_source(tmp_path / "rec")


# --- Pupil Core ----------------------------------------------------------------------------------


def test_pupil_core_with_stamps_and_gaze(tmp_path: Path) -> None:
    msgpack = pytest.importorskip("msgpack")
    film(tmp_path / "eye0.mp4", 25)
    film(tmp_path / "eye1.mp4", 25)
    film(tmp_path / "world.mp4", 20)
    np.save(tmp_path / "eye0_timestamps.npy", 100.0 + 0.008 * np.arange(25))
    np.save(tmp_path / "eye1_timestamps.npy", 100.004 + 0.008 * np.arange(25))
    np.save(tmp_path / "world_timestamps.npy", 99.99 + 0.033 * np.arange(20))
    with (tmp_path / "gaze.pldata").open("wb") as file:
        for i in range(30):
            datum = {"timestamp": 100 + 0.005 * i, "norm_pos": [0.25, 0.75], "confidence": 0.8}
            file.write(msgpack.packb(("gaze.3d.01.", msgpack.packb(datum))))
    info = {"start_time_system_s": 1.7e9, "start_time_synced_s": 90.0, "recording_uuid": "u-1"}
    (tmp_path / "info.player.json").write_text(json.dumps(info))
    camera = {"camera_matrix": [[60, 0, 32], [0, 60, 24], [0, 0, 1]], "dist_coefs": [[0.0] * 5]}
    packed = msgpack.packb({"version": 1, "(64, 48)": {**camera, "resolution": [64, 48]}})
    (tmp_path / "world.intrinsics").write_bytes(packed)
    source = open_source(tmp_path)
    values = replayed(source)
    assert Counter(f.eye for f in of(EyeFrame, values)) == {"left": 25, "right": 25}
    assert next(f.t_ns for f in of(EyeFrame, values)) == pytest.approx(10 * MS, abs=1000)
    gaze = of(Gaze, values)
    assert len(gaze) == 30
    assert gaze[0].azimuth_deg < 0 < gaze[0].elevation_deg
    assert source.header.scene is not None
    assert source.header.scene.camera_matrix[0, 0] == 60
    assert source.header.start_utc.startswith("2023-11-14T22:13:29.99")
    (tmp_path / "eye0_timestamps.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match="eye0_timestamps"):
        open_source(tmp_path)


def test_pupil_core_without_stamps_says_what_it_assumes(tmp_path: Path) -> None:
    film(tmp_path / "eye0.avi", 25)
    film(tmp_path / "world.mp4", 10)
    source = open_source(tmp_path)
    values = replayed(source)
    assert "no time stamps: 25 Hz" in source.header.notes[0]
    assert not source.header.brings_gaze
    assert of(SceneFrame, values)[-1].t_ns == 900 * MS


# --- which kind is it ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nothing", "notes.txt", "empty", "text", "picture.mp4"])
def test_what_is_no_recording(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.csv").write_text("name,value\nx,1\n")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "picture.mp4").write_bytes(b"\x89PNG")
    with pytest.raises(InputError) as caught:
        open_source(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_recordings_says_which_there_are(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        film(tmp_path / name / "eye0.avi", 5)
    with pytest.raises(InputError, match=r"name one of them \(first, second\)"):
        open_source(tmp_path)


def test_a_folder_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal is made here, because the tests may run as a user who may read everything."""

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("tools.open_source.os.scandir", refuse)
    with pytest.raises(InputError, match=r"cannot be read .Permission denied") as caught:
        open_source(tmp_path)
    assert str(tmp_path) in str(caught.value)


# --- real recordings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "counts"),
    [
        ("rec_neon_pupillabs", "neon", {"Gaze": 2659, "EyeFrame": 3272, "SceneFrame": 144}),
        ("scene_gaze_mobilegazemapping", "mobile_gaze_mapping", {"Gaze": 100, "SceneFrame": 50}),
        ("gaze_lund2013_dev", "lund2013", {"Gaze": 4025, "SceneFrame": 202}),
        ("gaze_tables/tobii_glasses2", "tobii_glasses2", {"Gaze": 960, "ImuSample": 1783}),
        ("gaze_tables/pupil_core", "pupil_core_export", {"Gaze": 2054}),
        ("gaze_tables/pupil_invisible", "neon_csv", {"Gaze": 3385, "ImuSample": 3201}),
        ("rec_pupilcore_vedb_capture", "pupil_core", {"EyeFrame": 400}),
    ],
)
def test_real_recordings(
    dataset: Callable[[str], Path], name: str, kind: str, counts: dict[str, int]
) -> None:
    folder = dataset(name.split("/")[0]) / Path(name).relative_to(name.split("/")[0])
    source = open_source(folder)
    if kind != "pupil_core":  # decoding 2048 x 1536 is slow and tells nothing more
        source.camera = AlwaysOn()
    assert source.header.source == kind
    values = list(source)
    got = Counter(type(v).__name__ for v in values)
    assert {k: got[k] for k in counts} == counts
    if source.header.brings_gaze and source.header.scene is not None:
        gaze = of(Gaze, values)
        x_px, _ = project(
            source.header.scene, [g.azimuth_deg for g in gaze], [g.elevation_deg for g in gaze]
        )
        inside = (x_px > 0) & (x_px < source.header.scene.width_px)
        assert inside.mean() > 0.9


def test_the_real_neon_gaze_agrees_with_its_eyes(dataset: Callable[[str], Path]) -> None:
    """The left half is the left eye: at the nose, so its nasal (left) side is bright skin in the image,
    and the outer side opens to the dark room."""
    source = open_source(dataset("rec_neon_pupillabs"))
    sides = {"left": [], "right": []}
    for value in source:
        if isinstance(value, EyeFrame) and value.seq % 50 == 0:
            half = value.pixels.shape[1] // 2
            sides[value.eye].append(
                float(value.pixels[:, :half].mean()) - float(value.pixels[:, half:].mean())
            )
    assert np.mean(sides["left"]) > 0 > np.mean(sides["right"])
