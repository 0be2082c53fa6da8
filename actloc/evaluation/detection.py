"""Scores the detections of a whole subset against the ground truth under a protocol, by default ActionFormer's.

Takes and returns arrays. The columns of a result are the classes that occur in the ground truth, by class number.
"""

from collections.abc import Sequence

import numpy as np

from actloc.evaluation.columns import Booleans, Floats, PredictionColumns, TruthColumns
from actloc.evaluation.pairing import Pairing
from actloc.evaluation.protocols import ACTIONFORMER, Protocol


def average_precision(
    truth: TruthColumns, predictions: PredictionColumns, tious: Sequence[float], protocol: Protocol = ACTIONFORMER
) -> Floats:
    """Average precision (tIoUs, classes): the area under each class's precision-recall curve.

    Predictions of classes without ground truth are ignored, unless the protocol sets `unknown_labels_collide`.
    """
    pairing = Pairing(truth, predictions, min(tious), protocol)
    areas = np.zeros((len(tious), pairing.num_classes))
    for row, tiou in enumerate(tious):
        for column, (is_hit, _) in enumerate(pairing.judged(tiou)):
            # the area is the mean, over the true actions, of the precision at each hit
            areas[row, column] = precisions_at_hits(is_hit, protocol).sum() / pairing.truth_counts[column]
    return areas


def precisions_at_hits(is_hit: Booleans, protocol: Protocol) -> Floats:
    """The precision at each hit; interpolated, the highest precision at this hit or a later one, last hit first."""
    hits = np.flatnonzero(is_hit)
    precisions: Floats = np.arange(1, len(hits) + 1) / (hits + 1)
    return np.maximum.accumulate(precisions[::-1]) if protocol.is_interpolated else precisions


def recall_at(
    truth: TruthColumns,
    predictions: PredictionColumns,
    tious: Sequence[float],
    multiples: Sequence[int] = (1, 5),
    protocol: Protocol = ACTIONFORMER,
) -> Floats:
    """Recall (tIoUs, multiples, classes): the share of true actions overlapped by the best k * n predictions.

    Counted per class and video: n is the number of its true actions, k each of `multiples`. One prediction may overlap
    several true actions.
    """
    pairing = Pairing(truth, predictions, min(tious), protocol)
    places = pairing.places()
    recalls = np.empty((len(tious), len(multiples), pairing.num_classes))
    for column, multiple in enumerate(multiples):
        is_kept = places[pairing.pair_rows] < multiple * pairing.group_sizes[pairing.groups[pairing.pair_rows]]
        best = np.full(len(truth), -1.0)
        np.maximum.at(best, pairing.pair_truths[is_kept], pairing.pair_ious[is_kept])
        for row, tiou in enumerate(tious):
            is_covered = pairing.is_match(best, tiou)
            covered = np.bincount(pairing.truth_classes, weights=is_covered, minlength=pairing.num_classes)
            recalls[row, column] = covered / pairing.truth_counts
    return recalls


def best_f1_thresholds(
    truth: TruthColumns, predictions: PredictionColumns, tiou: float = 0.5, protocol: Protocol = ACTIONFORMER
) -> dict[int, tuple[float, float]]:
    """By class number: the score threshold that gives the best F1 at `tiou`, and that F1.

    The threshold is halfway between the lowest score that counts and the next lower one, or 0 if there is none: any
    score between them gives the same F1 here, and the middle is the safest for other videos. Of several thresholds
    with the best F1 the highest is used. Classes without a hit have no entry.
    """
    pairing = Pairing(truth, predictions, tiou, protocol)
    judged = zip(truth.classes, pairing.truth_counts, pairing.judged(tiou), strict=True)
    best = {int(label): best_f1(is_hit, scores, int(number)) for label, number, (is_hit, scores) in judged}
    return {label: found for label, found in best.items() if found is not None}


def best_f1(is_hit: Booleans, scores: Floats, num_truths: int) -> tuple[float, float] | None:
    """The threshold of `best_f1_thresholds` for predictions sorted best first, and its F1; None without a hit."""
    if not is_hit.any():
        return None
    f1 = 2 * np.cumsum(is_hit) / (np.arange(1, len(is_hit) + 1) + num_truths)
    f1[:-1][scores[:-1] == scores[1:]] = 0  # no threshold separates predictions of equal score
    best = int(f1.argmax())
    next_score = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float(scores[best] + next_score) / 2, float(f1[best])


def count_ties(predictions: PredictionColumns) -> int:
    """Number of predictions that share their score with another of their class: the protocol decides their order."""
    order = np.lexsort((predictions.scores, predictions.labels))
    labels, scores = predictions.labels[order], predictions.scores[order]
    is_same = (labels[1:] == labels[:-1]) & (scores[1:] == scores[:-1])
    return int(np.sum(np.append(is_same, False) | np.append(False, is_same))) if len(order) else 0
