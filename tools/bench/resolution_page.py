"""The card of the resolution controller with its energy-quality curves (matplotlib, extra `train`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from device.errors import ModelError
from device.model import load
from export.card import write_card

DOCS = Path(__file__).parents[2] / "docs"
COMMAND = "beheld bench resolution --data DIR [--data DIR ...] --card"
SPREAD = ("fixed", "heuristic", "trigger", "scheduler", "learned", "oracle")
STYLE = {
    "oracle": ("#444444", ":"),
    "learned": ("#c0392b", "-"),
    "trigger": ("#2471a3", "-"),
    "scheduler": ("#8e44ad", "-"),
    "heuristic": ("#229954", "--"),
    "difference": ("#b7950b", "--"),
    "fixed": ("#7f8c8d", "--"),
    "random": ("#bdc3c7", "--"),
}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """One line a policy: share of always-320's energy against quality, a panel for each judge."""
    full = result["cost_ms"]["320"] + result["cost_ms"]["embedding"]
    judges = {
        "against that very run at 320 px": result["curves"],
        "second judge: the frame shifted by a pixel": result["second_judge"]["curves"],
    }
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharey=True)
    for axes, (title, curves) in zip(panels, judges.items(), strict=True):
        for name, (colour, line) in STYLE.items():
            if name in curves:
                points = sorted((e / full, q) for e, q in curves[name])
                axes.plot(*zip(*points, strict=True), line, color=colour, marker=".", label=name)
        for px in (160, 224):
            energy, quality = curves[f"always_{px}"][0]
            axes.annotate(f"always {px}", (energy / full, quality), fontsize=8)
            axes.plot(energy / full, quality, "x", color="#7f8c8d")
        for quality in (0.90, 0.95, 0.98):
            axes.axhline(quality, color="#dddddd", linewidth=0.8, zorder=0)
        axes.set(xlim=(0, 1.05), ylim=(0.6, 1.005), xlabel="energy, share of always-320")
        axes.set_title(title, fontsize=9)
    panels[0].set_ylabel("quality")
    panels[0].legend(fontsize=8, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def write(result: Mapping[str, Any]) -> None:
    """`docs/models/resolution.md` and `docs/images/resolution.png`. Raises ModelError without a network."""
    model = load("resolution")
    if "learned" not in result["policies"]:
        raise ModelError(f"{model.path}: nothing was measured with it")
    draw(result, DOCS / "images" / "resolution.png")
    second = result["second_judge"]
    figures: dict[str, Any] = {
        "Curves": "![Quality against energy, one line a policy](../images/resolution.png)",
        "Energy at a quality, share of always-320": _by_name(result["share_at_quality"]),
        "The same, second judge": _by_name(second["share_at_quality"]),
        "Agreement of always-320 with the second judge": {
            "quality": second["always_320_agrees"],
        },
    }
    for judge, title in (("share_at_quality", ""), ("second_judge", ", second judge")):
        if result["by_set"]:
            figures[f"At 95 % quality by fold and seed{title}"] = {
                name: {p: row[judge]["0.95"][p] for p in SPREAD if p in row[judge]["0.95"]}
                for name, row in result["by_set"].items()
            }
    figures["At 95 % quality"] = {
        name: {
            "energy, ms": row["energy"],
            "quality": row["quality"],
            **row["actions"],
            "embedded": row["embedded"],
        }
        for name, row in result["policies"].items()
    }
    figures["CPU, ms"] = result["cost_ms"]
    figures["Decisions"] = {
        "us a decision": result["decision_us"],
        "decisions a second": result["decisions_per_s"],
    }
    figures["Clips"] = {
        name: f"{row['frames']} frames, policies `{row['policies']}`"
        for name, row in result["clips"].items()
    }
    write_card(model.spec, figures, DOCS / "models" / "resolution.md", command=COMMAND)


def _by_name(shares: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    names = next(iter(shares.values()))
    return {name: {quality: row[name] for quality, row in shares.items()} for name in names}
