"""`beheld emulate`: see the virtual wearer, what it sees, where it truly looks, and its eyes; or run the
emulated glasses (`--serial`)."""

from __future__ import annotations

import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
import click
import cv2
import numpy as np
from click.core import ParameterSource

from device.emulator import Emulator, EmulatorSettings
from device.emulator.eye import EyeState, render_eye
from device.emulator.eye_looks import make_appearance
from device.emulator.settings import Scenario
from device.emulator.switches import BoardSettings
from device.errors import ConfigError, StorageError
from device.geometry import in_frame
from device.sources.camera import AlwaysOn
from device.types import Eye, EyeFrame, Pixels, SceneFrame
from tools.output import emit, json_option, progress

INSET_PX = 160
TRUE_GAZE, ATTENDED, GREY = (40, 40, 240), (60, 200, 60), (200, 200, 200)
"""Colours of the overlay, BGR."""


@click.command()
@click.option("--duration-s", default=60.0, show_default=True, help="Length of the session.")
@click.option("--seed", default=1, show_default=True, help="Which wearer, place and day.")
@click.option(
    "--scenario", default="demo", show_default=True, type=click.Choice(get_args(Scenario))
)
@click.option("--out", type=click.Path(path_type=Path), help="Write a video of it (MP4).")
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write contact sheets of the scene and of eyes into this folder.",
)
@click.option("--measure", is_flag=True, help="Also say the CPU time of a frame drawn.")
@click.option(
    "--serial",
    is_flag=True,
    help="Run the emulated glasses in real time: the C reference behind a serial port (an hour, unless "
    "--duration-s says otherwise). First line: where the port is. Orders (unplug 2, button, privacy on, "
    "...) come on stdin or over the control socket.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --serial: where port, cameras and control appear; made if it is not there. [default: a new "
    "temporary folder]",
)
@click.option(
    "--eye-px",
    default=96,
    show_default=True,
    type=click.IntRange(32, 320),
    help="With --serial: side of the eye images on the line.",
)
@click.option(
    "--baud", type=click.IntRange(min=9600), help="With --serial: no faster than this line."
)
@click.option(
    "--noise",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="With --serial: share of the line's bytes that is spoilt.",
)
@click.option(
    "--drift-ppm",
    default=0.0,
    show_default=True,
    help="With --serial: how much too fast the board's clock runs.",
)
@click.option(
    "--battery",
    "charge",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="With --serial: charge at the start.",
)
@click.option("--battery-mwh", type=float, help="With --serial: capacity. [default: energy table]")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="'SECOND ORDER'",
    help="With --serial: an order at that second, such as '30 unplug 2'. May be given often.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    duration_s: float,
    seed: int,
    scenario: str,
    out: Path | None,
    sheet: Path | None,
    measure: bool,
    serial: bool,
    folder: Path | None,
    eye_px: int,
    baud: int | None,
    noise: float,
    drift_ppm: float,
    charge: float,
    battery_mwh: float | None,
    faults: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a session of the virtual wearer; look at it with --out or --sheet.

    The red circle is the true gaze, the green box the thing that is truly attended to.

    With --serial the wearer lives in real time behind emulated glasses: their microcontroller is the C
    reference itself (needs gcc, make and nanopb), their cameras a Unix socket. docs/emulator.md tells all.
    """
    if serial:
        from tools import emulate_board  # here: the rest needs no compiler and no terminal

        if context.get_parameter_source("duration_s") is ParameterSource.DEFAULT:
            duration_s = emulate_board.SESSION_S
    try:
        settings = EmulatorSettings(seed=seed, duration_s=duration_s, scenario=scenario)
    except ValueError as error:
        raise ConfigError(f"emulate: {error}") from error
    if serial:
        board = BoardSettings(
            eye_px=eye_px,
            baud=baud,
            noise=noise,
            drift_ppm=drift_ppm,
            charge=charge,
            battery_mwh=battery_mwh,
            seed=seed,
        )
        emulate_board.run(settings, board, folder, faults, as_json=as_json)
        return
    emulator = Emulator(settings, AlwaysOn())
    try:
        if out is not None:
            part = out.with_name(f"{out.stem}.part{out.suffix}")
            try:
                write_video(emulator, part)
                part.replace(out)
            finally:
                part.unlink(missing_ok=True)
        if sheet is not None:
            sheet.mkdir(parents=True, exist_ok=True)
            _save(sheet / "scene.jpg", scene_sheet(emulator))
            _save(sheet / "eyes.jpg", eye_sheet(settings))
    except OSError as error:  # av's errors are OSErrors too
        raise StorageError(f"{out or sheet}: cannot be written ({error.strerror})") from error
    result = summary(emulator)
    if measure:
        result["cpu_ms"] = cpu_ms(emulator)
    emit(result, as_json=as_json, title=f"virtual wearer {seed}")


def summary(emulator: Emulator) -> dict[str, object]:
    """What happens in the session, from its truth alone."""
    truth, minutes = emulator.truth, emulator.settings.duration_s / 60
    attended = [interval.name for interval in truth.attended]
    every = np.arange(0, truth.duration_ns, 100_000_000)
    shares = Counter(truth.activity(every))
    return {
        "session_id": emulator.header.session_id,
        "session_s": emulator.settings.duration_s,
        "attended": len(attended),
        "attended_s": sum(a.end_ns - a.start_ns for a in truth.attended) / 1e9,
        "things": dict(Counter(attended)),
        "blinks_per_min": len(truth.blinks) / minutes,
        "saccades_per_s": len(truth.saccades) / emulator.settings.duration_s,
        "activity_share": {name: count / len(every) for name, count in shares.items()},
    }


def cpu_ms(emulator: Emulator) -> dict[str, float]:
    """Mean CPU milliseconds per drawn frame over the session, on one core, truth included."""
    cv2.setNumThreads(1)
    spent, drawn = Counter[str](), Counter[str]()
    before = time.thread_time()
    for number, value in enumerate(emulator):
        now = time.thread_time()
        name = {EyeFrame: "eye_frame", SceneFrame: "scene_frame"}.get(type(value))
        if name is not None and number > 60:  # the first frames also draw what is drawn once
            spent[name] += now - before
            drawn[name] += 1
        before = time.thread_time()
    return {name: 1e3 * spent[name] / drawn[name] for name in drawn}


def write_video(emulator: Emulator, path: Path) -> None:
    """The whole session as H.264 in MP4: scene with the true gaze, both eyes inset."""
    s = emulator.settings
    rate = Fraction(s.scene_hz).limit_denominator(1000)
    eyes: dict[Eye, Pixels] = {}
    with (
        av.open(str(path), "w", format="mp4") as container,
        progress("emulate", s.duration_s) as bar,
    ):
        stream = container.add_stream("libx264", rate, {"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = (
            s.scene_width_px - s.scene_width_px % 2,
            s.scene_height_px - s.scene_height_px % 2,
            "yuv420p",
        )
        for value in emulator:
            if isinstance(value, EyeFrame):
                eyes[value.eye] = value.pixels
            elif isinstance(value, SceneFrame):
                picture = annotate(emulator, value)
                _inset(picture, eyes)
                frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
                container.mux(stream.encode(frame))
                bar(value.t_ns / 1e9)
        container.mux(stream.encode(None))


def annotate(emulator: Emulator, frame: SceneFrame) -> Pixels:
    """A copy of the frame with the true gaze, the attended thing, and what the wearer does."""
    truth, picture = emulator.truth, frame.pixels.copy()
    height, width = picture.shape[:2]
    interval = truth.attended_at(frame.t_ns)
    if interval is not None:
        box = truth.box(interval.thing, frame.t_ns)
        corners = [
            (round(x * width), round(y * height))
            for x, y in ((box.left, box.top), (box.right, box.bottom))
        ]
        cv2.rectangle(picture, corners[0], corners[1], ATTENDED, 2)
    x, y = in_frame(truth.geometry, *truth.gaze(frame.t_ns))
    if np.isfinite(x):
        cv2.circle(picture, (round(float(x) * width), round(float(y) * height)), 9, TRUE_GAZE, 2)
    said = f"{truth.activity(frame.t_ns)[0]}  {truth.movement(frame.t_ns)[0]}"
    if interval is not None:
        said += f"  {interval.name}"
    cv2.putText(picture, said, (10, height - 12), 0, 0.6, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, said, (10, height - 12), 0, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def _inset(picture: Pixels, eyes: dict[Eye, Pixels]) -> None:
    """The right eye on the left, as one sees a person who faces one."""
    side = min(INSET_PX, picture.shape[0] // 3)
    for eye, x in (("right", 0), ("left", picture.shape[1] - side)):
        if eye in eyes:
            small = cv2.resize(eyes[eye], (side, side), interpolation=cv2.INTER_AREA)
            picture[:side, x : x + side] = small[..., None]


def scene_sheet(emulator: Emulator, columns: int = 5, rows: int = 6) -> Pixels:
    """Annotated scene frames, evenly over the session, in rows."""
    total = int(emulator.settings.duration_s * emulator.settings.scene_hz)
    wanted = {int((k + 0.5) * total / (columns * rows)) for k in range(columns * rows)}
    cheap = Emulator(
        EmulatorSettings(
            seed=emulator.settings.seed,
            duration_s=emulator.settings.duration_s,
            scenario=emulator.settings.scenario,
            eyes=False,
        ),
        emulator.camera,
    )
    small = [
        cv2.resize(annotate(cheap, value), (320, 240), interpolation=cv2.INTER_AREA)
        for value in cheap
        if isinstance(value, SceneFrame) and value.seq in wanted
    ]
    blank = np.full((240, 320, 3), GREY, np.uint8)
    small += [blank] * (-len(small) % columns)
    return np.vstack([np.hstack(small[k : k + columns]) for k in range(0, len(small), columns)])


def eye_sheet(settings: EmulatorSettings, wearers: int = 8) -> Pixels:
    """Both eyes of several wearers at five gazes and lid openings, the true pupil drawn on the last row."""
    poses = ((0, 0, 0.95), (18, 8, 0.9), (-18, -10, 0.85), (5, 3, 0.45), (0, 0, 0.0))
    rows = []
    for number in range(wearers):
        row = []
        for eye in get_args(Eye):
            looks = make_appearance(settings.seed + number, eye, settings.eye_px)
            for azimuth, elevation, openness in poses:
                state = EyeState(
                    azimuth_deg=azimuth, elevation_deg=elevation, openness=openness, pupil_mm=3.8
                )
                pixels, truth = render_eye(looks, state, np.random.default_rng(number))
                picture = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
                if number == wearers - 1 and truth.visible > 0.2:
                    ellipse = (
                        (truth.x_px, truth.y_px),
                        (truth.major_px, truth.minor_px),
                        truth.angle_deg,
                    )
                    cv2.ellipse(picture, ellipse, ATTENDED, 1, cv2.LINE_AA)
                row.append(picture)
        rows.append(np.hstack(row))
    return np.vstack(rows)


def _save(path: Path, picture: Pixels) -> None:
    encoded, data = cv2.imencode(path.suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    if encoded:
        path.write_bytes(data.tobytes())
