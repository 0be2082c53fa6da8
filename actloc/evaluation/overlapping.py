"""Finds the segments that overlap others without comparing each with each."""

import numpy as np

from actloc.evaluation.columns import Floats, Integers


def may_overlap(segments: Floats, others: Floats) -> tuple[Integers, Integers]:
    """The place of the first of `others` (M, 2), sorted by start, that overlaps each of `segments` (N, 2); a number.

    All that overlap it are among so many from there; those that end early, after a longer one, are among them too.
    """
    firsts = np.searchsorted(np.maximum.accumulate(others[:, 1]), segments[:, 0], side="right")
    return firsts, np.maximum(np.searchsorted(others[:, 0], segments[:, 1], side="left") - firsts, 0)
