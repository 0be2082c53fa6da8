"""Which kind of error each prediction is (Alwassel et al., "Diagnosing Error in Temporal Action Detectors", 2018)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from actloc.evaluation.columns import Floats, Integers, PredictionColumns, TruthColumns
from actloc.evaluation.overlapping import may_overlap
from actloc.evaluation.pairing import PAIRS_AT_ONCE, Pairing
from actloc.evaluation.protocols import Protocol
from actloc.ops.segments import iou

TRUE_POSITIVE, DOUBLE_DETECTION, WRONG_LABEL, LOCALIZATION, CONFUSION, BACKGROUND = range(6)
KINDS = (
    *("True Positive", "Double Detection Err", "Wrong Label Err"),
    *("Localization Err", "Confusion Err", "Background Err"),
)
"""The names of the kinds in errors.json, which are those of the paper's code; a kind's number is its place."""
LOWEST_TIOU = 0.1
"""A prediction that overlaps every true action of its video less than this is background."""
MATCHING = Protocol(ties="first_row")
"""Each prediction, best score first, takes the free true action of its class and video that it overlaps most; of equal
scores the lowest row is first."""

NEIGHBOURS = 256  # predictions that follow each other in time, compared at once with the true actions around them

Kinds = NDArray[np.int8]


def classify(truth: TruthColumns, predictions: PredictionColumns, tious: Sequence[float]) -> Kinds:
    """The kind of each prediction at each tIoU (tIoUs, predictions), as its place in `KINDS`; rows as given.

    Predictions of labels and videos without true actions are classified too. Equal scores go lowest row first.
    """
    matched = np.zeros((len(tious), len(predictions)), dtype=np.bool_)
    if len(truth):
        pairing = Pairing(truth, predictions, min(tious), MATCHING)
        for row, tiou in enumerate(tious):
            matched[row, pairing.rows[pairing.matches(tiou)[0]]] = True
    return kinds_of(truth, predictions, tious, matched)


def kinds_of(
    truth: TruthColumns, predictions: PredictionColumns, tious: Sequence[float], matched: NDArray[np.bool_]
) -> Kinds:
    """The kinds (tIoUs, predictions) of predictions of which `matched` (tIoUs, predictions) says which are right.

    The others are judged by the true action of any class in their video that they overlap most, the first of equals.
    """
    best, closest = closest_truths(truth, predictions)
    has_its_label = np.zeros(len(predictions), dtype=np.bool_)
    is_near = closest >= 0
    has_its_label[is_near] = truth.labels[closest[is_near]] == predictions.labels[is_near]
    reaches = best >= np.array(tious, dtype=np.float64)[:, None]
    kinds = np.where(
        reaches,
        np.where(has_its_label, DOUBLE_DETECTION, WRONG_LABEL),
        np.where(best >= LOWEST_TIOU, np.where(has_its_label, LOCALIZATION, CONFUSION), BACKGROUND),
    )
    return np.where(matched, TRUE_POSITIVE, kinds).astype(np.int8)


def closest_truths(truth: TruthColumns, predictions: PredictionColumns) -> tuple[Floats, Integers]:
    """For each prediction the highest tIoU with a true action of any class in its video, and the row of that action.

    0 and -1 in a video without true actions. Of equal tIoUs the lowest row is taken.
    """
    best = np.zeros(len(predictions))
    closest = np.full(len(predictions), -1, dtype=np.int64)
    segments = np.stack((predictions.starts_s, predictions.ends_s), axis=1).astype(np.float64)
    true_segments = np.stack((truth.starts_s, truth.ends_s), axis=1).astype(np.float64)
    true_rows = _rows_by_video(truth.videos)
    for video, rows in _rows_by_video(predictions.videos).items():
        there = true_rows.get(video)
        if there is None:
            continue
        closest[rows] = there[0]
        by_start = there[np.argsort(true_segments[there, 0], kind="stable")]
        ordered = rows[np.argsort(segments[rows, 0], kind="stable")]
        num_parts = max(-(-len(rows) * len(there) // PAIRS_AT_ONCE), -(-len(rows) // NEIGHBOURS))
        for part in np.array_split(ordered, num_parts):
            firsts, numbers = may_overlap(segments[part], true_segments[by_start])
            near = np.sort(by_start[firsts.min() : (firsts + numbers).max()])
            if len(near):
                ious = np.nan_to_num(iou(segments[part, None], true_segments[None, near]))
                most = ious.argmax(axis=1)
                best[part] = ious[np.arange(len(part)), most]
                closest[part] = np.where(best[part] > 0, near[most], there[0])
    return best, closest


def _rows_by_video(videos: Integers) -> dict[int, Integers]:
    order = np.argsort(videos, kind="stable")
    numbers, starts = np.unique(videos[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}
