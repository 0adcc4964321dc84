"""The glasses' program: where source, stages and sinks are put together, and nowhere else.

`stages()` is the data-flow diagram. `python -m device SESSION.mcap OUT` replays a recorded session on
the glasses themselves, without the command line's extras.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device.agreement import Agreement
from device.calibration import Calibration
from device.carry import Carried
from device.codec import dumps
from device.energy import EnergyLedger
from device.energy_report import EnergyReport
from device.energy_table import EnergyTable
from device.errors import BeheldError
from device.feelings import Witness, left
from device.model import WEIGHTS, Model, load
from device.personal import Personal
from device.pipeline import Report, Sink, Source, Stage, run
from device.pupil import PupilEstimator
from device.pupil_track import PupilTracker, TrackSettings
from device.record import SessionSource
from device.sealing import Protection
from device.session_report import leave_report, session_report
from device.sources.camera import CameraSettings
from device.spool import SnippetWriter, write_record
from device.stages.attention import AttentionSettings, AttentionStage
from device.stages.capture import CaptureSettings, CaptureStage
from device.stages.emotion import EmotionSettings, EyeEmotionStage
from device.stages.encode import EncodeSettings, EncodeStage, buffered_px
from device.stages.events import EventSettings, EventsStage
from device.stages.fusion import FusionStage
from device.stages.gaze import GazeSettings, GazeStage
from device.stages.resolution import ResolutionSettings, ResolutionStage, installed_network
from device.stages.tag import TagSettings, TagStage
from device.stages.wake import WakeSettings, WakeStage
from device.types import SessionHeader

MODELS = ("eye", "attention", "detector", "backbone")
"""The networks of the main job, by the names of their files in `device/weights`."""
EMOTION_MODELS = ("eye_emotion", "affect", "emoship")
"""Those of the emotion stages, loaded only where these are on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of the loop; a TOML file may change any of them (docs/config.md)."""

    camera: CameraSettings = field(default_factory=CameraSettings)
    pupil: TrackSettings = field(default_factory=TrackSettings)
    gaze: GazeSettings = field(default_factory=GazeSettings)
    events: EventSettings = field(default_factory=EventSettings)
    attention: AttentionSettings = field(default_factory=AttentionSettings)
    wake: WakeSettings = field(default_factory=WakeSettings)
    resolution: ResolutionSettings = field(default_factory=ResolutionSettings)
    tag: TagSettings = field(default_factory=TagSettings)
    emotion: EmotionSettings = field(default_factory=EmotionSettings)
    encode: EncodeSettings = field(default_factory=EncodeSettings)
    capture: CaptureSettings = field(default_factory=CaptureSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a session came to: the loop's report, the moments as written, and the energy."""

    report: Report
    moments: list[dict[str, Any]]
    moments_sha256: str
    energy: EnergyReport
    agreement: Agreement | None = None
    """What is believed of the wearer's views afterwards; None without the fusion stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """What a session that goes on for hours has different from a replay."""

    spool: Path | None = None
    """Where snippets go, one folder for all sessions."""
    keep_records: int | None = None
    """How many of the last moment records stay in memory (and in `moments.json`)."""
    guard: Callable[[str, Sink], Sink] = lambda name, sink: sink
    """Wraps a sink whose failure must not end the session."""
    report: Report | None = None
    """Filled while the session runs."""
    protection: Protection | None = None
    """Seals what is written and signs manifests; None: plain and unsigned."""
    witness: Witness | None = None
    """Knows whether feelings were erased meanwhile; None: nobody can."""


def load_models(folder: Path = WEIGHTS) -> dict[str, Model]:
    """The networks of the main job. Raises ModelError naming the file that cannot be used."""
    return {name: load(name, folder) for name in MODELS}


def stages(
    header: SessionHeader,
    models: Mapping[str, Model],
    settings: Settings,
    calibration: Calibration | None = None,
    personal: Personal | None = None,
) -> list[Stage]:
    """The data-flow diagram, top to bottom. What a recording brings along is not made again."""
    settings = personalised(settings, personal)
    pupils = PupilTracker(PupilEstimator(models["eye"]), settings.pupil)
    gaze = GazeStage(pupils, calibration, settings.gaze)
    encode = EncodeStage(settings.encode, header.scene, hold_s=settings.capture.pre_roll_s)
    attention = (
        ()
        if header.scene is None  # without a scene camera the eyes are all there is to judge by
        else (AttentionStage(models["attention"], header.scene, settings.attention),)
    )
    # The analysis of every frame is the always-on variant of comparisons: nothing is left to decide.
    decided = settings.resolution.policy != "off" and not settings.tag.always
    carried = Carried() if decided else None
    always = settings.resolution.policy == "always"  # everything anew, the embedding included
    tag = dataclasses.replace(settings.tag, look_change=0.0) if always else settings.tag
    network, why = installed_network(settings.resolution, models.get("resolution"))
    resolution = (
        ()
        if carried is None
        else (ResolutionStage(carried, network, settings.resolution, why_without=why),)
    )
    eyes, fusion = emotion_stages(header, models, settings, personal)
    deciding = {n: models[n] for n in (*MODELS, *(EMOTION_MODELS if settings.emotion.on else ()))}
    if network is not None:
        deciding["resolution"] = network
    context = {
        "thresholds": dataclasses.asdict(settings.wake),
        "models": {n: {"version": m.spec.version, "sha256": m.sha256} for n, m in deciding.items()},
    }
    return [
        *(() if header.brings_gaze else (gaze,)),  # EyeFrame -> Pupil -> Gaze
        EventsStage(settings.events),  # Gaze -> EyeMovement, Fixation, Pursuit, Saccade, Blink
        *attention,  # SceneFrame, EyeMovement -> Attention
        *eyes,  # EyeFrame, Pupil -> EmotionEstimate of the eyes alone
        WakeStage(settings.wake),  # -> WakeChange, CameraRequest, MomentStart, MomentEnd
        *resolution,  # SceneFrame -> ResolutionDecision
        TagStage(models["detector"], models["backbone"], tag, carried, header.scene),  # -> Tags
        *fusion,  # EmotionEstimate, Tags -> EmotionEstimate with the view's part
        *(() if header.brings_packets else (encode,)),  # SceneFrame -> ScenePacket
        CaptureStage(header.session_id, header.scene, context, settings.capture),  # -> Moment
    ]


def personalised(settings: Settings, personal: Personal | None) -> Settings:
    """The settings of this wearer, and the tag stage's share in what the emotion stages need."""
    if settings.emotion.on:
        tag = dataclasses.replace(settings.tag, whole_every=settings.emotion.whole_every)
        settings = dataclasses.replace(settings, tag=tag)
    if personal is not None and personal.keep_shift:
        wake = settings.wake
        enter = min(0.99, max(wake.leave_probability, wake.enter_probability + personal.keep_shift))
        wake = dataclasses.replace(wake, enter_probability=enter)
        settings = dataclasses.replace(settings, wake=wake)
    return settings


def emotion_stages(
    header: SessionHeader,
    models: Mapping[str, Model],
    settings: Settings,
    personal: Personal | None,
) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    """The eyes' part before the judge, the view's part after the tags; none of it unless it is on."""
    if not settings.emotion.on:
        return (), ()
    eyes = EyeEmotionStage(
        models["eye_emotion"], settings.emotion, personal, sees_pupils=not header.brings_gaze
    )
    known = None if personal is None else personal.agreement
    fusion = FusionStage(models["affect"], models["emoship"], settings.emotion, known)
    return (eyes,), (() if header.scene is None else (fusion,))


def run_session(
    source: Source,
    out: Path,
    *,
    settings: Settings | None = None,
    models: Mapping[str, Model] | None = None,
    calibration: Calibration | None = None,
    extra_sinks: Sequence[Sink] = (),
    table: EnergyTable | None = None,
    progress: Callable[[int], None] = lambda t_ns: None,
    live: LiveRun | None = None,
    personal: Personal | None = None,
) -> Outcome:
    """Run a source through the loop into `out/spool`, `out/moments.json` and `out/session.json`.

    Raises StorageError if `out` cannot be written; snippets complete by then stay complete.
    """
    settings = settings or Settings()
    models = dict(models or load_models())
    if settings.emotion.on:
        models |= {name: load(name) for name in EMOTION_MODELS if name not in models}
    network, _ = installed_network(settings.resolution, models.get("resolution"))
    if network is not None:
        models["resolution"] = network  # the ledger charges every network that decides
    header = source.header
    source.camera.settings = settings.camera
    waiting_px = 0 if header.brings_packets else buffered_px(settings.encode, header.scene)
    ledger = EnergyLedger(table or EnergyTable.shipped(), models, header, waiting_px)
    live = live or LiveRun()
    spool = live.spool or out / "spool"
    writer = SnippetWriter(
        spool,
        header,
        ledger.moment,
        live.protection,
        decisions_of=ledger.decisions,
        allowed=nullcontext if live.witness is None else live.witness.allowed,
    )
    sinks: list[Sink] = [source.camera, ledger, live.guard("snippets", writer), *extra_sinks]
    keep = live.keep_records
    if keep is not None:
        sinks.append(lambda value: writer.records.__delitem__(slice(None, -keep)))
    chain = stages(header, models, settings, calibration, personal)
    report = run(
        source,
        chain,
        sinks,
        progress=progress,
        report=live.report,
    )
    energy = ledger.close(report.session_ns)
    sealer = live.protection.sealer if live.protection else None
    with nullcontext(True) if live.witness is None else live.witness.still() as still:
        records = writer.records if still else left(writer.records)
        content = dumps(records).encode()
        write_record(out / "moments.json", content, sealer)
    write_record(out / "session.json", dumps(summary(header, report, energy)).encode(), sealer)
    told = session_report(header, report, energy, len(records))
    leave_report(out / "spool", told, sealer)
    return Outcome(
        report=report,
        moments=records,
        moments_sha256=hashlib.sha256(content).hexdigest(),
        energy=energy,
        agreement=next((s.agreement for s in chain if isinstance(s, FusionStage)), None),
    )


def summary(header: SessionHeader, report: Report, energy: EnergyReport) -> dict[str, Any]:
    """What `session.json` holds: the header, what was seen and not seen, and the energy."""
    return {
        "header": header,
        "session_s": report.session_ns / 1e9,
        "seen_s": report.seen_ns / 1e9,
        "gap_s": report.gap_ns / 1e9,
        "gaps": report.gaps,
        "counts": report.counts,
        "late": report.late,
        "energy": dataclasses.asdict(energy),
    }


def main(arguments: Sequence[str]) -> int:
    """Replay one of our own sessions. Exit code 2 and one plain line for what a user can mend."""
    if len(arguments) != 2:
        print("usage: python -m device SESSION.mcap OUT", file=sys.stderr)  # noqa: T201
        return 2
    try:
        outcome = run_session(SessionSource(Path(arguments[0])), Path(arguments[1]))
    except BeheldError as error:
        print(f"beheld: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(f"{len(outcome.moments)} moments in {arguments[1]}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
