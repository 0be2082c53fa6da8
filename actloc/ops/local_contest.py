"""Soft suppression among the many candidates of a long video: each pick looks at its surroundings only.

Candidates that do not overlap what is picked keep their scores to the last bit, so the result is that of looking at all
of them each time, and the work grows with the candidates, not with their square.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

_BLOCK = 256  # candidates of which the highest score is kept


class LocalContest:
    """The candidates of one class in order of their starts; `score` is the highest that is left, or -inf without any.

    Of equal scores the candidate with the lowest place is picked. Places are those of the official loop, where the best
    and the first one swap, and the last one fills the place of one that is dropped.
    """

    def __init__(
        self, indices: Indices, segments: Floats, scores: Floats, sigma: float, min_score: float, epsilon: np.float32
    ) -> None:
        order = np.argsort(segments[indices, 0], kind="stable")
        self.indices = indices[order]
        self._starts, self._ends = np.ascontiguousarray(segments[self.indices].T)
        self._lengths = self._ends - self._starts + epsilon
        self._reach = np.maximum.accumulate(self._ends)
        self._divisor = np.array(-sigma, scores.dtype)
        self._min_score = scores.dtype.type(min_score)
        self._places, self._at = order, np.empty_like(order)
        self._at[order] = np.arange(len(order))
        self._num_places, self._num_picked = len(order), 0
        padded = np.full(-(-len(order) // _BLOCK) * _BLOCK, -np.inf, scores.dtype)
        padded[: len(order)] = scores[self.indices]
        self._scores, self._blocks = padded[: len(order)], padded.reshape(-1, _BLOCK)
        self._highest = self._blocks.max(axis=1)
        self.best, self.score = 0, self._highest.max()
        self._find_best()  # the first pick counts even below `min_score`

    def pick(self) -> None:
        """Take the best candidate out, lower those that overlap it, and find the next best."""
        best = self.best
        first = int(np.searchsorted(self._reach, self._starts[best], side="right"))
        last = int(np.searchsorted(self._starts, self._ends[best], side="left"))
        if first < last:
            self._lower(best, slice(first, last))
        moved, place = self._at[self._num_picked], self._places[best]
        self._places[moved], self._at[place] = place, moved
        self._scores[best] = -np.inf
        if not self._num_picked:  # some may be too low from the start
            first, last = 0, len(self._scores)
        self._num_picked += 1
        near = self._scores[first:last]
        low = np.flatnonzero((near < self._min_score) & (near > -np.inf))
        if len(low):
            self._drop(first + low)
        changed = slice(min(first, best) // _BLOCK, max(last - 1, best) // _BLOCK + 1)
        self._highest[changed] = self._blocks[changed].max(axis=1)
        self._find_best()
        if self.score < self._min_score:
            self.score = self._scores.dtype.type(-np.inf)

    def _lower(self, best: int, near: slice) -> None:
        """Multiply the scores of those that are left; the same operations as among few candidates."""
        overlaps = np.minimum(self._ends[near], self._ends[best])
        overlaps -= np.maximum(self._starts[near], self._starts[best])
        np.maximum(overlaps, 0, out=overlaps)
        unions = self._lengths[near] + self._lengths[best]
        unions -= overlaps
        overlaps /= unions
        overlaps *= overlaps
        overlaps /= self._divisor
        scores = self._scores[near]
        np.multiply(scores, np.exp(overlaps), out=scores, where=scores > -np.inf)

    def _drop(self, low: Indices) -> None:
        """Take candidates out whose scores are too low; the last ones take their places."""
        end, places = self._num_places - len(low), self._places[low]
        self._scores[low] = -np.inf
        freed = np.arange(self._num_places - 1, end - 1, -1)
        moved = self._at[freed[~np.isin(freed, places)]]
        gaps = np.sort(places[places < end])
        self._places[moved], self._at[gaps] = gaps, moved
        self._num_places = end

    def _find_best(self) -> None:
        self.score = self._highest.max()
        if self.score == -np.inf:
            return
        blocks = np.flatnonzero(self._highest == self.score)
        within, columns = np.nonzero(self._blocks[blocks] == self.score)
        equal = blocks[within] * _BLOCK + columns
        self.best = int(equal[self._places[equal].argmin()])
