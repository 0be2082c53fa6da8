"""Finds the segments that overlap others without comparing each with each."""

import numpy as np

from actloc.evaluation.columns import Floats, Integers


def may_overlap(segments: Floats, others: Floats) -> tuple[Integers, Integers]:
    """Where in `others` (M, 2), sorted by start, all are that overlap each of `segments` (N, 2): first (N,), number (N,).

    Some between them may not: those that end before the segment, after a longer one.
    """
    firsts = np.searchsorted(np.maximum.accumulate(others[:, 1]), segments[:, 0], side="right")
    return firsts, np.maximum(np.searchsorted(others[:, 0], segments[:, 1], side="left") - firsts, 0)
