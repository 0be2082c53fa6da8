"""Matches predictions to true actions by the rules of a protocol, for a whole subset at once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actloc.errors import UserError
from actloc.evaluation.columns import Booleans, Floats, Integers, Intervals, PredictionColumns, TruthColumns
from actloc.evaluation.overlapping import may_overlap
from actloc.evaluation.protocols import Protocol
from actloc.ops.segments import iou

PAIRS_AT_ONCE = 2_000_000  # IoUs computed in one batch: bounds memory, does not change results
MANY = 16  # true actions of a group: among more, those that may overlap a prediction are found before IoUs are computed


class Pairing:
    """Predictions sorted by class, best first, and every pair of a prediction and a true action that may match.

    A group is the true actions of one class in one video. Pairs are in the order in which the protocol considers them.
    """

    def __init__(
        self, truth: TruthColumns, predictions: PredictionColumns, lowest_iou: float, protocol: Protocol
    ) -> None:
        if len(truth) == 0:
            raise UserError(
                "There is no ground truth to score against.",
                "Expected at least one annotated action in the subset.",
                "Check the name of the subset and the dataset's annotations.",
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
        """For each of the sorted predictions, its row in `predictions`."""
        self.classes, self.scores = classes[order], predictions.scores[order]
        self._find_groups(truth, predictions.videos[order])
        segments = np.stack((predictions.starts_s[order], predictions.ends_s[order]), axis=1).astype(np.float64)
        self._find_pairs(np.stack((truth.starts_s, truth.ends_s), axis=1), segments, lowest_iou)
        self.is_ambiguous = np.zeros(len(order), dtype=np.bool_)
        if protocol.skips_ambiguous:
            self.is_ambiguous = _touching(truth.ambiguous, predictions.videos[order], segments)

    def _find_groups(self, truth: TruthColumns, videos: Integers) -> None:
        truth_keys = truth.videos * self.num_classes + self.truth_classes
        self.truths_by_group = np.lexsort((truth.starts_s, truth_keys))
        keys, self.group_starts, self.group_sizes = np.unique(
            truth_keys[self.truths_by_group], return_index=True, return_counts=True
        )
        wanted = videos * self.num_classes + self.classes
        groups = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        self.groups = np.where(keys[groups] == wanted, groups, -1)  # -1: the video has no true action of the class

    def _find_pairs(self, truth_segments: Floats, segments: Floats, lowest_iou: float) -> None:
        batches = []
        for rows, truths in self._possible_pairs(truth_segments, segments, lowest_iou):
            ious = iou(segments[rows], truth_segments[truths])
            if self.protocol.empty_pairs_match:
                ious = np.where(np.isnan(ious), np.inf, ious)
            is_enough = ious >= lowest_iou
            batches.append((rows[is_enough], truths[is_enough], ious[is_enough]))
        rows, truths, ious = (np.concatenate(column) for column in zip(*batches, strict=True))
        if self.protocol.turn == "truth":
            order = np.lexsort((rows, -ious, truths))
        else:  # of equal IoUs the later true action first, as in ActionFormer's code
            order = np.lexsort((-truths, -ious, rows))
        self.pair_rows, self.pair_truths, self.pair_ious = rows[order], truths[order], ious[order]

    def _possible_pairs(
        self, truth_segments: Floats, segments: Floats, lowest_iou: float
    ) -> Iterator[tuple[Integers, Integers]]:
        """Pairs of a prediction and a true action of the same group, in batches of bounded size.

        In large groups those alone that may overlap, or the work would grow with the square of a video's actions.
        """
        rows = np.flatnonzero(self.groups >= 0)
        firsts, sizes = self.group_starts[self.groups[rows]], self.group_sizes[self.groups[rows]]
        # segments without a length have an IoU, nan, with others far away
        have_lengths = bool((truth_segments[:, 1] > truth_segments[:, 0]).all() and (np.diff(segments) >= 0).all())
        if lowest_iou > 0 and have_lengths:
            order = np.argsort(self.groups[rows], kind="stable")
            large = np.flatnonzero(self.group_sizes > MANY)
            bounds = np.searchsorted(self.groups[rows][order], (large, large + 1)).T
            for group, (first, last) in zip(large, bounds, strict=True):
                here, start = order[first:last], self.group_starts[group]
                truths = truth_segments[self.truths_by_group[start : start + self.group_sizes[group]]]
                before, sizes[here] = may_overlap(segments[rows[here]], truths)
                firsts[here] = start + before
        cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // PAIRS_AT_ONCE)) + 1
        columns = (np.split(one, cuts) for one in (rows, firsts, sizes))
        for chunk, chunk_firsts, chunk_sizes in zip(*columns, strict=True):
            repeated = np.repeat(chunk, chunk_sizes)
            place = np.arange(len(repeated)) - np.repeat(np.cumsum(chunk_sizes) - chunk_sizes, chunk_sizes)
            yield repeated, self.truths_by_group[np.repeat(chunk_firsts, chunk_sizes) + place]

    def is_match(self, ious: Floats, tiou: float) -> Booleans:
        """Which IoUs are a match at `tiou`."""
        return ious > tiou if self.protocol.is_strict else ious >= tiou

    def matches(self, tiou: float) -> tuple[Integers, Integers]:
        """The sorted predictions that match a true action at `tiou`, and the rows of these true actions."""
        is_enough = self.is_match(self.pair_ious, tiou)
        rows, truths = self.pair_rows[is_enough], self.pair_truths[is_enough]
        if self.protocol.turn == "truth":
            settled = _settled(truths, rows, len(self.classes))
        else:
            settled = _settled(rows, truths, len(self.truth_classes))
        return rows[settled], truths[settled]

    def hits(self, tiou: float) -> Booleans:
        """Which of the sorted predictions match a true action at `tiou`."""
        is_hit = np.zeros(len(self.classes), dtype=np.bool_)
        is_hit[self.matches(tiou)[0]] = True
        return is_hit

    def judged(self, tiou: float) -> list[tuple[Booleans, Floats]]:
        """For each class, which of its predictions are hits, and their scores, best first.

        Leaves out the predictions that the protocol does not count.
        """
        is_hit = self.hits(tiou)
        counts = self.by_class(is_hit | ~self.is_ambiguous)
        columns = zip(self.by_class(is_hit), self.by_class(self.scores), counts, strict=True)
        return [(class_hits[kept], scores[kept]) for class_hits, scores, kept in columns]

    def places(self) -> Integers:
        """The rank of each prediction within its group, from 0."""
        order = np.argsort(self.groups, kind="stable")
        firsts = np.searchsorted(self.groups[order], self.groups[order])
        places = np.empty_like(order)
        places[order] = np.arange(len(order)) - firsts
        return places

    def by_class(self, column: NDArray[Any]) -> list[NDArray[Any]]:
        """Splits a column with one value per prediction by class."""
        return np.split(column, np.searchsorted(self.classes, np.arange(1, self.num_classes)))


def _settled(askers: Integers, asked: Integers, num_asked: int) -> Integers:
    """The pairs that match when each asker in turn takes the first of its pairs whose other side is still free.

    Pairs are sorted by asker. All askers are settled together (as in stable matching): every asker asks for its
    favourite, which keeps the earliest asker so far and sends the others to their next choice.
    """
    nobody = len(askers)
    holders = np.full(num_asked, nobody)  # the pair that holds each of the asked
    asking = np.flatnonzero(np.diff(askers, prepend=-1))  # the pair that each asker asks for now
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
    """The column of each label, -1 if it has none."""
    columns = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    is_column = unknown_labels_collide & (labels >= 0) & (labels < len(classes))
    return np.where(classes[columns] == labels, columns, np.where(is_column, labels, -1))


def _touching(intervals: Intervals, videos: Integers, segments: Floats) -> Booleans:
    """Which segments overlap an interval of their video."""
    touches = np.zeros(len(videos), dtype=np.bool_)
    for video, start, end in zip(intervals.videos, intervals.starts_s, intervals.ends_s, strict=True):
        touches |= (videos == video) & (np.minimum(segments[:, 1], end) > np.maximum(segments[:, 0], start))
    return touches
