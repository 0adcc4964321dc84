"""Emotion in the main job: the same bytes twice, moments that say what was felt and why, and erasing it."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest

from device.__main__ import LiveRun, Outcome, Settings, run_session
from device.agreement import SHARES, Agreement
from device.emulator.settings import EmulatorSettings
from device.emulator.source import Emulator
from device.feelings import Witness, erase, without
from device.model import load
from device.personal import Personal, write
from device.record import Recorder, SessionSource
from device.sealing import Protection, Sealer
from device.sources.camera import AlwaysOn
from device.spool import read_snippet, snippet_folders
from device.stages.emotion import EmotionSettings
from device.stages.encode import EncodeStage
from device.types import EMOTIONS, EmotionEstimate, EyeFrame, Value

SECONDS = 12.0
ON = Settings(emotion=EmotionSettings(on=True))


class SeenAndGazed:
    """The virtual wearer's true gaze and scene, with a few eye images a second: cheap, and all there."""

    def __init__(self) -> None:
        def wearer(*, eyes: bool) -> Emulator:
            return Emulator(
                EmulatorSettings(seed=3, duration_s=SECONDS, scenario="demo", eyes=eyes, eye_hz=4.0)
            )

        self._gazed, self._eyes = wearer(eyes=False), wearer(eyes=True)
        self.header = self._gazed.header
        self.camera = self._gazed.camera = AlwaysOn()

    def __iter__(self) -> Iterator[Value]:
        eyes = (v for v in self._eyes if isinstance(v, EyeFrame))
        return heapq.merge(self._gazed, eyes, key=lambda v: v.t_ns)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, source = tmp_path_factory.mktemp("felt") / "session.mcap", SeenAndGazed()
    encode = EncodeStage()
    with Recorder(path, source.header) as recorder:
        for value in source:
            recorder(value)
            for packet in encode.step(value) if isinstance(value, encode.wants) else ():
                recorder(packet)
    return path


@pytest.fixture(scope="module")
def felt(recording: Path) -> tuple[Outcome, Path]:
    out = recording.parent / "a"
    return run_session(SessionSource(recording), out, settings=ON), out


def test_a_replay_with_emotion_on_gives_the_same_bytes(
    recording: Path, felt: tuple[Outcome, Path], tmp_path: Path
) -> None:
    again = run_session(SessionSource(recording), tmp_path, settings=ON)
    assert again.moments_sha256 == felt[0].moments_sha256
    assert (tmp_path / "moments.json").read_bytes() == (felt[1] / "moments.json").read_bytes()


def test_a_moment_says_what_was_felt_how_much_the_view_explains_and_by_which_networks(
    felt: tuple[Outcome, Path],
) -> None:
    outcome, folder = felt
    joined = [m for m in outcome.moments if m["emotion"] and m["emotion"]["influence"] is not None]
    assert joined
    for moment in joined:
        emotion: dict[str, Any] = moment["emotion"]
        assert set(emotion["probabilities"]) == set(EMOTIONS)
        assert sum(emotion["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        strongest = max(emotion["probabilities"], key=emotion["probabilities"].__getitem__)
        assert emotion["strongest"] == strongest
        assert 0 <= emotion["influence"] <= 1
        assert {"eye_emotion", "affect", "emoship"} <= set(moment["models"])
        assert any(row[-1] is not None for row in emotion["series"])
        assert set(emotion["region"]) == {"left", "top", "right", "bottom"}
        written = read_snippet(folder / "spool" / moment["id"]).moment
        assert written["emotion"] == json.loads(json.dumps(emotion))


def test_moments_teach_how_far_views_agree_and_what_was_learnt_is_gone_by(
    recording: Path, felt: tuple[Outcome, Path], tmp_path: Path
) -> None:
    taught = felt[0].agreement
    assert taught is not None and 1 <= taught.moments <= len(felt[0].moments)
    never = Agreement(moments=50, belief=tuple(-50.0 * SHARES))
    own = Personal(wearer="me", model_sha256=load("eye_emotion").sha256, agreement=never)
    other = run_session(SessionSource(recording), tmp_path, settings=ON, personal=own)

    def influence(outcome: Outcome) -> float:
        felt = [m["emotion"]["influence"] for m in outcome.moments if m["emotion"]]
        return max(value for value in felt if value is not None)

    assert influence(other) < influence(felt[0]) / 2
    assert other.agreement is not None and other.agreement.moments == 50 + taught.moments


def test_erasing_a_sealed_session_leaves_no_sealed_file(recording: Path, tmp_path: Path) -> None:
    sealer = Sealer(str(pyrage.x25519.Identity.generate().to_public()))
    session, spool = tmp_path / "sessions" / "one", tmp_path / "spool"
    live = LiveRun(spool=spool, protection=Protection(sealer=sealer))
    session.mkdir(parents=True)
    run_session(SessionSource(recording), session, settings=ON, live=live)
    held = len(snippet_folders(spool)) + 1  # and the session's list of them
    assert held > 1 and (session / "moments.json.age").is_file()
    assert erase(tmp_path, spool, Protection()).sealed_left == held
    assert erase(tmp_path, spool, Protection(), with_sealed=True).sealed_removed == held
    assert snippet_folders(spool) == [] and not list(tmp_path.rglob("moment*.age"))


@pytest.mark.parametrize("enrolled", [True, False])
def test_a_run_that_goes_on_while_feelings_are_erased_leaves_none_behind(
    recording: Path, felt: tuple[Outcome, Path], tmp_path: Path, enrolled: bool
) -> None:
    home, spool, session = (tmp_path / name for name in ("home", "spool", "sessions/one"))
    session.mkdir(parents=True)
    home.mkdir()
    own = Personal(wearer="me", model_sha256=load("eye_emotion").sha256) if enrolled else None
    if own is not None:
        write(home, own)
    live = LiveRun(spool=spool, witness=Witness(home))
    erased = []

    def meanwhile(value: Value) -> None:
        if isinstance(value, EmotionEstimate) and value.influence is not None and not erased:
            erased.append(erase(home, spool, Protection()))

    outcome = run_session(
        SessionSource(recording),
        session,
        settings=ON,
        live=live,
        personal=own,
        extra_sinks=[meanwhile],
    )
    assert erased and any(m["emotion"] for m in felt[0].moments)
    assert outcome.moments and not any(m["emotion"] for m in outcome.moments)
    told = [read_snippet(folder).moment for folder in snippet_folders(spool)]
    assert len(told) == len(outcome.moments)
    for record in (*told, *json.loads((session / "moments.json").read_text())):
        assert without(record) == record
    assert not (home / "personal.json").exists()
