"""The personal file: enrolment, corrections, versions; whose it is not; and leaving nothing behind."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from device import feedback, personal
from device.agreement import Agreement
from device.codec import dumps
from device.errors import SyncError
from device.feelings import erase
from device.identity import Credentials
from device.personal import Personal, PersonalError
from device.sealing import Protection
from device.spool import MANIFEST, MOMENT, make_manifest, read_snippet, stored_file
from device.types import EMOTIONS

SHA = "a" * 64
HAPPY = EMOTIONS.index("happy")


def looks(count: int = 20, shift: float = 0.0, gate: float = 0.5) -> list[dict[str, Any]]:
    p = np.full(7, 0.1)
    p[0] = 0.4 + shift
    p /= p.sum()
    row = {
        "vector": np.array([[1.0 + shift, 0.0]]),
        "gate": np.array([[gate]]),
        "probabilities": p[None],
    }
    return [row] * count


def enrolled(**looked: Any) -> Personal:
    usual = personal.neutral_of(looks())
    return personal.enrol("me", SHA, {"neutral": looks(shift=0.5, gate=0.9), **looked}, usual)


def item(number: int, kind: str = "emotion", **more: Any) -> dict[str, Any]:
    probabilities = dict.fromkeys(EMOTIONS, 1 / 7)
    return {"number": number, "kind": kind, "probabilities": probabilities, **more}


def test_a_face_that_looks_angry_when_nothing_is_felt_is_less_angry_once_enrolled() -> None:
    own, seen = enrolled(), looks(shift=0.5, gate=0.9)[0]
    vector, p, gate = own.adjust(seen["vector"][0], seen["probabilities"][0], 0.9)
    assert p[0] < seen["probabilities"][0][0] and p.sum() == pytest.approx(1)
    assert gate < 0.9 and vector[0] < 1.5


def test_a_prompted_smile_draws_what_is_like_it() -> None:
    smile = [{**row, "vector": np.array([[0.0, 1.0]])} for row in looks()]
    own = enrolled(happy=smile)
    even = np.full(7, 1 / 7)
    near, far = (own.adjust(np.array(v), even, 0.5)[1] for v in ((0.0, 1.0), (1.5, 0.0)))
    assert near[HAPPY] > far[HAPPY]


def test_too_short_a_minute_is_refused_with_the_number() -> None:
    with pytest.raises(PersonalError, match="only 3 looks"):
        personal.enrol("me", SHA, {"neutral": looks(3)}, personal.neutral_of(looks()))
    with pytest.raises(PersonalError, match="neutral minute"):
        personal.enrol("me", SHA, {"happy": looks()}, personal.neutral_of(looks()))


def lesson(agreement: Agreement) -> Agreement:
    return agreement.after(np.eye(7)[HAPPY], 1 + 5 * np.eye(7)[HAPPY])


def test_sessions_in_a_row_are_one_version_which_undoing_takes_back(tmp_path: Path) -> None:
    start = enrolled()
    personal.write(tmp_path, start)
    assert personal.lived(start, Agreement()) is start
    first = personal.lived(start, lesson(Agreement()))
    assert first.agreement is not None and first.version == start.version + 1
    personal.write(tmp_path, first)
    second = personal.lived(first, lesson(first.agreement))
    personal.write(tmp_path, second)
    assert second.version == first.version and personal.read(tmp_path, "me") == second
    assert personal.back(tmp_path, "me") == start
    assert personal.erase(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [personal.ERASURES]


@pytest.mark.parametrize("damage", [{"belief": [0.0]}, {"eyes": ["x"] * 7}, {"moments": None}])
def test_a_damaged_belief_of_views_is_a_plain_error(tmp_path: Path, damage: dict[str, Any]) -> None:
    personal.write(tmp_path, personal.lived(enrolled(), lesson(Agreement())))
    path = tmp_path / personal.NAME
    raw = json.loads(path.read_text())
    raw["agreement"].update(damage)
    path.write_text(json.dumps(raw))
    with pytest.raises(PersonalError, match="is no personal file"):
        personal.read(tmp_path, "me")


def test_corrections_shift_classes_and_the_threshold_within_bounds() -> None:
    start = enrolled()
    said = personal.learn(start, [item(1, emotion="happy"), item(2, "keep", keep=False)])
    assert said.bias[HAPPY] > 0 > said.bias[0] and said.keep_shift == personal.KEEP_STEP
    assert said.version == start.version + 1 and said.learnt == 2
    assert personal.learn(said, [item(1, emotion="happy")]) is said  # taken in already
    much = personal.learn(start, [item(n, emotion="happy") for n in range(1, 200)])
    assert max(np.abs(much.bias)) <= personal.LARGEST_BIAS
    never = personal.learn(start, [item(n, "keep", keep=False) for n in range(1, 200)])
    assert never.keep_shift == personal.LARGEST_KEEP


def test_every_version_stays_and_can_be_gone_back_to(tmp_path: Path) -> None:
    first = enrolled()
    personal.write(tmp_path, first)
    personal.write(tmp_path, personal.learn(first, [item(1, emotion="sad")]))
    assert personal.read(tmp_path, "me") != first
    assert personal.back(tmp_path, "me") == first == personal.read(tmp_path, "me")
    assert personal.back(tmp_path, "me") is None
    assert personal.read(tmp_path, "me") is None


def test_another_wearers_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    personal.write(tmp_path, enrolled())
    with pytest.raises(PersonalError, match="another wearer"):
        personal.read(tmp_path, "somebody")
    with pytest.raises(PersonalError, match="enrol again"):
        enrolled().check_model("b" * 64)
    (tmp_path / personal.NAME).write_text("{}")
    with pytest.raises(PersonalError, match="is no personal file"):
        personal.read(tmp_path, "me")
    spoilt = json.loads(dumps({"format": 1, **dataclasses.asdict(enrolled())}))
    spoilt["bias"][0] = None
    (tmp_path / personal.NAME).write_text(json.dumps(spoilt))
    with pytest.raises(PersonalError):
        personal.read(tmp_path, "me")


def test_what_ships_as_usual_belongs_to_the_shipped_network() -> None:
    from device.model import load

    sha256 = load("eye_emotion").sha256
    assert len(personal.usual_neutral(sha256).vector) == 96
    with pytest.raises(PersonalError, match="another eye network"):
        personal.usual_neutral("0" * 64)


# --- corrections from the server -----------------------------------------------------------------

CREDENTIALS = Credentials(
    server_url="http://home",
    server_id="s",
    server_public_key="k",
    server_name="Home",
    device_id="me",
    token="secret",
)


def server(pages: list[Any], asked: list[str]) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.url.params['after']} {request.headers['authorization']}")
        return httpx.Response(200, json=pages.pop(0) if pages else {"next": 0, "items": []})

    return httpx.MockTransport(answer)


def test_corrections_come_home_once_and_are_learnt(tmp_path: Path) -> None:
    asked: list[str] = []
    page = {"next": 2, "items": [item(1, emotion="happy"), item(2, "keep", keep=False)]}
    assert feedback.fetch(tmp_path, CREDENTIALS, transport=server([page], asked)) == 2
    assert feedback.fetch(tmp_path, CREDENTIALS, transport=server([], asked)) == 0
    assert asked == ["0 Bearer secret", "2 Bearer secret", "2 Bearer secret"]
    own = feedback.learn(tmp_path, "me", SHA)
    assert own is not None and own.bias[HAPPY] > 0 and own.version == 1
    assert feedback.learn(tmp_path, "me", SHA) == own


def test_a_line_cut_by_a_crash_is_fetched_again(tmp_path: Path) -> None:
    page = {"next": 1, "items": [item(1, emotion="happy")]}
    feedback.fetch(tmp_path, CREDENTIALS, transport=server([page], []))
    path = tmp_path / feedback.NAME
    path.write_text(path.read_text() + '{"number": 2, "ki')
    asked: list[str] = []
    feedback.fetch(tmp_path, CREDENTIALS, transport=server([], asked))
    assert asked[0].startswith("1 ") and len(feedback.read(tmp_path)) == 1


@pytest.mark.parametrize("odd", [{}, {"items": 3}, {"items": [{"number": 0, "kind": "keep"}]}])
def test_answers_that_make_no_sense_are_refused(tmp_path: Path, odd: Any) -> None:
    with pytest.raises(SyncError):
        feedback.fetch(tmp_path, CREDENTIALS, transport=server([odd], []))


def test_a_server_without_feedback_has_none(tmp_path: Path) -> None:
    missing = httpx.MockTransport(lambda request: httpx.Response(404))
    assert feedback.fetch(tmp_path, CREDENTIALS, transport=missing) == 0


# --- erasing -------------------------------------------------------------------------------------


def snippet(spool: Path, name: str, reasons: list[str]) -> Path:
    folder = spool / name
    folder.mkdir(parents=True)
    record = {
        "id": name,
        "session_id": "s",
        "start_utc": "unknown",
        "reasons": reasons,
        "emotion": {"probabilities": {"happy": 1.0}, "strongest": "happy"},
        "models": {"eye_emotion": {}, "eye": {}},
        "evidence": {"changes": [{"why": "non-neutral 0.9 for 2000 ms"}, {"why": "a look"}]},
    }
    (folder / MOMENT).write_text(json.dumps(record))
    (folder / "scene.mp4").write_bytes(b"video")
    files = [dataclasses.asdict(stored_file(p)) for p in sorted(folder.iterdir())]
    (folder / MANIFEST).write_text(dumps(make_manifest(files, record)))
    return folder


def test_erasing_leaves_nothing_behind(tmp_path: Path) -> None:
    home, spool = tmp_path / "home", tmp_path / "out" / "spool"
    home.mkdir()
    personal.write(home, personal.learn(enrolled(), [item(1, emotion="happy")]))
    page = {"next": 2, "items": [item(1, emotion="happy"), item(2, "keep", keep=True)]}
    feedback.fetch(home, CREDENTIALS, transport=server([page], []))
    kept = snippet(spool, "a", ["attention", "emotion"])
    snippet(spool, "b", ["emotion"])
    records = [json.loads((p / MOMENT).read_text()) for p in sorted(spool.iterdir())]
    (spool.parent / "moments.json").write_text(dumps(records))

    done = erase(home, spool, Protection())
    assert (done.personal_files, done.corrections, done.snippets, done.moments) == (2, 1, 1, 1)
    assert read_snippet(kept).moment["reasons"] == ["attention"]  # still whole by its hashes
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        text = path.read_bytes()
        for word in (b"happy", b"non-neutral", b"eye_emotion", b"strongest"):
            assert word not in text, path
    again = feedback.fetch(home, CREDENTIALS, transport=server([], asked := []))
    assert again == 0 and asked[0].startswith("2 ")  # and is not fetched again


def test_no_session_and_nothing_half_written_is_forgotten(tmp_path: Path) -> None:
    """As the glasses lay it out: `spool/` and `sessions/` side by side, and a program killed twice."""
    spool = tmp_path / "spool"
    record = json.loads((snippet(spool, "a", ["attention"]) / MOMENT).read_text())
    for name in (".writing-b", ".deleted-c"):
        snippet(spool, name, ["attention", "emotion"])
    for name in ("one", "two"):
        (tmp_path / "sessions" / name).mkdir(parents=True)
        (tmp_path / "sessions" / name / "moments.json").write_text(dumps([record]))
    sealed_record = tmp_path / "sessions" / "two" / "moments.json.age"
    sealed_record.write_bytes(b"age-encryption.org/v1")
    done = erase(tmp_path, spool, Protection())
    assert (done.snippets, done.leftovers, done.sealed_left) == (1, 2, 1)
    assert erase(tmp_path, spool, Protection(), with_sealed=True).sealed_removed == 1
    assert not sealed_record.exists()
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        assert b"happy" not in path.read_bytes(), path


def test_sealed_snippets_are_counted_and_removed_on_request(tmp_path: Path) -> None:
    folder = snippet(tmp_path / "spool", "a", ["attention"])
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "sealed_to": "age1x"}))
    assert erase(tmp_path, tmp_path / "spool", Protection()).sealed_left == 1
    assert folder.exists()
    assert erase(tmp_path, tmp_path / "spool", Protection(), with_sealed=True).sealed_removed == 1
    assert not folder.exists()
