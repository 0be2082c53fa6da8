"""Scores detections of a whole subset against the truth under a protocol; ActionFormer's is the default.

Arrays in, arrays out. Columns of a result are the classes that occur in the truth, by label.
"""

from collections.abc import Sequence

import numpy as np

from actloc.evaluation.columns import Booleans, Floats, GroundTruth, Predictions
from actloc.evaluation.pairing import Pairing
from actloc.evaluation.protocols import ACTIONFORMER, Protocol


def average_precision(
    truth: GroundTruth, predictions: Predictions, tious: Sequence[float], protocol: Protocol = ACTIONFORMER
) -> Floats:
    """(tIoUs, classes): area under precision over recall of each class.

    Predictions of classes without any truth are left out, unless the protocol lets them collide.
    """
    pairing = Pairing(truth, predictions, min(tious), protocol)
    return np.stack([_areas(pairing, tiou) for tiou in tious])


def recall_at(
    truth: GroundTruth,
    predictions: Predictions,
    tious: Sequence[float],
    multiples: Sequence[int] = (1, 5),
    protocol: Protocol = ACTIONFORMER,
) -> Floats:
    """(tIoUs, multiples, classes): share of the truth overlapped by the best k * n predictions of its class and video.

    n is the number of true actions there, k each of `multiples`; several may be overlapped by one prediction.
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
    truth: GroundTruth, predictions: Predictions, tiou: float = 0.5, protocol: Protocol = ACTIONFORMER
) -> dict[int, tuple[float, float]]:
    """By label: the score from which on predictions count to reach the best F1 at `tiou`, and that F1.

    It lies halfway between the last score that counts and the next one (halfway to 0 behind the last), since any
    score between them gives the same F1 here and the middle is the safest for other videos. Of equally good places
    the one with the highest scores is taken. Classes of which nothing is found have no entry.
    """
    pairing = Pairing(truth, predictions, tiou, protocol)
    thresholds = {}
    for column, (found, scores) in enumerate(pairing.judged(tiou)):
        counts = np.arange(1, len(found) + 1)
        f1 = 2 * np.cumsum(found) / (counts + pairing.truth_counts[column])
        f1[:-1][scores[:-1] == scores[1:]] = 0  # a threshold takes all predictions of a score or none
        if found.any():
            best = int(f1.argmax())
            next_score = scores[best + 1] if best + 1 < len(scores) else 0.0
            thresholds[int(truth.classes[column])] = (float(scores[best] + next_score) / 2, float(f1[best]))
    return thresholds


def count_ties(predictions: Predictions) -> int:
    """How many predictions share their score with another of their class, so that an order had to be chosen."""
    order = np.lexsort((predictions.scores, predictions.labels))
    labels, scores = predictions.labels[order], predictions.scores[order]
    is_same = (labels[1:] == labels[:-1]) & (scores[1:] == scores[:-1])
    return int(np.sum(np.append(is_same, False) | np.append(False, is_same))) if len(order) else 0


def _areas(pairing: Pairing, tiou: float) -> Floats:
    """Average precision of every class: the mean, over its true actions, of the precision at each hit."""
    areas = np.zeros(pairing.num_classes)
    for column, (found, _) in enumerate(pairing.judged(tiou)):
        areas[column] = _precisions(found, pairing.protocol).sum() / pairing.truth_counts[column]
    return areas


def _precisions(found: Booleans, protocol: Protocol) -> Floats:
    """The precision at each hit; interpolated, the best one at or after it."""
    hits = np.flatnonzero(found)
    precisions: Floats = np.arange(1, len(hits) + 1) / (hits + 1)
    return np.maximum.accumulate(precisions[::-1]) if protocol.is_interpolated else precisions
