"""What the shipped eye network says of most people's neutral eyes: `python -m export.eye_neutral`.

Writes `device/weights/eye_emotion_neutral.json`, which enrolment compares a wearer with. Run it after
`python -m export.eye_emotion`. The people are those the network was trained on.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

from device.codec import dumps
from device.model import WEIGHTS, load
from device.personal import neutral_of
from device.types import EMOTIONS
from models.emotion_data import held_out, read_images


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets")
    options = parser.parse_args()
    default = Path(__file__).parents[2] / "shared" / "data"
    root = options.data or Path(os.environ.get("BEHELD_DATA", default))
    faces = read_images(root / "emo_lfw_expressions_dev")
    faces = faces.take(~held_out(faces.people) & (faces.labels == EMOTIONS.index("neutral")))
    model = load("eye_emotion")
    usual = neutral_of([model.run(eyes=eyes[None]) for eyes in faces.eyes])
    text = dumps({"model_sha256": model.sha256, **dataclasses.asdict(usual)})
    (WEIGHTS / "eye_emotion_neutral.json").write_text(text + "\n", encoding="utf-8")
    print(len(faces.labels), "neutral faces")


if __name__ == "__main__":
    main()
