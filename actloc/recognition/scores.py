"""How good class scores are: averages over views, top-k accuracy, accuracy per class, confusion."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from actloc.evaluation.columns import Floats

Booleans = NDArray[np.bool_]
Averages = Literal["probabilities", "logits"]


def averaged(logits: Floats, average: Averages) -> Floats:
    """Scores (..., K) of clips from those (..., V, K) of their views, before softmax.

    probabilities: the mean of the views' softmax; logits: the mean of the views' scores, before softmax.
    """
    return (softmax(logits) if average == "probabilities" else logits).mean(axis=-2)


def softmax(logits: Floats) -> Floats:
    """Probabilities (..., K)."""
    powers: Floats = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def truth_table(labels: Sequence[Sequence[int]], num_classes: int) -> Booleans:
    """Which classes (N, K) are true of each clip, from their numbers; a clip may have several."""
    table = np.zeros((len(labels), num_classes), dtype=bool)
    for row, numbers in enumerate(labels):
        table[row, list(numbers)] = True
    return table


def hits(scores: Floats, truth: Booleans, k: int) -> Booleans:
    """Whether one of the k best classes of each clip (N,) is true; of equal scores the lower class number is better."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    is_true = np.take_along_axis(truth, best, axis=1)
    return np.logical_or.reduce(is_true, axis=1)


def class_accuracies(is_hit: Booleans, truth: Booleans) -> list[float | None]:
    """The share of hits (N,) among the clips of each class (N, K); None for a class without clips.

    A clip of several classes counts in each.
    """
    counts = truth.sum(axis=0)
    hit_counts = (truth & is_hit[:, None]).sum(axis=0)
    return [float(hit / count) if count else None for hit, count in zip(hit_counts, counts, strict=True)]


def mean_class_accuracy(scores: Floats, truth: Booleans) -> float | None:
    """The mean top-1 accuracy of the classes that have clips; None if there is none."""
    known = [value for value in class_accuracies(hits(scores, truth, 1), truth) if value is not None]
    return float(np.mean(known)) if known else None


def confusion(scores: Floats, truth: Booleans) -> NDArray[np.int64]:
    """Counts (K, K) of clips by their true class (rows) and their best one (columns).

    A clip of several classes counts once: in the row of its best class if that is true, else of its first true one.
    """
    predicted = np.argsort(-scores, axis=1, kind="stable")[:, 0]
    rows = np.arange(len(truth))
    true = np.where(truth[rows, predicted], predicted, truth.argmax(axis=1))
    has_truth = truth.any(axis=1)
    counts = np.zeros((truth.shape[1],) * 2, dtype=np.int64)
    np.add.at(counts, (true[has_truth], predicted[has_truth]), 1)
    return counts
