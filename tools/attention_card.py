"""`python -m tools.attention_card NAME=DATA[@MODEL] ...`: measure, then write figures into file and card.

Every entry is one run of `beheld bench attention`; `@MODEL` names the network of a fold that never saw
the data, where the shipped one did. `NAME=FILE.json` is what such a run printed with `--json`. The figures
go into the contract of `device/weights/attention.onnx` and into `docs/models/attention.md`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from device.model import WEIGHTS, Model
from export.card import write_card
from export.onnx_file import attach
from tools.bench.attention import bench, sessions

CARD = Path(__file__).parents[1] / "docs" / "models" / "attention.md"


def rows(result: dict[str, Any]) -> dict[str, Any]:
    """One line a variant, then what belongs to the run."""
    plain = ("n_intervals", "session_s", "scene_frames_per_s", "gaze")
    moment = result["in_moment"]
    regions = {"in_moment, share of estimates": moment["share"]}
    for key, name in (("delivered", ""), ("network", ", network alone"), ("os1", ", OS-1's rule")):
        ious = {"delivered": "region_iou"}.get(key, f"region_iou_{key}")
        regions[f"region_iou{name}"] = result[ious]
        regions[f"right_object{name}"] = result["right_object"][key]
        regions[f"in_moment, region_iou{name}"] = moment["region_iou"][key]
        regions[f"in_moment, right_object{name}"] = moment["right_object"][key]
    return {**result["variants"], **{name: result[name] for name in plain}, **regions}


def measured(entry: str, shipped: Path) -> dict[str, Any]:
    """The bench's result for DATA, DATA@MODEL or FILE.json."""
    if entry.endswith(".json"):
        found: dict[str, Any] = json.loads(Path(entry).read_text().strip().splitlines()[-1])
        return found
    data, _, other = entry.partition("@")
    kind, trials, _ = sessions(data)
    return bench(kind, trials, Model(Path(other)) if other else Model(shipped))


def main() -> None:
    path = WEIGHTS / "attention.onnx"
    tables, figures = {}, {}
    names = ("f1", "onset_ms", "false_per_h", "region_iou", "region_iou_os1", "right_object")
    for entry in sys.argv[1:]:
        name, _, rest = entry.partition("=")
        result = measured(rest, path)
        tables[name] = rows(result)
        figures[name] = {k: result[k] for k in names}
        print(name, result["f1"], result["onset_ms"], flush=True)
    attach(path, replace(Model(path).spec, figures=figures))
    command = "python -m tools.attention_card " + " ".join(
        f"{e.partition('=')[0]}=..." for e in sys.argv[1:]
    )
    write_card(Model(path).spec, tables, CARD, command=command)


if __name__ == "__main__":
    main()
