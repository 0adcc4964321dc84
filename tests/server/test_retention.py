"""Tiers, the stated order, the exemption of kept moments, and the forecast."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as thorough
from hypothesis import strategies as st

from server.app import make_services
from server.retention import TIERS, Held, days_left, plan
from server.settings import ServerSettings
from tests.server.companion import World
from tests.server.snippets import make_small_snippet, write_manifest

MB = 1 << 20


def held(number: int, **values: Any) -> Held:
    given: dict[str, Any] = {
        "key": f"m{number:03d}",
        "device_id": "g",
        "snippet_id": f"s{number}",
        "age_days": 100.0 - number,
        "kept": False,
        "reviewed": False,
        "video_bytes": 6 * MB,
        "preview_bytes": 3 * MB,
        "record_bytes": 1 * MB,
    }
    return Held(**given | values)


def wishes(**values: int) -> ServerSettings:
    return ServerSettings(data_dir=Path("/nowhere"), **values)


def told(steps: list[Any]) -> list[tuple[str, str]]:
    return [(step.moment.key, step.tier) for step in steps]


def test_nothing_goes_unless_asked() -> None:
    assert plan([held(n) for n in range(9)], wishes()) == []


def test_tiers_by_days() -> None:
    moments = [held(n, age_days=age) for n, age in enumerate((400.0, 100.0, 40.0, 10.0))]
    steps = plan(moments, wishes(video_days=30, preview_days=90, record_days=365))
    assert told(steps) == [("m002", "video"), ("m001", "preview"), ("m000", "record")]
    assert [step.bytes // MB for step in steps] == [6, 9, 10]
    assert steps[0].why == "video older than 30 days"


def test_the_stated_order_when_space_runs_out() -> None:
    """Videos before previews before records; seen before unseen; old before new."""
    moments = [held(0), held(1, reviewed=True), held(2), held(3, kept=True), held(4, reviewed=True)]
    assert told(plan(moments, wishes(retention_mb=50))) == []
    assert told(plan(moments, wishes(retention_mb=49))) == [("m001", "video")]
    order = ["m001", "m004", "m000", "m002"]
    assert told(plan(moments, wishes(retention_mb=26))) == [(key, "video") for key in order]
    steps = told(plan(moments, wishes(retention_mb=25)))
    assert steps == [(key, "video") for key in order[1:]] + [("m001", "preview")]
    assert told(plan(moments, wishes(retention_mb=10))) == [(key, "record") for key in order]
    assert told(plan(moments, wishes(retention_mb=1))) == [(key, "record") for key in order]


@thorough(max_examples=150, derandomize=True, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 900), st.booleans(), st.booleans(), st.integers(0, 20)), max_size=12
    ),
    st.lists(st.integers(0, 500), min_size=3, max_size=3),
    st.integers(0, 150),
)
def test_kept_moments_are_exempt_from_every_path(
    given_moments: list[tuple[float, bool, bool, int]], days: list[int], most: int
) -> None:
    moments = [
        held(n, age_days=age, kept=kept, reviewed=seen, video_bytes=size * MB)
        for n, (age, kept, seen, size) in enumerate(given_moments)
    ]
    wanted = wishes(
        video_days=days[0], preview_days=days[1], record_days=days[2], retention_mb=most
    )
    steps = plan(moments, wanted)
    assert not any(step.moment.kept for step in steps)
    assert len({step.moment.key for step in steps}) == len(steps)
    left = sum(m.bytes for m in moments) - sum(step.bytes for step in steps)
    assert left >= sum(m.bytes for m in moments if m.kept)
    everything_went = len([s for s in steps if s.tier == "record"]) == len(
        [m for m in moments if not m.kept]
    )
    assert not most or left <= most * MB or everything_went
    assert [TIERS.index(step.tier) for step in steps] == sorted(
        TIERS.index(step.tier) for step in steps
    )


def test_days_left_without_retention_is_plain_division() -> None:
    moments = [held(n, age_days=float(n)) for n in range(10)]  # 10 MB a day
    assert days_left(moments, wishes(), 400 * MB, 10.0) == pytest.approx(30.0, abs=1.5)


def test_days_left_with_tiers() -> None:
    """Against a walk that ages every moment one by one."""
    moments = [held(n, age_days=float(n % 28), kept=n % 7 == 0) for n in range(84)]
    for wanted in (
        wishes(video_days=10),
        wishes(video_days=5, preview_days=20, record_days=50),
        wishes(record_days=30),
    ):
        for limit in (500, 900):
            assert days_left(moments, wanted, limit * MB, 28.0) == pytest.approx(
                walked(moments, wanted, limit * MB), rel=0.08, abs=3.0
            )
    none_kept = [held(n, age_days=float(n)) for n in range(28)]
    assert days_left(none_kept, wishes(record_days=40), 10**12, 28.0) is None


def walked(moments: list[Held], wanted: ServerSettings, limit: int) -> float:
    ages = [(m, m.age_days) for m in moments]
    for day in range(4000):
        total = 0
        for moment, age in ages:
            if age + day < 0:
                continue  # has not come yet
            steps = plan([held(0, age_days=age + day, kept=moment.kept)], wanted)
            total += moment.bytes - sum(step.bytes for step in steps)
        if total > limit:
            return float(day)
        if day % 28 == 0:  # the same four weeks again
            ages += [(m, m.age_days - 28.0 - day) for m in moments]
    raise AssertionError


def age(world: World, **days: float) -> None:
    """Let snippets have been received some days ago."""
    with world.running.services.database.write() as db:
        for snippet, ago in days.items():
            when = (datetime.now(UTC) - timedelta(days=ago)).isoformat(timespec="milliseconds")
            db.exec_driver_sql(
                f"UPDATE moments SET received_utc = '{when}' WHERE snippet_id = '{snippet}'"
            )


def test_tiers_go_and_are_known_after_a_rebuild(make_world: Any) -> None:
    world = make_world(video_days=30, preview_days=60, record_days=90)
    for name in ("new", "old", "older", "oldest", "dear"):
        folder = make_small_snippet(world.spool, name, video=bytes(5000))
        (folder / "thumbnail.jpg").write_bytes(b"jpeg")
        write_manifest(folder)
    assert world.syncer().run_once().receipts == 5
    services = world.running.services
    age(world, new=3, old=40, older=70, oldest=100, dear=900)
    keys = {e.snippet_id: e.key for e in services.index.select().entries}
    services.judging.mark(keys["dear"], kept=True)
    steps = services.retention.apply()
    assert [(s.moment.snippet_id, s.tier) for s in steps] == [
        ("old", "video"), ("older", "preview"), ("oldest", "record"),
    ]  # fmt: skip
    assert services.retention.apply() == []
    files = {
        snippet: sorted(services.media.kept.sizes(device, snippet))
        for device, snippet in services.media.kept.everything()
    }
    rest = ["custody.json", "manifest.json", "moment.json"]
    whole = sorted([*rest, "scene.mp4", "thumbnail.jpg"])
    assert files["new"] == whole
    assert [name for name in files["dear"] if name != "marks.json"] == whole
    assert files["old"] == sorted([*rest, "released.json", "thumbnail.jpg"])
    assert files["older"] == sorted([*rest, "released.json"])
    assert "oldest" not in files
    assert services.custody.check() == []
    for key in keys.values():
        answer = world.owner.get(f"/moments/{key}")
        assert answer.status_code == (404 if key == keys["oldest"] else 200)
    assert world.owner.get(f"/api/v1/moments/{keys['old']}/files/scene.mp4").status_code == 404
    stored = services.index.stored_bytes()
    (services.settings.data_dir / "beheld.sqlite3").rename(services.settings.data_dir / "gone")
    fresh = make_services(services.settings)
    try:
        entries = {e.snippet_id: e for e in fresh.index.select().entries}
        assert not entries["old"].has_video
        assert entries["old"].has_thumbnail
        assert not entries["older"].has_thumbnail
        assert fresh.index.stored_bytes() == stored
    finally:
        fresh.database.close()


def test_a_moment_kept_after_the_plan_was_made_stays(make_world: Any) -> None:
    world = make_world(record_days=1)
    make_small_snippet(world.spool, "one", video=bytes(5000))
    world.syncer().run_once()
    age(world, one=5)
    services = world.running.services
    [step] = services.retention.plan()
    services.judging.mark(step.moment.key, kept=True)
    services.retention.release(step)
    assert services.index.entry(step.moment.key).has_video


def test_forecast(make_world: Any) -> None:
    world = make_world(quota_mb=100)
    for number in range(4):
        make_small_snippet(world.spool, f"s{number}", video=bytes(MB))
    world.syncer().run_once()
    age(world, s0=3, s1=2, s2=1, s3=0.5)
    seen = world.running.services.retention.forecast()
    assert seen.limited_by == "quota"
    assert seen.moments_per_day == pytest.approx(4 / 3, rel=0.01)
    assert seen.days_left == pytest.approx((100 - 4) / (4 / 3), rel=0.05)
    assert seen.kept_bytes == 0


def test_the_owner_sets_it_on_the_page_and_is_told_first(world: World) -> None:
    for name in ("one", "two"):
        make_small_snippet(world.spool, name, video=bytes(2 * MB))
    assert world.syncer().run_once().receipts == 2
    retention = world.running.services.retention
    wish = {"video_days": "30", "preview_days": "0", "record_days": "0", "retention_mb": "3"}

    asked = world.owner.post("/settings/retention", data={**world.csrf(), **wish})
    assert "1 video (2.0 MiB) would go, for good" in asked.text
    assert retention.plan() == [] and retention.settings.retention_mb == 0

    sure = world.owner.post("/settings/retention", data={**world.csrf(), **wish, "sure": "true"})
    assert 'value="3"' in sure.text and "would go" not in sure.text
    assert [step.tier for step in retention.plan()] == ["video"]
    assert (retention.settings.video_days, retention.settings.retention_mb) == (30, 3)

    gentle = {**wish, "retention_mb": "100"}  # nothing goes: nothing is asked
    world.owner.post("/settings/retention", data={**world.csrf(), **gentle})
    assert retention.plan() == [] and retention.settings.retention_mb == 100
    bad = world.owner.post("/settings/retention", data={**world.csrf(), **wish, "video_days": "-1"})
    assert bad.status_code == 422 and retention.settings.video_days == 30

    settings = world.running.services.settings
    world.owner.close()
    world.running.stop()
    settings.database.unlink()
    again = make_services(settings)
    assert again.retention.settings.retention_mb == 100
    again.database.close()
