"""Emotion, the view's part: joins the eyes' vector with the affect of the view, while there is reason to.

There is reason while the gate says non-neutral or a moment is open, and only if the tag stage has looked at
the scene: this stage never runs the backbone itself. How far the view is believed is learnt as the wearer
goes (`device.agreement`): each moment that is kept teaches once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.agreement import Agreement
from device.model import Model
from device.stages.emotion import EmotionSettings, check_classes
from device.types import EMOTIONS, EmotionEstimate, MomentEnd, MomentStart, Region, Tags, Value

Floats = NDArray[np.float64]
WHOLE = Region(left=0.0, top=0.0, right=1.0, bottom=1.0)


@dataclass(slots=True, eq=False)
class _View:
    """What the affect network says of one look at the scene."""

    t_ns: int
    region: Region
    affect: Floats
    sd: Floats
    words: tuple[str, ...]


class FusionStage:
    """Yields the eyes' estimate again, joined with the view, while there is reason to."""

    name = "fusion"
    wants: tuple[type, ...] = (EmotionEstimate, Tags, MomentStart, MomentEnd)

    def __init__(
        self,
        affect: Model,
        fusion: Model,
        settings: EmotionSettings | None = None,
        agreement: Agreement | None = None,
    ) -> None:
        """`agreement`: what earlier sessions taught.

        Raises ModelError if the fusion's classes are not ours.
        """
        check_classes(fusion)
        self._affect, self._fusion = affect, fusion
        self._set = settings or EmotionSettings()
        self._tags: dict[bool, tuple[Tags, _View | None]] = {}  # by whether of the whole view
        self._non_neutral = self._open = False
        self._smooth: tuple[int, Floats] | None = None
        self.agreement = agreement or Agreement()
        """What is believed of the wearer's views; one lesson a moment that is kept."""
        self._moment = np.zeros(
            (2, len(EMOTIONS))
        )  # sums: of the eyes' opinions, of the likelihoods
        self.refused = 0

    def step(self, value: Value) -> Iterable[Value]:
        match value:
            case MomentStart():
                self._open = True
                self._moment[:] = 0
            case MomentEnd():
                if self._open and value.kept and self._moment[0].any():
                    mean = self._moment / self._moment[0].sum()
                    self.agreement = self.agreement.after(*mean)
                self._open = False
            case Tags():
                if not value.reused and value.logits is not None:
                    self._tags[value.whole is not None] = (value, None)
            case EmotionEstimate():
                edge = self._set.leave if self._non_neutral else self._set.enter
                self._non_neutral = value.non_neutral >= edge
                if self._non_neutral or self._open or self._set.always_fuse:
                    return self._fuse(value)
                self._smooth = None
        return ()

    def finish(self, end_ns: int) -> Iterable[Value]:
        return ()

    def _fuse(self, value: EmotionEstimate) -> Iterable[Value]:
        """The estimate with the view's part; nothing where no recent view is known."""
        views = [v for whole in (False, True) if (v := self._view(whole, value.t_ns)) is not None]
        if value.vector is None or value.influence is not None or not views:
            return ()
        single = [self._run(value, v.affect, v.sd) for v in views]
        weight = np.array([1 / v.sd**2 for v in views])
        weight /= weight.sum(0)
        affect = (weight * np.array([v.affect for v in views])).sum(0)
        sd = np.sqrt((weight * np.array([v.sd**2 for v in views])).sum(0))
        probabilities, influence, likelihood = self._run(value, affect, sd)
        if not np.isfinite([influence, *probabilities, *likelihood]).all():
            self.refused += 1  # the eyes' own estimate stands
            return ()
        if self._open:
            self._moment += np.stack([value.probabilities, likelihood])
        most = views[int(np.argmax([part[1] for part in single]))]
        return [
            dataclasses.replace(
                value,
                probabilities=tuple(float(p) for p in self._average(value.t_ns, probabilities)),
                influence=influence,
                region=most.region,
                affect=(float(affect[0]), float(affect[1])),
                affect_sd=(float(sd[0]), float(sd[1])),
                because=tuple(dict.fromkeys(w for v in views for w in v.words)),
                vector=None,
            )
        ]

    def _run(
        self, value: EmotionEstimate, affect: Floats, sd: Floats
    ) -> tuple[Floats, float, Floats]:
        """Class probabilities (7,), influence, likelihoods (7,) of the view."""
        assert value.vector is not None
        made = self._fusion.run(
            vector=value.vector[None],
            eye=np.array([value.probabilities], np.float32),
            affect=affect.astype(np.float32)[None],
            sd=sd.astype(np.float32)[None],
            share=np.array([[self.agreement.share]], np.float32),
        )
        return (
            made["probabilities"][0].astype(np.float64),
            float(made["influence"][0, 0]),
            made["likelihood"][0].astype(np.float64),
        )

    def _view(self, whole: bool, now_ns: int) -> _View | None:
        """The newest look at the region or the whole view, its affect computed once."""
        tags, view = self._tags.get(whole, (None, None))
        if tags is None or now_ns - tags.t_ns > self._set.view_ms * 1e6:
            return None
        if view is None:
            embedding = tags.embedding if tags.whole is None else tags.whole
            if tags.logits is None or not np.isfinite([*embedding, *tags.logits]).all():
                self.refused += 1
                del self._tags[whole]
                return None
            made = self._affect.run(embedding=embedding[None], logits=tags.logits[None])
            named = [t.name for t in tags.tags if t.attended and not whole]
            view = _View(
                tags.t_ns,
                WHOLE if whole else tags.region,
                made["affect"][0].astype(np.float64),
                made["sd"][0].astype(np.float64),
                tuple(named or ([tags.word] if tags.word else [])),
            )
            self._tags[whole] = (tags, view)
        return view

    def _average(self, t_ns: int, now: Floats) -> Floats:
        before = self._smooth
        if before is not None and t_ns - before[0] <= self._set.forget_ms * 1e6:
            share = 1 - float(np.exp(-(t_ns - before[0]) / 1e6 / self._set.smooth_ms))
            now = before[1] + share * (now - before[1])
        self._smooth = (t_ns, now)
        return now
