"""Finds the segments that overlap others without comparing each with each."""

import numpy as np

from actloc.evaluation.columns import Floats, Integers


def may_overlap(segments: Floats, others: Floats) -> tuple[Integers, Integers]:
    """Which of `others` (M, 2), sorted by start, may overlap each of `segments` (N, 2): the first, and how many.

    All that overlap it are among them. Those that end early, after the start of a longer one, may not overlap it.
    """
    firsts = np.searchsorted(np.maximum.accumulate(others[:, 1]), segments[:, 0], side="right")
    return firsts, np.maximum(np.searchsorted(others[:, 0], segments[:, 1], side="left") - firsts, 0)
