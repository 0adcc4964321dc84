"""The one vocabulary: every value that moves through Beheld.

Small frozen classes, numpy only, nothing of ours imported. Times are integer nanoseconds on one
monotonic clock counted from the start of the session; wall time exists once, in `SessionHeader`.
The unit is the last word of a name. A result carries the time of the light it came from. Doubt
travels with the value; thresholds live in the stage that judges.

Angles: azimuth is positive to the right, elevation positive upwards, both in the frame of the scene
camera. Regions are fractions of the scene frame (0..1, origin top left), because the resolution of
the frame changes at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Eye = Literal["left", "right"]
Pixels = NDArray[np.uint8]
Embedding = NDArray[np.float32]

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Class order of EMO-Film (labels 0..6)."""


# --- the two shapes of time ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timed:
    """Anything that happened at one instant."""

    t_ns: int
    """Nanoseconds since session start, stamped where the light fell."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interval:
    """Anything that lasted. It reaches the loop when it is over, so its `t_ns` is its end."""

    start_ns: int
    end_ns: int

    @property
    def t_ns(self) -> int:
        return self.end_ns

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns


Value = Timed | Interval


# --- what the sensors say ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EyeFrame(Timed):
    """One image of one eye: grey, (H, W) uint8."""

    eye: Eye
    seq: int
    pixels: Pixels
    exposure_us: int | None = None
    camera: int = 0
    """Which of the cameras that look at this eye; most eyewear has one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneFrame(Timed):
    """One image of what lies before the wearer: BGR, (H, W, 3) uint8."""

    seq: int
    pixels: Pixels
    exposure_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScenePacket(Timed):
    """One encoded scene frame: an H.264 access unit in Annex B form, without B-frames."""

    seq: int
    data: bytes
    keyframe: bool
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImuSample(Timed):
    """Angular velocity and specific force in the frame of the glasses (x right, y down, z ahead)."""

    gyro_deg_s: tuple[float, float, float]
    accel_m_s2: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnergySample(Timed):
    """Measured power of one rail, averaged over the `span_ns` before `t_ns`."""

    rail: str
    power_mw: float
    span_ns: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceEvent(Timed):
    """Button, worn, battery, heat, light, privacy switch, fault: `name` says which, `value` how much."""

    name: str
    value: float | str | bool


# --- what the eyes do ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pupil(Timed):
    """Pupil ellipse in pixels of the eye image; full axes; angle of the major axis, clockwise from x."""

    eye: Eye
    x_px: float
    y_px: float
    major_px: float
    minor_px: float
    angle_deg: float
    openness: float
    """0 closed, 1 wide open."""
    confidence: float
    """Probability that the ellipse is right (0..1); not a threshold."""
    camera: int = 0
    """As in `EyeFrame`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gaze(Timed):
    """Where the wearer looks, in the scene camera's frame."""

    azimuth_deg: float
    elevation_deg: float
    confidence: float
    pupil_mm: float | None = None
    pupil_px: float | None = None


class Movement(StrEnum):
    """What the eyes are doing at one instant."""

    FIXATION = "fixation"
    PURSUIT = "pursuit"
    SACCADE = "saccade"
    PSO = "pso"
    """Post-saccadic oscillation: the eye still rings after a saccade."""
    BLINK = "blink"
    UNKNOWN = "unknown"
    """The eye is lost, and not by a blink."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EyeMovement(Timed):
    """The eye movement under way at `t_ns`: lets later stages act before the movement is over."""

    movement: Movement
    since_ns: int
    """When the movement under way began."""
    azimuth_deg: float
    elevation_deg: float
    """De-noised gaze; NaN while it is unknown."""
    speed_deg_s: float
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fixation(Interval):
    azimuth_deg: float
    elevation_deg: float
    dispersion_deg: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pursuit(Interval):
    start_azimuth_deg: float
    start_elevation_deg: float
    end_azimuth_deg: float
    end_elevation_deg: float
    mean_speed_deg_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Saccade(Interval):
    amplitude_deg: float
    direction_deg: float
    """0 right, 90 up."""
    peak_speed_deg_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blink(Interval):
    confidence: float


# --- what the scene means ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A box as fractions of the scene frame, origin top left."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attention(Timed):
    """How probable it is that the wearer attends to one thing, and to what part of the scene."""

    probability: float
    region: Region
    embedding: Embedding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmotionEstimate(Timed):
    """Seven probabilities in the order of `EMOTIONS`, the gate before them and the scene's part in them."""

    probabilities: tuple[float, ...]
    non_neutral: float
    """Output of the eye-only gate (0..1)."""
    influence: float | None
    """Share of the scene in the prediction (0..1); None when fusion did not run."""
    region: Region | None
    """The part of the scene that explains most of it; None when fusion did not run."""
    affect: tuple[float, float] | None = None
    """Valence and arousal of the view as people would rate it, 1 to 7; None when fusion did not run."""
    affect_sd: tuple[float, float] | None = None
    because: tuple[str, ...] = ()
    """Names of the attended thing and of the view, as far as they are known."""
    vector: Embedding | None = None
    """The eye network's vector, on its way to fusion."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResolutionDecision(Timed):
    """What the video pipeline does with the scene frame of the same `t_ns`."""

    scale_px: int
    """Side of the square network input; 0 when the last result is reused."""
    reuse: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A name for a thing seen, with its probability and its place."""

    name: str
    probability: float
    region: Region
    attended: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tags(Timed):
    """What the scene analysis found in one scene frame; `embedding` is of the attended region."""

    tags: tuple[Tag, ...]
    region: Region
    embedding: Embedding
    reused: bool = False
    logits: Embedding | None = None
    """The backbone's scores for its classes, (1000,): of the region, or of the whole view if `whole`."""
    whole: Embedding | None = None
    """Embedding of the whole view, where this analysis looked at it in place of the region."""
    word: str | None = None
    """The backbone's name for what it looked at, if it is sure."""


# --- what is decided -----------------------------------------------------------------------------


class WakeState(StrEnum):
    WATCHING = "watching"
    """Eye camera only."""
    CHECKING = "checking"
    """Scene camera at low cost: is this attention?"""
    KEEPING = "keeping"
    """A moment is open."""


class CameraMode(StrEnum):
    OFF = "off"
    LOW = "low"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WakeChange(Timed):
    """A move of the wake table, with what caused it."""

    before: WakeState
    after: WakeState
    why: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraRequest(Timed):
    """The only feedback in the loop: a decision on its way to the scene camera."""

    mode: CameraMode
    why: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodeBurst(Timed):
    """The main processor is woken to encode the frames that have waited; their packets follow at once."""

    frames: int
    pixels: int
    """Of all of them, at the size of the video."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MomentStart(Timed):
    reason: str
    """`attention`, `emotion`, `button`."""
    since_ns: int | None = None
    """When what opened the moment began: the first look at the thing, before the decision."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MomentSure(Timed):
    """The open moment has lasted long enough to be kept, or was asked for; once a moment."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MomentEnd(Timed):
    reason: str
    until_ns: int | None = None
    """When what kept the moment open was last true, before the patience that ran out at `t_ns`."""
    kept: bool = True
    """False: it did not last, so it was no moment after all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moment(Interval):
    """One thing the wearer truly looked at, with the evidence of every decision."""

    id: str
    reasons: tuple[str, ...]
    tags: tuple[Tag, ...]
    evidence: Mapping[str, Any]
    """JSON-able: gaze trace, scores and thresholds, state changes, model hashes, energy."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Capture(Interval):
    """A closed moment with its encoded video on the way to the snippet writer.

    `start_ns`/`end_ns` span the packets (pre-roll included), not the moment.
    """

    moment: Moment
    packets: tuple[ScenePacket, ...]
    thumbnail: Pixels | None
    """BGR, (H, W, 3) uint8; None if no scene frame was seen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gap(Interval):
    """An interval in which a stream was not seen, and its cause."""

    stream: str
    cause: str


# --- what is kept --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snippet:
    """A moment on disk."""

    id: str
    files: tuple[StoredFile, ...]
    moment: Mapping[str, Any]
    """The content of `moment.json`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneGeometry:
    """Pinhole camera with distortion, in OpenCV's order, at the native size of the sensor."""

    width_px: int
    height_px: int
    camera_matrix: NDArray[np.float64]
    """(3, 3)"""
    distortion: NDArray[np.float64] = field(default_factory=lambda: np.zeros(5))
    """k1, k2, p1, p2, k3[, k4, k5, k6]"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SessionHeader:
    """What is true of a whole session. The only place of wall time."""

    session_id: str
    source: str
    """Kind of source: `emulator`, `beheld`, `neon`, `lund2013`, ..."""
    start_utc: str
    """ISO 8601 with offset +00:00, of `t_ns == 0`; `unknown` if the recording does not say."""
    zone: str
    """IANA name."""
    wearer: str = "unknown"
    scene: SceneGeometry | None = None
    duration_ns: int | None = None
    """Known length, if the source knows it before it is read."""
    brings_gaze: bool = False
    """The recording carries its own gaze: the gaze stage is skipped."""
    brings_packets: bool = False
    """The recording carries encoded scene video: nothing is encoded again."""
    notes: tuple[str, ...] = ()
    """What the source had to assume or could not read, one plain sentence each."""
