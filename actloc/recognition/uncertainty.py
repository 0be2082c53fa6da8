"""How sure accuracies are: a bootstrap over videos, whose clips are drawn together."""

from collections.abc import Sequence

import numpy as np

from actloc.evaluation import bootstrap
from actloc.evaluation.columns import Floats
from actloc.evaluation.results import Record
from actloc.evaluation.uncertainty import Interval, Proportion
from actloc.recognition.scores import Booleans

_DRAWS_AT_ONCE = 50
"""Bounds memory, does not change results."""


class AccuracyUncertainty(Record):
    """Percentile intervals of accuracies over test sets that are drawn from the videos with replacement."""

    level: Proportion
    """The share of the draws whose accuracy is inside: 0.95."""
    draws: int
    seed: int
    top_1: Interval | None
    top_5: Interval | None
    mean_class_accuracy: Interval | None
    reason: str = ""
    """Why there are none."""


def accuracy_uncertainty(
    first: Booleans, five: Booleans, truth: Booleans, videos: Sequence[str], num_draws: int = bootstrap.NUM_DRAWS
) -> AccuracyUncertainty:
    """Intervals from the top-1 and top-5 hits (N,) of clips, their true classes (N, K) and the videos that they are of.

    A class without a clip in a draw is left out of its mean.
    """
    names, video_of = np.unique(np.array(videos, dtype=str), return_inverse=True)
    if len(names) < 2:
        found: list[Interval | None] = [None] * 3
        reason = "the subset has one video, and no other can be drawn"
    else:
        times = bootstrap.draws(len(names), num_draws)
        chunks = [
            _accuracies(first, five, truth, times[video_of, start : start + _DRAWS_AT_ONCE].astype(np.float64))
            for start in range(0, num_draws, _DRAWS_AT_ONCE)
        ]
        ends = bootstrap.intervals(np.concatenate(chunks, axis=1))
        found, reason = [None if one is None else Interval(low=one[0], high=one[1]) for one in ends], ""
    return AccuracyUncertainty(
        level=bootstrap.LEVEL,
        draws=0 if reason else num_draws,
        seed=bootstrap.SEED,
        top_1=found[0],
        top_5=found[1],
        mean_class_accuracy=found[2],
        reason=reason,
    )


def _accuracies(first: Booleans, five: Booleans, truth: Booleans, times: Floats) -> Floats:
    """Top-1, top-5 and mean class accuracy (3, draws) of clips that count `times` (N, draws); nan without clips."""
    totals = times.sum(axis=0)
    of_classes = truth.T.astype(np.float64)
    counts, hits = of_classes @ times, (of_classes * first) @ times
    present = counts > 0
    with np.errstate(invalid="ignore"):
        classes = np.where(present, hits / np.maximum(counts, 1), 0).sum(axis=0) / present.sum(axis=0)
        return np.stack([first @ times / totals, five @ times / totals, classes])
