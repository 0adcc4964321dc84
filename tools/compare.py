"""`beheld compare`: one recording, two variants of the loop: moments gained and lost, joules spent."""

from __future__ import annotations

import base64
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from device.__main__ import run_session
from device.energy_report import EnergyReport
from device.errors import InputError, StorageError
from device.pipeline import Source
from device.spool import THUMBNAIL
from tools.compare_page import page
from tools.open_source import open_source
from tools.output import emit, json_option, progress
from tools.variants import Variant, variant
from tools.virtual_wearer import calibration_of

SIDES = ("a", "b")
Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one variant made of the recording."""

    variant: Variant
    records: list[Record]
    pictures: Mapping[str, str]
    """Thumbnails by moment id, base64 of JPEG."""
    sha256: str
    session_s: float
    energy: EnergyReport


@click.command()
@click.argument("recording", type=str)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    help="First A's, then B's; one alone is B's, against the loop as shipped.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="[a:|b:]SETTING=VALUE",
    help="A setting of one side, or of both without prefix (docs/config.md).",
)
@click.option(
    "--models",
    multiple=True,
    metavar="[a:|b:]FOLDER",
    help="Networks in place of those shipped, by file name.",
)
@click.option(
    "--page", "page_path", type=click.Path(path_type=Path), help="Write it as one HTML file."
)
@click.option("--no-pictures", is_flag=True, help="Leave the moments' pictures out of the page.")
@json_option
def command(
    recording: str,
    policies: tuple[str, ...],
    settings: tuple[str, ...],
    models: tuple[str, ...],
    page_path: Path | None,
    no_pictures: bool,
    as_json: bool,
) -> None:
    """Run RECORDING twice, as A and as B, and say which moments appear or vanish and what it saves.

    RECORDING is anything `beheld replay` takes. A policy is `fused` or `eye_only` (what wakes the camera
    and opens moments), or what the resolution controller does: `off`, `always`, `fixed`, `heuristic`,
    `trigger`, `scheduler`, `learned`. A number after a colon is its parameter: `fixed:6` runs on every
    sixth frame, `always:224` at that size, `learned:0.8` with that weight of energy. `+` joins two:
    `eye_only+fixed:6`. The same recording, settings and networks give the same bytes.

    \b
    Examples:
      beheld compare session.mcap --policy always --policy trigger --page report.html
      beheld compare emulator:7 --policy fused --policy eye_only --json
      beheld compare session.mcap --set b:wake.enter_probability=0.5
      beheld compare session.mcap --models b:runs/new --page new-models.html
    """
    if len(policies) > 2:
        raise click.UsageError("--policy was given more than twice; there are two sides")
    if page_path is not None and not page_path.absolute().parent.is_dir():
        raise InputError(f"{page_path}: its folder does not exist; make it first")
    named = dict(zip(SIDES if len(policies) == 2 else SIDES[1:], policies, strict=False))
    changes, folders = _sides(settings), _sides(models)
    variants = []
    for side in SIDES:
        if len(folders[side]) > 1:
            raise click.UsageError(f"--models was given more than once for {side.upper()}")
        folder = Path(folders[side][0]) if folders[side] else None
        variants.append(variant(named.get(side), changes[side], folder))
    one, other = (run(recording, v, side.upper()) for side, v in zip(SIDES, variants, strict=True))
    found = result(recording, one, other)
    if page_path is not None:
        pictures = {} if no_pictures else {**one.pictures, **other.pictures}
        _write(page_path, page(found, pictures))
    emit(found if as_json else short(found), as_json=as_json, title=f"A and B on {recording}")


def run(recording: str, chosen: Variant, label: str) -> Run:
    """The recording through the loop as that variant."""
    source = open_source(recording)
    duration_ns = source.header.duration_ns
    with progress(label, None if duration_ns is None else duration_ns / 1e9) as bar:
        return replayed(source, chosen, lambda t_ns: bar(t_ns / 1e9))


def replayed(source: Source, chosen: Variant, done: Callable[[int], None]) -> Run:
    """A source through the loop as that variant; `done` is told the time it has come to, in ns."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_session(
            source,
            Path(folder),
            settings=chosen.settings,
            models=chosen.models,
            calibration=calibration_of(source, chosen.models["eye"]),
            progress=done,
        )
        pictures = {
            path.parent.name: base64.b64encode(path.read_bytes()).decode()
            for path in sorted(Path(folder).glob(f"spool/*/{THUMBNAIL}"))
        }
    return Run(
        variant=chosen,
        records=outcome.moments,
        pictures=pictures,
        sha256=outcome.moments_sha256,
        session_s=outcome.report.session_ns / 1e9,
        energy=outcome.energy,
    )


def result(recording: str, one: Run, other: Run) -> dict[str, Any]:
    """What `--json` prints; nothing in it depends on when or where it ran."""
    pairs = matched(one.records, other.records)
    kept_a, kept_b = {a["id"] for a, _ in pairs}, {b["id"] for _, b in pairs}
    joules = {"a": one.energy.total_j, "b": other.energy.total_j}
    return {
        "recording": recording,
        "session_s": one.session_s,
        "moments": {"a": len(one.records), "b": len(other.records), "both": len(pairs)},
        "gained": [told(m) for m in other.records if m["id"] not in kept_b],
        "lost": [told(m) for m in one.records if m["id"] not in kept_a],
        "both": [{"a": told(a), "b": told(b), "overlap": overlap(a, b)} for a, b in pairs],
        "joules": joules,
        "saved_j": joules["a"] - joules["b"],
        "by_component_j": {
            "a": dict(one.energy.by_component_j),
            "b": dict(other.energy.by_component_j),
        },
        "identical": one.sha256 == other.sha256,
        "a": _side(one),
        "b": _side(other),
    }


def matched(ours: Sequence[Record], theirs: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Moments of both that are of the same time, each used once, the best overlaps first."""
    found = sorted(
        ((overlap(a, b), i, k) for i, a in enumerate(ours) for k, b in enumerate(theirs)),
        key=lambda row: (-row[0], row[1], row[2]),
    )
    pairs: dict[int, int] = {}
    for shared, i, k in found:
        if shared > 0 and i not in pairs and k not in pairs.values():
            pairs[i] = k
    return [(ours[i], theirs[k]) for i, k in sorted(pairs.items())]


def overlap(one: Record, other: Record) -> float:
    """Share of the time of two moments that is common to them, 0 to 1."""
    shared = min(one["end_ns"], other["end_ns"]) - max(one["start_ns"], other["start_ns"])
    whole = max(one["end_ns"], other["end_ns"]) - min(one["start_ns"], other["start_ns"])
    return float(max(0, shared) / whole) if whole else 1.0


def told(record: Record) -> dict[str, Any]:
    """A moment in short."""
    attended = [tag["name"] for tag in record["tags"] if tag["attended"]]
    return {
        "id": record["id"],
        "start_s": record["start_ns"] / 1e9,
        "end_s": record["end_ns"] / 1e9,
        "thing": attended[0] if attended else None,
        "reasons": record["reasons"],
        "mj": record["energy_mj"]["total"],
    }


def short(found: dict[str, Any]) -> dict[str, Any]:
    """What a person reads in the terminal."""
    told_apart = {side: f"{found[side]['name']} {found[side]['changed'] or ''}" for side in SIDES}
    moments = [f"{m['start_s']:.1f} s {m['thing'] or ''}".strip() for m in found["gained"]]
    lost = [f"{m['start_s']:.1f} s {m['thing'] or ''}".strip() for m in found["lost"]]
    return {
        **told_apart,
        "moments": found["moments"],
        "gained in B": ", ".join(moments) or "none",
        "lost in B": ", ".join(lost) or "none",
        "joules": found["joules"],
        "saved by B, J": found["saved_j"],
    }


def _side(run: Run) -> dict[str, Any]:
    decided: Counter[str] = Counter()
    for record in run.records:
        for action, what in record["evidence"].get("decided", {}).items():
            decided[action] += what["frames"]
    return {
        "name": run.variant.name,
        "changed": dict(run.variant.changed),
        "sha256": run.sha256,
        "models": {name: m.sha256 for name, m in sorted(run.variant.models.items())},
        "joules_low": run.energy.total_j_low,
        "joules_high": run.energy.total_j_high,
        "scene_camera_on_s": run.energy.scene_camera_on_s,
        "decisions": dict(sorted(decided.items())),
    }


def _sides(given: Sequence[str]) -> dict[str, list[str]]:
    """`b:x` is B's, `x` is both sides'."""
    sides: dict[str, list[str]] = {side: [] for side in SIDES}
    for text in given:
        side, colon, rest = text.partition(":")
        if colon and side in SIDES:
            sides[side].append(rest)
        else:
            for of_side in sides.values():
                of_side.append(text)
    return sides


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
