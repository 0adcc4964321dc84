"""Emotion, the eyes' part: every so often one small network gives the non-neutral gate, the seven classes and
a vector. `device.stages.fusion` joins the vector with the view.

The eye network learnt from visible-light faces. An eye camera on a frame is infrared, oblique and sees less
of the brow; what the estimates are worth there has not been measured, so the stages are off unless asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import ModelError
from device.model import Model, fit
from device.personal import Personal
from device.types import (
    EMOTIONS,
    DeviceEvent,
    EmotionEstimate,
    EyeFrame,
    EyeMovement,
    Movement,
    Pixels,
    Pupil,
    Value,
)

Floats = NDArray[np.float64]
SIDE_PX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionSettings:
    on: bool = False
    """Whether emotion is estimated at all. Off: nothing of it is computed, and nothing written."""
    every_ms: float = 500.0
    """Time between two looks of the eye network: the gate of every Nth eye frame, whatever their rate."""
    together_ms: float = 60.0
    """Frames of the two eyes this close belong together; an eye further behind is left out."""
    least_openness: float = 0.35
    """An eye less open is blinking or half shut, and its frame is skipped."""
    least_pupil: float = 0.2
    """An eye whose pupil is found with less confidence is not in view, and its frame is skipped."""
    least_spread: float = 4.0
    """An eye whose crop has a standard deviation of fewer grey levels is not in view (a covered or dark
    camera): the network would make up a feeling for it. Of 12,000 pictures of faces at hand all but two have
    more than 10 in one eye at least."""
    fast_forward: float = 0.0
    """Where the crops differ from those looked at last by less than this (mean of absolute differences,
    in their own spreads), the network is not run and its last answer holds; 0: it always runs."""
    smooth_ms: float = 1500.0
    """Time constant of the average over estimates."""
    forget_ms: float = 5000.0
    """After so long without an eye, the average begins anew."""
    enter: float = 0.6
    """From this smoothed gate on the state is non-neutral, and fusion runs."""
    leave: float = 0.45
    """Below this gate it is neutral again."""
    always_fuse: bool = False
    """Fuse whatever the gate says: the variant of comparisons."""
    view_ms: float = 8000.0
    """A look at the scene serves fusion for so long."""
    whole_every: int = 3
    """Every so many-th scene analysis looks at the whole view in place of the attended region."""

    def __post_init__(self) -> None:
        if self.leave > self.enter:
            raise ValueError("emotion.leave must not exceed emotion.enter")
        if self.whole_every < 2:
            raise ValueError(
                "emotion.whole_every must be 2 or more: the region is looked at as well"
            )


class EyeEmotionStage:
    """Yields an `EmotionEstimate` without influence for the eye frames it looks at."""

    name = "eye_emotion"
    wants: tuple[type, ...] = (EyeFrame, Pupil, EyeMovement, DeviceEvent)

    def __init__(
        self,
        model: Model,
        settings: EmotionSettings | None = None,
        personal: Personal | None = None,
        *,
        sees_pupils: bool = True,
    ) -> None:
        """`sees_pupils`: a `Pupil` follows each eye frame; without, only blinks of the gaze are known.

        Raises ModelError if the network's classes are not ours, or the personal file is of another one.
        """
        check_classes(model)
        if personal is not None:
            personal.check_model(model.sha256)
        self._model, self._set, self._personal = model, settings or EmotionSettings(), personal
        self._sees_pupils = sees_pupils
        self._waiting: dict[str, EyeFrame] = {}
        self._ready: dict[str, EyeFrame] = {}
        self._waits_ns = 0  # since when the other eye is waited for
        self._looked_ns = -(10**18)
        self._smooth: tuple[int, Floats, float] | None = None
        self._blinking = self._private = False
        self.outputs: dict[str, NDArray[Any]] = {}
        """What the network said last, before anything personal; enrolment averages it."""
        self._coarse: Floats | None = None
        self.skipped = 0
        """Looks at which the last answer held (`fast_forward`)."""
        self.refused = 0
        """Estimates that were not numbers, and were dropped."""
        self.empty = 0
        """Looks at which no eye was in view, though nothing else had said so."""

    def step(self, value: Value) -> Iterable[Value]:
        match value:
            case EyeFrame():
                if value.t_ns - self._looked_ns < self._set.every_ms * 1e6 or self._private:
                    return ()
                if self._sees_pupils:
                    self._waiting[value.eye] = value
                    return ()
                if not self._blinking:
                    return self._seen(value)
            case Pupil():
                frame = self._waiting.get(value.eye)
                if frame is not None and frame.t_ns == value.t_ns:
                    del self._waiting[value.eye]
                    if self._usable(value):
                        return self._seen(frame)
            case EyeMovement():
                self._blinking = value.movement in (Movement.BLINK, Movement.UNKNOWN)
            case DeviceEvent():
                if value.name in ("privacy", "worn"):
                    self._private = bool(value.value) == (value.name == "privacy")
                    self._smooth = None
                    self._ready.clear()
                    self._waiting.clear()
        return ()

    def finish(self, end_ns: int) -> Iterable[Value]:
        return ()

    def _usable(self, pupil: Pupil) -> bool:
        s = self._set
        return pupil.openness >= s.least_openness and pupil.confidence >= s.least_pupil

    def _seen(self, frame: EyeFrame) -> Iterable[Value]:
        """Wait for the other eye a little; then look."""
        if not self._ready:
            self._waits_ns = frame.t_ns
        self._ready[frame.eye] = frame
        late = frame.t_ns - self._waits_ns >= self._set.together_ms * 1e6
        if len(self._ready) < 2 and not late:
            return ()
        if late:  # the other eye is lost: the one at hand has to do
            self._ready = {frame.eye: frame}
        frames = [self._ready[eye] for eye in ("right", "left") if eye in self._ready]
        self._ready = {}
        return self._look(frame.t_ns, frames)

    def _look(self, t_ns: int, frames: list[EyeFrame]) -> Iterable[Value]:
        self._looked_ns = t_ns
        crops = [eye_crop(f.pixels, mirrored=f.eye == "left") for f in frames]
        crops = [c for c in crops if c.std() >= self._set.least_spread]
        if not crops:
            self.empty += 1
            return ()
        eyes = np.stack(crops)
        made = self.outputs = self._answer(eyes)
        vector, gate = made["vector"][0], float(made["gate"][0, 0])
        probabilities = made["probabilities"][0].astype(np.float64)
        numbers = np.isfinite(vector).all() and np.isfinite([gate, *probabilities]).all()
        if not numbers or probabilities.sum() <= 0:
            self.refused += 1
            return [DeviceEvent(t_ns=t_ns, name="fault", value="emotion: the eye gave no numbers")]
        probabilities /= probabilities.sum()  # an int8 softmax adds up to about one only
        if self._personal is not None:
            vector, probabilities, gate = self._personal.adjust(vector, probabilities, gate)
        probabilities, gate = self._average(t_ns, probabilities, gate)
        return [
            EmotionEstimate(
                t_ns=t_ns,
                probabilities=tuple(float(p) for p in probabilities),
                non_neutral=gate,
                influence=None,
                region=None,
                vector=np.asarray(vector, np.float32),
            )
        ]

    def _answer(self, eyes: Pixels) -> dict[str, NDArray[Any]]:
        """The network's, or its last one where hardly anything changed."""
        if not self._set.fast_forward > 0:
            return self._model.run(eyes=eyes[None])
        coarse = eyes.reshape(len(eyes), 16, 4, 16, 4).mean((2, 4))
        coarse -= coarse.mean((1, 2), keepdims=True)
        coarse /= coarse.std((1, 2), keepdims=True) + 1.0
        before = self._coarse
        known = before is not None and before.shape == coarse.shape
        if known and float(np.abs(coarse - before).mean()) < self._set.fast_forward:
            self.skipped += 1
            return self.outputs
        self._coarse = coarse
        return self._model.run(eyes=eyes[None])

    def _average(self, t_ns: int, now: Floats, gate: float) -> tuple[Floats, float]:
        before = self._smooth
        if before is not None and t_ns - before[0] <= self._set.forget_ms * 1e6:
            share = 1 - float(np.exp(-(t_ns - before[0]) / 1e6 / self._set.smooth_ms))
            now = before[1] + share * (now - before[1])
            gate = before[2] + share * (gate - before[2])
        self._smooth = (t_ns, now, gate)
        return now, gate


def eye_crop(pixels: Pixels, *, mirrored: bool) -> Pixels:
    """(64, 64) uint8: the middle square of a grey eye frame, the wearer's left eye mirrored.

    An eye camera sees the eye and little else, so nothing is cut around it; the network's training crops
    show about twice as much of the face.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = fit(pixels[top : top + side, left : left + side], (SIDE_PX, SIDE_PX))
    return np.ascontiguousarray(crop[:, ::-1]) if mirrored else crop


def check_classes(model: Model) -> None:
    """Raises ModelError if the network's classes are not `EMOTIONS` in that order."""
    if tuple(model.spec.classes) != EMOTIONS:
        known = ", ".join(model.spec.classes) or "none"
        raise ModelError(
            f"{model.path}: its classes are {known}; this program knows {', '.join(EMOTIONS)}"
        )
