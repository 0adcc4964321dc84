"""`beheld bench emotion`: expression from one eye and from two, on people the network never saw."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.model import Model, load
from device.personal import Personal, neutral_of, usual_neutral
from device.types import EMOTIONS
from export.eye_emotion import run
from models.emotion_data import (
    Expressions,
    held_out,
    never_seen,
    read_folder,
    read_images,
    read_npz,
)
from models.scores import auc, calibration_error, choose, confusion, recalls, uar, war
from tools.data import data_root
from tools.output import emit, json_option

CELL_PX, BINS = 8, 9


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of faces.")
@json_option
def command(data: Path, as_json: bool) -> None:
    """Seven expressions from the eyes alone, beside gradient histograms + logistic regression.

    DATA holds `labels.csv` (image, emotion, identity) and `images/`, or an `.npz` of images and labels
    (one named train*.npz is left out where there is another). People that the shipped network was
    trained on are left out. Classes with fewer than 12 pictures are not scored. The baseline is fitted
    on the training part of the open set of the same kind, never on DATA.
    """
    emit(measure(data), as_json=as_json, title=f"emotion on {data}")


def measure(folder: Path) -> dict[str, Any]:
    """Scores through the shipped network; see `command`. Raises InputError for unusable data."""
    given = read_folder(folder)
    data = never_seen(given)
    classes = data.classes()
    if len(classes) < 2:
        raise InputError(f"{folder}: no two expressions with 12 pictures of people never seen")
    model = load("eye_emotion")
    both, gate = run(model, data.eyes)
    left, right = run(model, data.eyes[:, :1])[0], run(model, data.eyes[:, 1:])[0]
    keep = np.isin(data.labels, classes)
    chosen = choose(both[keep], classes)
    return {
        "n": int(keep.sum()),
        "left_out": len(given.labels) - int(keep.sum()),
        "classes": [EMOTIONS[c] for c in classes],
        "uar": {
            "one_eye": (uar(left, data.labels, classes) + uar(right, data.labels, classes)) / 2,
            "two_eyes": uar(both, data.labels, classes),
        },
        "war": {
            "one_eye": (war(left, data.labels, classes) + war(right, data.labels, classes)) / 2,
            "two_eyes": war(both, data.labels, classes),
        },
        "per_class": {
            EMOTIONS[c]: r for c, r in recalls(chosen, data.labels[keep], classes).items()
        },
        "confusion": confusion(both, data.labels, classes),
        "calibration_error": calibration_error(both[keep], data.labels[keep]),
        "gate_auc": auc(gate, data.labels != EMOTIONS.index("neutral")),
        "baseline_uar": baseline(data, classes),
        "enrolled": enrolment(model, data),
        "ms": cpu_ms(data.eyes),
    }


def enrolment(model: Model, data: Expressions) -> dict[str, Any] | None:
    """What a neutral reference of one's own gains; None unless 5 people have neutral and other pictures.

    For each such person the reference is their other neutral pictures (a picture is never its own), which
    is less than the minute of eye video that enrolment takes. Scored are these people's pictures only,
    with and without the reference.
    """
    if not data.has_identities:
        return None
    usual, neutral = usual_neutral(model.sha256), EMOTIONS.index("neutral")
    rows: list[tuple[int, Any, Any]] = []  # label, before, after
    people = 0
    for person in sorted(set(data.people)):
        mine = [i for i, p in enumerate(data.people) if p == person]
        calm = [i for i in mine if data.labels[i] == neutral]
        if len(calm) < 2 or len(calm) == len(mine):
            continue
        people += 1
        made = {i: model.run(eyes=data.eyes[i][None]) for i in mine}
        for i in mine:
            own = neutral_of([made[j] for j in calm if j != i])
            personal = Personal(wearer=person, model_sha256=model.sha256, neutral=own, usual=usual)
            p, gate = made[i]["probabilities"][0], float(made[i]["gate"][0, 0])
            _, q, moved = personal.adjust(made[i]["vector"][0], p, gate)
            rows.append((int(data.labels[i]), (p, gate), (q, moved)))
    if people < 5:
        return None
    labels = np.array([row[0] for row in rows])
    counts = np.bincount(labels, minlength=len(EMOTIONS))
    classes = [int(c) for c in np.flatnonzero(counts >= 5)]
    found: dict[str, Any] = {"people": people, "n": len(rows), "classes": len(classes)}
    for when, column in (("before", 1), ("after", 2)):
        p = np.array([row[column][0] for row in rows])  # type: ignore[misc]
        gate = np.array([row[column][1] for row in rows])  # type: ignore[misc]
        found[when] = {"uar": uar(p, labels, classes), "gate_auc": auc(gate, labels != neutral)}
    return found


def cpu_ms(eyes: NDArray[np.uint8], calls: int = 200) -> float:
    """Median CPU milliseconds of one call with two eyes."""
    model = load("eye_emotion")
    took = []
    for number in range(calls):
        started = time.thread_time()
        model.run(eyes=eyes[number % len(eyes)][None])
        took.append(time.thread_time() - started)
    return float(np.median(took)) * 1e3


def baseline(data: Expressions, classes: list[int]) -> dict[str, float] | None:
    """Gradient histograms + logistic regression, fitted on the open training part; None without it."""
    train = _training_part(data)
    if train is None:
        return None
    from sklearn.linear_model import LogisticRegression  # here: only this bench's peer needs it
    from sklearn.preprocessing import StandardScaler

    keep, wanted = np.isin(train.labels, classes), np.isin(data.labels, classes)
    scores = {}
    for name, sides in (("one_eye", [[0], [1]]), ("two_eyes", [[0, 1]])):
        results = []
        for side in sides:
            x = _features(train.eyes[keep][:, side])
            scale = StandardScaler().fit(x)
            fitted = LogisticRegression(C=0.01, class_weight="balanced", max_iter=300)
            fitted.fit(scale.transform(x), train.labels[keep])
            guessed = fitted.predict(scale.transform(_features(data.eyes[wanted][:, side])))
            truth = data.labels[wanted]
            results.append(np.mean(list(recalls(guessed, truth, classes).values())))
        scores[name] = float(np.mean(results))
    return scores


def _training_part(data: Expressions) -> Expressions | None:
    if data.has_identities:
        folder = data_root() / "emo_lfw_expressions_dev"
        if not folder.is_dir():
            return None
        faces = read_images(folder)
        return faces.take(~held_out(faces.people))
    path = data_root() / "emo_fer2013_dev" / "train.npz"
    return read_npz(path) if path.is_file() else None


def _features(eyes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, E, 64, 64) -> histograms of gradient directions in 8 x 8 cells, normalised by eye."""
    x = eyes.astype(np.float64)
    dy, dx = np.gradient(x, axis=(2, 3))
    size = np.hypot(dx, dy)
    bins = np.minimum((np.arctan2(dy, dx) % np.pi / np.pi * BINS).astype(int), BINS - 1)
    N, E, H, W = x.shape
    cells = []
    for b in range(BINS):
        share = np.where(bins == b, size, 0.0)
        cells.append(share.reshape(N, E, H // CELL_PX, CELL_PX, W // CELL_PX, CELL_PX).sum((3, 5)))
    found = np.stack(cells, -1).reshape(N, E, -1)
    found /= np.linalg.norm(found, axis=2, keepdims=True) + 1e-6
    return np.sqrt(found).reshape(N, -1)
