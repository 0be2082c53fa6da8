"""Who finds what: pairs predictions with true actions as a protocol asks, for a whole subset at once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actloc.errors import UserError
from actloc.evaluation.columns import Booleans, Floats, GroundTruth, Integers, Intervals, Predictions
from actloc.evaluation.protocols import Protocol
from actloc.ops.segments import iou

PAIRS_AT_ONCE = 2_000_000  # IoUs computed together: bounds memory, changes nothing


class Pairing:
    """Predictions sorted by class, best first, and every pair of a prediction and a true action that may match.

    A group is the truth of one class in one video. Pairs stand in the order in which they are asked for.
    """

    def __init__(self, truth: GroundTruth, predictions: Predictions, lowest_iou: float, protocol: Protocol) -> None:
        if len(truth) == 0:
            raise UserError(
                "There is no ground truth to score against.",
                "Expected at least one annotated action in the subset.",
                "Check the subset's name and the annotations of the dataset.",
            )
        self.protocol = protocol
        self.num_classes = len(truth.classes)
        self.truth_classes = np.searchsorted(truth.classes, truth.labels)
        self.truth_counts = np.bincount(self.truth_classes, minlength=self.num_classes)
        classes = _columns(truth.classes, predictions.labels, protocol.unknown_labels_collide)
        order = _best_first(predictions.scores, protocol)
        order = order[classes[order] >= 0]
        order = order[np.argsort(classes[order].astype(np.min_scalar_type(self.num_classes)), kind="stable")]
        self.rows = order
        """The row that each of the sorted predictions has in the columns it came from."""
        self.classes, self.scores = classes[order], predictions.scores[order]
        self._find_groups(truth, predictions.videos[order])
        segments = np.stack((predictions.starts_s[order], predictions.ends_s[order]), axis=1).astype(np.float64)
        self._find_pairs(np.stack((truth.starts_s, truth.ends_s), axis=1), segments, lowest_iou)
        self.is_ambiguous = np.zeros(len(order), dtype=np.bool_)
        if protocol.skips_ambiguous:
            self.is_ambiguous = _touching(truth.ambiguous, predictions.videos[order], segments)

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
            _overlapping(rows, truths, truth_segments, segments, lowest_iou, self.protocol)
            for rows, truths in self._possible_pairs()
        ]
        rows, truths, ious = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if self.protocol.turn == "truth":
            order = np.lexsort((rows, -ious, truths))
        else:  # of equal IoUs the later true action first, as in the official code
            order = np.lexsort((-truths, -ious, rows))
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

    def is_match(self, ious: Floats, tiou: float) -> Booleans:
        """Which overlaps count at `tiou`."""
        return ious > tiou if self.protocol.is_strict else ious >= tiou

    def matches(self, tiou: float) -> tuple[Integers, Integers]:
        """The places of predictions, as sorted here, that match a true action at `tiou`, and the rows of those."""
        is_enough = self.is_match(self.pair_ious, tiou)
        rows, truths = self.pair_rows[is_enough], self.pair_truths[is_enough]
        if self.protocol.turn == "truth":
            settled = _settled(truths, rows, len(self.classes))
        else:
            settled = _settled(rows, truths, len(self.truth_classes))
        return rows[settled], truths[settled]

    def found(self, tiou: float) -> Booleans:
        """Which predictions match a true action at `tiou`."""
        found = np.zeros(len(self.classes), dtype=np.bool_)
        found[self.matches(tiou)[0]] = True
        return found

    def judged(self, tiou: float) -> list[tuple[Booleans, Floats]]:
        """For each class, which of its predictions are found, and their scores, best first; without those that the
        protocol does not count.
        """
        found = self.found(tiou)
        counts = self.by_class(found | ~self.is_ambiguous)
        columns = zip(self.by_class(found), self.by_class(self.scores), counts, strict=True)
        return [(class_found[kept], scores[kept]) for class_found, scores, kept in columns]

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


def _settled(askers: Integers, asked: Integers, num_asked: int) -> Integers:
    """The pairs that match when each asker in turn takes the first of its pairs whose other side is still free.

    Pairs are sorted by asker. Solved for all at once: every asker asks for its favourite, which keeps the earliest that
    ever asked and sends the others on to their next choice.
    """
    nobody = len(askers)
    holders = np.full(num_asked, nobody)  # the pair that holds each of the asked
    asking = np.flatnonzero(np.diff(askers, prepend=-1))  # the pair that each asker now asks for
    while len(asking):
        wanted = asked[asking]
        before = holders[wanted]
        np.minimum.at(holders, wanted, asking)
        after = holders[wanted]
        sent_on = np.union1d(asking[after != asking], before[(before != after) & (before != nobody)])
        sent_on = sent_on[sent_on + 1 < nobody]
        asking = sent_on[askers[sent_on] == askers[sent_on + 1]] + 1
    return holders[holders != nobody]


def _best_first(scores: Floats, protocol: Protocol) -> Integers:
    if protocol.ties == "first_row":
        return np.argsort(-scores, kind="stable")
    return np.argsort(scores, kind="stable")[::-1]


def _columns(classes: Integers, labels: Integers, unknown_labels_collide: bool) -> Integers:
    """The column of each label, -1 where there is none."""
    columns = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    is_column = unknown_labels_collide & (labels >= 0) & (labels < len(classes))
    return np.where(classes[columns] == labels, columns, np.where(is_column, labels, -1))


def _overlapping(
    rows: Integers,
    truths: Integers,
    truth_segments: Floats,
    segments: Floats,
    lowest_iou: float,
    protocol: Protocol,
) -> tuple[Integers, Integers, Floats]:
    ious = iou(segments[rows], truth_segments[truths])
    if protocol.empty_pairs_match:
        ious = np.where(np.isnan(ious), np.inf, ious)
    is_enough = ious >= lowest_iou
    return rows[is_enough], truths[is_enough], ious[is_enough]


def _touching(intervals: Intervals, videos: Integers, segments: Floats) -> Booleans:
    """Which segments share time with an interval of their video."""
    touches = np.zeros(len(videos), dtype=np.bool_)
    for video, start, end in zip(intervals.videos, intervals.starts_s, intervals.ends_s, strict=True):
        touches |= (videos == video) & (np.minimum(segments[:, 1], end) > np.maximum(segments[:, 0], start))
    return touches
