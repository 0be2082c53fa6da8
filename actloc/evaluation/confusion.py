"""Which classes a detector takes for which: a table of true classes against the classes predicted."""

from dataclasses import dataclass, replace

import numpy as np

from actloc.evaluation.columns import Booleans, Floats, Integers, PredictionColumns, TruthColumns
from actloc.evaluation.matching import JUDGING, MATCH_TIOU
from actloc.evaluation.pairing import Pairing


@dataclass(frozen=True)
class Confusion:
    """Counts of predictions that count, and of true actions.

    A prediction counts if its score reaches the best-F1 threshold of its class. It is right if it is matched, best
    score first, to a true action of its class at tIoU 0.5. Each that is not right is counted once, by the true action
    that it overlaps most (of equal overlaps, one of its own class, then the first): if that is below tIoU 0.5, as
    background; if that action is of its own class, as repeated, because a prediction of higher score has it; else as a
    confusion of the action's class with its own.
    """

    pairs: Integers
    """(K, K): true class by predicted class. The diagonal is what is right, the rest confusions."""
    missed: Integers
    """(K,): true actions without a right prediction; with the diagonal, all true actions of the class."""
    background: Integers
    """(K,): by predicted class."""
    repeated: Integers
    """(K,): by predicted class; a column of `pairs`, with these two, is all predictions of the class that count."""

    def most_confused(self, most: int) -> list[tuple[int, int, int]]:
        """(true class, predicted class, predictions) of the most frequent confusions, most frequent first."""
        wrong = self.pairs - np.diag(np.diag(self.pairs))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        found = [(int(place) // len(wrong), int(place) % len(wrong), int(wrong.flat[place])) for place in order]
        return [one for one in found if one[2]]


def confusion(truth: TruthColumns, predictions: PredictionColumns, thresholds: Floats) -> Confusion:
    """Counts by class number from 0 to K - 1; `thresholds` (K,) are nan for classes of which no prediction counts."""
    num_classes = len(thresholds)
    is_counted = predictions.scores >= thresholds[predictions.labels]
    counted = _rows(predictions, is_counted)
    right = np.zeros(len(counted), dtype=np.bool_)
    matching = Pairing(truth, counted, MATCH_TIOU, JUDGING)
    right[matching.rows[matching.matches(MATCH_TIOU)[0]]] = True
    wrong = _rows(counted, ~right)
    overlapped = _most_overlapped(truth, wrong)
    true_labels = np.where(overlapped >= 0, truth.labels[overlapped], -1)

    pairs = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(pairs, (counted.labels[right], counted.labels[right]), 1)
    is_confused = (true_labels >= 0) & (true_labels != wrong.labels)
    np.add.at(pairs, (true_labels[is_confused], wrong.labels[is_confused]), 1)
    return Confusion(
        pairs=pairs,
        missed=np.bincount(truth.labels, minlength=num_classes) - np.diag(pairs),
        background=np.bincount(wrong.labels[true_labels < 0], minlength=num_classes),
        repeated=np.bincount(wrong.labels[true_labels == wrong.labels], minlength=num_classes),
    )


def _most_overlapped(truth: TruthColumns, predictions: PredictionColumns) -> Integers:
    """For each prediction the row of the true action of any class that it overlaps most at tIoU 0.5, or -1."""
    any_truth = replace(truth, labels=np.zeros_like(truth.labels))
    any_label = replace(predictions, labels=np.zeros_like(predictions.labels))
    pairing = Pairing(any_truth, any_label, MATCH_TIOU, JUDGING)
    rows = pairing.rows[pairing.pair_rows]
    is_other = truth.labels[pairing.pair_truths] != predictions.labels[rows]
    order = np.lexsort((pairing.pair_truths, is_other, -pairing.pair_ious, rows))
    rows, truths = rows[order], pairing.pair_truths[order]
    is_first = np.diff(rows, prepend=-1) != 0
    most = np.full(len(predictions), -1)
    most[rows[is_first]] = truths[is_first]
    return most


def _rows(predictions: PredictionColumns, kept: Booleans) -> PredictionColumns:
    return PredictionColumns(
        predictions.videos[kept],
        predictions.starts_s[kept],
        predictions.ends_s[kept],
        predictions.labels[kept],
        predictions.scores[kept],
    )
