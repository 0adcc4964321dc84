"""`python -m tools.tune_region DATA[@MODEL] ...`: how attended place and detector's boxes are matched.

Every session runs through the glasses' loop once; at estimates in an open moment while a thing was attended
its box, the network's region, the gaze and the detector's boxes at 320 px are kept. Then every rule of a grid
chooses again (`device.attended`), with and without the gaze. Printed are, for each kind of session, mean IoU
and share of right objects (an IoU of at least 0.5): of the network alone, then of the best rules. Give data
no network was trained on.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from device.attended import MatchRule, RecentGaze, attended_region
from device.detection import Detection, Detector, corners
from device.model import Model, load
from device.stages.attention import AttentionSettings
from device.stages.tag import MOST_BOXES, TagSettings
from device.stages.wake import WakeSettings
from device.types import Attention, Gaze, MomentEnd, MomentStart, Region, SceneFrame, Value
from tools.attention_regions import box_iou, mean, share_right
from tools.attention_truth import Box, Trial
from tools.bench.attention import sessions, watch

GRID = {
    "from": (0.1, 0.2, 0.4),
    "power": (0.25, 0.5, 1.0, 1.5),
    "least": (0.0, 0.01, 0.02, 0.05),
    "unions": (False, True),
    "gaze": (False, True),
}
EVERY = 6
"""So many-th estimates are kept: neighbours are nearly the same."""


@dataclass(frozen=True)
class Estimate:
    """What a rule chooses from, and the truth."""

    found: list[Detection]
    place: Region
    """The network's."""
    gaze: tuple[float, float] | None
    box: Box


@dataclass
class Keep:
    """A sink: the estimates that count."""

    trial: Trial
    detector: Detector
    rows: list[Estimate] = field(default_factory=list)
    _frame: SceneFrame | None = None
    _open: bool = False
    _number: int = 0

    def __post_init__(self) -> None:
        self._gaze = RecentGaze(self.trial.geometry)

    def __call__(self, value: Value) -> None:
        match value:
            case Gaze():
                self._gaze.push(value)
            case SceneFrame():
                self._frame = value
            case MomentStart():
                self._open = True
            case MomentEnd():
                self._open = False
            case Attention() if self._open and self._frame is not None:
                box = self.trial.box(value.t_ns)
                inside = any(a <= value.t_ns < b for a, b in self.trial.truths[0])
                if box is None or not inside:
                    return
                self._number += 1
                if self._number % EVERY == 0:
                    found = self.detector.detect(self._frame.pixels)
                    self.rows.append(Estimate(found, value.region, self._gaze.at(value.t_ns), box))


def kept(data: str, model: Model) -> list[Estimate]:
    """The estimates of all sessions of a kind."""
    detector = Detector(load("detector"), min_probability=GRID["from"][0], max_count=MOST_BOXES)
    rows = []
    for trial in sessions(data)[1]:
        keep = Keep(trial, detector)
        watch(trial, model, AttentionSettings(), WakeSettings(), [keep])
        rows += keep.rows
    return rows


def chosen(
    rows: list[Estimate], rule: MatchRule, from_probability: float, with_gaze: bool
) -> list[float]:
    """IoU of what a rule chooses of the boxes from a probability on, estimate by estimate."""
    near, ious = TagSettings().near, []
    for row in rows:
        likely = [d for d in row.found if d.probability >= from_probability]
        gaze = row.gaze if with_gaze else None
        region, _ = attended_region(likely, row.place, near, rule, gaze)
        ious.append(box_iou(corners(region), row.box))
    return ious


def main() -> None:
    everything = {}
    for entry in sys.argv[1:]:
        data, _, path = entry.partition("@")
        everything[data] = kept(data, Model(Path(path)) if path else load("attention"))
        ious = [box_iou(corners(row.place), row.box) for row in everything[data]]
        print(
            f"{data}: {len(ious)} estimates, network alone {mean(ious):.3f} {share_right(ious):.3f}"
        )
    lines = []
    for values in itertools.product(*GRID.values()):
        from_probability, power, least, unions, gaze = values
        rule = MatchRule(power=power, least=least, unions=bool(unions))
        ious = [chosen(rows, rule, from_probability, bool(gaze)) for rows in everything.values()]
        told = "  ".join(f"{mean(v):.3f} {share_right(v):.3f}" for v in ious)
        right = float(np.mean([share_right(v) or 0.0 for v in ious]))
        lines.append((right, told, dict(zip(GRID, values, strict=True))))
    for right, told, settings in sorted(lines, key=lambda line: -line[0])[:12]:
        print(f"{right:.3f}  {told}  {settings}")


if __name__ == "__main__":
    main()
