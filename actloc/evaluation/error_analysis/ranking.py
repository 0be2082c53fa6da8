"""Predictions by class, best first, with the true actions that they match, and their normalised average precision."""

from collections.abc import Sequence

import numpy as np

from actloc.evaluation.columns import Booleans, Floats, Integers, PredictionColumns, TruthColumns
from actloc.evaluation.error_analysis.kinds import MATCHING
from actloc.evaluation.pairing import Pairing


class Ranking:
    """The predictions of classes that have true actions, sorted by class and then by score, and their matches.

    A prediction keeps its match when others are left out, so that everything is measured on one matching.
    """

    def __init__(self, truth: TruthColumns, predictions: PredictionColumns, tious: Sequence[float]) -> None:
        pairing = Pairing(truth, predictions, min(tious), MATCHING)
        self.rows, self.classes, self.num_classes = pairing.rows, pairing.classes, pairing.num_classes
        self.truth_classes, self.truth_counts = pairing.truth_classes, pairing.truth_counts
        self.mean_truths = len(truth) / pairing.num_classes
        """N: the true actions of a class, on average over classes."""
        self.matched = np.full((len(tious), len(self.rows)), -1, dtype=np.int64)
        """At each tIoU the row of the true action that each prediction matches, -1 for none (tIoUs, predictions)."""
        for number, tiou in enumerate(tious):
            places, truths = pairing.matches(tiou)
            self.matched[number, places] = truths
        self._firsts = np.searchsorted(self.classes, np.arange(self.num_classes))
        self.ranks = np.arange(len(self.rows)) - self._firsts[self.classes]
        """The place of each prediction within its class, from 0."""

    def precisions(self, is_hit: Booleans, is_counted: Booleans, truth_counts: Integers) -> Floats:
        """precision_N at each prediction (tIoUs, predictions): r N / (r N + FP) with r the recall so far.

        `is_hit` and `is_counted` (tIoUs, predictions); `truth_counts` (classes) are the true actions to be found. The
        precision is nan before anything counts, and where the class has nothing to be found.
        """
        found = self._so_far(is_hit) / np.maximum(truth_counts, 1)[self.classes] * self.mean_truths
        with np.errstate(invalid="ignore"):
            precisions: Floats = found / (found + self._so_far(is_counted & ~is_hit))
        return precisions

    def normalised_ap(self, is_hit: Booleans, is_counted: Booleans, truth_counts: Integers) -> Floats:
        """AP_N (tIoUs, classes), interpolated as in VOC 2011; nan for classes with nothing to be found."""
        precisions = self.precisions(is_hit, is_counted, truth_counts)
        areas = np.zeros((len(is_hit), self.num_classes))
        for number, hits in enumerate(map(np.flatnonzero, is_hit)):
            bounds = np.searchsorted(self.classes[hits], np.arange(1, self.num_classes))
            for column, values in enumerate(np.split(precisions[number, hits], bounds)):
                # the precision at a recall is the highest at this recall or a higher one, which is at a hit
                areas[number, column] = np.maximum.accumulate(values[::-1]).sum()
        return np.where(truth_counts > 0, areas / np.maximum(truth_counts, 1), np.nan)

    def _so_far(self, is_one: Booleans) -> Integers:
        """How many there are in the class up to each place, this one included."""
        sums = np.cumsum(is_one, axis=1, dtype=np.int64)
        before = np.concatenate((np.zeros((len(sums), 1), dtype=np.int64), sums), axis=1)[:, self._firsts]
        so_far: Integers = sums - before[:, self.classes]
        return so_far
