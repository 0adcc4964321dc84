"""The wearer's calibration: from what the eye cameras see to gaze angles, as a small versioned file.

How gaze is found is `device/gaze_experts.py`, how a calibration is made from a recording
`device/calibrating.py`; docs/calibration.md explains all three.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from device.errors import ConfigError, StorageError
from device.eye_view import VIEW_PX, Camera, Instant, Observation
from device.gaze_experts import Expert, fuse, opinion
from device.gaze_map import Bumps, Floats, Line
from device.recentre import Habit

VERSION = 1
NEAR_DEG = 2.0
"""`Gaze.confidence` is the probability that the gaze is no further than this from the truth: about the
radius of the fovea, so that a thing looked at lies in it."""
USABLE = 0.5
"""Gaze more likely near than not counts as usable in the figures; stages judge for themselves."""

_PARTS = ("basis", "limits", "centre", "offset", "slope", "at", "weight")


class Estimate(NamedTuple):
    azimuth_deg: float
    elevation_deg: float
    sigma_deg: float
    """Standard deviation of the error along one axis."""
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Against reference gaze at moments not used for fitting; all but the counts in degrees."""

    n: int
    mean_deg: float
    median_deg: float
    p95_deg: float
    usable: float
    """Share of moments with confidence >= 0.5; the errors above are theirs."""
    precision_deg: float
    """Root mean square of the steps from sample to sample while the reference is steady."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraView:
    """An eye camera as it was calibrated."""

    camera: Camera
    width_px: int
    height_px: int
    openness: float
    """Median over the calibration."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Maps an `Instant` to gaze. Made by `device.calibrating.fit`, or read by `load`."""

    cameras: tuple[CameraView, ...]
    experts: tuple[Expert, ...]
    covariance: Floats
    """(experts, experts) of their errors, square degrees, per axis."""
    sigma_scale: float
    """Observed over predicted error of the fused gaze."""
    accuracy: Accuracy
    eye_model_sha256: str
    wearer: str
    created_utc: str
    habit: Habit | None = None
    """Of natural viewing; None after markers, which are where somebody put them."""

    def estimate(self, instant: Instant) -> Estimate | None:
        """Gaze at that instant; None if none of its cameras was calibrated.

        Raises ConfigError if an image has another size than the one that was calibrated.
        """
        guesses = np.full((len(self.experts), 2), np.nan)
        doubt = np.ones(len(self.experts))
        for camera in self.cameras:
            seen = instant.seen.get(camera.camera)
            if seen is not None:
                self._check_size(camera, seen)
        for i, expert in enumerate(self.experts):
            seen = instant.seen.get(expert.camera)
            if seen is not None:
                guesses[i], doubt[i] = opinion(expert, seen)
        fused = fuse(guesses, doubt, self.covariance)
        if fused is None:
            return None
        azimuth_deg, elevation_deg, sigma_deg = fused
        sigma_deg *= self.sigma_scale
        near = 1.0 - float(np.exp(-(NEAR_DEG**2) / (2.0 * sigma_deg**2)))
        return Estimate(azimuth_deg, elevation_deg, sigma_deg, near * self._open(instant))

    def check_model(self, sha256: str) -> None:
        """Raises ConfigError if the pupils come from another network than in calibration."""
        if self.eye_model_sha256 and sha256 and sha256 != self.eye_model_sha256:
            raise ConfigError(
                f"the calibration was fitted with eye network {self.eye_model_sha256[:12]}, this is "
                f"{sha256[:12]}; calibrate again (beheld calibrate)"
            )

    def _check_size(self, camera: CameraView, seen: Observation) -> None:
        if (seen.width_px, seen.height_px) != (camera.width_px, camera.height_px):
            raise ConfigError(
                f"{camera.camera.eye} eye camera {camera.camera.number}: images are "
                f"{seen.width_px}x{seen.height_px}, calibrated at {camera.width_px}x"
                f"{camera.height_px}; calibrate again (beheld calibrate)"
            )

    def _open(self, instant: Instant) -> float:
        """0 while the lids are closed in every view, 1 while they are open in one."""
        lids = [
            min(1.0, instant.seen[c.camera].pupil.openness / (0.5 * c.openness))
            for c in self.cameras
            if c.camera in instant.seen and c.openness > 0.3  # else openness means nothing here
        ]
        return max(lids, default=1.0)

    def save(self, path: Path) -> None:
        """Write the file. Raises StorageError."""
        try:
            path.write_text(to_text(self), encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error.strerror})") from error

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read a file. Raises ConfigError with the reason if it is none, damaged, or of another version."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as a calibration ({error})") from error
        return from_text(text, where=str(path))


# --- the file ------------------------------------------------------------------------------------


def to_text(calibration: Calibration) -> str:
    """Canonical JSON; arrays as little-endian float32 in base64, with a digest over all of it."""
    body = {
        "kind": "beheld calibration",
        "version": VERSION,
        "view_px": VIEW_PX,
        "created_utc": calibration.created_utc,
        "wearer": calibration.wearer,
        "eye_model_sha256": calibration.eye_model_sha256,
        "accuracy": {k: getattr(calibration.accuracy, k) for k in Accuracy.__dataclass_fields__},
        "cameras": [[*c.camera, c.width_px, c.height_px, c.openness] for c in calibration.cameras],
        "covariance": _pack(calibration.covariance),
        "sigma_scale": calibration.sigma_scale,
        "experts": [_expert_json(e) for e in calibration.experts],
        "habit": asdict(calibration.habit) if calibration.habit else None,
    }
    return json.dumps({**body, "sha256": _digest(body)}, sort_keys=True, indent=1)


def from_text(text: str, *, where: str) -> Calibration:
    """The reverse of `to_text`. Raises ConfigError naming `where` and the reason."""
    again = "calibrate again (beheld calibrate)"
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{where}: is not a calibration file ({error}); {again}") from error
    if not isinstance(raw, dict) or raw.get("kind") != "beheld calibration":
        raise ConfigError(f"{where}: is not a calibration file; {again}")
    if raw.get("version") != VERSION or raw.get("view_px") != VIEW_PX:
        raise ConfigError(
            f"{where}: calibration version {raw.get('version')}, this program reads {VERSION}; {again}"
        )
    if raw.pop("sha256", None) != _digest(raw):
        raise ConfigError(f"{where}: was changed or damaged (its digest does not match); {again}")
    try:
        return Calibration(
            cameras=tuple(
                CameraView(camera=Camera(eye, number), width_px=w, height_px=h, openness=o)
                for eye, number, w, h, o in raw["cameras"]
            ),
            experts=tuple(_expert(e) for e in raw["experts"]),
            covariance=_unpack(raw["covariance"]),
            sigma_scale=float(raw["sigma_scale"]),
            accuracy=Accuracy(**raw["accuracy"]),
            eye_model_sha256=raw["eye_model_sha256"],
            wearer=raw["wearer"],
            created_utc=raw["created_utc"],
            habit=Habit(**raw["habit"]) if raw.get("habit") else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: lacks or garbles {error}; {again}") from error


def _expert_json(expert: Expert) -> dict[str, Any]:
    bumps = expert.bumps
    arrays: Sequence[NDArray[Any]] = (
        expert.basis,
        expert.limits,
        expert.line.centre,
        expert.line.offset,
        expert.line.slope,
        *((bumps.at, bumps.weight) if bumps else ()),
    )
    return {
        "camera": list(expert.camera),
        "kind": expert.kind,
        "reach": expert.reach,
        "length": bumps.length if bumps else None,
        **{name: _pack(a) for name, a in zip(_PARTS, arrays, strict=False)},
    }


def _expert(raw: dict[str, Any]) -> Expert:
    arrays = {name: _unpack(raw[name]) for name in _PARTS if name in raw}
    bumps = None
    if raw["length"] is not None:
        bumps = Bumps(at=arrays["at"], length=raw["length"], weight=arrays["weight"])
    line = Line(centre=arrays["centre"], offset=arrays["offset"], slope=arrays["slope"])
    return Expert(
        camera=Camera(*raw["camera"]),
        kind=raw["kind"],
        basis=arrays["basis"],
        limits=arrays["limits"],
        line=line,
        bumps=bumps,
        reach=raw["reach"],
    )


def _pack(array: NDArray[Any]) -> dict[str, Any]:
    data = np.ascontiguousarray(array, dtype="<f4")
    return {"shape": list(data.shape), "float32": base64.b64encode(data.tobytes()).decode()}


def _unpack(raw: dict[str, Any]) -> Floats:
    data = np.frombuffer(base64.b64decode(raw["float32"]), dtype="<f4")
    return data.reshape(raw["shape"]).astype(np.float64)


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
