"""The wearer's own: reference vectors, class adjustments, the threshold of keeping. One small file.

    HOME/personal.json            what holds now
    HOME/personal/0003.json       every version, the present one included
    HOME/erasures                 how often all of it was erased; also the lock under which it changes

`enrol` makes it from a minute of the wearer's neutral eyes (and prompted expressions, if they like);
`learn` adjusts it by what they corrected on the server, `lived` by what sessions taught of their views
(`device.agreement`). Every change is a new version and the old one stays, so `back` undoes it; sessions that
follow each other without another change are one version. A file belongs to one wearer and to one eye network:
any other is refused.

Adjustment. The eye network's heads are linear in its vector. The wearer's neutral vector lies somewhere else
than most people's; `PULL` of that difference is taken off, which in the outputs is the same as taking off the
difference of the log probabilities. Prompted expressions pull a class's log probability by how much nearer
the vector is to the wearer's own reference of it than to the others. Corrections shift log probabilities by
one number a class.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.agreement import Agreement
from device.codec import dumps
from device.errors import BeheldError, StorageError
from device.model import WEIGHTS
from device.spool import atomic_write
from device.types import EMOTIONS

Floats = NDArray[np.float64]
FORMAT = 1
NAME = "personal.json"
ERASURES = "erasures"
PULL = 0.25
"""Share of the wearer's difference from most people's neutral that is taken off. Chosen among quarters on
the 25 LFW people of the training who have neutral and other pictures; what it gains on held-out people is in
the card (docs/models/eye_emotion.md)."""
GATE_REST = 0.3
"""Where the gate of the wearer's own neutral is brought: well below `emotion.enter`. One shift for all looks
leaves their order as it is. What it does for the virtual wearer, who feels nothing, is in the card."""
REFERENCE_WEIGHT = 0.25
"""Of prompted references against the network's own opinion: the least harmful of quarter, half and whole on
the same people of the training. From single photographs no weight gains anything, on them or on others."""
LEAST_FRAMES = 10
"""Looks below which a reference is not made: a single odd crop would shift everything."""
LEARNING = 0.3
LARGEST_BIAS = 1.5
"""A class's log probability is never shifted further than this, whatever is corrected."""
LIVED = "what sessions taught of the views"
KEEP_STEP, LARGEST_KEEP = 0.02, 0.2
"""What one "not worth keeping" adds to the threshold of keeping, and the most that all of them add."""


class PersonalError(BeheldError):
    """A personal file is damaged, of another wearer, or made with another network. Enrol again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neutral:
    """What the eye network says of neutral eyes: of most people's, or of one wearer's."""

    vector: tuple[float, ...]
    log_probabilities: tuple[float, ...]
    gate_logit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """One version of a wearer's adjustments."""

    wearer: str
    model_sha256: str
    version: int = 1
    why: str = "enrolled"
    neutral: Neutral | None = None
    """The wearer's; None where nobody enrolled."""
    usual: Neutral | None = None
    """Most people's, as shipped with the network."""
    references: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    """Vectors of prompted expressions, by class."""
    bias: tuple[float, ...] = (0.0,) * len(EMOTIONS)
    keep_shift: float = 0.0
    """Added to `wake.enter_probability`."""
    learnt: int = 0
    """Number of the last correction taken in."""
    agreement: Agreement | None = None
    """How far the wearer's views agree with what they feel; None before anything is known."""

    def check_model(self, sha256: str) -> None:
        """Raises PersonalError if this was made with another eye network."""
        if sha256 != self.model_sha256:
            raise PersonalError(
                f"the personal file is for the eye network {self.model_sha256[:12]}, this one is "
                f"{sha256[:12]}; enrol again (beheld enroll)"
            )

    def adjust(
        self, vector: NDArray[Any], probabilities: NDArray[Any], gate: float
    ) -> tuple[Floats, Floats, float]:
        """The network's vector, class probabilities and gate (0..1) as they would be for most people."""
        moved = np.asarray(vector, np.float64)
        logs = np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-9))
        if self.references:
            logs = logs + REFERENCE_WEIGHT * self._nearness(moved)
        if self.neutral is not None and self.usual is not None:
            mine, usual = self.neutral, self.usual
            logs -= PULL * (np.array(mine.log_probabilities) - usual.log_probabilities)
            gate = _sigmoid(_logit(gate) - mine.gate_logit + _logit(GATE_REST))
            moved = moved - PULL * (np.array(mine.vector) - usual.vector)
        return moved, self.prefer(_softmax(logs)), gate

    def prefer(self, probabilities: NDArray[Any]) -> Floats:
        """Class probabilities after the wearer's corrections."""
        logs = np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-9))
        return _softmax(logs + np.array(self.bias))

    def _nearness(self, vector: Floats) -> Floats:
        """(7,): for classes with a reference, how much nearer it is than the references' mean."""
        near = {c: _cosine(vector, np.array(ref)) for c, ref in self.references.items()}
        middle = sum(near.values()) / len(near)
        return np.array([4 * (near[c] - middle) if c in near else 0.0 for c in EMOTIONS])


def usual_neutral(model_sha256: str, folder: Path = WEIGHTS) -> Neutral:
    """Most people's neutral, as shipped with the eye network. Raises PersonalError."""
    path = folder / "eye_emotion_neutral.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        made_with, neutral = raw.pop("model_sha256"), _neutral(raw)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PersonalError(f"{path}: cannot be read ({error}); reinstall beheld") from error
    if made_with != model_sha256:
        raise PersonalError(f"{path}: belongs to another eye network; run export.eye_neutral")
    return neutral


def blank(wearer: str, model_sha256: str) -> Personal:
    """What is known of a wearer who neither enrolled nor corrected anything."""
    return Personal(wearer=wearer, model_sha256=model_sha256, version=0, why="nothing learnt yet")


def enrol(
    wearer: str,
    model_sha256: str,
    looks: Mapping[str, Sequence[Mapping[str, NDArray[Any]]]],
    usual: Neutral,
) -> Personal:
    """From the eye network's outputs by expression; `neutral` must be among them.

    Raises PersonalError naming what is missing.
    """
    for name, rows in looks.items():
        if name not in EMOTIONS:
            raise PersonalError(f"unknown expression '{name}'; known: {', '.join(EMOTIONS)}")
        if len(rows) < LEAST_FRAMES:
            raise PersonalError(
                f"{name}: only {len(rows)} looks with an open eye in view, {LEAST_FRAMES} are needed; "
                "sit still a little longer"
            )
    if "neutral" not in looks:
        raise PersonalError("enrolment needs a neutral minute")
    references = {
        name: _short(np.mean([row["vector"][0] for row in rows], 0)) for name, rows in looks.items()
    }
    return Personal(
        wearer=wearer,
        model_sha256=model_sha256,
        neutral=neutral_of(looks["neutral"]),
        usual=usual,
        references=references if len(references) > 1 else {},
    )


def neutral_of(rows: Sequence[Mapping[str, NDArray[Any]]]) -> Neutral:
    """The mean of the eye network's outputs over looks at neutral eyes."""
    logs = [np.log(np.maximum(row["probabilities"][0].astype(np.float64), 1e-9)) for row in rows]
    return Neutral(
        vector=_short(np.mean([row["vector"][0] for row in rows], 0)),
        log_probabilities=_short(np.mean(logs, 0)),
        gate_logit=_short([np.mean([_logit(float(row["gate"][0, 0])) for row in rows])])[0],
    )


def learn(personal: Personal, corrections: Iterable[Mapping[str, Any]]) -> Personal:
    """Take in the wearer's corrections (docs/snippet-format.md, feedback) numbered after `learnt`.

    An emotion moves each class's bias by `LEARNING` times what was said less what was thought; keeping
    moves the threshold by `KEEP_STEP`. The same corrections give the same file; without new ones it stays.
    """
    bias, keep, last = np.array(personal.bias), personal.keep_shift, personal.learnt
    for item in sorted(corrections, key=lambda item: int(item["number"])):
        if int(item["number"]) <= last:
            continue
        last = int(item["number"])
        if item.get("kind") == "emotion" and item.get("emotion") in EMOTIONS:
            thought = item.get("probabilities") or {}
            p = np.array([float(thought.get(c, 1 / len(EMOTIONS))) for c in EMOTIONS])
            said = np.array([float(c == item["emotion"]) for c in EMOTIONS])
            bias = np.clip(bias + LEARNING * (said - p), -LARGEST_BIAS, LARGEST_BIAS)
        elif item.get("kind") == "keep" and item.get("keep") is not None:
            keep += -KEEP_STEP if item["keep"] else KEEP_STEP
            keep = min(LARGEST_KEEP, max(-LARGEST_KEEP, keep))
    if last == personal.learnt:
        return personal
    return dataclasses.replace(
        personal,
        version=personal.version + 1,
        why=f"corrections up to {last}",
        bias=_short(bias),
        keep_shift=float(round(keep, 6)),
        learnt=last,
    )


def lived(personal: Personal, agreement: Agreement) -> Personal:
    """Take in what a session taught of the wearer's views; without a lesson it stays as it is."""
    if agreement == (personal.agreement or Agreement()):
        return personal
    version = personal.version if personal.why == LIVED else personal.version + 1
    return dataclasses.replace(personal, version=version, why=LIVED, agreement=agreement)


# --- the file ------------------------------------------------------------------------------------


def read(home: Path, wearer: str) -> Personal | None:
    """What holds now; None if nobody enrolled or corrected. Raises PersonalError."""
    path = home / NAME
    return read_file(path, wearer) if path.is_file() else None


def read_file(path: Path, wearer: str | None = None) -> Personal:
    """Raises PersonalError if the file is damaged or, with `wearer`, of somebody else."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        for key in ("neutral", "usual"):
            raw[key] = None if raw[key] is None else _neutral(raw[key])
        raw["references"] = {c: tuple(map(float, v)) for c, v in raw["references"].items()}
        raw["bias"] = tuple(map(float, raw["bias"]))
        agreement = raw.get("agreement")
        raw["agreement"] = None if agreement is None else _agreement(agreement)
        found = Personal(**raw)
        numbers = [*found.bias, found.keep_shift]
        if len(found.bias) != len(EMOTIONS) or not all(map(math.isfinite, numbers)):
            raise ValueError("its adjustments are not numbers, one a class")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PersonalError(
            f"{path}: is no personal file ({error}); remove it or undo (beheld enroll --undo)"
        ) from error
    if wearer is not None and found.wearer != wearer:
        raise PersonalError(
            f"{path}: belongs to another wearer ({found.wearer}), these glasses are {wearer}'s; "
            "enrol again (beheld enroll)"
        )
    return found


def write(home: Path, personal: Personal) -> Path:
    """Make this version the present one; the earlier ones stay beside it."""
    text = dumps({"format": FORMAT, **dataclasses.asdict(personal)})
    folder = home / "personal"
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / f"{personal.version:04d}.json", text.encode())
    atomic_write(home / NAME, text.encode())
    return home / NAME


def back(home: Path, wearer: str) -> Personal | None:
    """Undo the last version; None if there is no earlier one, and then nothing personal is left.

    Raises PersonalError if the earlier version cannot be used.
    """
    now = home / NAME
    versions = sorted((home / "personal").glob("[0-9]*.json"))
    if versions:
        versions.pop().unlink()
    if not versions:
        now.unlink(missing_ok=True)
        return None
    before = read_file(versions[-1], wearer)
    atomic_write(now, versions[-1].read_bytes())
    return before


@contextmanager
def locked(home: Path) -> Iterator[bytes]:
    """Nobody else changes or erases what is personal meanwhile; gives the mark of the erasures so far.

    Another mark than at some time before: erased since, and what was known then may not be written. Not
    to be entered twice. Raises StorageError.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle = (home / ERASURES).open("a+b")
    except OSError as error:
        raise StorageError(f"{home / ERASURES}: cannot be opened ({error.strerror})") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        yield handle.read()


def erase(home: Path) -> int:
    """Remove everything personal, every version of it. Returns how many files went.

    Call it under `locked`. The mark changes first: whoever writes afterwards sees it.
    """
    mark = home / ERASURES
    with mark.open("ab") as handle:
        handle.write(b".")
        handle.flush()
        os.fsync(handle.fileno())
    files = [home / NAME, *(home / "personal").glob("*")]
    gone = 0
    for path in files:
        if path.is_file():
            path.unlink()
            gone += 1
    if (home / "personal").is_dir():
        (home / "personal").rmdir()
    return gone


def _neutral(raw: Mapping[str, Any]) -> Neutral:
    return Neutral(
        vector=tuple(map(float, raw["vector"])),
        log_probabilities=tuple(map(float, raw["log_probabilities"])),
        gate_logit=float(raw["gate_logit"]),
    )


def _agreement(raw: Mapping[str, Any]) -> Agreement:
    return Agreement(
        moments=int(raw["moments"]),
        belief=tuple(map(float, raw["belief"])),
        eyes=tuple(map(float, raw["eyes"])),
    )


def _short(values: Iterable[Any]) -> tuple[float, ...]:
    """As they come back from the file."""
    return tuple(float(f"{float(v):.6g}") for v in values)


def _softmax(logs: Floats) -> Floats:
    shares = np.exp(logs - logs.max())
    scaled: Floats = shares / shares.sum()
    return scaled


def _cosine(a: Floats, b: Floats) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9))


def _logit(p: float) -> float:
    p = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
