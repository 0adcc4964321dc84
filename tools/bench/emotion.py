"""`beheld bench emotion`: expression from one eye and from two, on people the network never saw."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.model import Model, load
from device.personal import Personal, neutral_of, usual_neutral
from device.stages.emotion import EmotionSettings
from device.types import EMOTIONS
from export.card import put_section
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
from tools.bench.page import card_option
from tools.data import data_root
from tools.output import emit, json_option

CELL_PX, BINS = 8, 9


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of faces.")
@card_option
@json_option
def command(data: Path, page: Path | None, as_json: bool) -> None:
    """Seven expressions from the eyes alone, beside gradient histograms + logistic regression.

    DATA holds `labels.csv` (image, emotion, identity) and `images/`, or an `.npz` of images and labels
    (one named train*.npz is left out where there is another). The eyes of each face are found and cut out
    upright, as a camera aimed at its eye would see them. People that the shipped network was
    trained on are left out, and pictures that show nothing where the eyes should be (`faceless`). Classes
    with fewer than 12 pictures are not scored. The baseline is fitted on the training part of the open set
    of the same kind, never on DATA.
    """
    found = measure(data)
    if page is not None:
        for heading, rows in sections(found, data.resolve().name).items():
            put_section(page, heading, rows)
    emit(found, as_json=as_json, title=f"emotion on {data}")


def measure(folder: Path) -> dict[str, Any]:
    """Scores through the shipped network; see `command`. Raises InputError for unusable data."""
    given = read_folder(folder)
    data = never_seen(given)
    shown = data.eyes.std((2, 3)).max(1) >= EmotionSettings().least_spread
    data = data.take(shown)
    classes = data.classes()
    if len(classes) < 2:
        raise InputError(f"{folder}: no two expressions with 12 pictures of people never seen")
    model = load("eye_emotion")
    both, gate = run(model, data.eyes)
    left, right = run(model, data.eyes[:, :1])[0], run(model, data.eyes[:, 1:])[0]
    keep = np.isin(data.labels, classes)
    sides, labels = np.concatenate([left[keep], right[keep]]), np.tile(data.labels[keep], 2)
    return {
        "n": int(keep.sum()),
        "left_out": len(given.labels) - int(keep.sum()),
        "faceless": int((~shown).sum()),
        "classes": [EMOTIONS[c] for c in classes],
        "uar": {
            "one_eye": (uar(left, data.labels, classes) + uar(right, data.labels, classes)) / 2,
            "two_eyes": uar(both, data.labels, classes),
        },
        "war": {
            "one_eye": (war(left, data.labels, classes) + war(right, data.labels, classes)) / 2,
            "two_eyes": war(both, data.labels, classes),
        },
        **_by_class(both[keep], data.labels[keep], classes),
        "one_eye": _by_class(sides, labels, classes),
        "gate_auc": auc(gate, data.labels != EMOTIONS.index("neutral")),
        "baseline_uar": baseline(data, classes),
        "enrolled": enrolment(model, data),
        "ms": cpu_ms(data.eyes),
    }


def _by_class(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], classes: list[int]
) -> dict[str, Any]:
    """Recall of each class, what was chosen in its place, and calibration."""
    chosen = choose(probabilities, classes)
    return {
        "per_class": {EMOTIONS[c]: r for c, r in recalls(chosen, labels, classes).items()},
        "confusion": confusion(probabilities, labels, classes),
        "calibration_error": calibration_error(probabilities, labels),
    }


def sections(found: dict[str, Any], name: str) -> dict[str, Any]:
    """The card's sections of one folder's figures."""
    of = f"`beheld bench emotion --data {name}`"
    told = {k: found[k] for k in ("n", "uar", "war", "baseline_uar", "calibration_error")}
    one = {"calibration_error": found["one_eye"]["calibration_error"]}
    made = {
        f"{of}: classes (rows) and what was chosen": {
            **_table(found, found["classes"]),
            "all": told,
        },
        f"{of}: one eye, every picture's left and right": {
            **_table(found["one_eye"], found["classes"]),
            "all": one,
        },
    }
    if found["enrolled"]:
        made[f"{of}: what enrolment gains"] = found["enrolled"]
    return made


def _table(found: dict[str, Any], classes: list[str]) -> dict[str, dict[str, float]]:
    return {
        label: {"recall": found["per_class"][label], **dict(zip(classes, row, strict=True))}
        for label, row in zip(classes, found["confusion"], strict=True)
    }


def enrolment(model: Model, data: Expressions) -> dict[str, Any] | None:
    """What references of one's own gain; None unless 5 people have neutral and other pictures.

    `neutral`: a person's reference is their other neutral pictures. `prompted`: references of the other
    classes besides, where they have other pictures of them. A picture is never its own reference, and all
    is less than the minute of eye video that enrolment takes. Scored are these people's pictures only;
    `open_when_neutral` and `open_when_not` are the shares of them that open the gate (`emotion.enter`).
    """
    if not data.has_identities:
        return None
    usual, neutral = usual_neutral(model.sha256), EMOTIONS.index("neutral")
    whens = ("before", "neutral", "prompted")
    labels: list[int] = []
    made: dict[str, list[tuple[Any, float]]] = {when: [] for when in whens}
    people = 0
    for person in sorted(set(data.people)):
        mine = [i for i, p in enumerate(data.people) if p == person]
        calm = [i for i in mine if data.labels[i] == neutral]
        if len(calm) < 2 or len(calm) == len(mine):
            continue
        people += 1
        seen = {i: model.run(eyes=data.eyes[i][None]) for i in mine}
        for i in mine:
            own = Personal(
                wearer=person,
                model_sha256=model.sha256,
                neutral=neutral_of([seen[j] for j in calm if j != i]),
                usual=usual,
            )
            references = _references(seen, data, i)
            p, gate = seen[i]["probabilities"][0], float(seen[i]["gate"][0, 0])
            labels.append(int(data.labels[i]))
            made["before"].append((p, gate))
            for when, of in (
                ("neutral", own),
                ("prompted", dataclasses.replace(own, references=references)),
            ):
                made[when].append(of.adjust(seen[i]["vector"][0], p, gate)[1:])
    if people < 5:
        return None
    truth = np.array(labels)
    counts = np.bincount(truth, minlength=len(EMOTIONS))
    classes = [int(c) for c in np.flatnonzero(counts >= 5)]
    found: dict[str, Any] = {"people": people, "n": len(labels), "classes": len(classes)}
    enter = EmotionSettings().enter
    for when, rows in made.items():
        probabilities, gates = (np.array(column) for column in zip(*rows, strict=True))
        found[when] = {
            "uar": uar(probabilities, truth, classes),
            "war": war(probabilities, truth, classes),
            "gate_auc": auc(gates, truth != neutral),
            "open_when_neutral": float((gates[truth == neutral] >= enter).mean()),
            "open_when_not": float((gates[truth != neutral] >= enter).mean()),
        }
    return found


def _references(
    seen: dict[int, dict[str, Any]], data: Expressions, without: int
) -> dict[str, tuple[float, ...]]:
    """Mean vectors of a person's pictures by class, one picture left out."""
    by_class: dict[str, list[Any]] = {}
    for i, made in seen.items():
        if i != without:
            by_class.setdefault(EMOTIONS[data.labels[i]], []).append(made["vector"][0])
    return {name: tuple(np.mean(rows, 0).tolist()) for name, rows in by_class.items()}


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
