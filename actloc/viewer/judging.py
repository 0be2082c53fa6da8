"""Which prediction finds which true action, and what is wrong with the others, for a whole set at one tIoU.

Neither depends on the score threshold: predictions are matched best first, so those below a threshold change nothing
above it. The page therefore gets these columns once per tIoU, and counts by itself wherever the slider stands.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from actloc.evaluation.columns import PredictionColumns, TruthColumns
from actloc.evaluation.error_analysis.kinds import MATCHING, kinds_of
from actloc.evaluation.pairing import Pairing
from actloc.evaluation.predictions import Prediction
from actloc.evaluation.results import TrueAction
from actloc.viewer.viewed import ViewedSet

KINDS = ("right", "double detection", "wrong label", "localization", "confusion", "background")
"""The words for the kinds of predictions, in the order of the error analysis."""
_TIOUS_KEPT = 12


@dataclass(frozen=True)
class Judged:
    """Columns with a row for each prediction or true action, video by video in the order of the set."""

    kinds: NDArray[np.int8]
    """Of each prediction: its place in KINDS."""
    found_by: NDArray[np.int64]
    """Of each true action: the prediction that finds it, counted over the whole set; -1 if none does."""


class Judge:
    """The columns of a set, and its outcomes at any tIoU."""

    def __init__(self, viewed: ViewedSet) -> None:
        number = {label: place for place, label in enumerate(viewed.classes)}
        true = [(place, one) for place, video in enumerate(viewed.videos) for one in video.truth]
        claimed = [(place, one) for place, video in enumerate(viewed.videos) for one in video.predictions]
        self.truth = TruthColumns(*_columns(true, number))
        scores = np.array([one.score for _, one in claimed], np.float64)
        self.predictions = PredictionColumns(*_columns(claimed, number), scores)
        self.judged = lru_cache(_TIOUS_KEPT)(self._judged)

    def _judged(self, tiou: float) -> Judged:
        found_by = np.full(len(self.truth), -1)
        matched = np.zeros((1, len(self.predictions)), np.bool_)
        if len(self.truth):
            pairing = Pairing(self.truth, self.predictions, tiou, MATCHING)
            rows, truths = pairing.matches(tiou)
            found_by[truths] = pairing.rows[rows]
            matched[0, pairing.rows[rows]] = True
        return Judged(kinds_of(self.truth, self.predictions, [tiou], matched)[0], found_by)


def _columns(
    listed: list[tuple[int, TrueAction]] | list[tuple[int, Prediction]], number: dict[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Videos, starts, ends and classes."""
    return (
        np.array([video for video, _ in listed], np.int64),
        np.array([one.start_s for _, one in listed], np.float64),
        np.array([one.end_s for _, one in listed], np.float64),
        np.array([number[one.label] for _, one in listed], np.int64),
    )
