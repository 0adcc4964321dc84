"""What the live page shows: pictures with pupil and gaze drawn, and the state as plain values."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from device.geometry import in_frame
from device.glasses.latest import LastMoment
from device.glasses.metrics import spool_size
from device.glasses.session import Glasses
from device.types import Gaze, Pixels, Pupil
from device.watchdog import Life

ACCENT, SHADOW = (92, 154, 240), (20, 16, 14)
"""Of the page's drawing, BGR."""
STALE_NS = 400_000_000
"""Gaze older than this is not drawn into a scene frame."""
EYE_SIDE_PX = 240
RECENT_NS = 1_500_000_000


def eye_jpeg(glasses: Glasses, eye: str) -> bytes | None:
    """The newest frame of an eye with its pupil, or None."""
    frame = glasses.latest.eyes.get(eye)
    if frame is None or glasses.clock.now_ns() - frame.t_ns > RECENT_NS:
        return None
    scale = max(1, round(EYE_SIDE_PX / frame.pixels.shape[0]))
    large = cv2.resize(frame.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    picture = np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2BGR), np.uint8)
    pupil = glasses.latest.pupils.get(eye)
    if pupil is not None and pupil.confidence > 0.3 and math.isfinite(pupil.x_px):
        _draw_pupil(picture, pupil, scale)
    return _jpeg(picture)


def scene_jpeg(glasses: Glasses) -> bytes | None:
    """The newest scene frame with the gaze, while the camera is awake; else None."""
    frame, now_ns = glasses.latest.scene, glasses.clock.now_ns()
    if frame is None or now_ns - frame.t_ns > RECENT_NS:
        return None
    picture = frame.pixels.copy()
    gaze = glasses.latest.gaze
    if gaze is not None and abs(gaze.t_ns - frame.t_ns) < STALE_NS:
        _draw_gaze(glasses, picture, gaze)
    return _jpeg(picture)


def moment_jpeg(glasses: Glasses, moment_id: str) -> bytes | None:
    """The still picture of one of the last moments."""
    for moment in list(glasses.latest.moments):
        if moment.id == moment_id and moment.thumbnail is not None:
            return _jpeg(moment.thumbnail)
    return None


def state(glasses: Glasses) -> dict[str, Any]:
    """Everything the page tells in words and numbers; JSON-able."""
    latest, controls, now_ns = glasses.latest, glasses.controls, glasses.clock.now_ns()
    snippets, size = spool_size(glasses.spool)
    return {
        "session_id": glasses.header.session_id,
        "session_s": now_ns / 1e9,
        "state": latest.state.value,
        "private": controls.private,
        "posture": controls.posture.value,
        "scene_camera": controls.scene.mode.value,
        "calibrated": bool(glasses.settings.glasses.calibration),
        "attention": None if latest.attention is None else latest.attention.probability,
        "battery": latest.events.get("battery"),
        "charging": bool(latest.events.get("charging", False)),
        "heat_c": latest.events.get("heat"),
        "worn": latest.events.get("worn"),
        "power_mw": sum(latest.rails_mw.values()) or None,
        "latency_ms": latest.eye_latency.percentile_ms(0.5) if latest.eye_latency.count else None,
        "latency_p99_ms": latest.eye_latency.percentile_ms(0.99),
        "sources": [_source(glasses, name, now_ns) for name in glasses.live.vitals],
        "failed": sorted(glasses.wearer.failed),
        "faults": [{"t_s": t_ns / 1e9, "what": text} for t_ns, text in reversed(latest.faults)],
        "moments": [_moment(moment) for moment in reversed(latest.moments)],
        "moment_count": latest.moment_count,
        "spool": {"snippets": snippets, "bytes": size},
    }


def _source(glasses: Glasses, name: str, now_ns: int) -> dict[str, Any]:
    vital, counts = glasses.live.vitals[name], glasses.cameras.get(name)
    resting = name in glasses.cameras and glasses.controls.private
    asleep = name == "scene" and glasses.controls.scene_rate_hz() == 0
    life = "asleep" if vital.life in (Life.LIVE, Life.OPENING) and (resting or asleep) else None
    return {
        "name": name,
        "life": life or vital.life.value,
        "age_s": None if vital.last_ns is None else max(0.0, (now_ns - vital.last_ns) / 1e9),
        "frames": None if counts is None else counts.frames,
        "dropped": None if counts is None else counts.dropped,
        "restarts": vital.budget.used,
        "why": vital.why if vital.told else "",
    }


def _moment(moment: LastMoment) -> dict[str, Any]:
    return {
        "id": moment.id,
        "start_s": moment.start_ns / 1e9,
        "duration_s": (moment.end_ns - moment.start_ns) / 1e9,
        "names": list(moment.names),
        "reasons": list(moment.reasons),
        "picture": moment.thumbnail is not None,
    }


def _draw_pupil(picture: Pixels, pupil: Pupil, scale: int) -> None:
    ellipse = (
        (pupil.x_px * scale, pupil.y_px * scale),
        (pupil.major_px * scale, pupil.minor_px * scale),
        pupil.angle_deg,
    )
    cv2.ellipse(picture, ellipse, ACCENT, 2, cv2.LINE_AA)


def _draw_gaze(glasses: Glasses, picture: Pixels, gaze: Gaze) -> None:
    """A ring; nothing if gaze or camera are not known."""
    geometry = glasses.header.scene
    if geometry is None:
        return
    x, y = in_frame(geometry, gaze.azimuth_deg, gaze.elevation_deg)
    if not (np.isfinite(x) and np.isfinite(y)):
        return
    height, width = picture.shape[:2]
    centre = (round(float(x) * width), round(float(y) * height))
    radius = max(8, round(width / 36))
    cv2.circle(picture, centre, radius, SHADOW, 6, cv2.LINE_AA)
    cv2.circle(picture, centre, radius, ACCENT, 3, cv2.LINE_AA)


def _jpeg(picture: Pixels) -> bytes | None:
    made, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return data.tobytes() if made else None
