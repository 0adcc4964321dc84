"""`beheld bench gate`: what the emotion gate saves on an ordinary day, and what enrolment does to it."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import click

from device.__main__ import EMOTION_MODELS, Outcome, Settings, load_models, run_session
from device.calibration import Calibration
from device.energy_table import EnergyTable
from device.model import Model, load
from device.personal import Personal, enrol, usual_neutral
from device.stages.emotion import EmotionSettings
from device.types import EmotionEstimate, Value
from export.card import put_section
from tools.bench.page import card_option
from tools.enroll import looks
from tools.output import emit, json_option, progress
from tools.virtual_wearer import calibrated, virtual_wearer

ENROL_S = 30.0
WEARER = "virtual"


@click.command()
@click.option("--seconds", default=300.0, show_default=True, help="Length of the session.")
@click.option("--seed", default=1, show_default=True, help="Which virtual wearer.")
@card_option
@json_option
def command(seconds: float, seed: int, page: Path | None, as_json: bool) -> None:
    """The emotion stages on the virtual wearer's day, who feels nothing: all of it is neutral.

    Three runs of one session: as shipped, enrolled (half a minute of the same wearer on another day), and
    enrolled with fusion at every look of the eye network. That last variant would have to look at the scene
    for each estimate, so a run of the backbone is added for each that the tag stage did not make anyway.
    `saved` is the share of its cost that the gate saves, in multiply-accumulates and in joules of networks
    (the scene camera, which would have to be on all day as well, not counted). `cpu_share` is the stages'
    CPU time as a share of the whole loop's, `mj` what the emotion networks cost in the session.
    """
    found = measure(seconds, seed)
    if page is not None:
        put_section(page, f"`beheld bench gate --seed {seed}`: what the gate saves", found)
    emit(found, as_json=as_json, title="gate")


def measure(seconds: float, seed: int = 1) -> dict[str, Any]:
    """All three runs; see `command`."""
    calibration = calibrated(seed, load("eye"))
    eye = load("eye_emotion")
    day = virtual_wearer(seed=seed, seconds=ENROL_S, scenario="calibration")
    own = enrol(
        WEARER, eye.sha256, {"neutral": looks(day, eye, ENROL_S)}, usual_neutral(eye.sha256)
    )
    plain = Run.of(seconds, seed, calibration, None, always=False)
    mine = Run.of(seconds, seed, calibration, own, always=False)
    always = Run.of(seconds, seed, calibration, own, always=True)
    spared = {kind: 1 - mine.cost(kind) / always.full_cost(kind) for kind in ("macs", "mj")}
    return {
        "session_s": seconds,
        "looks": mine.looks,
        "non_neutral": {"unknown_wearer": plain.non_neutral, "enrolled": mine.non_neutral},
        "fused": {"unknown_wearer": plain.fused, "enrolled": mine.fused, "always": always.fused},
        "mj": {
            "unknown_wearer": plain.cost("mj"),
            "enrolled": mine.cost("mj"),
            "always": always.full_cost("mj"),
        },
        "saved": spared,
        "saved_unknown_wearer": 1 - plain.cost("macs") / always.full_cost("macs"),
        "cpu_share": mine.cpu_share,
        "ms_per_look": mine.ms_per_look,
    }


@dataclasses.dataclass(slots=True, kw_only=True)
class Run:
    """One session with the emotion stages on."""

    looks: int
    """Of the eye network."""
    non_neutral: float
    """Share of the looks at which the gate was open."""
    fused: int
    cpu_share: float
    ms_per_look: float
    models: dict[str, Model]

    @classmethod
    def of(
        cls,
        seconds: float,
        seed: int,
        calibration: Calibration,
        personal: Personal | None,
        *,
        always: bool,
    ) -> Run:
        """Run it."""
        emotion = EmotionSettings(on=True, always_fuse=always, view_ms=1e9 if always else 8000.0)
        models = load_models() | {name: load(name) for name in EMOTION_MODELS}
        felt: list[float] = []
        fused = 0

        def listen(value: Value) -> None:
            nonlocal fused
            if isinstance(value, EmotionEstimate):
                fused += value.influence is not None
                if value.influence is None:
                    felt.append(value.non_neutral)

        with tempfile.TemporaryDirectory() as folder, progress("a day", seconds) as bar:
            outcome: Outcome = run_session(
                virtual_wearer(seed=seed, seconds=seconds),
                Path(folder),
                settings=Settings(emotion=emotion),
                models=models,
                calibration=calibration,
                personal=personal,
                extra_sinks=(listen,),
                progress=lambda t_ns: bar(t_ns / 1e9),
            )
        stages = outcome.report.stages
        cpu_s = stages["eye_emotion"].cpu_s + stages["fusion"].cpu_s
        return cls(
            looks=models["eye_emotion"].calls,
            non_neutral=open_share(felt, emotion),
            fused=fused,
            cpu_share=cpu_s / sum(stage.cpu_s for stage in stages.values()),
            ms_per_look=1e3 * cpu_s / max(1, models["eye_emotion"].calls),
            models=models,
        )

    def cost(self, kind: str) -> float:
        """Of the emotion networks, in multiply-accumulates or millijoules."""
        return sum(self._one(name, kind) * self.models[name].calls for name in EMOTION_MODELS)

    def full_cost(self, kind: str) -> float:
        """As if every look had been fused with a view of its own."""
        affect, fusion = self._one("affect", kind), self._one("emoship", kind)
        each = self._one("eye_emotion", kind) + self._one("backbone", kind) + affect + fusion
        made_anyway = self._one("backbone", kind) * min(self.looks, self.models["backbone"].calls)
        return each * self.looks - made_anyway

    def _one(self, name: str, kind: str) -> float:
        """One call of a network."""
        macs = self.models[name].spec.macs
        if kind == "macs":
            return float(macs)
        table = EnergyTable.shipped()
        return (macs * table.rows["network_mac"][1] + table.rows["network_wake"][1]) / 1e12


def open_share(gates: list[float], settings: EmotionSettings) -> float:
    """Share of the looks at which the gate was open, with its hysteresis."""
    is_open, count = False, 0
    for gate in gates:
        is_open = gate >= (settings.leave if is_open else settings.enter)
        count += is_open
    return count / max(1, len(gates))
