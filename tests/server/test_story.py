"""Records in plain words: chapters of a day, the steps that made a moment, the chart."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from server import evidence, record, story
from tests.server.companion import World
from tests.server.snippets import Scene, make_record, make_small_snippet


def change(t_s: float, before: str, after: str) -> dict[str, Any]:
    return {"t_ns": int(t_s * 1e9), "before": before, "after": after, "why": f"at {t_s}"}


def test_the_steps_of_a_moment_are_its_own() -> None:
    raw = make_record("one", Scene())
    raw["evidence"]["changes"] = [
        change(50, "keeping", "checking"),
        change(52, "checking", "watching"),
        change(53, "watching", "checking"),
        change(55, "checking", "watching"),
        change(59.5, "watching", "checking"),
        change(60, "checking", "keeping"),
    ]
    raw["evidence"]["ended"] = "attention is below 0.35"
    before, made = evidence.steps(raw)
    assert [step.why for step in before] == ["at 50", "at 52", "at 53", "at 55"]
    assert [step.why for step in made] == ["at 59.5", "at 60", "attention is below 0.35"]
    assert [round(step.at_s, 3) for step in made] == [0.0, 0.5, 2.5]


def test_the_end_is_told_once() -> None:
    raw = make_record("one", Scene())
    raw["evidence"]["ended"] = "attention is below 0.35"
    _, made = evidence.steps(raw)
    assert [step.what for step in made].count("The moment ended") == 1


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"evidence": None, "video": [], "energy_mj": 3, "emotion": "sad", "tags": {"a": 1}},
        {"evidence": {"changes": [None, {}, {"t_ns": "x"}], "attention": [[1], "x", [None, 2]]}},
        {"start_ns": float("nan"), "end_ns": "late", "start_utc": "soon", "zone": "../etc/passwd"},
        {
            "start_utc": "0001-01-01T00:00:00+14:00",
            "zone": "Mars/Olympus",
            "tags": [{"name": 3}, None],
        },
    ],
)
def test_strange_records_are_shown_as_far_as_they_go(raw: dict[str, Any]) -> None:
    seen = record.read(raw, session_id="s", fallback_utc="2026-05-04T07:41:09+00:00")
    assert seen.title == "Something looked at"
    assert seen.local_time == "07:41:09"
    assert evidence.steps(raw) == ([], []) or raw["evidence"]["changes"]
    assert evidence.energy(raw) == [] and evidence.feelings(raw) == []


def test_what_was_decided_is_told_with_what_it_drew() -> None:
    runs = [
        {"scale_px": 320, "reuse": False, "why": "a moment opens", "frames": 1},
        {"scale_px": 0, "reuse": True, "why": "little has changed", "frames": 9},
        {"scale_px": 320, "reuse": False, "why": "age_s 0.60", "frames": 2},
    ]
    decided = {"320": {"frames": 3, "mj": 18.3}, "reuse": {"frames": 9, "mj": 0.0}}
    carried, looked = evidence.decisions({"evidence": {"decisions": runs, "decided": decided}})
    assert carried == ("carried along by optical flow", 9, 0.0, "little has changed")
    assert looked == ("looked at with 320 px", 3, 18.3, "age_s 0.60")
    for strange in (None, [], {"320": 4}, {"320": {"mj": "much"}}):
        rows = evidence.decisions({"evidence": {"decisions": runs, "decided": strange}})
        assert [mj for _, _, mj, _ in rows] == [None, None]


def test_local_day_is_the_wearers() -> None:
    raw = {"start_utc": "2026-05-04T22:30:00+00:00", "zone": "Asia/Tokyo"}
    seen = record.read(raw, session_id="s", fallback_utc="")
    assert (seen.local_day, seen.local_time) == ("2026-05-05", "07:30:00")
    assert "Tuesday" in seen.words()


def test_a_pause_begins_a_chapter_and_sleep_cuts_the_chart(world: World) -> None:
    for number, minute in enumerate((0, 5, 40)):
        start = f"2026-05-04T07:{minute:02d}:00+00:00"
        make_small_snippet(world.spool, f"s{number}", Scene(start_utc=start))
    world.syncer().run_once()
    entries = world.running.services.index.of_day("2026-05-04")
    assert [len(c.entries) for c in story.chapters(entries, 15)] == [2, 1]
    assert story.chapters(entries, 15)[0].span == "09:00 to 09:05"
    raw = make_record("s0", Scene())
    whole = evidence.chart(raw, entries[0])
    assert whole is not None and len(whole.lines) == 1
    raw["evidence"]["attention"] = [
        row for row in raw["evidence"]["attention"] if not 60.2e9 < row[0] < 61.2e9
    ]
    cut = evidence.chart(raw, entries[0])
    assert cut is not None and len(cut.lines) == 2


def test_names_of_days() -> None:
    today = date(2026, 5, 4)
    assert story.day_title("2026-05-04", today) == "Today"
    assert story.day_title("2026-05-03", today) == "Yesterday"
    assert story.day_title("2025-12-24", today) == "Wednesday, 24 December 2025"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("cup", 2), ("CUP table", 1), ("cu", 2), ("cat", 1), ("cat cup", 0), ('" OR 1', 0),
        ("monday morning", 3), ("NEAR(", 0), ("*", 0), ("café", 1), ("cafe", 1), ("", 3),
    ],
)  # fmt: skip
def test_search(shared: World, words: str, found: int) -> None:
    if not shared.owner.get("/api/v1/moments").json()["moments"]:
        for name, others in (("cup", ("table",)), ("cup", ("café",)), ("cat", ())):
            make_small_snippet(
                shared.spool,
                f"{name}-{len(others)}-{others[:1]}".translate({ord(c): None for c in "()',é "}),
                Scene(thing=name, others=others),
            )
        assert shared.syncer().run_once().receipts == 3
    page = shared.owner.get("/api/v1/moments", params={"q": words}).json()
    assert len(page["moments"]) == found
    assert shared.owner.get("/search", params={"q": words}).status_code == 200


def test_pages_of_moments_give_each_once(world: World) -> None:
    for number in range(7):
        make_small_snippet(world.spool, f"s{number}")  # all at one instant: the key decides
    world.syncer().run_once()
    seen, cursor = [], None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = world.owner.get("/api/v1/moments", params=query).json()
        seen += [moment["key"] for moment in page["moments"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 7


def test_a_discarded_moment_is_gone_but_not_sent_again(world: World) -> None:
    make_small_snippet(world.spool, "one")
    world.syncer(keep_after_receipt=True).run_once()
    key = world.owner.get("/api/v1/moments").json()["moments"][0]["key"]
    assert world.owner.post(f"/moments/{key}/discard", data=world.csrf()).status_code == 200
    assert world.owner.get(f"/api/v1/moments/{key}").status_code == 404
    assert not list(world.running.services.settings.data_dir.glob("media/*/one"))
    (world.spool / ".sync" / "one.json").unlink()
    assert world.syncer().run_once().receipts == 1
    assert world.owner.get("/api/v1/moments").json()["moments"] == []
