"""Precision-recall curves whose area is the average precision that the protocol defines.

A curve is a step function of recall from 0 to 1. With n true actions, its precision between recall (i - 1) / n and
i / n is that at the i-th hit; interpolated where the protocol does so, and 0 where there is no i-th hit. The area under
these steps is the average precision, without any further rule.
"""

from collections.abc import Sequence

import numpy as np

from actloc.evaluation.columns import Floats
from actloc.evaluation.detection import precisions_at_hits
from actloc.evaluation.pairing import Pairing

NUM_BINS = 100
"""Steps of a curve of more true actions than this, and of a mean of curves."""


def precisions(pairing: Pairing, tiou: float) -> list[Floats]:
    """For each class, the precision (true actions,) at each of its hits; 0 for the true actions without a hit."""
    curves = []
    for (is_hit, _), num_truths in zip(pairing.judged(tiou), pairing.truth_counts, strict=True):
        at_hits = precisions_at_hits(is_hit, pairing.protocol)
        at_hits = at_hits[::-1] if pairing.protocol.is_interpolated else at_hits
        curves.append(np.append(at_hits, np.zeros(num_truths - len(at_hits))))
    return curves


def binned(curve: Floats, num_bins: int = NUM_BINS) -> Floats:
    """The curve's mean precision (num_bins,) in equal bins of recall: the area stays the same."""
    area_up_to = np.concatenate([[0.0], np.cumsum(curve)]) / len(curve)
    areas = np.interp(np.arange(num_bins + 1) / num_bins, np.arange(len(curve) + 1) / len(curve), area_up_to)
    means: Floats = np.diff(areas) * num_bins
    return means


def thinned(curve: Floats, num_bins: int = NUM_BINS) -> Floats:
    """The curve itself if it has at most `num_bins` steps, else `binned`."""
    return curve if len(curve) <= num_bins else binned(curve, num_bins)


def mean_curve(curves: Sequence[Floats], num_bins: int = NUM_BINS) -> Floats:
    """The mean over classes at equal recall (num_bins,), whose area is the mAP."""
    mean: Floats = np.mean([binned(curve, num_bins) for curve in curves], axis=0)
    return mean
