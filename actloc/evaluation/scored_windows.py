"""Class scores of windows of one video, and what they say about its segments and about the whole of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from actloc.evaluation.columns import Floats

_DECIMALS_S = 6  # centres are equally far away if they are so to a microsecond


@dataclass(frozen=True)
class ScoredWindows:
    """`segments` (W, 2), the start and end of each window in seconds, and its `scores` (W, K), one per class."""

    segments: Floats
    scores: Floats

    def of(self, segments: Floats) -> Floats:
        """Class scores (N, K) of `segments` (N, 2) in seconds.

        The mean over the windows whose centre is inside the segment, ends included; if there are none, the scores of
        the window whose centre is nearest to the segment's, of two equally near ones the earlier.
        """
        centres = self.segments.mean(axis=1)
        order = np.lexsort((self.segments[:, 0], centres))
        centres, scores = centres[order], self.scores[order]
        inside = (segments[:, :1] <= centres) & (centres <= segments[:, 1:])  # (N, W)
        number = inside.sum(axis=1, keepdims=True)
        distances = np.abs(centres - segments.mean(axis=1, keepdims=True)).round(_DECIMALS_S)
        nearest = scores[distances.argmin(axis=1)]
        return np.where(number > 0, inside.astype(np.float64) @ scores / np.maximum(number, 1), nearest)

    def of_video(self, best_windows: int) -> Floats:
        """Class scores (K,) of the whole video: the mean of each class's `best_windows` highest scores.

        Not the mean of all, because most of an untrimmed video is background.
        """
        best: Floats = np.sort(self.scores, axis=0)[-best_windows:].mean(axis=0)
        return best

    def to_list(self) -> list[list[Any]]:  # Any: two numbers and a list of numbers
        """`[start, end, [scores]]` for each window, as in a file."""
        pairs = zip(self.segments.tolist(), self.scores.tolist(), strict=True)
        return [[*ends, row] for ends, row in pairs]
