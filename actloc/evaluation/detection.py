"""Scores detections of a whole subset against the truth, as ActionFormer's evaluator does (spec: actionformer, 11).

Arrays in, arrays out. Columns of a result are the classes that occur in the truth, by label. Equal scores: the later
row counts as the better one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actloc.errors import UserError
from actloc.ops.segments import iou

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

PAIRS_AT_ONCE = 2_000_000  # IoUs computed together: bounds memory, changes nothing


@dataclass(frozen=True)
class GroundTruth:
    """The true actions of a subset, one row each; `videos` are indices of any kind, `labels` class numbers."""

    videos: Integers
    starts_s: Floats
    ends_s: Floats
    labels: Integers

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> Integers:
        """The labels that occur, sorted: the columns of every result."""
        return np.unique(self.labels)


@dataclass(frozen=True)
class Predictions:
    """Scored segments of a subset, one row each; a video that is not in the truth has only false ones."""

    videos: Integers
    starts_s: Floats
    ends_s: Floats
    labels: Integers
    scores: Floats

    def __len__(self) -> int:
        return len(self.labels)


def average_precision(
    truth: GroundTruth, predictions: Predictions, tious: Sequence[float], *, collide_unknown_labels: bool = False
) -> Floats:
    """(tIoUs, classes): area under precision over recall, precision made falling (VOC 2010).

    Each prediction, best first, takes the free true action of its class and video that it overlaps most, if their IoU
    is at least the threshold. Predictions of classes without any truth are left out; `collide_unknown_labels` counts
    them as the class in the column of their label's number, as the official code does.
    """
    table = _Table(truth, predictions, min(tious), collide_unknown_labels)
    return np.stack([_areas(table, table.found(tiou)) for tiou in tious])


def recall_at(
    truth: GroundTruth,
    predictions: Predictions,
    tious: Sequence[float],
    multiples: Sequence[int] = (1, 5),
    *,
    collide_unknown_labels: bool = False,
) -> Floats:
    """(tIoUs, multiples, classes): share of the truth overlapped by the best k * n predictions of its class and video.

    n is the number of true actions there, k each of `multiples`; several may be overlapped by one prediction.
    """
    table = _Table(truth, predictions, min(tious), collide_unknown_labels)
    places = table.places()
    recalls = np.empty((len(tious), len(multiples), table.num_classes))
    for column, multiple in enumerate(multiples):
        is_kept = places[table.pair_rows] < multiple * table.group_sizes[table.groups[table.pair_rows]]
        best = np.full(len(truth), -1.0)
        np.maximum.at(best, table.pair_truths[is_kept], table.pair_ious[is_kept])
        for row, tiou in enumerate(tious):
            covered = np.bincount(table.truth_classes, weights=best >= tiou, minlength=table.num_classes)
            recalls[row, column] = covered / table.truth_counts
    return recalls


def best_f1_thresholds(
    truth: GroundTruth, predictions: Predictions, tiou: float = 0.5
) -> dict[int, tuple[float, float]]:
    """By label: the score from which on predictions count to reach the best F1 at `tiou`, and that F1.

    It lies halfway between the last score that counts and the next one (halfway to 0 behind the last), since any
    score between them gives the same F1 here and the middle is the safest for other videos. Of equally good places
    the one with the highest scores is taken. Classes of which nothing is found have no entry.
    """
    table = _Table(truth, predictions, tiou, collide_unknown_labels=False)
    thresholds = {}
    pairs = zip(table.by_class(table.found(tiou)), table.by_class(table.scores), strict=True)
    for column, (found, scores) in enumerate(pairs):
        counts = np.arange(1, len(found) + 1)
        f1 = 2 * np.cumsum(found) / (counts + table.truth_counts[column])
        f1[:-1][scores[:-1] == scores[1:]] = 0  # a threshold takes all predictions of a score or none
        if found.any():
            best = int(f1.argmax())
            next_score = scores[best + 1] if best + 1 < len(scores) else 0.0
            thresholds[int(truth.classes[column])] = (float(scores[best] + next_score) / 2, float(f1[best]))
    return thresholds


class _Table:
    """Predictions sorted by class, best first, and every pair of a prediction and a true action that may match.

    A group is the truth of one class in one video. Pairs are sorted by prediction, the largest IoU first.
    """

    def __init__(
        self, truth: GroundTruth, predictions: Predictions, lowest_iou: float, collide_unknown_labels: bool
    ) -> None:
        if len(truth) == 0:
            raise UserError(
                "There is no ground truth to score against.",
                "Expected at least one annotated action in the subset.",
                "Check the subset's name and the annotations of the dataset.",
            )
        self.num_classes = len(truth.classes)
        self.truth_classes = np.searchsorted(truth.classes, truth.labels)
        self.truth_counts = np.bincount(self.truth_classes, minlength=self.num_classes)
        classes = _columns(truth.classes, predictions.labels, collide_unknown_labels)
        order = np.argsort(predictions.scores, kind="stable")[::-1]
        order = order[classes[order] >= 0]
        order = order[np.argsort(classes[order].astype(np.min_scalar_type(self.num_classes)), kind="stable")]
        self.classes, self.scores = classes[order], predictions.scores[order]
        self._find_groups(truth, predictions.videos[order])
        segments = np.stack((predictions.starts_s[order], predictions.ends_s[order]), axis=1).astype(np.float64)
        self._find_pairs(np.stack((truth.starts_s, truth.ends_s), axis=1), segments, lowest_iou)

    def _find_groups(self, truth: GroundTruth, videos: Integers) -> None:
        truth_keys = truth.videos * self.num_classes + self.truth_classes
        self.truths_by_group = np.argsort(truth_keys, kind="stable")
        keys, self.group_starts, self.group_sizes = np.unique(
            truth_keys[self.truths_by_group], return_index=True, return_counts=True
        )
        wanted = videos * self.num_classes + self.classes
        groups = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        self.groups = np.where(keys[groups] == wanted, groups, -1)  # -1: nothing to find there

    def _find_pairs(self, truth_segments: Floats, segments: Floats, lowest_iou: float) -> None:
        found = [
            _overlapping(rows, truths, truth_segments, segments, lowest_iou) for rows, truths in self._possible_pairs()
        ]
        rows, truths, ious = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((-truths, -ious, rows))  # of equal IoUs the later true action first, as in the official code
        self.pair_rows, self.pair_truths, self.pair_ious = rows[order], truths[order], ious[order]

    def _possible_pairs(self) -> Iterator[tuple[Integers, Integers]]:
        """Predictions and true actions of the same group, a bounded number at a time."""
        rows = np.flatnonzero(self.groups >= 0)
        sizes = self.group_sizes[self.groups[rows]]
        cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // PAIRS_AT_ONCE)) + 1
        for chunk, chunk_sizes in zip(np.split(rows, cuts), np.split(sizes, cuts), strict=True):
            repeated = np.repeat(chunk, chunk_sizes)
            place = np.arange(len(repeated)) - np.repeat(np.cumsum(chunk_sizes) - chunk_sizes, chunk_sizes)
            yield repeated, self.truths_by_group[self.group_starts[self.groups[repeated]] + place]

    def found(self, tiou: float) -> Booleans:
        """Which predictions match a true action at `tiou`: in turn, each takes the best one that is still free.

        Solved for all at once: every prediction asks for its favourite, which keeps the best prediction that ever asked
        and sends the others on to their next choice.
        """
        is_enough = self.pair_ious >= tiou
        rows, truths = self.pair_rows[is_enough], self.pair_truths[is_enough]
        nobody = len(rows)
        holders = np.full(len(self.truth_classes), nobody)  # the pair that holds each true action
        asking = np.flatnonzero(np.diff(rows, prepend=-1))  # the pair that each prediction now asks for, best first
        while len(asking):
            asked = truths[asking]
            before = holders[asked]
            np.minimum.at(holders, asked, asking)
            after = holders[asked]
            sent_on = np.union1d(asking[after != asking], before[(before != after) & (before != nobody)])
            sent_on = sent_on[sent_on + 1 < nobody]
            asking = sent_on[rows[sent_on] == rows[sent_on + 1]] + 1
        found = np.zeros(len(self.classes), dtype=np.bool_)
        found[rows[holders[holders != nobody]]] = True
        return found

    def places(self) -> Integers:
        """Each prediction's place among those of its group, from 0."""
        order = np.argsort(self.groups, kind="stable")
        firsts = np.searchsorted(self.groups[order], self.groups[order])
        places = np.empty_like(order)
        places[order] = np.arange(len(order)) - firsts
        return places

    def by_class(self, column: NDArray[Any]) -> list[NDArray[Any]]:
        """A value per prediction, parted by class."""
        return np.split(column, np.searchsorted(self.classes, np.arange(1, self.num_classes)))


def _columns(classes: Integers, labels: Integers, collide_unknown_labels: bool) -> Integers:
    """The column of each label, -1 where there is none."""
    columns = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    is_column = collide_unknown_labels & (labels >= 0) & (labels < len(classes))
    return np.where(classes[columns] == labels, columns, np.where(is_column, labels, -1))


def _overlapping(
    rows: Integers, truths: Integers, truth_segments: Floats, segments: Floats, lowest_iou: float
) -> tuple[Integers, Integers, Floats]:
    ious = iou(segments[rows], truth_segments[truths])
    is_enough = ious >= lowest_iou
    return rows[is_enough], truths[is_enough], ious[is_enough]


def _areas(table: _Table, found: Booleans) -> Floats:
    """Average precision of every class: the mean, over its true actions, of the best precision at or after each hit."""
    areas = np.zeros(table.num_classes)
    for column, class_found in enumerate(table.by_class(found)):
        hits = np.flatnonzero(class_found)
        precisions = np.arange(1, len(hits) + 1) / (hits + 1)
        areas[column] = np.maximum.accumulate(precisions[::-1]).sum() / table.truth_counts[column]
    return areas
