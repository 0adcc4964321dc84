"""The tables of docs/calibration.md, measured and written between its marks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

from device.stages.gaze import Estimator
from tools.bench.gaze_drawn import lengths
from tools.bench.page import check, table, two, write
from tools.calibrate import EyeRecording

Measure = Callable[[str, str], dict[str, Any]]


def write_page(
    measure: Measure, recording: EyeRecording, page: Path, estimator: Estimator | None = None
) -> None:
    """Every part with eye video against every other, then first half against second half.

    `measure(fit, score)` is one run of the bench; with an `estimator` follow drawn wearers
    (`tools.bench.gaze_drawn`). Raises InputError where the page has no marks.
    """
    check(page, "gaze")
    runs = [*permutations(parts_with_eyes(recording), 2), ("first-half", "second-half")]
    results = [measure(fit_on, score_on) for fit_on, score_on in runs]
    drawn = [lengths(estimator)] if estimator else []
    write(page, "gaze", [_against_peer(results), _confidence(results), *drawn])


def parts_with_eyes(recording: EyeRecording) -> list[str]:
    """Names of the parts that have eye video beside their reference gaze."""
    return [
        f"part:{number}"
        for number, span in enumerate(recording.parts(), start=1)
        if recording.within([span])[0]
    ]


def _against_peer(results: list[dict[str, Any]]) -> str:
    header = ["fitted on, scored on", "n", "", "median deg", "p95 deg", "usable"]
    lines = []
    for result in results:
        where = f"{result['fit']}, {result['score']}"
        row = [where, str(result["n"]), "Beheld", *_figures(result)]
        lines += [row, ["", "", "a constant", two(result["constant_deg"]), "", ""]]
        if result["peer"]:
            lines.append(["", "", result["peer"]["name"], *_figures(result["peer"])])
    return table(header, lines)


def _figures(result: dict[str, Any]) -> list[str]:
    return [two(result.get(k)) for k in ("median_deg", "p95_deg", "usable")]


def _confidence(results: list[dict[str, Any]]) -> str:
    """Ten bins a run: what was stated, and what share lay within two degrees."""
    header = ["stated confidence / share within 2 deg", *(str(n) for n in range(1, 11))]
    lines = [
        [
            f"{result['fit']}, {result['score']}",
            *(
                f"{row['confidence']:.2f} / {row['within_2_deg']:.2f}"
                for row in result["confidence"]
            ),
        ]
        for result in results
    ]
    return table(header, lines)
