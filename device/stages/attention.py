"""Attention: does the wearer attend to one thing, and to what part of the scene? An estimate, no verdict.

At a fixed cadence a scene frame meets the eye movements of the last two seconds, and the temporal
network says a probability, a region and an embedding. The network is recurrent; its state lives here
and starts anew when the scene camera was asleep. The judge is the wake stage.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.attention_inputs import (
    COARSE_PX,
    CROP_PX,
    EYE_FEATURES,
    FEATURES,
    SceneMotion,
    Trail,
    Views,
    crops,
)
from device.early_movements import EarlyMovements
from device.geometry import degrees_across, in_frame
from device.model import Model
from device.types import (
    Attention,
    EyeMovement,
    Gaze,
    Pixels,
    Region,
    SceneFrame,
    SceneGeometry,
    Value,
)

CENTRE = (0.5, 0.5)
LEARNT_DELAY_MS = 150.0
"""How late the eye movements came in training. Where they come sooner, the network is given them as of so
much later: what it sees is as old as it was, only the moment is sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSettings:
    rate_hz: float = 10.0
    """Estimates a second; frames in between are passed over."""
    history_s: float = 2.0
    """How far back eye movements count."""
    early_ms: float = 100.0
    """Gaze is classified here so long after its light, not as late as the events stage does; 0: as that
    does."""
    pause_ms: float = 500.0
    """A longer pause of scene frames begins the network's memory anew."""
    inputs: str = "both"
    """`both`, or for comparison `eyes` (the scene is hidden) or `scene` (the gaze is hidden)."""
    eyes_share: float = 0.0
    """Above zero the network runs once more with the scene hidden, and the eyes alone have this share in the
    probability's logit: a scene unlike any it learnt from makes it doubt what the eyes say plainly."""

    def __post_init__(self) -> None:
        if self.inputs not in ("both", "eyes", "scene"):
            raise ValueError(f"attention.inputs is {self.inputs!r}; both, eyes or scene")
        if not 0 <= self.eyes_share <= 1:
            raise ValueError("attention.eyes_share must be 0 to 1")
        if not self.rate_hz > 0 or not self.history_s > 0:
            raise ValueError("attention.rate_hz and attention.history_s must be above zero")
        if self.early_ms and not 40 <= self.early_ms <= LEARNT_DELAY_MS:
            raise ValueError(f"attention.early_ms must be 0, or 40 to {LEARNT_DELAY_MS:.0f}")


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """One step of the network but for its state: what training stores and the glasses feed."""

    views: Views
    features: NDArray[np.float32]
    """(FEATURES,) float32: the eyes', then the scene's."""
    gaze: NDArray[np.float32]
    """(2,) float32, fractions of the frame; the middle while it is unknown."""


class InputBuilder:
    """Eye movements and scene frames in, `Inputs` out at the cadence; the one path to the network."""

    def __init__(self, geometry: SceneGeometry, settings: AttentionSettings) -> None:
        self._geometry = geometry
        self._settings = settings
        self._trail = Trail(settings.history_s)
        self._motion = SceneMotion(degrees_across(geometry), settings.history_s)
        sooner_ms = LEARNT_DELAY_MS - settings.early_ms if settings.early_ms else 0.0
        self._sooner_ns = round(sooner_ms * 1e6)
        self._last_ns: int | None = None
        self._due_ns = 0

    def push(self, value: EyeMovement) -> None:
        self._trail.push(value)

    def frame(self, frame: SceneFrame) -> tuple[Inputs, bool] | None:
        """The inputs at this frame and whether memory starts anew; None if the frame is not due."""
        period_ns = round(1e9 / self._settings.rate_hz)
        if self._last_ns is not None and frame.t_ns < self._due_ns - period_ns // 5:
            return None
        pause_ns = round(self._settings.pause_ms * 1e6)
        fresh = self._last_ns is None or frame.t_ns - self._last_ns > pause_ns
        if fresh:
            self._motion.reset()
            self._due_ns = frame.t_ns
        self._last_ns = frame.t_ns
        self._due_ns = max(self._due_ns + period_ns, frame.t_ns)
        gaze = self._gaze(frame.t_ns)
        eyes = self._trail.features(frame.t_ns + self._sooner_ns)
        scene = self._motion.features(frame.t_ns, frame.pixels, gaze)
        views = crops(frame.pixels, self._motion.motion, gaze)
        inputs = Inputs(views, np.concatenate([eyes, scene]), np.array(gaze, np.float32))
        return hide(inputs, self._settings.inputs), fresh

    def _gaze(self, t_ns: int) -> tuple[float, float]:
        place = self._trail.place_deg
        if place is None or t_ns - self._trail.place_ns > self._settings.history_s * 1e9:
            return CENTRE
        x, y = in_frame(self._geometry, *place)
        if not (np.isfinite(x) and np.isfinite(y)):
            return CENTRE
        return float(np.clip(x, -0.2, 1.2)), float(np.clip(y, -0.2, 1.2))


def hide(inputs: Inputs, kept: str) -> Inputs:
    """Leave `both`, only the `eyes` or only the `scene`: the comparison's one place.

    Without the eyes there is no gaze to crop around: the coarse view alone is left.
    """
    if kept == "both":
        return inputs
    features, views = inputs.features.copy(), inputs.views
    blank = Views(*(np.zeros_like(v) for v in _pictures(views)))
    if kept == "eyes":
        features[EYE_FEATURES:] = 0
        return Inputs(blank, features, inputs.gaze)
    features[:] = 0
    seen = Views(blank.crop, blank.crop_motion, views.coarse, views.coarse_motion)
    return Inputs(seen, features, np.array(CENTRE, np.float32))


class AttentionStage:
    """Yields one `Attention` per analysed scene frame, with the frame's own time."""

    name = "attention"
    wants: tuple[type, ...] = (Gaze, SceneFrame, EyeMovement)

    def __init__(
        self, model: Model, geometry: SceneGeometry, settings: AttentionSettings | None = None
    ) -> None:
        settings = settings or AttentionSettings()
        self._model = model
        self._inputs = InputBuilder(geometry, settings)
        self._early = EarlyMovements(settings.early_ms)
        self._eyes_share = settings.eyes_share if settings.inputs == "both" else 0.0
        state = next(t for t in model.spec.inputs if t.name == "state")
        self._blank = np.zeros([d or 1 for d in state.shape], np.float32)
        self._state = self._blank
        self._eyes_state = self._blank

    def step(self, value: Gaze | SceneFrame | EyeMovement) -> Iterable[Value]:
        if not isinstance(value, SceneFrame):
            for movement in self._early.take(value):
                self._inputs.push(movement)
            return
        due = self._inputs.frame(value)
        if due is None:
            return
        inputs, fresh = due
        result = self._model.run(**feed(inputs), state=self._blank if fresh else self._state)
        self._state = result["next_state"]
        probability = float(result["probability"][0, 0])
        if self._eyes_share:
            state = self._blank if fresh else self._eyes_state
            alone = self._model.run(**feed(hide(inputs, "eyes")), state=state)
            self._eyes_state = alone["next_state"]
            eyes = float(alone["probability"][0, 0])
            probability = joint(probability, eyes, self._eyes_share)
        left, top, right, bottom = (float(v) for v in result["region"][0])
        yield Attention(
            t_ns=value.t_ns,
            probability=probability,
            region=Region(left=left, top=top, right=right, bottom=bottom),
            embedding=result["embedding"][0],
        )

    def finish(self, end_ns: int) -> Iterable[Value]:
        return ()


def joint(both: float, eyes: float, share: float) -> float:
    """The weighted mean of two probabilities in their logits."""
    odds = [math.log(p / (1 - p)) for p in (min(max(q, 1e-6), 1 - 1e-6) for q in (both, eyes))]
    return 1 / (1 + math.exp(-((1 - share) * odds[0] + share * odds[1])))


def feed(inputs: Inputs) -> dict[str, NDArray[Any]]:
    """The network's named inputs, each with a leading axis of one, without its state."""
    views = inputs.views
    return {
        "crop": views.crop[None],
        "crop_motion": views.crop_motion[None],
        "coarse": views.coarse[None],
        "coarse_motion": views.coarse_motion[None],
        "features": inputs.features[None],
        "gaze": inputs.gaze[None],
    }


def _pictures(views: Views) -> tuple[Pixels, ...]:
    return views.crop, views.crop_motion, views.coarse, views.coarse_motion


SHAPES = {
    "crop": (1, CROP_PX, CROP_PX, 3),
    "crop_motion": (1, CROP_PX // 2, CROP_PX // 2),
    "coarse": (1, COARSE_PX[1], COARSE_PX[0], 3),
    "coarse_motion": (1, COARSE_PX[1], COARSE_PX[0]),
    "features": (1, FEATURES),
    "gaze": (1, 2),
}
"""Shape of every input but the state, the same for the exporter."""
