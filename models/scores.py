"""Scores of classifiers on unbalanced data, in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating]
Labels = NDArray[np.int64]


def choose(probabilities: Probabilities, classes: list[int]) -> Labels:
    """The most probable of `classes` for each row of (N, all classes)."""
    return np.array(classes)[probabilities[:, classes].argmax(1)]


def recalls(chosen: Labels, labels: Labels, classes: list[int]) -> dict[int, float]:
    """Recall of each class; classes without an example raise ZeroDivisionError by design."""
    return {c: int((chosen[labels == c] == c).sum()) / int((labels == c).sum()) for c in classes}


def uar(probabilities: Probabilities, labels: Labels, classes: list[int]) -> float:
    """Unweighted average recall over `classes`, choosing among these only."""
    keep = np.isin(labels, classes)
    chosen = choose(probabilities[keep], classes)
    return float(np.mean(list(recalls(chosen, labels[keep], classes).values())))


def war(probabilities: Probabilities, labels: Labels, classes: list[int]) -> float:
    """Weighted average recall, which is accuracy, over the examples of `classes`."""
    keep = np.isin(labels, classes)
    return float((choose(probabilities[keep], classes) == labels[keep]).mean())


def confusion(probabilities: Probabilities, labels: Labels, classes: list[int]) -> list[list[int]]:
    """Rows are the truth, columns the choice, both in the order of `classes`."""
    keep = np.isin(labels, classes)
    chosen, truth = choose(probabilities[keep], classes), labels[keep]
    return [[int(((truth == t) & (chosen == c)).sum()) for c in classes] for t in classes]


def auc(score: Probabilities, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve, by ranks; ties count by their order, which single floats rarely have."""
    order = np.argsort(np.argsort(score)) + 1
    n = int(positive.sum())
    return float((order[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def calibration_error(probabilities: Probabilities, labels: Labels, bins: int = 10) -> float:
    """Expected calibration error of the strongest class: mean gap of confidence and accuracy."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[bin_of == b].mean() - right[bin_of == b].mean()) * (bin_of == b).mean()
        for b in range(bins)
        if (bin_of == b).any()
    ]
    return float(sum(gaps))


def pearson(a: Probabilities, b: Probabilities) -> float:
    """Correlation of two series; 0 where one of them is constant."""
    x, y = a - a.mean(), b - b.mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / size if size > 0 else 0.0


def concordance(a: Probabilities, b: Probabilities) -> float:
    """Lin's concordance correlation: like Pearson's, less for a wrong scale or middle."""
    gap = float(a.mean() - b.mean()) ** 2
    return float(2 * ((a - a.mean()) * (b - b.mean())).mean() / (a.var() + b.var() + gap))


def spearman(a: Probabilities, b: Probabilities) -> float:
    """Rank correlation; ties count by their order."""
    return pearson(np.argsort(np.argsort(a)).astype(float), np.argsort(np.argsort(b)).astype(float))
