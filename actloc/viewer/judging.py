"""Which prediction finds which true action, and what is wrong with the others, for a whole set at one tIoU.

Neither depends on the score threshold: predictions are matched best first, so those below a threshold change nothing
above it. The page therefore gets these columns once per tIoU, and counts by itself wherever the slider stands.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from actloc.evaluation.columns import PredictionColumns, TruthColumns
from actloc.evaluation.pairing import Pairing
from actloc.evaluation.protocols import Protocol
from actloc.ops.segments import iou
from actloc.viewer.viewed import ViewedSet

KINDS = ("right", "double detection", "wrong label", "localization", "confusion", "background")
"""Of predictions; the page has their numbers. The kinds of errors of Alwassel et al., "Diagnosing Error in Temporal
Action Detectors", ECCV 2018, section 3."""
_RIGHT, _DOUBLE, _WRONG_LABEL, _LOCALIZATION, _CONFUSION, _BACKGROUND = range(len(KINDS))
_TOUCHING = 0.1
"""The tIoU below which a prediction is background, by the same definition."""
_PROTOCOL = Protocol(ties="first_row")
_TIOUS_KEPT = 12


@dataclass(frozen=True)
class Judged:
    """Columns with a row for each prediction or true action, video by video in the order of the set."""

    kinds: NDArray[np.uint8]
    """Of each prediction: its place in KINDS."""
    found_by: NDArray[np.int32]
    """Of each true action: the prediction that finds it, counted over the whole set; -1 if none does."""


class Judge:
    """The columns of a set, and its outcomes at any tIoU."""

    def __init__(self, viewed: ViewedSet) -> None:
        number = {label: place for place, label in enumerate(viewed.classes)}
        claimed = [(place, one) for place, video in enumerate(viewed.videos) for one in video.predictions]
        true = [(place, one) for place, video in enumerate(viewed.videos) for one in video.truth]
        self.scores = np.array([one.score for _, one in claimed], np.float64)
        self.labels = np.array([number[one.label] for _, one in claimed], np.int64)
        self._videos = np.array([place for place, _ in claimed], np.int64)
        self._segments = np.array([(one.start_s, one.end_s) for _, one in claimed], np.float64).reshape(-1, 2)
        self.true_labels = np.array([number[one.label] for _, one in true], np.int64)
        self._true_videos = np.array([place for place, _ in true], np.int64)
        self._true_segments = np.array([(one.start_s, one.end_s) for _, one in true], np.float64).reshape(-1, 2)
        self._best_tious, self._nearest = self._overlaps(len(viewed.videos))
        self.judged = lru_cache(_TIOUS_KEPT)(self._judged)

    def _overlaps(self, num_videos: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Of each prediction: its highest tIoU with a true action of any class in its video, and which one that is."""
        best, nearest = np.zeros(len(self.scores)), np.full(len(self.scores), -1)
        rows = np.searchsorted(self._videos, np.arange(num_videos + 1))
        truths = np.searchsorted(self._true_videos, np.arange(num_videos + 1))
        for first, last, true_first, true_last in zip(rows, rows[1:], truths, truths[1:], strict=False):
            if first < last and true_first < true_last:
                tious = iou(self._segments[first:last, None], self._true_segments[None, true_first:true_last])
                tious = np.nan_to_num(tious)  # of two segments without length
                nearest[first:last] = true_first + tious.argmax(axis=1)
                best[first:last] = tious.max(axis=1)
        return best, nearest

    def _judged(self, tiou: float) -> Judged:
        found_by = np.full(len(self.true_labels), -1, np.int32)
        is_touching = self._best_tious >= _TOUCHING
        same = (self.true_labels[self._nearest] if len(self.true_labels) else self._nearest) == self.labels
        is_enough = self._best_tious >= tiou
        kinds = np.full(len(self.scores), _BACKGROUND, np.uint8)
        kinds[is_touching] = np.where(same, _LOCALIZATION, _CONFUSION)[is_touching]
        kinds[is_enough] = np.where(same, _DOUBLE, _WRONG_LABEL)[is_enough]
        if len(self.scores) and len(self.true_labels):
            truth = TruthColumns(self._true_videos, *self._true_segments.T, self.true_labels)
            claims = PredictionColumns(self._videos, *self._segments.T, self.labels, self.scores)
            pairing = Pairing(truth, claims, tiou, _PROTOCOL)
            rows, truths = pairing.matches(tiou)
            found_by[truths] = pairing.rows[rows]
            kinds[pairing.rows[rows]] = _RIGHT
        return Judged(kinds, found_by)
