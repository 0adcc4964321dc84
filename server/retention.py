"""What is let go, in which order, and how long the space lasts.

A moment is kept in tiers: *raw* (all files), *preview* (thumbnail and record), *record* (moment.json and the
sidecars). The owner says for how many days each tier is held and, if wanted, how much all moments
may fill; without such a wish nothing is ever let go. The order, stated and tested:

1. what is past its days: videos, then previews, then whole moments;
2. if more is stored than allowed: videos, then previews, then whole moments, until it fits;
3. in each of these: moments the owner has looked at before those not seen yet, older before newer.

A moment marked *keep* is in none of these lists. What was let go is noted in `released.json` first, so
that a check does not call it missing and a rebuilt index knows it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from server.custody import Custody
from server.database import Database, utc_now
from server.manifest import RELEASED, THUMBNAIL, VIDEO
from server.media import MediaFolder
from server.preferences import Preferences
from server.settings import ServerSettings

TIERS = ("video", "preview", "record")
"""What a step lets go, in the order in which it goes."""
_RATE_DAYS = 28  # what arrives a day is measured over the last four weeks that have moments
_HORIZON_DAYS = 3650


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One moment as retention sees it. `age_days` counts from when it was received."""

    key: str
    device_id: str
    snippet_id: str
    age_days: float
    kept: bool
    reviewed: bool
    video_bytes: int
    preview_bytes: int
    record_bytes: int

    @property
    def bytes(self) -> int:
        return self.video_bytes + self.preview_bytes + self.record_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to let go. `tier` is the most valuable thing that goes; all above it goes too."""

    moment: Held
    tier: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How long the space lasts if days go on like the last four weeks."""

    stored_bytes: int
    limit_bytes: int
    """The least of free disk above the reserve, quota, and what retention may fill."""
    limited_by: str
    """`disk`, `quota` or `retention`."""
    bytes_per_day: float
    moments_per_day: float
    days_left: float | None
    """None: it never fills within ten years."""
    kept_bytes: int
    """What no retention may touch."""


class Retention:
    """Plans and carries out what the settings ask for."""

    def __init__(
        self,
        settings: ServerSettings,
        database: Database,
        media: MediaFolder,
        custody: Custody,
        preferences: Preferences,
    ) -> None:
        self._given = settings
        self._preferences = preferences
        self._db = database
        self._media = media
        self._custody = custody

    @property
    def settings(self) -> ServerSettings:
        """As in server.toml, or as the owner chose on the page since."""
        return self._preferences.over(self._given)

    def held(self, now: datetime | None = None) -> list[Held]:
        """Every moment, oldest first."""
        now = now or datetime.now(UTC)
        with self._db.read() as db:
            rows = db.execute(
                text(
                    "SELECT key, device_id, snippet_id, received_utc, kept, reviewed, bytes, has_video,"
                    " coalesce(video_bytes, CASE WHEN has_video THEN bytes ELSE 0 END) AS video_bytes,"
                    " coalesce(preview_bytes, 0) AS preview_bytes FROM moments ORDER BY received_utc, key"
                )
            ).mappings()
            return [
                Held(
                    key=row["key"],
                    device_id=row["device_id"],
                    snippet_id=row["snippet_id"],
                    age_days=(now - datetime.fromisoformat(row["received_utc"]))
                    / timedelta(days=1),
                    kept=bool(row["kept"]),
                    reviewed=bool(row["reviewed"]),
                    video_bytes=int(row["video_bytes"]),
                    preview_bytes=int(row["preview_bytes"]),
                    record_bytes=max(0, row["bytes"] - row["video_bytes"] - row["preview_bytes"]),
                )
                for row in rows
            ]

    def plan(
        self, now: datetime | None = None, settings: ServerSettings | None = None
    ) -> list[Step]:
        """What would be let go now, in order, under these settings if not those in force.

        Empty unless the owner asked for retention.
        """
        return plan(self.held(now), settings or self.settings)

    def apply(self, now: datetime | None = None) -> list[Step]:
        """Let it go; says what went. Killed halfway, the rest goes the next time."""
        steps = self.plan(now)
        for step in steps:
            self.release(step)
        return steps

    def release(self, step: Step) -> None:
        """Let one step's files go, unless the owner has just said to keep the moment."""
        moment = step.moment
        with self._db.read() as db:
            kept = db.execute(
                text("SELECT kept FROM moments WHERE key = :key"), {"key": moment.key}
            ).scalar_one_or_none()
        if kept is None or kept:
            return
        if step.tier == "record":
            self._custody.erase(moment.device_id, moment.snippet_id)
            return
        names = (VIDEO,) if step.tier == "video" else (VIDEO, THUMBNAIL)
        place = (moment.device_id, moment.snippet_id)
        note = released(self._media, *place)
        note |= {name: {"at_utc": utc_now(), "why": step.why} for name in names if name not in note}
        self._media.kept.write(*place, RELEASED, json.dumps(note, indent=1).encode())
        for name in names:
            self._media.kept.drop(*place, name)
        with self._db.write() as db:
            preview = "" if step.tier == "video" else ", has_thumbnail = FALSE, preview_bytes = 0"
            db.execute(
                text(
                    f"UPDATE moments SET has_video = FALSE, video_bytes = 0{preview},"
                    " bytes = :bytes WHERE key = :key"
                ),
                {"key": moment.key, "bytes": moment.bytes - step.bytes},
            )

    def forecast(self, now: datetime | None = None) -> Forecast:
        """Days until the space is full, with what retention lets go on the way."""
        held, settings = self.held(now), self.settings
        stored = sum(moment.bytes for moment in held)
        limit, by = self._limit(stored, settings)
        recent = [moment for moment in held if moment.age_days <= _RATE_DAYS]
        span = max(1.0, min(float(_RATE_DAYS), max((m.age_days for m in held), default=1.0)))
        allowed = settings.retention_mb << 20
        left = None if allowed and allowed <= limit else days_left(held, settings, limit, span)
        return Forecast(
            stored_bytes=stored,
            limit_bytes=limit,
            limited_by=by,
            bytes_per_day=sum(m.bytes for m in recent) / span,
            moments_per_day=len(recent) / span,
            days_left=left,
            kept_bytes=sum(m.bytes for m in held if m.kept),
        )

    def _limit(self, stored: int, settings: ServerSettings) -> tuple[int, str]:
        free = shutil.disk_usage(self._media.root).free - (settings.reserve_mb << 20)
        limits = [(stored + max(0, free), "disk")]
        if settings.quota_mb:
            limits.append((settings.quota_mb << 20, "quota"))
        if settings.retention_mb:
            limits.append((settings.retention_mb << 20, "retention"))
        return min(limits)


def plan(held: Sequence[Held], settings: ServerSettings) -> list[Step]:
    """The steps of the stated order, each moment at its lowest tier only. Pure."""
    days = (settings.video_days, settings.preview_days, settings.record_days)
    open_to_it = sorted(
        (moment for moment in held if not moment.kept),
        key=lambda moment: (not moment.reviewed, -moment.age_days, moment.key),
    )
    steps: dict[str, Step] = {}
    for tier, most in zip(TIERS, days, strict=True):
        if most:
            why = f"{tier} older than {most} days"
            old = (moment for moment in open_to_it if moment.age_days > most)
            _let_go(steps, old, tier, why)
    allowed = settings.retention_mb << 20
    if allowed:
        total = sum(m.bytes for m in held) - sum(step.bytes for step in steps.values())
        why = f"more than {settings.retention_mb} MiB stored"
        for tier in TIERS:
            for moment in open_to_it:
                if total <= allowed:
                    break
                total -= _let_go(steps, (moment,), tier, why)
    return sorted(steps.values(), key=lambda step: TIERS.index(step.tier))


def days_left(
    held: Sequence[Held], settings: ServerSettings, limit_bytes: int, span_days: float
) -> float | None:
    """Days until more than `limit_bytes` are stored, new days being like the last `span_days`.

    Walks day by day while what is there and what comes leave tier by tier, then goes on in a
    straight line. None: not within ten years.
    """
    there = _by_age(held)
    a_day = _by_age([replace(m, age_days=0.0) for m in held if m.age_days <= span_days]) / span_days
    settled = 1 + max(settings.video_days, settings.preview_days, settings.record_days)
    came, total = 0.0, 0.0
    for day in range(settled + 1):
        total = _at(there, day, settings) + came
        if total > limit_bytes:
            return float(day)
        came += _at(a_day, day, settings)
    growth = _at(a_day, settled, settings)
    left = settled + (limit_bytes - total) / growth if growth > 0 else float("inf")
    return left if left <= _HORIZON_DAYS else None


def released(media: MediaFolder, device_id: str, snippet_id: str) -> dict[str, dict[str, str]]:
    """What retention let go of a stored snippet: {file: {at_utc, why}}."""
    return media.note(device_id, snippet_id, RELEASED)


def _let_go(steps: dict[str, Step], moments: Iterable[Held], tier: str, why: str) -> int:
    """Put moments down for a tier; answers how many more bytes that frees."""
    freed = 0
    for moment in moments:
        before = steps.get(moment.key)
        size = moment.bytes - _bytes_below(moment, tier)
        if size <= (before.bytes if before else 0) and tier != "record":
            continue
        steps[moment.key] = Step(moment=moment, tier=tier, bytes=size, why=why)
        freed += size - (before.bytes if before else 0)
    return freed


def _bytes_below(moment: Held, tier: str) -> int:
    """What is left of a moment when a tier is gone."""
    return {
        "video": moment.preview_bytes + moment.record_bytes,
        "preview": moment.record_bytes,
        "record": 0,
    }[tier]


def _by_age(held: Sequence[Held]) -> NDArray[np.float64]:
    """Bytes by whole days of age: rows (age, video, preview, record, kept)."""
    if not held:
        return np.zeros((0, 5))
    rows = np.array(
        [
            (int(m.age_days), 0, 0, 0, m.bytes)
            if m.kept
            else (int(m.age_days), m.video_bytes, m.preview_bytes, m.record_bytes, 0)
            for m in held
        ],
        float,
    )
    ages, place = np.unique(rows[:, 0], return_inverse=True)
    sums = np.zeros((len(ages), 5))
    np.add.at(sums, place, rows)
    sums[:, 0] = ages
    return sums


def _at(by_age: NDArray[np.float64], later_days: int, settings: ServerSettings) -> float:
    """Bytes that are left of all that some days later, by the days of the tiers."""
    ages = by_age[:, 0] + later_days
    total = float(by_age[:, 4].sum())
    gone = np.zeros(len(ages), bool)
    for column, most in (
        (3, settings.record_days),
        (2, settings.preview_days),
        (1, settings.video_days),
    ):
        if most:
            gone = gone | (ages > most)
        total += float(by_age[~gone, column].sum())
    return total
