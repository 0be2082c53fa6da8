"""What score thresholds do, precision, recall and F1 of what reaches them, and how well scores are calibrated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from actloc.evaluation.columns import Booleans, Floats, Integers
from actloc.evaluation.detection import best_f1

Judged = tuple[Booleans, Floats]
"""Which predictions are hits, and their scores, best first: an entry of `Pairing.judged`."""
_HALF = 0.5


@dataclass(frozen=True)
class Point:
    """The predictions whose score is `threshold` or more, of `num_truths` true actions."""

    threshold: float
    kept: int
    right: int
    num_truths: int

    @property
    def precision(self) -> float | None:
        """The share of the predictions that are right; None if there are none."""
        return self.right / self.kept if self.kept else None

    @property
    def recall(self) -> float:
        """The share of the true actions that are found."""
        return self.right / self.num_truths

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.right / (self.kept + self.num_truths)


@dataclass(frozen=True)
class Bin:
    """Predictions of neighbouring scores: how many, how many are right, and their mean score."""

    lowest: float
    highest: float
    mean_score: float
    count: int
    right: int

    @property
    def share_right(self) -> float:
        """What the mean score would be if scores were probabilities."""
        return self.right / self.count


def pooled(judged: Sequence[Judged]) -> Judged:
    """The predictions of all classes together, best score first."""
    is_hit = np.concatenate([hits for hits, _ in judged])
    scores = np.concatenate([scores for _, scores in judged])
    order = np.argsort(-scores, kind="stable")
    return is_hit[order], scores[order]


def counted(judged: Judged, thresholds: Sequence[float]) -> tuple[Integers, Integers]:
    """How many predictions reach each of the thresholds (T,), and how many of these are right (T,).

    All predictions were matched once. Where predictions choose, best score first, those below a threshold change
    nothing for those above it; where true actions choose (THUMOS14's protocols), best F1 is based on this count too.
    """
    is_hit, scores = judged
    kept = np.searchsorted(-scores, -np.asarray(thresholds, dtype=np.float64), side="right").astype(np.int64)
    return kept, np.append(0, np.cumsum(is_hit, dtype=np.int64))[kept]


def best_point(judged: Judged, num_truths: int) -> Point | None:
    """The point of the threshold with the best F1, as `detection.best_f1_thresholds` chooses it; None without hits."""
    best = best_f1(*judged, num_truths)
    return None if best is None else points(judged, [best[0]], num_truths)[0]


def points(judged: Judged, thresholds: Sequence[float], num_truths: int) -> list[Point]:
    """The point of each threshold."""
    kept, right = counted(judged, thresholds)
    return [
        Point(threshold, int(number), int(hits), num_truths)
        for threshold, number, hits in zip(thresholds, kept, right, strict=True)
    ]


def score_range(scores: Floats) -> tuple[float, float]:
    """The ends of an axis of thresholds: 0 to 1 for probabilities, else round numbers around the scores."""
    lowest, highest = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
    low = 0.0 if lowest >= 0 else -_round_up(-lowest)
    high = 1.0 if _HALF < highest <= 1 else _round_up(highest)
    return low, high if high > low else low + 1.0


def _round_up(value: float) -> float:
    """The next of 1, 2 or 5 times a power of ten; 0 for numbers that are not positive."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 2, 5, 10, 20) if power * factor >= value)


def reliability(judged: Judged, num_bins: int = 10) -> list[Bin]:
    """Bins of equal counts, lowest scores first; equal scores share a bin, so that counts may differ there."""
    is_hit, scores = judged[0][::-1], judged[1][::-1]
    if not len(scores):
        return []
    cuts = [len(scores) * place // num_bins for place in range(1, num_bins)]
    # a cut within equal scores moves to their end
    edges = np.unique([0, *np.searchsorted(scores, scores[np.maximum(cuts, 1) - 1], side="right"), len(scores)])
    return [
        Bin(
            float(scores[first]),
            float(scores[end - 1]),
            float(scores[first:end].mean()),
            int(end - first),
            int(is_hit[first:end].sum()),
        )
        for first, end in pairwise(edges)
    ]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error (Naeini et al., 2015): the mean distance of score and share right over predictions.

    None if there are no predictions, or if scores are no probabilities: below 0 or above 1.
    """
    if not bins or bins[0].lowest < 0 or bins[-1].highest > 1:
        return None
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.mean_score - one.share_right) for one in bins) / total
